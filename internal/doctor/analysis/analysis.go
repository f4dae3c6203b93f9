// Package analysis tells what is wrong with configuration, in the words and codes
// that users of `istioctl analyze` know: it turns mistakes and verdicts into
// messages. It judges nothing itself.
package analysis

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

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
			out = append(out, message(codeOf(s), s.Ref, s.Path, s.Message))
		}
	}
	return out
}

// Unreadable turns the mistakes of a file that does not decode into messages.
func Unreadable(err error) []Message {
	var out []Message
	for _, e := range api.DecodeErrors(err) {
		m := message(schemaError, verdict.Ref{}, e.Path, e.Msg)
		m.Origin, m.File, m.Line = cmp.Or(e.Object, e.File), e.File, e.Line
		out = append(out, m)
	}
	return out
}

// Objects checks objects without a mesh: each by itself, and all together. Only
// what concerns the objects of chosen is told; the others are the mesh that they are
// meant for. With workloads unknown, nothing is said of selectors.
func Objects(all []*api.Object, chosen func(*api.Object) bool, deployed bool) []Message {
	var out []Message
	at := map[verdict.Ref]*api.Object{}
	var good []*api.Object
	for _, o := range all {
		at[o.Ref()] = o
		mistakes := validate.Object(o)
		if len(mistakes) == 0 {
			good = append(good, o)
		}
		if !chosen(o) {
			continue
		}
		for _, e := range mistakes {
			m := message(schemaError, e.Ref, e.Path, e.Msg)
			m.File, m.Line = e.File, e.Line
			out = append(out, m)
		}
		for _, e := range validate.Warnings(o) {
			m := message(schemaWarning, e.Ref, e.Path, e.Msg)
			m.File, m.Line = e.File, e.Line
			out = append(out, m)
		}
	}
	for _, m := range Verdicts(verdictsOf(good, deployed)) {
		o := at[m.Ref]
		if o == nil || !chosen(o) || needsWorkloads(m) {
			continue
		}
		if o.Source.File != "" {
			m.File, m.Line = o.Source.File, o.Source.Line
			if line, ok := o.Source.Lines[m.Path]; ok {
				m.Line = line
			}
		}
		out = append(out, m)
	}
	return out
}

// verdictsOf runs the front ends and the model over objects.
func verdictsOf(objects []*api.Object, deployed bool) []verdict.Status {
	config, said := istioapi.Read(objects)
	more, _, gateways := gatewayapi.Read(objects, gatewayapi.Options{Deployed: deployed})
	config.Add(more)
	// Any range does for services without an address of their own: nothing is sent.
	vips := registry.Allocate(nil, netip.MustParsePrefix("240.240.0.0/16"), config.Services)
	_, checked := mesh.Build(config, mesh.Inputs{VIPs: vips})
	return verdict.Sort(slices.Concat(said, gateways, checked))
}

// needsWorkloads tells the messages that only workloads can bear out.
func needsWorkloads(m Message) bool {
	return strings.Contains(m.Message, "workload")
}

// Sort orders messages by gravity, code and object.
func Sort(list []Message) {
	slices.SortStableFunc(list, func(a, b Message) int {
		return cmp.Or(-cmp.Compare(a.Grade, b.Grade), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Origin, b.Origin), cmp.Compare(a.Path, b.Path))
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
