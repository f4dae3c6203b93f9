package push

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	xds "github.com/lateen-mesh/lateen/internal/xds/client"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// serveEngine runs an engine and its server, and gives the address.
func serveEngine(t *testing.T, e *Engine) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(server.GRPCOptions()...)
	server.New(server.Options{
		Owner: e, PushTypes: PushOrder(), FullTypes: FullTypes(), Gate: build.ListenerType, Last: wire.DemandType,
		Warms: map[string]string{build.ClusterType: build.EndpointType}, Names: map[string]string{build.ListenerType: build.RouteType},
	}).Register(g)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	wg.Go(func() { _ = g.Serve(l) })
	t.Cleanup(func() { g.Stop(); cancel(); wg.Wait() })
	return "unix://" + path
}

// asker is a proxy on demand that keeps names.
type asker struct {
	*xds.Client
	mu      sync.Mutex
	have    map[string]map[string]xds.Resource // by type
	changed chan struct{}
	updates atomic.Int64
}

func ask(t *testing.T, target, name, ip string) *asker {
	t.Helper()
	n := proxy(name, ip, map[string]any{"app": name})
	n.Metadata.Fields["LATEEN_ON_DEMAND"] = structpb.NewStringValue("true")
	c, err := xds.New(xds.Options{Target: target, Node: n})
	if err != nil {
		t.Fatal(err)
	}
	a := &asker{Client: c, have: map[string]map[string]xds.Resource{}, changed: make(chan struct{}, 1)}
	c.Subscribe(build.ClusterType, xds.Wildcard)
	c.Subscribe(build.ListenerType, xds.Wildcard)
	c.Subscribe(wire.DemandType, wire.DemandReady)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx, a) }()
	t.Cleanup(func() { cancel(); <-done })
	return a
}

// Update implements client.Handler.
func (a *asker) Update(_ context.Context, typeURL string, added []xds.Resource, removed []string) map[string]error {
	a.updates.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	byName := a.have[typeURL]
	if byName == nil {
		byName = map[string]xds.Resource{}
		a.have[typeURL] = byName
	}
	for _, r := range added {
		byName[r.Name] = r
		switch typeURL {
		case build.ClusterType:
			a.Subscribe(build.EndpointType, r.Name)
		case build.ListenerType:
			if r.Name == "0.0.0.0_9080" {
				a.Subscribe(build.RouteType, "9080")
			}
		}
	}
	for _, n := range removed {
		delete(byName, n)
	}
	select {
	case a.changed <- struct{}{}:
	default:
	}
	return nil
}

func (a *asker) names(typeURL string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for n := range a.have[typeURL] {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// answer waits until a question is answered as f wants.
func (a *asker) answer(t *testing.T, q wire.Question, want ...string) {
	t.Helper()
	a.Subscribe(wire.DemandType, q.Name())
	limit := time.After(5 * time.Second)
	for {
		a.mu.Lock()
		r, ok := a.have[wire.DemandType][q.Name()]
		a.mu.Unlock()
		if ok {
			got, err := wire.UnmarshalAnswer(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			if cmp.Equal(got.Hosts, want) {
				return
			}
		}
		select {
		case <-a.changed:
		case <-limit:

			t.Fatalf("%s is answered %v %+v, want %v", q.Name(), ok, r, want)
		}
	}
}

func TestDemand(t *testing.T) {
	source := &objects{list: decode(t, meshYAML), revision: 1, changed: make(chan struct{}, 1)}
	source.changed <- struct{}{}
	mem := documents{}
	e, _ := newEngine(t, source, mem)
	e.SetWorkloads([]registry.Workload{workload("reviews", "v1", 1), workload("ratings", "v1", 1), workload("db", "v1", 1)})
	target := serveEngine(t, e)
	a := ask(t, target, "web", "10.244.9.9")
	a.answer(t, wire.Question{})
	if got := a.names(build.ClusterType); !slices.Equal(got, []string{"BlackHoleCluster", "InboundPassthroughCluster", "PassthroughCluster"}) {
		t.Errorf("before the first call: %v", got)
	}
	host, _ := e.Snapshot().Host("reviews.default.svc.cluster.local")
	a.answer(t, wire.Question{Addr: host.Addr, Port: 9080}, "reviews.default.svc.cluster.local")
	// All that the call needs was there before the answer.
	if got := a.names(build.ClusterType); !slices.Contains(got, "outbound|9080|v2|reviews.default.svc.cluster.local") || slices.Contains(got, "outbound|9080||ratings.default.svc.cluster.local") {
		t.Errorf("reviews: clusters %v", got)
	}
	for typeURL, name := range map[string]string{build.ListenerType: "0.0.0.0_9080", build.RouteType: "9080", build.EndpointType: "outbound|9080||reviews.default.svc.cluster.local"} {
		if got := a.names(typeURL); !slices.Contains(got, name) {
			t.Errorf("reviews: %s %v", server.ShortType(typeURL), got)
		}
	}
	a.answer(t, wire.Question{Host: "ratings.default", Port: 9080}, "ratings.default.svc.cluster.local")
	a.answer(t, wire.Question{Addr: workload("db", "v1", 1).Addr, Port: 3306}, "db.default.svc.cluster.local")
	a.answer(t, wire.Question{Addr: netip.MustParseAddr("192.0.2.1"), Port: 80})
	a.answer(t, wire.Question{Host: "later", Port: 9080})

	// What nobody knew is there later, and the answer is corrected.
	source.list = append(source.list[:len(source.list):len(source.list)], decode(t, `
apiVersion: v1
kind: Service
metadata: {name: later}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}
`)...)
	source.revision++
	source.changed <- struct{}{}
	a.answer(t, wire.Question{Host: "later", Port: 9080}, "later.default.svc.cluster.local")
	if got := a.names(build.ClusterType); !slices.Contains(got, "outbound|9080||later.default.svc.cluster.local") {
		t.Errorf("later: clusters %v", got)
	}

	// Another instance, and one after a restart of the control plane, has it at once.
	second, _ := newEngine(t, source, mem)
	second.SetWorkloads([]registry.Workload{workload("reviews", "v1", 1)})
	source.changed <- struct{}{}
	b := ask(t, serveEngine(t, second), "web", "10.244.9.10")
	b.answer(t, wire.Question{})
	if got := b.names(build.ClusterType); !slices.Contains(got, "outbound|9080||later.default.svc.cluster.local") || len(got) != len(a.names(build.ClusterType)) {
		t.Errorf("a second instance: %v", got)
	}
	// Other workloads do not.
	c := ask(t, target, "other", "10.244.9.11")
	c.answer(t, wire.Question{})
	if got := c.names(build.ClusterType); len(got) != 3 {
		t.Errorf("another workload: %v", got)
	}
}
