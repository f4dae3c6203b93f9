// Package analyze tells what is wrong with configuration, in the codes that users
// of `istioctl analyze` know. Most of it the pipeline says already, as mistakes and
// verdicts, which are turned into messages here; what Istio looks for beyond, in
// annotations, Deployments and between objects, the analyzers find. Codes, names,
// levels and words are data (codes.go).
package analyze

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"istio.io/api/annotation"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/gatewayapi"
	"github.com/lateen-mesh/lateen/internal/istioapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Level is how grave a message is.
type Level int

// The levels of istioctl, the gravest last.
const (
	Info Level = iota
	Warning
	Error
)

// String is istioctl's word.
func (l Level) String() string { return [...]string{"Info", "Warning", "Error"}[l] }

// ParseLevel reads a level's word in any case.
func ParseLevel(s string) (Level, error) {
	for l := Info; l <= Error; l++ {
		if strings.EqualFold(s, l.String()) {
			return l, nil
		}
	}
	return 0, fmt.Errorf("%q is not a level: use Info, Warning or Error", s)
}

// Message is one finding.
type Message struct {
	Code    string      `json:"code"`
	Level   string      `json:"level"`
	Origin  string      `json:"origin"` // "VirtualService default/reviews"; "" where a file cannot be read at all
	Path    string      `json:"path,omitempty"`
	Message string      `json:"message"`
	File    string      `json:"file,omitempty"`
	Line    int         `json:"line,omitempty"`
	Ref     verdict.Ref `json:"-"`
	Grade   Level       `json:"-"`
}

// String is istioctl's line: "Error [IST0101] (VirtualService default/reviews) …".
func (m Message) String() string {
	where := ""
	if m.Origin != "" {
		where = " (" + m.Origin
		if m.File != "" {
			where += fmt.Sprintf(" %s:%d", m.File, m.Line)
		}
		where += ")"
	}
	text := m.Message
	if m.Path != "" {
		text = m.Path + ": " + text
	}
	return fmt.Sprintf("%s [%s]%s %s", m.Level, m.Code, where, text)
}

func message(c Code, ref verdict.Ref, path, text string) Message {
	m := Message{Code: c.Code, Level: c.Level.String(), Grade: c.Level, Path: path, Message: text, Ref: ref}
	if !ref.IsZero() {
		m.Origin = ref.String()
	}
	return m
}

// Verdicts turns verdicts into messages; good ones are none.
func Verdicts(list []verdict.Status) []Message {
	var out []Message
	for _, s := range list {
		if s.Code.Problem() {
			out = append(out, message(verdictCode(s), s.Ref, s.Path, s.Message))
		}
	}
	return out
}

// Unreadable turns the mistakes of a file that does not decode into messages.
func Unreadable(err error) []Message {
	var out []Message
	for _, e := range api.DecodeErrors(err) {
		m := message(codeOf("IST0106"), verdict.Ref{}, e.Path, e.Msg)
		m.Origin, m.File, m.Line = cmp.Or(e.Object, e.File), e.File, e.Line
		out = append(out, m)
	}
	return out
}

// Input is what is looked at.
type Input struct {
	// Objects are all objects of the mesh, those to be judged and those around them.
	Objects []*api.Object
	// Others are documents of kinds that the mesh does not read; pods are found in them.
	Others []api.Other
	// Chosen says which objects to tell of; nil: all.
	Chosen func(verdict.Ref) bool
	// Said are verdicts that a running control plane has given already; nil has the
	// pipeline run over the objects.
	Said []verdict.Status
	// Deployed tells that gateways of the Gateway API get workloads of their own.
	Deployed bool
	// Proxied tells that every workload has a proxy, whatever labels say: the mesh on
	// one machine.
	Proxied bool
	// RootNamespace holds mesh-wide objects; "istio-system" where empty.
	RootNamespace string
}

