package inject

import (
	"cmp"
	"strings"

	"istio.io/api/annotation"
	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Data planes, as the annotation lateen.dev/proxy names them.
const (
	dataPlaneNative = "native"
	dataPlaneEnvoy  = "envoy"
)

// Values of the annotation on the namespace that OpenShift writes, and of the
// contract with the proxy.
const (
	defaultProxyID          = 1337
	annotationMultus        = "k8s.v1.cni.cncf.io/networks"
	annotationUIDRange      = "openshift.io/sa.scc.uid-range"
	annotationGroups        = "openshift.io/sa.scc.supplemental-groups"
	annotationDefaultLogs   = "kubectl.kubernetes.io/default-logs-container"
	annotationDefault       = "kubectl.kubernetes.io/default-container"
	multusNetwork           = "istio-cni"
	inboundPolicyDefault    = "passthrough"
	inboundPolicyLocalhost  = "localhost"
	maxLabel                = 63
	defaultCanonicalVersion = "latest"
)

// templateData is what templates see. The names are those of Istio's templates;
// Lateen is for the built-in ones.
type templateData struct {
	TypeMeta                 metav1.TypeMeta   // of the workload
	DeploymentMeta           metav1.ObjectMeta // of the workload
	ObjectMeta               metav1.ObjectMeta // of the pod
	Spec                     corev1.PodSpec
	ProxyConfig              *meshconfig.ProxyConfig
	MeshConfig               *meshconfig.MeshConfig
	Values                   map[string]any
	Revision                 string
	ProxyImage               string
	ProxyUID, ProxyGID       int64
	InboundTrafficPolicyMode string
	NativeSidecars           bool
	EstimatedConcurrency     int
	CompliancePolicy         string
	Lateen                   *contract
}

// data collects what the templates see of a pod without its proxy.
func (w *work) data() (*templateData, error) {
	owner := w.owner()
	d := &templateData{
		TypeMeta:       metav1.TypeMeta{APIVersion: owner.APIVersion, Kind: owner.Kind},
		DeploymentMeta: metav1.ObjectMeta{Name: owner.Name, Namespace: owner.Namespace},
		ObjectMeta:     w.bare.ObjectMeta, Spec: w.bare.Spec,
		ProxyConfig: w.proxy, MeshConfig: w.mesh, Values: w.values, Revision: w.revision,
		InboundTrafficPolicyMode: inboundPolicyDefault, NativeSidecars: w.native,
	}
	if w.mesh.GetInboundTrafficPolicy().GetMode() == meshconfig.MeshConfig_InboundTrafficPolicy_LOCALHOST {
		d.InboundTrafficPolicyMode = inboundPolicyLocalhost
	}
	d.ProxyUID, d.ProxyGID = proxyIDs(w.request.Namespace.Annotations)
	d.ProxyImage = w.proxyImage()
	var err error
	d.Lateen, err = w.contract(d)
	return d, err
}

// dataPlane is the pod's choice, else the namespace's, else the installation's.
func (w *work) dataPlane() string {
	return cmp.Or(w.original.Annotations[AnnotationProxy], w.request.Namespace.Annotations[AnnotationProxy], w.values.text("global.dataPlane"), dataPlaneNative)
}

// isNative reports whether the proxy is a native sidecar (an init container that
// stays): the pod's annotation, else the installation's values, which may have Istio's
// switch ENABLE_NATIVE_SIDECARS too.
func (w *work) isNative() bool {
	if v, ok := w.original.Annotations[annotation.SidecarNativeSidecar.Name]; ok {
		return isTrue(v)
	}
	return w.values.flag("global.nativeSidecars") && w.values.text("pilot.env.ENABLE_NATIVE_SIDECARS") != "false"
}

// isTrue reads a boolean that checkAnnotations has accepted.
func isTrue(v string) bool {
	return v == "1" || strings.EqualFold(v, "t") || strings.EqualFold(v, "true")
}

// cni reports whether a CNI plugin sets up the redirection.
func (w *work) cni() bool {
	return w.values.flag("pilot.cni.enabled") || w.values.flag("istio_cni.enabled")
}

// proxyImage is the image of the pod's data plane. The annotation wins with a whole
// reference; a bare name takes its place in hub and tag.
func (w *work) proxyImage() string {
	name := w.values.text("global.proxy.image")
	if w.dataPlane() == dataPlaneEnvoy {
		name = w.values.text("global.proxy.envoyImage")
	}
	if kind := cmp.Or(w.original.Annotations[annotation.SidecarProxyImageType.Name], w.proxy.GetImage().GetImageType()); kind != "" && kind != "default" {
		w.sayImageType(kind)
	}
	name = cmp.Or(w.original.Annotations[annotation.SidecarProxyImage.Name], name)
	return w.reference(name)
}

// reference completes the name of an image.
func (w *work) reference(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return w.values.text("global.hub") + "/" + name + ":" + w.values.text("global.tag")
}

// owner is the workload: as the request says, else by the controller of the pod.
// A ReplicaSet of a Deployment and a Job of a CronJob stand for these, by the names
// that Kubernetes gives them.
func (w *work) owner() Owner {
	o, pod := w.request.Owner, w.original
	if o.Name != "" {
		o.Namespace = cmp.Or(o.Namespace, pod.Namespace)
		return o
	}
	o = Owner{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name}
	ref := metav1.GetControllerOf(pod)
	if ref == nil {
		return o
	}
	o.APIVersion, o.Kind, o.Name = ref.APIVersion, ref.Kind, ref.Name
	hash := pod.Labels["pod-template-hash"]
	switch {
	case ref.Kind == "ReplicaSet" && hash != "" && strings.HasSuffix(ref.Name, "-"+hash):
		o.Kind, o.Name = "Deployment", strings.TrimSuffix(ref.Name, "-"+hash)
	case ref.Kind == "Job":
		if name, ok := cronJobOf(ref.Name); ok {
			o.APIVersion, o.Kind, o.Name = "batch/v1", "CronJob", name
		}
	case ref.Kind == "ReplicationController" && pod.Labels["deploymentconfig"] != "":
		o.APIVersion, o.Kind, o.Name = "apps.openshift.io/v1", "DeploymentConfig", pod.Labels["deploymentconfig"]
	}
	return o
}

// cronJobOf finds the CronJob in the name of its job: NAME-MINUTES, where the
// minutes since 1970 have eight digits.
func cronJobOf(job string) (string, bool) {
	i := strings.LastIndexByte(job, '-')
	if i <= 0 || len(job)-i-1 < 8 || strings.Trim(job[i+1:], "0123456789") != "" {
		return "", false
	}
	return job[:i], true
}

// canonical gives the canonical service and revision of a workload: Istio's labels,
// else those that Kubernetes recommends, else app and version, else the workload.
func (w *work) canonical(owner Owner) (service, revision string) {
	l := w.bare.Labels
	service = cmp.Or(l["service.istio.io/canonical-name"], l["app.kubernetes.io/name"], l["app"], owner.Name)
	revision = cmp.Or(l["service.istio.io/canonical-revision"], l["app.kubernetes.io/version"], l["version"], defaultCanonicalVersion)
	return truncate(service), truncate(revision)
}

// truncate makes a name of a workload, which may be longer, fit into a label.
func truncate(s string) string {
	if len(s) <= maxLabel {
		return s
	}
	return strings.TrimRight(s[:maxLabel], "-_.")
}

// apps are the names of the application's containers.
func apps(spec *corev1.PodSpec) []string {
	var out []string
	for _, c := range spec.Containers {
		if c.Name != ProxyContainer {
			out = append(out, c.Name)
		}
	}
	return out
}
