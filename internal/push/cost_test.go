package push

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// The cost of a change is counted, not timed: what is compiled, and what is another
// resource for whom.

// costMesh has services in two namespaces, five of them with subsets, and proxies of
// both data planes in three namespaces.
type costMesh struct {
	t         *testing.T
	e         *Engine
	reg       *prometheus.Registry
	source    *objects
	yaml      map[string]string // by name
	workloads []registry.Workload
	conns     []*server.Conn
}

func newCostMesh(t *testing.T) *costMesh {
	m := &costMesh{t: t, yaml: map[string]string{}, source: &objects{}}
	for i := range 20 {
		name, ns := fmt.Sprintf("s%02d", i), []string{"a", "b"}[i%2]
		m.yaml[name] = fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec: {selector: {app: %s}, ports: [{name: http, port: 80}, {name: tcp-x, port: 90}]}\n", name, ns, name)
		if i < 5 {
			m.yaml["dr-"+name] = fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: %s, namespace: %s}\nspec: {host: %s, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}\n", name, ns, name)
			m.yaml["vs-"+name] = routeYAML(name, ns, 90)
		}
		for n := range 2 {
			m.workloads = append(m.workloads, registry.Workload{
				Name: fmt.Sprintf("%s-%d", name, n), Namespace: ns, Owner: name, ServiceAccount: name, Ready: true, Proxied: true,
				Labels: map[string]string{"app": name, "version": fmt.Sprint("v", n+1)}, Addr: netip.AddrFrom4([4]byte{10, 1, byte(i), byte(n + 1)}),
			})
		}
	}
	m.e, m.reg = newEngine(t, m.source, documents{})
	m.connect(m.e)
	m.build()
	return m
}

func routeYAML(name, ns string, weight int) string {
	return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: %s, namespace: %s}\nspec: {hosts: [%s], http: [{route: [{destination: {host: %s, subset: v1}, weight: %d}, {destination: {host: %s, subset: v2}, weight: %d}]}]}\n",
		name, ns, name, name, weight, name, 100-weight)
}

// connect adds twelve proxies: two of each data plane in each of three namespaces.
func (m *costMesh) connect(e *Engine) (conns []*server.Conn) {
	for i := range 12 {
		n := proxy(fmt.Sprintf("curl-%d", i), fmt.Sprintf("10.2.0.%d", i+1), map[string]any{"app": fmt.Sprint("curl-", i)})
		ns, plane := []string{"a", "b", "c"}[i%3], []string{"native", "envoy"}[i%2]
		setText(n, "NAMESPACE", ns)
		setText(n, "LATEEN_DATA_PLANE", plane)
		conns = append(conns, connect(m.t, e, n))
	}
	if e == m.e {
		m.conns = conns
	}
	return conns
}

func (m *costMesh) build() {
	var text strings.Builder
	for _, n := range sortedKeys(m.yaml) {
		text.WriteString("---\n" + m.yaml[n])
	}
	m.source.list = decode(m.t, text.String())
	m.source.revision++
	m.same()
}

// same builds with the same configuration.
func (m *costMesh) same() {
	m.e.SetWorkloads(m.workloads)
	m.e.b.rebuild(m.t.Context())
}

// cost is what a change made.
type cost struct {
	Clusters, Calls, Endpoints int // compilations
	// Resources that are others for any proxy: their types and names, without those
	// that are the proxies' own.
	Resources []string
}

// of counts what a change costs.
func (m *costMesh) of(change func()) cost {
	m.t.Helper()
	compiled := func(part string) int { return int(counter(m.t, m.reg, "lateen_compilations", part)) }
	before := [3]int{compiled("clusters"), compiled("calls"), compiled("endpoints")}
	var states []*server.State
	for _, c := range m.conns {
		states = append(states, c.State())
	}
	change()
	out := cost{Clusters: compiled("clusters") - before[0], Calls: compiled("calls") - before[1], Endpoints: compiled("endpoints") - before[2]}
	seen := map[string]bool{}
	for i, c := range m.conns {
		now := c.State()
		for typeURL, list := range now.Types {
			old := states[i].Types[typeURL]
			for name, r := range list {
				if old[name] != r {
					seen[server.ShortType(typeURL)+" "+name] = true
				}
			}
			for name := range old {
				if list[name] == nil {
					seen["no "+server.ShortType(typeURL)+" "+name] = true
				}
			}
		}
	}
	out.Resources = sortedKeys(seen)
	return out
}