// Run judges objects: each by itself, and all together. What annotations of an
// object suppress is left out.
func Run(in Input) []Message {
	w := newWorld(in)
	for _, o := range in.Objects {
		w.schema(o)
	}
	said := in.Said
	if said == nil {
		said = w.verdicts()
	}
	for _, m := range Verdicts(said) {
		if needsWorkloads(m) && len(w.workloads) == 0 && in.Said == nil {
			continue
		}
		w.found = append(w.found, w.placed(m))
	}
	for _, a := range analyzers {
		a.run(w)
	}
	w.found = slices.DeleteFunc(w.found, func(m Message) bool {
		return in.Chosen != nil && !in.Chosen(m.Ref) || w.suppressed(m)
	})
	Sort(w.found)
	return slices.CompactFunc(w.found, func(a, b Message) bool {
		return a.Code == b.Code && a.Ref == b.Ref && a.Path == b.Path && a.Message == b.Message
	})
}

// schema tells what the checks of a single object say.
func (w *world) schema(o *api.Object) {
	tell := func(code string, e *validate.FieldError) {
		m := message(codeOf(code), e.Ref, e.Path, e.Msg)
		m.File, m.Line = e.File, e.Line
		w.found = append(w.found, m)
	}
	for _, e := range validate.Object(o) {
		tell("IST0106", e)
		if strings.Contains(e.Msg, "regular expression") {
			tell("IST0122", e)
		}
	}
	for _, e := range validate.Warnings(o) {
		if strings.Contains(e.Msg, "deprecated") {
			tell("IST0002", e)
		} else {
			tell("IST0133", e)
		}
	}
}

// placed gives a message the line of its object's file.
func (w *world) placed(m Message) Message {
	if o := w.byRef[m.Ref]; o != nil && o.Source.File != "" {
		m.File, m.Line = o.Source.File, o.Source.LineOf(m.Path)
	}
	return m
}

// verdicts runs the front ends and the model over the objects that are right.
func (w *world) verdicts() []verdict.Status {
	var good []*api.Object
	for _, o := range w.in.Objects {
		if len(validate.Object(o)) == 0 {
			good = append(good, o)
		}
	}
	config, said := istioapi.Read(good)
	more, _, gateways := gatewayapi.Read(good, gatewayapi.Options{Deployed: w.in.Deployed})
	config.Add(more)
	// Any range does for services without an address of their own: nothing is sent.
	vips := registry.Allocate(nil, netip.MustParsePrefix("240.240.0.0/16"), config.Services)
	_, checked := mesh.Build(config, mesh.Inputs{VIPs: vips, Workloads: w.instances(), RootNamespace: w.in.RootNamespace})
	return verdict.Sort(slices.Concat(said, gateways, checked))
}

// needsWorkloads tells the messages that only workloads can bear out.
func needsWorkloads(m Message) bool {
	switch m.Code {
	case "IST0101", "IST0103", "IST0127", "IST0173", "LTN0003", "LTN0004":
		return strings.Contains(m.Message, "workload") || strings.Contains(m.Message, "no endpoints here")
	}
	return false
}

// suppressed tells whether an annotation of the object leaves a message out: a list
// of codes, or "*".
func (w *world) suppressed(m Message) bool {
	o := w.byRef[m.Ref]
	if o == nil {
		return false
	}
	for code := range strings.SplitSeq(o.Meta.Annotations[annotation.GalleyAnalyzeSuppress.Name], ",") {
		if code = strings.TrimSpace(code); code == "*" || strings.EqualFold(code, m.Code) {
			return true
		}
	}
	return false
}

// Sort orders messages by gravity, code and object.
func Sort(list []Message) {
	slices.SortStableFunc(list, func(a, b Message) int {
		return cmp.Or(-cmp.Compare(a.Grade, b.Grade), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
}

// Suppression leaves messages out: istioctl's form CODE=KIND NAME.NAMESPACE, where
// * stands for anything.
type Suppression struct{ code, object string }

// ParseSuppression reads "IST0102=Namespace default" or "IST0118=Service *.default".
func ParseSuppression(s string) (Suppression, error) {
	code, object, ok := strings.Cut(s, "=")
	if !ok || code == "" || object == "" {
		return Suppression{}, fmt.Errorf("%q is not of the form CODE=KIND NAME.NAMESPACE", s)
	}
	return Suppression{code, object}, nil
}

// Matches tells whether a message is left out.
func (s Suppression) Matches(m Message) bool {
	object := m.Ref.Kind + " " + m.Ref.Name
	if m.Ref.Namespace != "" {
		object += "." + m.Ref.Namespace
	}
	return strings.EqualFold(s.code, m.Code) && glob(s.object, object)
}

// glob matches a pattern whose stars stand for any text.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}
