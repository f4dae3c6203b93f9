package api

import (
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Object is one configuration object after decoding: its metadata and its typed
// spec. Objects are immutable once decoded; whoever changes one makes a copy.
type Object struct {
	Kind *Kind
	Meta Meta
	// Spec is the typed content. For Istio kinds it is the proto message of
	// istio.io/api (a *networking.VirtualService and so on, always the v1alpha3
	// Go types, which v1 and v1beta1 alias). For Kubernetes kinds it is the whole
	// typed object of k8s.io/api (*corev1.Service, *appsv1.Deployment …).
	Spec any
	// Source says where the object was read from, for error messages.
	Source Source
}

// Meta is the part of Kubernetes' ObjectMeta that a mesh reads.
type Meta struct {
	Namespace   string // "default" where a namespaced document left it out
	Name        string
	UID         string
	Generation  int64 // counted by the store: +1 when the spec changes
	Version     int64 // the store's revision at which the object last changed
	Created     int64 // Unix nanoseconds of the first apply; decides "oldest wins"
	Labels      map[string]string
	Annotations map[string]string
}

// Source is a place in a file. The zero value means that the object did not come
// from a file.
type Source struct {
	File string // as the user named it; "-" for standard input
	Line int    // 1-based line of the document's first key
	// Lines maps field paths ("spec.http[0].match[1].uri") to 1-based lines.
	// It may be nil; a path that is missing falls back to its nearest parent.
	Lines map[string]int
}

// Ref names the object.
func (o *Object) Ref() verdict.Ref {
	return verdict.Ref{Kind: o.Kind.ID(), Namespace: o.Meta.Namespace, Name: o.Meta.Name}
}

// Origin is the origin of values made from the whole object.
func (o *Object) Origin() verdict.Origin {
	return verdict.Origin{Ref: o.Ref(), Generation: o.Meta.Generation}
}

// Kind describes one kind of object that Lateen can decode.
type Kind struct {
	Group    string   // "networking.istio.io"; "" for the core group
	Name     string   // "VirtualService"
	RefName  string   // in refs, where another group has a kind of the same Name; see ID
	Plural   string   // "virtualservices"
	Short    []string // kubectl's short names: "vs"
	Versions []string // accepted versions, the preferred one first
	// ClusterScoped is true for kinds without a namespace.
	ClusterScoped bool
	// Acts is false for kinds that decode and validate but that Lateen does not
	// act on yet: they get the verdict NotActedOn.
	Acts bool
	// New returns an empty value of the Go type that Object.Spec holds.
	New func() any
}
