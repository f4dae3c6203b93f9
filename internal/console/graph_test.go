package console

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/history"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/wire"
)

// call is traffic that a test puts into the history.
type call struct {
	reporter, source, target, host, protocol, code, flags, policy string
	n                                                             uint64
}

func (c call) labels() []wire.Label {
	split := func(s string) (app, version string) {
		app, version, _ = strings.Cut(s, "-")
		return app, version
	}
	sa, sv := split(c.source)
	ta, tv := split(c.target)
	ns := func(w string) string {
		switch {
		case w == "":
			return "unknown"
		case strings.HasPrefix(w, "gateway"):
			return "istio-system"
		}
		return "default"
	}
	or := func(s string) string {
		if s == "" {
			return "unknown"
		}
		return s
	}
	name, _, _ := strings.Cut(c.host, ".")
	serviceNS := "unknown"
	if strings.Contains(c.host, ".svc.") {
		serviceNS = "default"
	} else {
		name = c.host
	}
	return []wire.Label{
		{Name: "connection_security_policy", Value: or(c.policy)}, {Name: "destination_canonical_revision", Value: or(tv)}, {Name: "destination_canonical_service", Value: or(ta)},
		{Name: "destination_service", Value: c.host}, {Name: "destination_service_name", Value: name}, {Name: "destination_service_namespace", Value: serviceNS},
		{Name: "destination_workload", Value: or(c.target)}, {Name: "destination_workload_namespace", Value: ns(c.target)}, {Name: "reporter", Value: c.reporter},
		{Name: "request_protocol", Value: c.protocol}, {Name: "response_code", Value: c.code}, {Name: "response_flags", Value: or(c.flags)},
		{Name: "source_canonical_revision", Value: or(sv)}, {Name: "source_canonical_service", Value: or(sa)},
		{Name: "source_workload", Value: or(c.source)}, {Name: "source_workload_namespace", Value: ns(c.source)},
	}
}

// observed makes a console whose history holds calls of one minute.
func observed(t *testing.T, p *plane, calls ...call) *Console {
	t.Helper()
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }
	store := history.New(history.Options{Now: clock})
	for range 12 {
		for _, c := range calls {
			l := c.labels()
			cells := []wire.Cell{{Column: wire.Requests, Delta: c.n}, {Column: wire.DurationBuckets + 3, Delta: c.n}}
			if c.protocol == "tcp" {
				cells = []wire.Cell{{Column: wire.TCPSent, Delta: 1000 * c.n}, {Column: wire.TCPReceived, Delta: 10 * c.n}, {Column: wire.TCPOpened, Delta: c.n}}
			}
			store.Add(history.Key(l), l, cells)
		}
		now = now.Add(history.Step)
		store.Close()
	}
	return serve(t, p, func(o *Options) { o.History, o.Now = store, clock })
}

// bookinfo is its traffic: both ends report what is inside the mesh.
func bookinfo() []call {
	both := func(source, target string, n uint64) []call {
		app, _, _ := strings.Cut(target, "-")
		host := app + ".default.svc.cluster.local"
		return []call{
			{reporter: "source", source: source, target: target, host: host, protocol: "http", code: "200", flags: "-", n: n},
			{reporter: "destination", source: source, target: target, host: host, protocol: "http", code: "200", flags: "-", policy: "mutual_tls", n: n},
		}
	}
	return slices.Concat(
		both("gateway", "productpage-v1", 30), both("productpage-v1", "details-v1", 30), both("productpage-v1", "reviews-v1", 10),
		both("productpage-v1", "reviews-v2", 10), both("productpage-v1", "reviews-v3", 10), both("reviews-v2", "ratings-v1", 10), both("reviews-v3", "ratings-v1", 10),
		[]call{
			{reporter: "source", source: "productpage-v1", host: "details.default.svc.cluster.local", protocol: "http", code: "503", flags: "UH", n: 3},
			{reporter: "source", source: "details-v1", host: "www.googleapis.com", protocol: "http", code: "200", flags: "-", n: 5},
			{reporter: "destination", target: "productpage-v1", host: "productpage.default.svc.cluster.local", protocol: "http", code: "200", policy: "none", n: 1},
			{reporter: "source", source: "ratings-v1", target: "mongodb-v1", host: "mongodb.default.svc.cluster.local", protocol: "tcp", n: 2},
		})
}