func (m *costMesh) expect(what string, want cost, change func()) {
	m.t.Helper()
	if diff := cmp.Diff(want, m.of(change)); diff != "" {
		m.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestCostOfChanges: a change costs what it changes, times the kinds of clients that
// are given something else for it.
func TestCostOfChanges(t *testing.T) {
	m := newCostMesh(t)
	m.expect("nothing", cost{}, m.same)
	m.expect("the same configuration, read again", cost{}, m.build)
	m.expect("an endpoint goes", cost{Endpoints: 1, Resources: []string{
		"ClusterLoadAssignment outbound|80||s07.b.svc.cluster.local", "ClusterLoadAssignment outbound|90||s07.b.svc.cluster.local",
	}}, func() {
		m.workloads[15].Ready = false
		m.same()
	})
	m.expect("a weight", cost{Calls: 4, Resources: []string{"RouteConfiguration 80"}}, func() { // clients of its namespace and others, of either data plane
		m.yaml["vs-s00"] = routeYAML("s00", "a", 50)
		m.build()
	})
	m.expect("a new route", cost{Calls: 4, Resources: []string{"RouteConfiguration 80"}}, func() {
		m.yaml["vs-s09"] = strings.ReplaceAll(strings.ReplaceAll(routeYAML("s09", "b", 100), ", subset: v1", ""), ", {destination: {host: s09, subset: v2}, weight: 0}", "")
		m.build()
	})
	m.expect("a policy", cost{Clusters: 1, Endpoints: 1, Resources: []string{
		"Cluster outbound|80||s11.b.svc.cluster.local", "Cluster outbound|90||s11.b.svc.cluster.local",
	}}, func() {
		m.yaml["dr-s11"] = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: s11, namespace: b}\nspec: {host: s11, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}\n"
		m.build()
	})
	got := m.of(func() {
		m.yaml["s99"] = strings.ReplaceAll(m.yaml["s00"], "s00", "s99")
		m.build()
	})
	if got.Clusters > 1 || got.Calls > 4 || got.Endpoints > 1 {
		t.Errorf("a new service compiled %+v", got)
	}
	got = m.of(func() {
		m.workloads[3].Labels = map[string]string{"app": "s01", "version": "v3"}
		m.same()
	})
	if got.Clusters+got.Calls > 0 || got.Endpoints > 1 {
		t.Errorf("another label of a workload compiled %+v", got)
	}
}

// TestRandomEdits: whatever is changed in whatever order, proxies have what a control
// plane would give them that has just started.
func TestRandomEdits(t *testing.T) {
	m := newCostMesh(t)
	r := rand.New(rand.NewPCG(3, 4))
	names := sortedKeys(m.yaml)
	all := map[string]string{}
	for _, n := range names {
		all[n] = m.yaml[n]
	}
	for step := range 60 {
		n := names[r.IntN(len(names))]
		switch r.IntN(6) {
		case 0:
			delete(m.yaml, n)
		case 1:
			m.yaml[n] = all[n]
		case 2:
			m.yaml["vs-s03"] = routeYAML("s03", "b", r.IntN(101))
		case 3:
			m.yaml["pa"] = fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: %s}\nspec: {mtls: {mode: %s}}\n", []string{"a", "b"}[r.IntN(2)], []string{"STRICT", "DISABLE"}[r.IntN(2)])
		case 4:
			m.yaml["vs-s04"] = strings.Replace(routeYAML("s04", "a", 30), "http: [{", fmt.Sprintf("http: [{match: [{sourceLabels: {app: curl-%d}}], ", r.IntN(4)), 1)
		default:
			w := &m.workloads[r.IntN(len(m.workloads))]
			w.Ready = !w.Ready
			w.ServiceAccount = []string{"x", "y"}[r.IntN(2)]
		}
		m.build()
		fresh, _ := newEngine(t, m.source, documents{})
		anew := m.connect(fresh)
		fresh.b.memory = m.e.b.memory // what acted before is an input
		fresh.SetWorkloads(m.workloads)
		fresh.b.rebuild(t.Context())
		for i := range anew {
			if diff := cmp.Diff(versions(anew[i].State()), versions(m.conns[i].State())); diff != "" {
				t.Fatalf("step %d, proxy %d: from scratch (-), after all changes (+):\n%s", step, i, diff)
			}
		}
	}
}

// TestOnDemandHearsItsOwn: a change reaches the proxies on demand whose workload calls
// what it changes, and no other.
func TestOnDemandHearsItsOwn(t *testing.T) {
	source := &objects{list: decode(t, meshYAML), revision: 1, changed: make(chan struct{}, 1)}
	source.changed <- struct{}{}
	e, _ := newEngine(t, source, documents{})
	w := []registry.Workload{workload("reviews", "v1", 1), workload("ratings", "v1", 1)}
	e.SetWorkloads(w)
	target := serveEngine(t, e)
	one, other := ask(t, target, "one", "10.244.9.1"), ask(t, target, "other", "10.244.9.2")
	one.answer(t, wire.Question{Host: "reviews.default", Port: 9080}, "reviews.default.svc.cluster.local")
	other.answer(t, wire.Question{Host: "ratings.default", Port: 9080}, "ratings.default.svc.cluster.local")
	quiet, before := other.updates.Load(), one.updates.Load()
	source.list = append(source.list[:len(source.list):len(source.list)], decode(t, routeYAML("reviews", "default", 80))...)
	source.revision++
	source.changed <- struct{}{}
	for limit := time.Now().Add(10 * time.Second); one.updates.Load() == before; {
		if time.Now().After(limit) {
			t.Fatal("the route did not reach who calls its host")
		}
		time.Sleep(5 * time.Millisecond)
	}
	e.SetWorkloads(append(w, workload("reviews", "v2", 1)))
	for limit := time.Now().Add(10 * time.Second); one.updates.Load() < before+2; {
		if time.Now().After(limit) {
			t.Fatal("the endpoint did not reach who calls its host")
		}
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	if n := other.updates.Load() - quiet; n != 0 {
		t.Errorf("%d updates reached a proxy that does not call what changed", n)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func setText(n *corev3.Node, key, value string) {
	n.Metadata.Fields[key] = structpb.NewStringValue(value)
}
