package validate

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	typev1beta1 "istio.io/api/type/v1beta1"
)

// targetKinds are the objects that policies can be attached to by name.
var targetKinds = map[[2]string]bool{
	{"", "Service"}:                               true,
	{"core", "Service"}:                           true,
	{"networking.istio.io", "ServiceEntry"}:       true,
	{"gateway.networking.k8s.io", "Gateway"}:      true,
	{"gateway.networking.k8s.io", "GatewayClass"}: true,
}

const maxTargets = 16 // of the custom resource definitions

// policySelector checks matchLabels of a policy: no patterns, no empty keys.
func (c *checker) policySelector(path string, s *typev1beta1.WorkloadSelector) {
	if s == nil {
		return
	}
	c.selectorLabels(path, path+".matchLabels", s.MatchLabels)
}

// workloadSelector is policySelector for the older form, whose field is labels.
func (c *checker) workloadSelector(path string, s *networking.WorkloadSelector) {
	if s == nil {
		return
	}
	c.selectorLabels(path, path+".labels", s.Labels)
}

func (c *checker) selectorLabels(path, field string, labels map[string]string) {
	if len(labels) == 0 {
		c.warn(path, "a selector without labels selects every workload of the namespace")
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		switch v := labels[k]; {
		case strings.Contains(k+v, "*"):
			c.fail(key(field, k), "patterns with \"*\" are not allowed in selectors")
		default:
			c.labels(field, map[string]string{k: v})
		}
	}
}

// targets checks what a policy is attached to. The selector, the single reference
// and the list exclude each other.
func (c *checker) targets(selector bool, one *typev1beta1.PolicyTargetReference, list []*typev1beta1.PolicyTargetReference) {
	ways := 0
	for _, set := range []bool{selector, one != nil, len(list) > 0} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		c.fail("spec.targetRefs", "only one of selector, targetRef and targetRefs can be set")
	}
	if one != nil {
		c.target("spec.targetRef", one)
	}
	if len(list) > maxTargets {
		c.fail("spec.targetRefs", "%d references are more than %d", len(list), maxTargets)
	}
	for i, t := range list {
		c.target(at("spec.targetRefs", i), t)
	}
}

func (c *checker) target(path string, t *typev1beta1.PolicyTargetReference) {
	if t.GetName() == "" {
		c.fail(path+".name", "a name is required")
	}
	if t.GetNamespace() != "" {
		c.fail(path+".namespace", "objects of other namespaces cannot be referred to")
	}
	if !targetKinds[[2]string{t.GetGroup(), t.GetKind()}] {
		c.fail(path+".kind", "%q of group %q cannot be referred to; use Service, ServiceEntry (networking.istio.io), Gateway or GatewayClass (gateway.networking.k8s.io)", t.GetKind(), t.GetGroup())
	}
}

// notEmpty checks that no text of a list is empty.
func (c *checker) notEmpty(path string, list []string) {
	for i, s := range list {
		if strings.TrimSpace(s) == "" {
			c.fail(at(path, i), "an empty text matches nothing")
		}
	}
}

var plainHeader = regexp.MustCompile(`^[-_A-Za-z0-9]+$`)
