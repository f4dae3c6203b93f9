package istioapi

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lateen-mesh/lateen/internal/api"
)

// TestEveryReadFieldMatters clears each field of the example in turn: what is read
// must then come out different. So isRead cannot claim what no converter does.
func TestEveryReadFieldMatters(t *testing.T) {
	text, err := os.ReadFile("testdata/every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objs, err := api.Decode(strings.NewReader(string(text)), "every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	proven := map[string]bool{}
	for _, o := range objs {
		want := reading(t, o)
		clearEach(o.Spec.(proto.Message), func(name string, changed proto.Message) {
			c := *o
			c.Spec = changed
			if reading(t, &c) != want {
				proven[name] = true
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(isRead)) {
		if !proven[name] {
			t.Errorf("clearing %s changes nothing: it is not read, or the example does not set it to something that acts", name)
		}
	}
}

// reading is everything that Read says of one object.
func reading(t *testing.T, o *api.Object) string {
	t.Helper()
	cfg, said := Read([]*api.Object{o})
	out, err := json.Marshal([]any{cfg, said})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// clearEach calls f with a copy of m for each field that is set in it or below.
func clearEach(m proto.Message, f func(name string, changed proto.Message)) {
	for n := 0; ; n++ {
		c := proto.Clone(m)
		count := n
		name, done := clearNth(c.ProtoReflect(), &count)
		if !done {
			return
		}
		f(name, c)
	}
}

// clearNth clears the n-th set field of m in depth-first order.
func clearNth(m protoreflect.Message, n *int) (name string, done bool) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		if *n == 0 {
			m.Clear(f)
			return fieldName(f), true
		}
		*n--
		if name, done = clearBelow(m, f, n); done {
			return name, true
		}
	}
	return "", false
}

func clearBelow(m protoreflect.Message, f protoreflect.FieldDescriptor, n *int) (name string, done bool) {
	switch {
	case f.IsMap():
		if !descends(f.MapValue()) {
			return "", false
		}
		m.Get(f).Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			name, done = clearNth(v.Message(), n)
			return !done
		})
	case !descends(f):
	case f.IsList():
		for i := range m.Get(f).List().Len() {
			if name, done = clearNth(m.Get(f).List().Get(i).Message(), n); done {
				return name, true
			}
		}
	default:
		return clearNth(m.Mutable(f).Message(), n)
	}
	return name, done
}

// TestUnreadFieldsAreSaid: a field that is set and not read yields a verdict with
// its path; one that no table knows too.
func TestUnreadFieldsAreSaid(t *testing.T) {
	objs, err := api.Decode(strings.NewReader(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
  - route: [{destination: {host: a}}]
  - match: [{statPrefix: x}]
    route: [{destination: {host: a}}]
`), "-")
	if err != nil {
		t.Fatal(err)
	}
	_, said := Read(objs)
	var got []string
	for _, s := range said {
		got = append(got, s.Path+" "+string(s.Code))
	}
	want := []string{"spec.http[1].match[0].statPrefix NotActedOn"}
	if !slices.Equal(got, want) {
		t.Errorf("verdicts %q, want %q", got, want)
	}
}
