package inject

import (
	"fmt"
	"slices"
	"strings"

	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Labels of namespaces and pods that select the injector.
const (
	// LabelInjection is "enabled" or "disabled" on a namespace; it wins over a revision.
	LabelInjection = "istio-injection"
	// controlPlaneLabel marks the control plane's own pods, which wait for nobody.
	controlPlaneLabel      = "istio"
	controlPlaneLabelValue = "pilot"
)

// ignoredNamespaces are the cluster's own: no pod of theirs gets a proxy.
var ignoredNamespaces = []string{"kube-system", "kube-public", "kube-node-lease", "local-path-storage"}

// Reason says in one word why a pod is injected or not.
type Reason string

// The reasons.
const (
	ReasonPodLabel          Reason = "PodLabel"
	ReasonPodAnnotation     Reason = "PodAnnotation"
	ReasonPodRevision       Reason = "PodRevision"
	ReasonNamespaceLabel    Reason = "NamespaceLabel"
	ReasonNamespaceRevision Reason = "NamespaceRevision"
	ReasonByDefault         Reason = "ByDefault"
	ReasonNotSelected       Reason = "NotSelected"
	ReasonNeverSelector     Reason = "NeverInjectSelector"
	ReasonAlwaysSelector    Reason = "AlwaysInjectSelector"
	ReasonPolicy            Reason = "Policy"
	ReasonHostNetwork       Reason = "HostNetwork"
	ReasonSystemNamespace   Reason = "SystemNamespace"
	ReasonControlPlane      Reason = "ControlPlane"
)

// Decision is whether a pod gets a proxy, and why.
type Decision struct {
	Inject  bool
	Reason  Reason
	Message string // one sentence without a full stop
}

func decide(inject bool, why Reason, format string, args ...any) Decision {
	return Decision{Inject: inject, Reason: why, Message: fmt.Sprintf(format, args...)}
}

// Decide says what the pod itself and the injector's configuration make of it. The
// labels of the namespace are judged by the API server before (see Wants).
func (in *Injector) Decide(meta *metav1.ObjectMeta, spec *corev1.PodSpec) Decision {
	if spec.HostNetwork {
		return decide(false, ReasonHostNetwork, "the pod uses the node's network, where redirection would act on all of the node")
	}
	if slices.Contains(ignoredNamespaces, meta.Namespace) {
		return decide(false, ReasonSystemNamespace, "pods of namespace %s are never injected", meta.Namespace)
	}
	if meta.Namespace == in.system && meta.Labels[controlPlaneLabel] == controlPlaneLabelValue {
		return decide(false, ReasonControlPlane, "the control plane's own pods are never injected")
	}
	if d, said := explicit(meta); said {
		return d
	}
	if meta.Namespace == in.system {
		return decide(false, ReasonSystemNamespace, "pods of the control plane's namespace %s are injected only if their label %s is \"true\"", in.system, label.SidecarInject.Name)
	}
	switch {
	case selects(in.config.never, meta.Labels):
		return decide(false, ReasonNeverSelector, "neverInjectSelector matches the pod's labels")
	case selects(in.config.always, meta.Labels):
		return decide(true, ReasonAlwaysSelector, "alwaysInjectSelector matches the pod's labels")
	}
	return decide(in.config.Policy == PolicyEnabled, ReasonPolicy, "the injector's policy is %s", in.config.Policy)
}

// explicit reads the pod's own word: the label wins over the annotation.
func explicit(meta *metav1.ObjectMeta) (Decision, bool) {
	why, kind := ReasonPodLabel, "label"
	value := meta.Labels[label.SidecarInject.Name]
	if _, ok := meta.Labels[label.SidecarInject.Name]; !ok {
		why, kind = ReasonPodAnnotation, "annotation"
		value = meta.Annotations[annotation.SidecarInject.Name]
	}
	switch strings.ToLower(value) {
	case "":
		return Decision{}, false
	case "y", "yes", "true", "on":
		return decide(true, why, "the pod's %s %s is %q", kind, label.SidecarInject.Name, value), true
	case "n", "no", "false", "off":
		return decide(false, why, "the pod's %s %s is %q", kind, label.SidecarInject.Name, value), true
	}
	return decide(false, why, "the pod's %s %s is %q, which is not a boolean and counts as \"false\"", kind, label.SidecarInject.Name, value), true
}

// Wants says whether a pod should have a proxy of this revision: the labels of its
// namespace and its own, as the webhooks select by them, then Decide. tags are the
// revision's tags. It finds the pods that were created while no webhook answered.
func (in *Injector) Wants(ns Namespace, pod *corev1.Pod, tags []string) Decision {
	meta := pod.ObjectMeta
	if meta.Namespace == "" {
		meta.Namespace = ns.Name
	}
	s := Selection{
		Revisions:  append([]string{in.revision}, tags...),
		ByDefault:  in.values.flag("sidecarInjectorWebhook.enableNamespacesByDefault"),
		Unselected: in.system,
	}
	d := s.Of(ns, meta.Labels)
	if !d.Inject {
		return d
	}
	if own := in.Decide(&meta, &pod.Spec); !own.Inject {
		return own
	}
	return d
}

// Selection is what the webhook configurations of one control plane select.
type Selection struct {
	Revisions []string // the revision and its tags; "default" answers istio-injection=enabled
	// ByDefault injects namespaces that say nothing (enableNamespacesByDefault).
	ByDefault bool
	// Unselected is a namespace whose labels do not count, the control plane's own:
	// only pods that ask by a label of their own are selected there.
	Unselected string
}

// Of is the policy matrix of labels: the namespace's istio-injection, its
// istio.io/rev, then the pod's labels.
func (s Selection) Of(ns Namespace, pod map[string]string) Decision {
	rev, inject := label.IoIstioRev.Name, label.SidecarInject.Name
	if slices.Contains(ignoredNamespaces, ns.Name) {
		return decide(false, ReasonSystemNamespace, "pods of namespace %s are never injected", ns.Name)
	}
	injection, hasInjection := ns.Labels[LabelInjection]
	nsRev, hasNsRev := ns.Labels[rev]
	if ns.Name == s.Unselected && ns.Name != "" && injection != "disabled" {
		hasInjection, hasNsRev = false, false
	}
	own := slices.Contains(s.Revisions, defaultRevision)
	switch {
	case hasInjection && injection == "disabled":
		return decide(false, ReasonNamespaceLabel, "the namespace's label %s is \"disabled\"", LabelInjection)
	case pod[inject] == "false":
		return decide(false, ReasonPodLabel, "the pod's label %s is \"false\"", inject)
	case hasInjection && injection != "enabled":
		return decide(false, ReasonNamespaceLabel, "the namespace's label %s is %q, neither \"enabled\" nor \"disabled\"", LabelInjection, injection)
	case hasInjection:
		return decide(own, ReasonNamespaceLabel, "the namespace's label %s=enabled selects the revision \"default\"", LabelInjection)
	case hasNsRev:
		return decide(slices.Contains(s.Revisions, nsRev), ReasonNamespaceRevision, "the namespace's label %s=%s selects that revision", rev, nsRev)
	}
	return s.ofPod(pod, own, ns.Name == s.Unselected && ns.Name != "")
}

// ofPod judges pods of namespaces that say nothing.
func (s Selection) ofPod(pod map[string]string, own, system bool) Decision {
	rev, inject := label.IoIstioRev.Name, label.SidecarInject.Name
	if podRev, ok := pod[rev]; ok {
		return decide(slices.Contains(s.Revisions, podRev), ReasonPodRevision, "the pod's label %s=%s selects that revision", rev, podRev)
	}
	value, said := pod[inject]
	switch {
	case value == "true":
		return decide(own, ReasonPodLabel, "the pod's label %s=true selects the revision \"default\"", inject)
	case s.ByDefault && own && !said && !system:
		return decide(true, ReasonByDefault, "namespaces are injected by default")
	}
	return decide(false, ReasonNotSelected, "neither the namespace nor the pod has a label that asks for a proxy")
}
