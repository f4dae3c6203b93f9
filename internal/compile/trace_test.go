package compile_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// TestPartsAreWhatTheyAsked is what lets parts be kept: of two clients, in two
// meshes, for whom everything that a compilation asked has the same answer, both get
// the same. The second mesh is the first with a few fields changed, whichever they are.
func TestPartsAreWhatTheyAsked(t *testing.T) {
	same, other := 0, 0
	for seed := range uint64(600) {
		r := rand.New(rand.NewPCG(seed, 7))
		a, b := randomMesh(rand.New(rand.NewPCG(seed, 1))), randomMesh(rand.New(rand.NewPCG(seed, 1)))
		for range 1 + r.IntN(3) {
			b.change(r)
		}
		before, after := a.snapshot(), b.snapshot()
		for range 4 {
			one, two := randomClient(r), randomClient(r)
			v1, v2 := compile.NewView(before, one, nil), compile.NewView(after, two, nil)
			for _, h := range before.AllHosts() {
				h2, ok := after.Host(h.Name)
				if !ok {
					continue
				}
				for _, what := range []compile.Contribution{compile.OfClusters, compile.OfCalls, compile.OfEndpoints} {
					p1, steps := v1.Part(h, what)
					if !sameAnswers(v2, steps) {
						other++
						continue
					}
					same++
					if p2, _ := v2.Part(h2, what); !reflect.DeepEqual(p1, p2) {
						t.Fatalf("seed %d: %s, contribution %d, for %+v and %+v: equal answers to %v, and different parts:\n%s",
							seed, h.Name, what, one, two, steps, gocmp.Diff(p1, p2, gocmp.Exporter(func(reflect.Type) bool { return true })))
					}
				}
			}
		}
	}
	if same < 1000 || other < 1000 {
		t.Errorf("%d parts were compared, and %d not: the meshes are no test", same, other)
	}
}

func sameAnswers(v *compile.View, steps []compile.Step) bool {
	for _, s := range steps {
		if v.Answer(s.Question) != s.Answer {
			return false
		}
	}
	return true
}

// TestHostsAskFewThings holds how few facts of its clients an ordinary host depends
// on: with each more there are more variants of it.
func TestHostsAskFewThings(t *testing.T) {
	cfg, in := bigMesh(8)
	snap, _ := mesh.Build(cfg, in)
	for _, h := range snap.AllHosts() {
		v := compile.NewView(snap, benchNode(), nil)
		for what, most := range map[compile.Contribution]int{compile.OfClusters: 1, compile.OfCalls: 3, compile.OfEndpoints: 1} {
			_, steps := v.Part(h, what)
			facts := 0
			for _, s := range steps {
				if s.OfClient() {
					facts++
				}
			}
			if facts > most {
				t.Errorf("%s, contribution %d: asks %d facts of its client: %v", h.Name, what, facts, steps)
			}
		}
	}
}

// TestOnlyTheViewReadsEndpoints: who serves a port is read through what notes it.
func TestOnlyTheViewReadsEndpoints(t *testing.T) {
	field := regexp.MustCompile(`\b(p|port|Port|t\.Port)\.Endpoints\b`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		// scope.go answers questions of proxies: nothing of it is kept over a build.
		if strings.HasSuffix(f, "_test.go") || f == "view.go" || f == "scope.go" {
			continue
		}
		if at := field.FindIndex(text); at != nil {
			t.Errorf("%s reads the endpoints of a port by itself: use seen.Endpoints", f)
		}
	}
}

// randomInputs is a mesh that can be changed.
type randomInputs struct {
	cfg mesh.Config
	in  mesh.Inputs
}

func (m *randomInputs) snapshot() *mesh.Snapshot {
	snap, _ := mesh.Build(m.cfg, m.in)
	return snap
}

var someNamespaces = []string{"a", "b", "istio-system"}

func oneOf[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func someExport(r *rand.Rand) []string {
	return oneOf(r, nil, nil, []string{"*"}, []string{"."}, []string{"a"}, []string{"b", "c"})
}

func randomMesh(r *rand.Rand) *randomInputs {
	m := &randomInputs{in: mesh.Inputs{VIPs: map[string]netip.Addr{}}}
	for i := range 4 {
		ns, name := oneOf(r, "a", "b"), fmt.Sprintf("s%d", i)
		svc := registry.Service{
			Origin: verdict.Origin{Ref: verdict.Ref{Kind: "Service", Namespace: ns, Name: name}}, Name: name, Namespace: ns,
			Selector: map[string]string{"app": name}, ClusterIP: oneOf(r, "", "", "None"), ExportTo: someExport(r),
			Ports:        []registry.ServicePort{{Name: "p", Number: uint16(80 + i%2), TargetNumber: 8080, Protocol: oneOf(r, registry.HTTP, registry.GRPC, registry.TCP, registry.Auto)}},
			Distribution: oneOf(r, registry.Anywhere, registry.SameZone, registry.SameNode),
		}
		m.cfg.Services = append(m.cfg.Services, svc)
		m.in.VIPs[svc.Key()] = netip.AddrFrom4([4]byte{10, 96, 0, byte(i + 1)})
		for j := range r.IntN(3) {
			m.in.Workloads = append(m.in.Workloads, registry.Workload{
				Name: fmt.Sprintf("%s-%d", name, j), Namespace: ns, ServiceAccount: oneOf(r, "x", "y"), Ready: true, Proxied: r.IntN(3) > 0,
				Labels: map[string]string{"app": name, "version": oneOf(r, "v1", "v2")}, Addr: netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j + 1)}),
				Locality: registry.Locality{Region: "r", Zone: oneOf(r, "z1", "z2")}, Node: oneOf(r, "n1", "n2"),
			})
		}
	}
	m.rules(r)
	for i := range r.IntN(3) {
		m.cfg.MTLS = append(m.cfg.MTLS, mesh.MTLSPolicy{
			Meta: someMeta("PeerAuthentication", "p", i), Namespace: oneOf(r, someNamespaces...),
			Selector: oneOf(r, nil, map[string]string{"version": "v1"}), Mode: oneOf(r, mesh.Strict, mesh.Disable, mesh.Permissive),
		})
	}
	return m
}

