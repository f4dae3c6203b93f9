package doctor

import (
	"context"
	"fmt"

	admission "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// seen is what the checks look at: the cluster at one moment.
type seen struct {
	version    string
	planes     []corev1.Pod // of the control plane
	namespaces []corev1.Namespace
	pods       []corev1.Pod
	services   []corev1.Service
	maps       map[string]corev1.ConfigMap // of the system namespace, by name
	roots      map[string]string           // root-cert.pem by namespace
	mutating   []admission.MutatingWebhookConfiguration
	validating []admission.ValidatingWebhookConfiguration
	kinds      map[string]bool // names of CRDs
}

// Names of the mesh's objects, as Istio has them.
const (
	rootMap       = "istio-ca-root-cert"
	rootKey       = "root-cert.pem"
	meshMap       = "istio"
	injectorMap   = "istio-sidecar-injector"
	revisionLabel = "istio.io/rev"
	proxyName     = "istio-proxy"
)

// look reads the cluster.
func (d *Doctor) look(ctx context.Context) (*seen, error) {
	s := &seen{maps: map[string]corev1.ConfigMap{}, roots: map[string]string{}, kinds: map[string]bool{}}
	var err error
	if s.version, err = d.Client.Version(ctx); err != nil {
		return nil, err
	}
	core, adm := d.Client.Typed().CoreV1(), d.Client.Typed().AdmissionregistrationV1()
	all := metav1.ListOptions{}
	if err := d.lookAtCore(ctx, s); err != nil {
		return nil, err
	}
	maps, err := core.ConfigMaps(d.Client.Namespace()).List(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("reading the ConfigMaps of %s: %w", d.Client.Namespace(), err)
	}
	for _, m := range maps.Items {
		s.maps[m.Name] = m
	}
	roots, err := core.ConfigMaps("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + rootMap})
	if err != nil {
		return nil, fmt.Errorf("reading the root certificates: %w", err)
	}
	for _, m := range roots.Items {
		s.roots[m.Namespace] = m.Data[rootKey]
	}
	mutating, err := adm.MutatingWebhookConfigurations().List(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("reading the webhook configurations: %w", err)
	}
	validating, err := adm.ValidatingWebhookConfigurations().List(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("reading the webhook configurations: %w", err)
	}
	s.mutating, s.validating = mutating.Items, validating.Items
	definitions := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	kinds, err := d.Client.Dynamic().Resource(definitions).List(ctx, all)
	if err != nil {
		return nil, fmt.Errorf("reading the CustomResourceDefinitions: %w", err)
	}
	for _, k := range kinds.Items {
		s.kinds[k.GetName()] = true
	}
	return s, nil
}

func (d *Doctor) lookAtCore(ctx context.Context, s *seen) error {
	core, all := d.Client.Typed().CoreV1(), metav1.ListOptions{}
	namespaces, err := core.Namespaces().List(ctx, all)
	if err != nil {
		return fmt.Errorf("listing the namespaces: %w", err)
	}
	pods, err := core.Pods("").List(ctx, all)
	if err != nil {
		return fmt.Errorf("listing the pods: %w", err)
	}
	services, err := core.Services("").List(ctx, all)
	if err != nil {
		return fmt.Errorf("listing the services: %w", err)
	}
	s.namespaces, s.pods, s.services = namespaces.Items, pods.Items, services.Items
	for _, p := range s.pods {
		ours := d.Revision == "" || p.Labels[revisionLabel] == d.Revision
		if p.Namespace == d.Client.Namespace() && p.Labels["app"] == "istiod" && ours {
			s.planes = append(s.planes, p)
		}
	}
	return nil
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// proxied tells whether a pod has the mesh's proxy.
func proxied(p *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for _, c := range list {
			if c.Name == proxyName {
				return true
			}
		}
	}
	return false
}

// over tells whether a pod has ended, or is about to.
func over(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}
