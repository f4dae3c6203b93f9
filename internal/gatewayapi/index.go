package gatewayapi

import (
	"maps"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
)

// Labels that are read.
const (
	revisionLabel  = "istio.io/rev"
	namespaceLabel = "kubernetes.io/metadata.name" // set by API servers on every namespace
)

// key names an object within its kind.
type key struct{ namespace, name string }

// index finds the objects around those of the Gateway API.
type index struct {
	namespaces map[string]map[string]string // labels
	services   map[key]*corev1.Service
	entries    map[key]*networking.ServiceEntry
	secrets    map[key]*corev1.Secret
	grants     []*gatewayv1.ReferenceGrant
	classes    map[string]string // controllers of classes that are ours
}

func newIndex(objs []*api.Object, o *Options) *index {
	x := &index{
		namespaces: map[string]map[string]string{},
		services:   map[key]*corev1.Service{},
		entries:    map[key]*networking.ServiceEntry{},
		secrets:    map[key]*corev1.Secret{},
		classes:    map[string]string{},
	}
	if !o.Deployed {
		for _, name := range implicitClasses {
			x.classes[name] = o.controllers()[0]
		}
	}
	for _, obj := range objs {
		at := key{obj.Meta.Namespace, obj.Meta.Name}
		switch spec := obj.Spec.(type) {
		case *corev1.Namespace:
			x.namespaces[obj.Meta.Name] = obj.Meta.Labels
		case *corev1.Service:
			x.services[at] = spec
		case *networking.ServiceEntry:
			x.entries[at] = spec
		case *corev1.Secret:
			x.secrets[at] = spec
		case *gatewayv1.ReferenceGrant:
			x.grants = append(x.grants, spec)
		case *gatewayv1.GatewayClass:
			delete(x.classes, obj.Meta.Name)
			if o.ours(spec.Spec.ControllerName) {
				x.classes[obj.Meta.Name] = string(spec.Spec.ControllerName)
			}
		}
	}
	return x
}

// reference is a reference from one object to another.
type reference struct {
	fromKind, fromNamespace string // of the Gateway API's group
	group, kind             string
	to                      key
}

// permits reports whether a reference may cross namespaces: within one it always may,
// else a ReferenceGrant of the target's namespace must say so.
func (x *index) permits(r reference) bool {
	if r.fromNamespace == r.to.namespace {
		return true
	}
	for _, g := range x.grants {
		if g.Namespace == r.to.namespace && grantsFrom(g, r) && grantsTo(g, r) {
			return true
		}
	}
	return false
}

func grantsFrom(g *gatewayv1.ReferenceGrant, r reference) bool {
	for _, f := range g.Spec.From {
		if string(f.Group) == api.GroupGatewayAPI && string(f.Kind) == r.fromKind && string(f.Namespace) == r.fromNamespace {
			return true
		}
	}
	return false
}

func grantsTo(g *gatewayv1.ReferenceGrant, r reference) bool {
	for _, t := range g.Spec.To {
		if string(t.Group) == r.group && string(t.Kind) == r.kind && (t.Name == nil || string(*t.Name) == r.to.name) {
			return true
		}
	}
	return false
}

// namespaceMatches reports whether a namespace's labels match a selector; err where
// the selector is malformed.
func (x *index) namespaceMatches(namespace string, s *metav1.LabelSelector) (bool, error) {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return false, err
	}
	set := labels.Set{namespaceLabel: namespace}
	maps.Copy(set, x.namespaces[namespace])
	return sel.Matches(set), nil
}

// ownedBy reports whether an object belongs to this control plane: by its own
// revision label, else its namespace's.
func (x *index) ownedBy(o *Options, obj *api.Object) bool {
	if rev, ok := obj.Meta.Labels[revisionLabel]; ok {
		return o.owns(rev)
	}
	return o.owns(x.namespaces[obj.Meta.Namespace][revisionLabel])
}
