package gatewaydeploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

// Parameters are what a ConfigMap (GatewayInfrastructure.parametersRef) says of a
// Gateway's objects, by Istio's keys: each is a part of the object in YAML, which is
// merged over what is rendered.
type Parameters map[string]string

// The keys, and the types that they are merged as.
const (
	deploymentKey     = "deployment"
	serviceKey        = "service"
	serviceAccountKey = "serviceAccount"
	autoscalerKey     = "horizontalPodAutoscaler"
	budgetKey         = "podDisruptionBudget"
)

var overlayTypes = map[string]any{
	deploymentKey:     appsv1.Deployment{},
	serviceKey:        corev1.Service{},
	serviceAccountKey: corev1.ServiceAccount{},
	autoscalerKey:     autoscalingv2.HorizontalPodAutoscaler{},
	budgetKey:         policyv1.PodDisruptionBudget{},
}

// check refuses keys that nothing reads, so that a misspelled one is not lost.
func (p Parameters) check() error {
	for _, k := range slices.Sorted(maps.Keys(p)) {
		if overlayTypes[k] == nil {
			return fmt.Errorf("the key %q is none of %v", k, slices.Sorted(maps.Keys(overlayTypes)))
		}
	}
	return nil
}

// layers are parameters in the order in which they are merged.
type layers []Parameters

// has reports whether any layer has a key.
func (l layers) has(key string) bool {
	return slices.ContainsFunc(l, func(p Parameters) bool { _, ok := p[key]; return ok })
}

// merge applies the layers' parts for a key to a rendered object, by the rules of
// Kubernetes' strategic merge (lists of containers and ports by their keys). What
// makes the object the Gateway's cannot be changed.
func (l layers) merge(key string, m *Manifest) error {
	protected := identity(m.Content)
	for _, p := range l {
		part, ok := p[key]
		if !ok {
			continue
		}
		patch, err := yaml.YAMLToJSONStrict([]byte(part))
		if err != nil {
			return fmt.Errorf("parameter %s: %w", key, err)
		}
		original, err := json.Marshal(m.Content)
		if err != nil {
			return fmt.Errorf("parameter %s: %w", key, err)
		}
		merged, err := strategicpatch.StrategicMergePatch(original, patch, overlayTypes[key])
		if err != nil {
			return fmt.Errorf("parameter %s: %w", key, err)
		}
		if err := wellTyped(key, merged); err != nil {
			return err
		}
		m.Content = nil
		if err := json.Unmarshal(merged, &m.Content); err != nil {
			return fmt.Errorf("parameter %s: %w", key, err)
		}
	}
	restore(m.Content, protected)
	return nil
}

// wellTyped checks a merged object strictly: an unknown field is a mistake.
func wellTyped(key string, text []byte) error {
	var into any
	switch key {
	case deploymentKey:
		into = &appsv1.Deployment{}
	case serviceKey:
		into = &corev1.Service{}
	case serviceAccountKey:
		into = &corev1.ServiceAccount{}
	case autoscalerKey:
		into = &autoscalingv2.HorizontalPodAutoscaler{}
	case budgetKey:
		into = &policyv1.PodDisruptionBudget{}
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		return fmt.Errorf("parameter %s: %w", key, err)
	}
	return nil
}

// identity is what parameters must not change.
func identity(content map[string]any) map[string]any {
	meta, _ := content["metadata"].(map[string]any)
	return map[string]any{
		"apiVersion": content["apiVersion"], "kind": content["kind"],
		"name": meta["name"], "namespace": meta["namespace"], "ownerReferences": meta["ownerReferences"],
	}
}

func restore(content, id map[string]any) {
	content["apiVersion"], content["kind"] = id["apiVersion"], id["kind"]
	meta, ok := content["metadata"].(map[string]any)
	if !ok {
		meta = map[string]any{}
		content["metadata"] = meta
	}
	for _, k := range []string{"name", "namespace", "ownerReferences"} {
		meta[k] = id[k]
	}
	delete(content, "status")
	delete(meta, "creationTimestamp")
}
