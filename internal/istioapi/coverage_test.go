package istioapi

import (
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
)

// TestEveryFieldIsDeclared walks the API's descriptors from the kinds that act: a
// field that no table names is a field that would be ignored silently.
func TestEveryFieldIsDeclared(t *testing.T) {
	seen := map[string]bool{}
	for _, root := range []proto.Message{&networking.VirtualService{}, &networking.DestinationRule{}, &networking.Gateway{}, &security.PeerAuthentication{}, &meshconfig.MeshConfig{}} {
		declared(t, seen, map[protoreflect.FullName]bool{}, root.ProtoReflect().Descriptor())
	}
	for _, name := range slices.Sorted(maps.Keys(isRead)) {
		if !seen[name] {
			t.Errorf("isRead names %s, which no kind has below a field that is read", name)
		}
		if _, both := unread(name); both {
			t.Errorf("%s is both read and not", name)
		}
	}
	for _, table := range []map[string]bool{meshRead, meshElsewhere} {
		for _, name := range slices.Sorted(maps.Keys(table)) {
			_, not := unread(name)
			if !seen[name] || not || isRead[name] || meshRead[name] && meshElsewhere[name] {
				t.Errorf("the tables of MeshConfig name %s, which no message has or another table has too", name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(meshNotRead)) {
		if _, twice := notRead[name]; !seen[name] || twice {
			t.Errorf("meshNotRead names %s, which no message has or the other table has too", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(notRead)) {
		if !seen[name] {
			t.Errorf("notRead names %s, which no kind has below a field that is read", name)
		}
	}
}

// declared checks a message and, below the fields that are read, those in it. What
// lies below a field that is not read has the verdict of that field.
func declared(t *testing.T, seen map[string]bool, done map[protoreflect.FullName]bool, m protoreflect.MessageDescriptor) {
	if done[m.FullName()] {
		return
	}
	done[m.FullName()] = true
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		name := fieldName(f)
		seen[name] = true
		if _, ok := unread(name); ok {
			continue
		}
		if !isRead[name] && !meshRead[name] && !meshElsewhere[name] {
			t.Errorf("%s is neither read nor declared: coverage.go", name)
		}
		switch {
		case f.IsMap() && descends(f.MapValue()):
			declared(t, seen, done, f.MapValue().Message())
		case !f.IsMap() && descends(f):
			declared(t, seen, done, f.Message())
		}
	}
}
