package inject

import (
	"cmp"
	"errors"
	"fmt"

	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Settings are what an Injector is made of.
type Settings struct {
	Config *Config // nil: the defaults
	Values Values  // nil: the defaults
	// Mesh is the mesh configuration as its author wrote it; defaults are filled in.
	Mesh *meshconfig.MeshConfig
	// Revision of the control plane; "" is "default".
	Revision string
	// SystemNamespace is where the control plane lives; "" is istio-system.
	SystemNamespace string
	// Getenv answers the template function env; nil knows no variable.
	Getenv func(string) string
}

// Injector patches pods. It is immutable and may be used concurrently; a changed
// configuration makes a new one.
type Injector struct {
	config    *Config
	values    Values
	mesh      *meshconfig.MeshConfig
	revision  string
	system    string
	templates templates
}

// New checks the settings. Errors name the template or the field.
func New(s Settings) (*Injector, error) {
	in := &Injector{
		values: s.Values, revision: cmp.Or(s.Revision, defaultRevision),
		system: cmp.Or(s.SystemNamespace, defaultSystemNamespace),
	}
	in.config = &Config{}
	if s.Config != nil {
		*in.config = *s.Config
	}
	if err := in.config.complete(); err != nil {
		return nil, err
	}
	if in.values == nil {
		var err error
		if in.values, err = ParseValues(nil); err != nil {
			return nil, err
		}
	}
	in.mesh = withDefaults(s.Mesh, in.discoveryAddress())
	var err error
	if in.templates, err = parseTemplates(in.config, s.Getenv); err != nil {
		return nil, err
	}
	return in, nil
}

// Namespace is what injection asks of a pod's namespace.
type Namespace struct {
	Name        string
	Labels      map[string]string
	Annotations map[string]string
}

// Owner is the workload that a pod belongs to, as far as it is known beforehand.
// The zero Owner is found by the pod's owner references.
type Owner struct {
	APIVersion, Kind, Namespace, Name string
}

// Request is one pod to patch. The pod is not changed.
type Request struct {
	Pod          *corev1.Pod
	Namespace    Namespace
	Owner        Owner
	ProxyConfigs []ProxyConfig
	// Env are variables that the webhook's URL names (/inject/cluster/C/net/N); they
	// replace those of the template.
	Env map[string]string
}

// Result is a pod with its proxy, or the same pod and the reason why not.
type Result struct {
	Pod      *corev1.Pod
	Decision Decision
	// Verdicts speak of the pod's labels and annotations: those that act otherwise
	// than in Istio, and those that do not act.
	Verdicts []verdict.Status
}

// UserError is a mistake in the pod itself, an invalid annotation for instance:
// its author must correct it, and the webhook denies the pod. Other errors of
// Inject are mistakes of the configuration.
type UserError struct{ Err error }

// Error implements error.
func (e *UserError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *UserError) Unwrap() error { return e.Err }

func userError(format string, args ...any) error {
	return &UserError{Err: fmt.Errorf(format, args...)}
}

// Inject patches the pod if its labels and annotations do not refuse; whether its
// namespace selects it is the API server's to say before (see Wants). Injecting
// the result again changes nothing.
func (in *Injector) Inject(r Request) (Result, error) {
	if r.Pod == nil {
		return Result{}, errors.New("no pod")
	}
	pod := r.Pod.DeepCopy()
	pod.Namespace = cmp.Or(pod.Namespace, r.Namespace.Name)
	d := in.Decide(&pod.ObjectMeta, &pod.Spec)
	if !d.Inject {
		return Result{Pod: r.Pod, Decision: d}, nil
	}
	w := &work{Injector: in, request: r, original: pod, origin: verdict.Origin{Ref: refOf(r, pod)}}
	out, err := w.run()
	if err != nil {
		return Result{}, err
	}
	out.Namespace = r.Pod.Namespace
	return Result{Pod: out, Decision: d, Verdicts: verdict.Sort(w.verdicts)}, nil
}

// refOf names the pod, or the workload whose template it is.
func refOf(r Request, pod *corev1.Pod) verdict.Ref {
	name := podName(&pod.ObjectMeta)
	if name == "" && r.Owner.Name != "" {
		return verdict.Ref{Kind: r.Owner.Kind, Namespace: pod.Namespace, Name: r.Owner.Name}
	}
	return verdict.Ref{Kind: "Pod", Namespace: pod.Namespace, Name: name}
}

// podName is the name, or what is known of it before the API server gave one.
func podName(m *metav1.ObjectMeta) string {
	if m.Name == "" && m.GenerateName != "" {
		return m.GenerateName + "*"
	}
	return m.Name
}
