package push

import (
	"context"
	"encoding/json"
	"fmt"

	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

const meshYAML = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: tcp, port: 3306}]}
---
apiVersion: v1
kind: Service
metadata: {name: direct}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: direct}
spec:
  host: direct
  trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
`

// objects is a fixed source of configuration.
type objects struct {
	list     []*api.Object
	revision int64
	changed  chan struct{}
}

func (o *objects) Snapshot() ([]*api.Object, int64)          { return o.list, o.revision }
func (o *objects) Watch(ctx context.Context) <-chan struct{} { return o.changed }

// documents is a memory in memory.
type documents map[string][]byte

func (d documents) SavePrior(name string, v any) (err error) {
	d[name], err = json.Marshal(v)
	return err
}

func (d documents) LoadPrior(name string, v any) (bool, error) {
	text, ok := d[name]
	if !ok {
		return false, nil
	}
	return true, json.Unmarshal(text, v)
}

func decode(t *testing.T, text string) []*api.Object {
	t.Helper()
	list, err := apiDecode(text)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func apiDecode(text string) ([]*api.Object, error) {
	return api.Decode(strings.NewReader(text), "mesh.yaml")
}

func newEngine(t *testing.T, source Objects, mem Memory) (*Engine, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	e, err := New(Options{Objects: source, Memory: mem, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	return e, reg
}

// proxy makes a node in the form of agents.
func proxy(name string, ip string, labels map[string]any) *corev3.Node {
	md, err := structpb.NewStruct(map[string]any{
		"NAME": name, "NAMESPACE": "default", "SERVICE_ACCOUNT": "default", "INSTANCE_IPS": ip, "LABELS": labels,
		"WORKLOAD_NAME": name, "INTERCEPTION_MODE": "REDIRECT", "LATEEN_DATA_PLANE": "native",
	})
	if err != nil {
		panic(err)
	}
	return &corev3.Node{Id: "sidecar~" + ip + "~" + name + ".default~default.svc.cluster.local", Metadata: md}
}

// connect adds a connection without a stream: it only takes offers.
func connect(t *testing.T, e *Engine, n *corev3.Node) *server.Conn {
	t.Helper()
	c := &server.Conn{Node: n}
	if err := e.Connected(c); err != nil {
		t.Fatal(err)
	}
	return c
}

func workload(app, version string, n int) registry.Workload {
	name := fmt.Sprintf("%s-%s-%d", app, version, n)
	net := map[string]byte{"reviews": 1, "ratings": 2, "db": 3}[app]
	return registry.Workload{
		Name: name, Namespace: "default", Owner: app + "-" + version, OwnerKind: "Deployment", ServiceAccount: app,
		Labels: map[string]string{"app": app, "version": version}, Addr: netip.AddrFrom4([4]byte{10, 244, net, 10*(version[1]-'0') + byte(n)}),
		Ports: []registry.Port{{Name: "web", Number: 9080}}, Ready: true, Proxied: true,
	}
}

// versions flattens a state, for comparisons.
func versions(s *server.State) map[string]string {
	out := map[string]string{}
	for typeURL, list := range s.Types {
		for name, r := range list {
			out[server.ShortType(typeURL)+" "+name] = r.Version
		}
	}
	return out
}

func builds(t *testing.T, reg *prometheus.Registry, kind string) float64 {
	t.Helper()
	return counter(t, reg, "lateen_builds", kind)
}

// counter reads a counter of one label.
func counter(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// TestEndpointPath: whatever workloads do, the path of endpoints gives what a
// compilation from scratch gives, and the cheap changes take it.
func TestEndpointPath(t *testing.T) {
	source := &objects{list: decode(t, meshYAML), revision: 1}
	random := rand.New(rand.NewPCG(1, 2))
	e, reg := newEngine(t, source, documents{})
	nodes := []*corev3.Node{
		proxy("reviews-v1-0", "10.244.1.10", map[string]any{"app": "reviews", "version": "v1"}),
		proxy("ratings-v1-0", "10.244.2.10", map[string]any{"app": "ratings", "version": "v1"}), proxy("curl-0", "10.244.0.9", map[string]any{"app": "curl"}),
	}
	var conns []*server.Conn
	for _, n := range nodes {
		conns = append(conns, connect(t, e, n))
	}
	all := []registry.Workload{workload("reviews", "v1", 0), workload("reviews", "v1", 1), workload("reviews", "v2", 0), workload("ratings", "v1", 0), workload("db", "v1", 0), workload("db", "v1", 1)}
	cheap := 0
	for step := range 200 {
		i := random.IntN(len(all))
		switch random.IntN(6) {
		case 0:
			all[i].Proxied = !all[i].Proxied
		case 1:
			all[i].Ports = []registry.Port{{Name: "web", Number: uint16(9080 + random.IntN(2))}}
		case 2:
			all[i].ServiceAccount = []string{"reviews", "ratings"}[random.IntN(2)]
		default:
			all[i].Ready = !all[i].Ready
		}
		var running []registry.Workload
		for j := range all {
			if j == 0 || random.IntN(8) > 0 {
				running = append(running, all[j])
			}
		}
		before := builds(t, reg, "endpoints")
		e.SetWorkloads(running)
		e.b.rebuild(t.Context())
		if builds(t, reg, "endpoints") > before {
			cheap++
		}
		fresh, _ := newEngine(t, source, documents{})
		fresh.SetWorkloads(running)
		var anew []*server.Conn
		for _, n := range nodes {
			anew = append(anew, connect(t, fresh, n))
		}
		fresh.b.rebuild(t.Context())
		for k, n := range nodes {
			if diff := cmp.Diff(versions(anew[k].State()), versions(conns[k].State())); diff != "" {
				t.Fatalf("step %d, %s: from scratch (-), by the path of endpoints (+):\n%s", step, n.GetId(), diff)
			}
		}
	}
	if cheap < 20 {
		t.Errorf("only %d of 200 changes took the path of endpoints", cheap)
	}
}

// TestReadiness: a workload that becomes ready moves endpoints only, and all that
// did not move stays the very same resource.
func TestReadiness(t *testing.T) {
	e, reg := newEngine(t, &objects{list: decode(t, meshYAML), revision: 1}, documents{})
	c := connect(t, e, proxy("curl-0", "10.244.0.9", map[string]any{"app": "curl"}))
	w := []registry.Workload{workload("reviews", "v1", 0), workload("reviews", "v1", 1), workload("ratings", "v1", 0)}
	e.SetWorkloads(w)
	e.b.rebuild(t.Context())
	before := c.State()
	next := append([]registry.Workload(nil), w...)
	next[2] = workload("ratings", "v1", 1) // another instance of the same account
	e.SetWorkloads(append(next, w[2]))
	e.b.rebuild(t.Context())
	after := c.State()
	if n := builds(t, reg, "endpoints"); n != 1 {
		t.Errorf("%v builds of endpoints", n)
	}
	changed := 0
	for typeURL, list := range after.Types {
		for name, r := range list {
			if before.Types[typeURL][name] != r {
				changed++
				if typeURL != build.EndpointType || !strings.Contains(name, "ratings") {
					t.Errorf("%s %s is another resource", server.ShortType(typeURL), name)
				}
			}
		}
	}
	if changed != 1 || after.Revision != before.Revision+1 {
		t.Errorf("%d resources changed, revision %d after %d", changed, after.Revision, before.Revision)
	}
}

// TestSharing: proxies of equal facts share a variant, and equal resources of
// different variants are one fragment.
func TestSharing(t *testing.T) {
	e, _ := newEngine(t, &objects{list: decode(t, meshYAML), revision: 1}, documents{})
	labels := map[string]any{"app": "curl"}
	a, again, b := connect(t, e, proxy("curl-0", "10.244.0.9", labels)), connect(t, e, proxy("curl-0", "10.244.0.9", labels)), connect(t, e, proxy("curl-1", "10.244.0.10", labels))
	e.SetWorkloads(nil)
	e.b.rebuild(t.Context())
	if a.State() != again.State() {
		t.Error("two connections of one proxy do not share their state")
	}
	const name = "outbound|9080||reviews.default.svc.cluster.local"
	if x := a.State().Types[build.ClusterType][name]; x == nil || x != b.State().Types[build.ClusterType][name] {
		t.Errorf("two proxies do not share the cluster %v", x)
	}
	e.Disconnected(a)
	e.Disconnected(again)
	e.Disconnected(b)
	e.b.rebuild(t.Context())
	if len(e.b.variants) != 0 || len(e.b.fragments) != 0 {
		t.Errorf("%d variants and %d fragments without a proxy", len(e.b.variants), len(e.b.fragments))
	}
}

// TestNothingBeforeWorkloads: a control plane that has just started must not tell
// proxies that nobody serves anything.
func TestNothingBeforeWorkloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &objects{list: decode(t, meshYAML), revision: 7, changed: make(chan struct{}, 1)}
		e, _ := newEngine(t, source, documents{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		c := connect(t, e, proxy("curl-0", "10.244.0.9", nil))
		source.changed <- struct{}{}
		time.Sleep(time.Minute)
		synctest.Wait()
		if c.State() != nil || e.Ready() == nil {
			t.Errorf("offered %v, ready %v", c.State(), e.Ready())
		}
		e.SetWorkloads([]registry.Workload{workload("reviews", "v1", 0)})
		synctest.Wait() // at once, without the passing of time
		if c.State() == nil || e.Ready() != nil {
			t.Errorf("offered %v, ready %v", c.State(), e.Ready())
		}
		late := connect(t, e, proxy("late-0", "10.244.0.10", nil))
		synctest.Wait()
		if late.State() == nil {
			t.Error("a proxy that comes later gets nothing")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestDebounce(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, tc := range []struct {
		name    string
		changes []time.Duration // since the start
		want    []time.Duration // when builds happen
	}{
		{"the first at once", []time.Duration{0}, []time.Duration{0}},
		{"after a pause at once", []time.Duration{0, 200}, []time.Duration{0, 200}},
		{"a second one waits for quiet", []time.Duration{0, 20}, []time.Duration{0, 120}},
		{"a burst is one build", []time.Duration{0, 20, 40, 60}, []time.Duration{0, 160}},
		{"an endless burst is bounded", []time.Duration{0, 50, 140, 230, 320, 410, 500, 590, 680, 770, 860, 950, 1040, 1130}, []time.Duration{0, 1050, 1230}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := debounce{quiet: 100 * time.Millisecond, longest: time.Second}
			var got []time.Duration
			due := time.Duration(-1)
			for _, c := range append(tc.changes, 1<<20) {
				c *= time.Millisecond
				if due >= 0 && due < c {
					got = append(got, due/time.Millisecond)
					d.fired()
					due = -1
				}
				if c < 1<<20*time.Millisecond {
					due = c + d.changed(start.Add(c))
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFacts(t *testing.T) {
	n, name, err := facts(proxy("reviews-v1-0", "10.244.0.9", map[string]any{"app": "reviews"}))
	if err != nil || name != "reviews-v1-0.default" || n.Kind != compile.Sidecar || n.Labels["app"] != "reviews" || n.IPs[0].String() != "10.244.0.9" || n.SocketMark != 0 {
		t.Errorf("%+v, %s, %v", n, name, err)
	}
	change := func(key, value string) *corev3.Node {
		n := proxy("a", "10.244.0.9", nil)
		n.Metadata.Fields[key] = structpb.NewStringValue(value)
		return n
	}
	if n, _, err := facts(change("LATEEN_DATA_PLANE", "envoy")); err != nil || n.SocketMark != 1337 {
		t.Errorf("an Envoy's own connections have the mark %d, %v", n.SocketMark, err)
	}
	if n, _, err := facts(change("INTERCEPTION_MODE", "TPROXY")); err != nil || n.Interception != compile.Redirect {
		t.Errorf("TPROXY: %v, %v", n.Interception, err)
	}
	inPod := change("LATEEN_DATA_PLANE", "envoy")
	inPod.Metadata.Fields["LATEEN_BYPASS"] = structpb.NewStringValue("uid")
	if n, _, err := facts(inPod); err != nil || n.SocketMark != 0 {
		t.Errorf("in a pod, an Envoy's own connections have the mark %d, %v", n.SocketMark, err)
	}
	for name, bad := range map[string]*corev3.Node{
		"no id":           {},
		"half an id":      {Id: "sidecar~10.0.0.1"},
		"another kind":    {Id: "ztunnel~10.0.0.1~a.b~c", Metadata: proxy("a", "10.244.0.9", nil).Metadata},
		"no namespace":    change("NAMESPACE", ""),
		"bad address":     change("INSTANCE_IPS", "here"),
		"bad data plane":  change("LATEEN_DATA_PLANE", "nginx"),
		"bad redirection": change("INTERCEPTION_MODE", "SIDEWAYS"),
	} {
		if _, _, err := facts(bad); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestMemory: addresses survive a restart, whatever the order of the objects.
func TestMemory(t *testing.T) {
	remembered := netip.MustParseAddr("10.96.77.77")
	docs := documents{}
	if err := docs.SavePrior(addressesDocument, map[string]netip.Addr{"default/reviews": remembered}); err != nil {
		t.Fatal(err)
	}
	source := &objects{list: decode(t, meshYAML), revision: 1}
	first, _ := newEngine(t, source, docs)
	first.SetWorkloads(nil)
	first.b.rebuild(t.Context())
	before, _ := first.Names()
	if len(before.Hosts) != 4 || len(before.Hosts["db.default.svc.cluster.local"]) != 0 || len(before.Hosts["reviews.default.svc.cluster.local"]) != 1 {
		t.Fatalf("names %v", before.Hosts)
	}
	if got := before.Hosts["reviews.default.svc.cluster.local"][0]; got != remembered {
		t.Errorf("reviews has %s, had %s", got, remembered)
	}
	// A new service that comes first in every order does not move the others.
	source.list = append(decode(t, "apiVersion: v1\nkind: Service\nmetadata: {name: aaa}\nspec: {ports: [{port: 80}]}\n"), source.list...)
	source.revision = 2
	second, _ := newEngine(t, source, docs)
	second.SetWorkloads(nil)
	second.b.rebuild(t.Context())
	after, _ := second.Names()
	for host, addr := range before.Hosts {
		if !cmp.Equal(addr, after.Hosts[host], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
			t.Errorf("%s moved from %v to %v", host, addr, after.Hosts[host])
		}
	}
}
