package api

import (
	"encoding/json"
	"reflect"
	"strings"

	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// object decodes n as an object of kind k; it returns nil after it has reported
// a mistake.
func (d *decoder) object(n *node, k *Kind) *Object {
	w := &walker{problems: &d.problems, title: d.title(n), lines: map[string]int{}}
	before := len(d.list)
	o := &Object{Kind: k, Spec: k.New(), Source: Source{File: d.file, Line: n.line, Lines: w.lines}}
	var meta metav1.ObjectMeta
	if m, ok := o.Spec.(proto.Message); ok && k.isProto() {
		w.istio(m, &meta, n)
	} else {
		w.kubernetes(o.Spec, n)
		if own := objectMeta(o.Spec); own != nil {
			meta = *own
		}
	}
	if len(d.list) > before {
		return nil
	}
	o.Meta = d.meta(w, n, k, &meta)
	if len(d.list) > before {
		return nil
	}
	if own := objectMeta(o.Spec); own != nil {
		*own = metav1.ObjectMeta{Name: o.Meta.Name, Namespace: o.Meta.Namespace, Labels: o.Meta.Labels, Annotations: o.Meta.Annotations}
	}
	Default(o)
	return o
}

// objectMeta returns the metadata of a Kubernetes object; nil for Istio's specs.
func objectMeta(spec any) *metav1.ObjectMeta {
	if holder, ok := spec.(metav1.ObjectMetaAccessor); ok {
		if m, ok := holder.GetObjectMeta().(*metav1.ObjectMeta); ok {
			return m
		}
	}
	return nil
}

// isProto reports whether the kind's Go type is a proto message of istio.io/api.
// The types of k8s.io/api and of the Gateway API are not.
func (k *Kind) isProto() bool { return strings.HasSuffix(k.Group, ".istio.io") }

// istio decodes an object whose spec is a proto message. The status is the
// server's; it is read over, as kubectl apply does.
func (w *walker) istio(spec proto.Message, meta *metav1.ObjectMeta, n *node) {
	known := []string{"apiVersion", "kind", "metadata", "spec", "status"}
	for _, f := range n.fields {
		w.lines[f.key] = f.line
		switch f.key {
		case "apiVersion", "kind", "status":
		case "metadata":
			w.goStruct(reflect.TypeFor[metav1.ObjectMeta](), f.value, "metadata")
			w.intoGo(meta, f.value, "metadata")
		case "spec":
			w.message(spec.ProtoReflect(), f.value, "spec")
		default:
			w.unknown(f, "", known)
		}
	}
}

// kubernetes decodes an object of k8s.io/api.
func (w *walker) kubernetes(into any, n *node) {
	w.goStruct(reflect.TypeOf(into).Elem(), n, "")
	w.intoGo(into, n, "")
}

// intoGo fills a Go value from a subtree that goStruct found to be right.
func (w *walker) intoGo(into any, n *node, path string) {
	if w.failed > 0 || n.kind == nullNode {
		return
	}
	if err := json.Unmarshal(n.json(), into); err != nil {
		w.fail(n.line, path, err.Error())
	}
}

// meta checks and takes over the metadata. What only a server sets (uid,
// resourceVersion …) may be present, as in the output of get, and is dropped.
func (d *decoder) meta(w *walker, n *node, k *Kind, m *metav1.ObjectMeta) Meta {
	line := func(path string) int { return Source{Line: n.line, Lines: w.lines}.LineOf(path) }
	switch {
	case m.Name == "" && m.GenerateName != "":
		w.fail(line("metadata.generateName"), "metadata.generateName", "generated names are not supported; give metadata.name")
	case m.Name == "":
		w.fail(line("metadata"), "metadata.name", "a name is required")
	}
	if k.ClusterScoped && m.Namespace != "" {
		w.fail(line("metadata.namespace"), "metadata.namespace", "a "+k.Name+" belongs to no namespace")
	}
	namespace := m.Namespace
	if namespace == "" && !k.ClusterScoped {
		namespace = d.namespace
	}
	return Meta{Namespace: namespace, Name: m.Name, Labels: m.Labels, Annotations: m.Annotations}
}