func gatewayPlane() *plane {
	snap, _ := mesh.Build(mesh.Config{}, mesh.Inputs{Workloads: []registry.Workload{
		{Name: "gateway-0", Namespace: "istio-system", Owner: "gateway", Ready: true}, {Name: "reviews-v1-0", Namespace: "default", Owner: "reviews-v1", Ready: true},
		{Name: "sleep-0", Namespace: "default", Owner: "sleep", Ready: true},
	}})
	return &plane{snapshot: snap, proxies: []push.ProxyStatus{{Name: "gateway-0.istio-system", Node: "router~10.0.0.1~gateway-0.istio-system~x"}, {Name: "reviews-v1-0.default", Node: "sidecar~10.0.0.2~reviews-v1-0.default~x"}}}
}

func graphOf(t *testing.T, c *Console, query string) Graph {
	t.Helper()
	status, text := ask(t, c, "GET", "/api/graph?"+query, "")
	var g Graph
	if err := json.Unmarshal([]byte(text), &g); err != nil || status != 200 {
		t.Fatalf("%d %s %v", status, text, err)
	}
	return g
}

// lines gives the edges for comparison: ends, protocol, rate, share of errors, mTLS.
func lines(g Graph) string {
	var b strings.Builder
	for _, e := range g.Edges {
		mtls := "?"
		if e.MTLS != nil {
			mtls = fmt.Sprint(*e.MTLS)
		}
		fmt.Fprintf(&b, "%s %.4g %.3g %s\n", e.ID, e.Rates.Rate+e.Rates.Connections, e.Rates.ErrorShare, mtls)
	}
	return b.String()
}

func TestGraph(t *testing.T) {
	c := observed(t, gatewayPlane(), bookinfo()...)
	for view, want := range map[string]string{
		"workload": `gateway/istio-system/gateway>workload/default/productpage-v1/http 6 0 1
unknown>workload/default/productpage-v1/http 0.2 0 0
workload/default/details-v1>external/www.googleapis.com/http 1 0 ?
workload/default/productpage-v1>service/default/details/http 0.6 1 ?
workload/default/productpage-v1>workload/default/details-v1/http 6 0 1
workload/default/productpage-v1>workload/default/reviews-v1/http 2 0 1
workload/default/productpage-v1>workload/default/reviews-v2/http 2 0 1
workload/default/productpage-v1>workload/default/reviews-v3/http 2 0 1
workload/default/ratings-v1>workload/default/mongodb-v1/tcp 0.4 0 0
workload/default/reviews-v2>workload/default/ratings-v1/http 2 0 1
workload/default/reviews-v3>workload/default/ratings-v1/http 2 0 1
`,
		"service": `gateway/istio-system/gateway>service/default/productpage/http 6 0 1
service/default/details>external/www.googleapis.com/http 1 0 ?
service/default/productpage>service/default/details/http 6.6 0.0909 1
service/default/productpage>service/default/reviews/http 6 0 1
service/default/ratings>service/default/mongodb/tcp 0.4 0 0
service/default/reviews>service/default/ratings/http 4 0 1
unknown>service/default/productpage/http 0.2 0 0
`,
	} {
		if got := lines(graphOf(t, c, "view="+view)); got != want {
			t.Errorf("%s:\n%swant\n%s", view, got, want)
		}
	}
	g := graphOf(t, c, "view=versionedApp&idle=true")
	ids := map[string]Node{}
	for _, n := range g.Nodes {
		ids[n.ID] = n
	}
	if n := ids["app/default/reviews/v2"]; n.Parent != "box/default/reviews" || n.Health != Healthy || n.Inbound.Rate != 2 || n.Outbound.Rate != 2 || n.Root {
		t.Errorf("%+v", n)
	}
	if n := ids["gateway/istio-system/gateway"]; n.Kind != "gateway" || !n.Root || n.Health != Healthy {
		t.Errorf("%+v", n)
	}
	if n := ids["app/default/sleep/latest"]; n.Health != Idle {
		t.Errorf("%+v", n)
	}
	if g := graphOf(t, c, "namespaces=istio-system&view=workload"); len(g.Edges) != 1 {
		t.Errorf("%s", lines(g))
	}
	if g := graphOf(t, c, "at=1700000000"); len(g.Edges) != 0 {
		t.Errorf("before everything: %s", lines(g))
	}
	for _, q := range []string{"view=tree", "duration=never", "duration=-1s", "at=now"} {
		if status, _ := ask(t, c, "GET", "/api/graph?"+q, ""); status != 400 {
			t.Errorf("%s: %d", q, status)
		}
	}
}

