package istioapi

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/api"
)

// istioKinds are all kinds of istio.io/api that users write. A new kind of a new
// version belongs here and in package api.
var istioKinds = []string{
	"VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "WorkloadEntry", "WorkloadGroup", "Sidecar", "ProxyConfig", "EnvoyFilter",
	"PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy", "Telemetry", "WasmPlugin", "TrafficExtension",
}

// TestEveryFieldIsDeclared walks the API's descriptors of all kinds: a field of a
// kind that acts and that no table names is a field that would be ignored silently.
// Kinds that do not act have a verdict for each object, whatever it sets.
func TestEveryFieldIsDeclared(t *testing.T) {
	seen := map[string]bool{}
	done := map[protoreflect.FullName]bool{}
	declared(t, seen, done, (&meshconfig.MeshConfig{}).ProtoReflect().Descriptor())
	for _, name := range istioKinds {
		kind := api.KindNamed(name)
		if kind == nil {
			t.Errorf("package api does not know %s", name)
			continue
		}
		root := kind.New().(proto.Message).ProtoReflect().Descriptor()
		if kind.Acts {
			declared(t, seen, done, root)
			continue
		}
		if _, _, idle := kind.Idle(); !idle {
			t.Errorf("%s does not act and has no verdict: internal/api/idle.go", name)
		}
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

// TestEveryKindOfTheAPIIsKnown reads the list of kinds from the custom resource
// definitions that istio.io/api ships: a kind that a new version adds must be
// decoded, and act or say why not.
func TestEveryKindOfTheAPIIsKnown(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	if err != nil {
		t.Fatalf("finding istio.io/api: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "kubernetes", "customresourcedefinitions.gen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, m := range regexp.MustCompile(`(?m)^    kind: (\w+)$`).FindAllStringSubmatch(string(text), -1) {
		found++
		if !slices.Contains(istioKinds, m[1]) {
			t.Errorf("the kind %s of istio.io/api is not known", m[1])
		}
	}
	if found != len(istioKinds) {
		t.Errorf("istio.io/api defines %d kinds, %d are listed", found, len(istioKinds))
	}
}
