package analyze

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// world is what analyzers look at, indexed. It collects what they find.
type world struct {
	in         Input
	root       string
	byRef      map[verdict.Ref]*api.Object
	namespaces map[string]*api.Object
	workloads  []workload
	found      []Message
}

// workload is what makes pods, or a pod.
type workload struct {
	ref         verdict.Ref
	source      api.Source
	labels      map[string]string
	annotations map[string]string
	spec        *corev1.PodSpec
}

func newWorld(in Input) *world {
	w := &world{in: in, root: cmp.Or(in.RootNamespace, mesh.DefaultRootNamespace), byRef: map[verdict.Ref]*api.Object{}, namespaces: map[string]*api.Object{}}
	for _, o := range in.Objects {
		w.byRef[o.Ref()] = o
		switch spec := o.Spec.(type) {
		case *corev1.Namespace:
			w.namespaces[o.Meta.Name] = o
		case *appsv1.Deployment:
			t := &spec.Spec.Template
			w.workloads = append(w.workloads, workload{o.Ref(), o.Source, t.Labels, t.Annotations, &t.Spec})
		}
	}
	for _, o := range in.Others {
		if p, ok := podOf(o); ok {
			w.workloads = append(w.workloads, p)
		}
	}
	return w
}

// podOf finds the pods of Kubernetes' other controllers, and pods themselves.
func podOf(o api.Other) (workload, bool) {
	var doc struct {
		Metadata struct {
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
		Spec struct {
			corev1.PodSpec
			Template *corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	switch o.Kind {
	case "Pod", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Rollout":
	default:
		return workload{}, false
	}
	if err := json.Unmarshal(o.JSON, &doc); err != nil {
		return workload{}, false // its own controller says so
	}
	out := workload{ref: verdict.Ref{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}, source: o.Source}
	if t := doc.Spec.Template; t != nil {
		out.labels, out.annotations, out.spec = t.Labels, t.Annotations, &t.Spec
		return out, true
	}
	out.labels, out.annotations, out.spec = doc.Metadata.Labels, doc.Metadata.Annotations, &doc.Spec.PodSpec
	return out, o.Kind == "Pod"
}

// instances are the workloads as the model takes them: one ready instance of each.
func (w *world) instances() []registry.Workload {
	var out []registry.Workload
	addr := netip.MustParseAddr("192.0.2.1")
	for _, x := range w.workloads {
		r := registry.Workload{
			Name: x.ref.Name + "-0", Namespace: x.ref.Namespace, Owner: x.ref.Name, OwnerKind: x.ref.Kind,
			ServiceAccount: cmp.Or(x.spec.ServiceAccountName, "default"), Labels: x.labels, Annotations: x.annotations,
			Addr: addr, Ready: true, Proxied: true,
		}
		for i := range x.spec.Containers {
			for _, p := range x.spec.Containers[i].Ports {
				r.Ports = append(r.Ports, registry.Port{Name: p.Name, Number: uint16(p.ContainerPort), Protocol: string(p.Protocol)})
			}
		}
		out = append(out, r)
		addr = addr.Next()
	}
	return out
}

// say adds a message about a field of an object.
func (w *world) say(code string, o *api.Object, path string, args ...any) {
	c := codeOf(code)
	w.found = append(w.found, w.placed(message(c, o.Ref(), path, words(c, args))))
}

// sayWorkload adds a message about a workload, which may be of a kind that the mesh
// does not read.
func (w *world) sayWorkload(code string, x *workload, args ...any) {
	c := codeOf(code)
	m := message(c, x.ref, "", words(c, args))
	m.File, m.Line = x.source.File, x.source.Line
	w.found = append(w.found, m)
}

func words(c Code, args []any) string {
	if len(args) == 0 {
		return c.Template
	}
	return fmt.Sprintf(c.Template, args...)
}

// each calls f for every object with a spec of type T, in order of age and name.
func each[T any](w *world, f func(o *api.Object, spec T)) {
	list := slices.Clone(w.in.Objects)
	slices.SortStableFunc(list, func(a, b *api.Object) int {
		return cmp.Or(cmp.Compare(a.Meta.Created, b.Meta.Created), a.Ref().Compare(b.Ref()))
	})
	for _, o := range list {
		if spec, ok := o.Spec.(T); ok {
			f(o, spec)
		}
	}
}

// selected are the workloads of a namespace that have the labels; in the root
// namespace those of all.
func (w *world) selected(namespace string, labels map[string]string) []*workload {
	var out []*workload
	for i := range w.workloads {
		x := &w.workloads[i]
		if (x.ref.Namespace == namespace || namespace == w.root) && registry.Matches(labels, x.labels) {
			out = append(out, x)
		}
	}
	return out
}

// servicesOf are the Services that select a workload.
func (w *world) servicesOf(x *workload) []*corev1.Service {
	var out []*corev1.Service
	each(w, func(o *api.Object, s *corev1.Service) {
		if o.Meta.Namespace == x.ref.Namespace && len(s.Spec.Selector) > 0 && registry.Matches(s.Spec.Selector, x.labels) {
			out = append(out, s)
		}
	})
	return out
}

// service finds the Service of a host as an object of a namespace names it.
func (w *world) service(host, namespace string) *corev1.Service {
	o := w.byRef[serviceRef(qualified(host, namespace))]
	if o == nil {
		return nil
	}
	return o.Spec.(*corev1.Service)
}

// qualified is a host's full name: a short name is a Service of the namespace.
func qualified(host, namespace string) string {
	switch {
	case strings.Contains(host, ".") || strings.HasPrefix(host, "*") || host == "":
		return host
	default:
		return mesh.Hostname(host, namespace)
	}
}

func serviceRef(host string) verdict.Ref {
	name, rest, _ := strings.Cut(host, ".")
	namespace, suffix, _ := strings.Cut(rest, ".")
	if suffix != "svc."+mesh.Domain {
		return verdict.Ref{}
	}
	return verdict.Ref{Kind: api.KindService, Namespace: namespace, Name: name}
}

// labelText spells labels out in order.
func labelText(labels map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, k+"="+labels[k])
	}
	return strings.Join(list, ",")
}

// names joins names of objects.
func names(list []*api.Object) string {
	var out []string
	for _, o := range list {
		out = append(out, o.Meta.Name)
	}
	return strings.Join(out, ", ")
}