func TestWorkloads(t *testing.T) {
	c := observed(t, gatewayPlane(), bookinfo()...)
	status, text := ask(t, c, "GET", "/api/workloads/default/reviews-v1?duration=60s", "")
	var v workloadView
	if err := json.Unmarshal([]byte(text), &v); err != nil || status != 200 {
		t.Fatalf("%d %s %v", status, text, err)
	}
	if v.Inbound == nil || v.Inbound.Rate != 2 || v.Proxies != 1 || v.Health != Healthy || len(v.Edges) != 1 || len(v.Pods) != 1 || v.Pods[0].Proxy == "" {
		t.Errorf("%s", text)
	}
	byID := map[string]Chart{}
	for _, x := range v.Charts {
		byID[x.ID] = x
	}
	rate := byID["inbound-rate"]
	if len(rate.Times) != 12 || len(rate.Lines) != 1 || rate.Lines[0].Name != "2xx" || *rate.Lines[0].Values[5] != 2 {
		t.Errorf("%+v", rate)
	}
	if l := byID["inbound-latency"].Lines; len(l) != 3 || l[0].Values[5] == nil || *l[0].Values[5] != 7.5 {
		t.Errorf("%+v", l)
	}
	if status, text := ask(t, c, "GET", "/api/workloads/default/none", ""); status != 404 {
		t.Errorf("%d %s", status, text)
	}
	status, text = ask(t, c, "GET", "/api/gateways", "")
	if status != 200 || !strings.Contains(text, `"name":"gateway"`) || strings.Contains(text, `"name":"reviews-v1"`) {
		t.Errorf("%d %s", status, text)
	}
	status, text = ask(t, c, "GET", "/api/namespaces", "")
	if status != 200 || !strings.Contains(text, `{"name":"default","services":0,"workloads":2,"objects":0,"problems":0,"health":"healthy"}`) {
		t.Errorf("%d %s", status, text)
	}
}

// BenchmarkGraph draws a mesh of 500 services with 2000 pairs.
func BenchmarkGraph(b *testing.B) {
	now := time.Unix(1_800_000_000, 0)
	store := history.New(history.Options{Now: func() time.Time { return now }})
	for range 12 {
		for i := range 2000 {
			for _, reporter := range []string{"source", "destination"} {
				l := call{reporter: reporter, source: fmt.Sprintf("a%d-v1", i%500), target: fmt.Sprintf("a%d-v1", (i*7+1)%500), host: fmt.Sprintf("a%d.default.svc.cluster.local", (i*7+1)%500), protocol: "http", code: "200", n: 5}.labels()
				store.Add(history.Key(l), l, []wire.Cell{{Column: wire.Requests, Delta: 5}, {Column: wire.DurationBuckets + 2, Delta: 5}})
			}
		}
		now = now.Add(history.Step)
		store.Close()
	}
	c := New(Options{Plane: &plane{}, History: store, Now: func() time.Time { return now }})
	b.ReportAllocs()
	for b.Loop() {
		if g, err := c.draw(viewWorkload, window{now.Add(-time.Minute), now}, nil); err != nil || len(g.Edges) == 0 {
			b.Fatal(err)
		}
	}
}