func someMeta(kind, name string, i int) mesh.Meta {
	return mesh.Meta{Origin: verdict.Origin{Ref: verdict.Ref{Kind: kind, Name: fmt.Sprint(name, i)}}, Created: int64(i)}
}

func (m *randomInputs) rules(r *rand.Rand) {
	host := func() string {
		s := &m.cfg.Services[r.IntN(len(m.cfg.Services))]
		return mesh.Hostname(s.Name, s.Namespace)
	}
	for i := range r.IntN(5) {
		p := mesh.HostPolicy{
			Meta: someMeta("DestinationRule", "d", i), Name: fmt.Sprint("d", i), Namespace: oneOf(r, someNamespaces...), Host: oneOf(r, host(), host(), "*.a.svc.cluster.local"),
			Clients: oneOf(r, nil, nil, map[string]string{"app": "s1"}), ExportTo: someExport(r),
			Subsets: []mesh.Subset{{Name: "v1", Labels: map[string]string{"version": "v1"}}},
		}
		if r.IntN(2) == 0 {
			p.Policy.Balance = &mesh.Balance{Algorithm: oneOf(r, mesh.RoundRobin, mesh.Random, mesh.Passthrough)}
		}
		m.cfg.Policies = append(m.cfg.Policies, p)
	}
	for i := range r.IntN(5) {
		meta := someMeta("VirtualService", "v", i)
		set := mesh.RouteSet{
			Meta: meta, Name: fmt.Sprint("v", i), Namespace: oneOf(r, someNamespaces...), Hosts: []string{oneOf(r, host(), "*.b.svc.cluster.local")}, Gateways: []string{mesh.MeshGateway},
			ExportTo: someExport(r),
		}
		for range 1 + r.IntN(2) {
			rule := mesh.HTTPRule{Origin: meta.Origin, Destinations: []mesh.Destination{{Host: host(), Subset: oneOf(r, "", "v1", "v2"), Weight: 100}}}
			if r.IntN(2) == 0 {
				rule.Matches = []mesh.HTTPMatch{{SourceLabels: oneOf(r, nil, map[string]string{"app": "s1", "version": "v1"}), SourceNamespace: oneOf(r, "", "a", "b")}}
			}
			set.HTTP = append(set.HTTP, rule)
			set.TCP = append(set.TCP, mesh.ConnRule{Origin: meta.Origin, Destinations: rule.Destinations})
		}
		m.cfg.Routes = append(m.cfg.Routes, set)
	}
}

// change drops objects of one kind or takes another mesh's, or changes one field.
func (m *randomInputs) change(r *rand.Rand) {
	other := randomMesh(r)
	switch r.IntN(8) {
	case 0:
		m.cfg.Services = slices.Delete(m.cfg.Services, 1, 2)
	case 1:
		m.cfg.Policies = other.cfg.Policies
	case 2:
		m.cfg.Routes = other.cfg.Routes
	case 3:
		m.cfg.MTLS = other.cfg.MTLS
	case 4:
		m.in.Workloads = other.in.Workloads
	default:
		m.changeField(r)
	}
}

func (m *randomInputs) changeField(r *rand.Rand) {
	var at []reflect.Value
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			if v.Type().PkgPath() == "net/netip" {
				return
			}
			for i := range v.NumField() {
				walk(v.Field(i))
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Interface, reflect.Func, reflect.Map:
		default:
			if v.CanSet() {
				at = append(at, v)
			}
		}
	}
	walk(reflect.ValueOf(&m.cfg))
	walk(reflect.ValueOf(&m.in.Workloads))
	v := at[r.IntN(len(at))]
	switch {
	case v.Kind() == reflect.String:
		v.SetString(oneOf(r, "", "a", "v1", "v2", "s1", "x"))
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	case v.CanInt():
		v.SetInt(r.Int64N(100))
	case v.CanUint():
		v.SetUint(r.Uint64N(100))
	case v.CanFloat():
		v.SetFloat(r.Float64())
	}
}

func randomClient(r *rand.Rand) compile.Node {
	return compile.Node{
		Kind: oneOf(r, compile.Sidecar, compile.Sidecar, compile.Router), Namespace: oneOf(r, "a", "b", "c"), DataPlane: oneOf(r, ir.Native, ir.Envoy),
		Labels: oneOf(r, map[string]string{"app": "s1"}, map[string]string{"app": "s1", "version": "v1"}, map[string]string{"app": "s2"}),
		IPs:    []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(4)), 1})}, Headers: oneOf(r, nil, nil, &mesh.ProxyHeaders{ForwardedHost: true}), Interception: oneOf(r, compile.Redirect, compile.Redirect, compile.None),
	}
}
