// Package verdict holds what every stage of the control plane says about the
// objects it reads: where a value came from (Origin) and what became of it
// (Status). It is ground: it imports nothing of the project, so that the API
// layer, the model and the compiled forms can all speak of the same object in
// the same words.
//
// The rule behind it: nothing is ignored silently. An object or a field is
// effective, or a Status names why it is not.
package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Ref names an API object. Namespace is empty for cluster-scoped kinds.
type Ref struct {
	Kind      string // "VirtualService"; kinds are unique across the groups that Lateen reads
	Namespace string
	Name      string
}

// IsZero reports whether r names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// String gives the form in which kubectl's users name objects:
// "VirtualService default/reviews", or "Namespace default".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Compare orders refs by kind, namespace and name.
func (r Ref) Compare(o Ref) int {
	return cmp.Or(cmp.Compare(r.Kind, o.Kind), cmp.Compare(r.Namespace, o.Namespace), cmp.Compare(r.Name, o.Name))
}

// Origin is the place in the configuration that a model or IR node comes from.
// The zero Origin means that Lateen made the node by default.
type Origin struct {
	Ref
	Generation int64  // metadata.generation of the object that was read
	Path       string // field path within the object, "spec.http[0].route[1]"; empty for the whole object
}

// At returns o narrowed to the field path below it.
func (o Origin) At(path string) Origin {
	switch {
	case o.Path == "":
		o.Path = path
	case strings.HasPrefix(path, "["):
		o.Path += path
	case path != "":
		o.Path += "." + path
	}
	return o
}

// String gives "VirtualService default/reviews spec.http[0]".
func (o Origin) String() string {
	if o.IsZero() {
		return "default"
	}
	if o.Path == "" {
		return o.Ref.String()
	}
	return o.Ref.String() + " " + o.Path
}

// Code is the closed set of verdicts.
type Code string

const (
	Effective      Code = "Effective"      // acts as written
	Shadowed       Code = "Shadowed"       // another object or an earlier rule wins; Status.By names it
	Invalid        Code = "Invalid"        // rejected; the last good version, or a safe effect, is in force
	SelectsNothing Code = "SelectsNothing" // correct, but nothing in the mesh matches it
	Waiting        Code = "Waiting"        // acts as soon as something that it names exists
	Unsupported    Code = "Unsupported"    // this data plane cannot do it
	NotActedOn     Code = "NotActedOn"     // a kind or field that Lateen reads but does not act on yet
	Differs        Code = "Differs"        // acts, but on purpose not as in Istio; the message says how
)

// Problem reports whether c is something that its author should look at.
func (c Code) Problem() bool { return c != Effective && c != Differs }

// Status is one verdict on an object or on a field of it.
type Status struct {
	Origin
	Code    Code
	Message string // one sentence without a full stop; empty for Effective
	By      Ref    // the object that wins or is waited for; zero if there is none
}

// String gives one line: "VirtualService default/reviews spec.http[1]: Shadowed: …".
func (s Status) String() string {
	if s.Message == "" {
		return fmt.Sprintf("%s: %s", s.Origin, s.Code)
	}
	return fmt.Sprintf("%s: %s: %s", s.Origin, s.Code, s.Message)
}

// Sort orders statuses by object, path and code, so that equal inputs give
// equal outputs, and drops exact duplicates.
func Sort(list []Status) []Status {
	slices.SortStableFunc(list, func(a, b Status) int {
		return cmp.Or(a.Ref.Compare(b.Ref), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(list)
}
