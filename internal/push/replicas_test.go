package push

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// replica is an engine with a source of its own, and a memory that it shares.
type replica struct {
	*Engine
	source *objects
	conn   *server.Conn
}

func newReplica(t *testing.T, shared Memory, leads bool) *replica {
	t.Helper()
	r := &replica{source: &objects{}}
	var err error
	r.Engine, err = New(Options{Objects: r.source, Memory: shared, Metrics: prometheus.NewRegistry(), NameTable: true, Remembers: func() bool { return leads }})
	if err != nil {
		t.Fatal(err)
	}
	r.conn = connect(t, r.Engine, proxy("curl", "10.244.9.9", nil))
	r.SetWorkloads([]registry.Workload{workload("reviews", "v1", 0), workload("reviews", "v2", 0)})
	return r
}

// sees gives the replica a route to a subset of reviews.
func (r *replica) sees(t *testing.T, subset string) {
	t.Helper()
	r.source.list = decode(t, meshYAML+fmt.Sprintf(`
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{name: all, route: [{destination: {host: reviews, subset: %s}}]}]
`, subset))
	r.source.revision++
	r.b.rebuild(t.Context())
}

func (r *replica) state() map[string]string { return versions(r.conn.State()) }

// TestReplicas: of two replicas one missed a change. Since both remember what the
// leader keeps, they serve the same bytes all the same: a route to a subset that is
// not there yet stays where the leader saw it last.
func TestReplicas(t *testing.T) {
	for _, alone := range []bool{false, true} {
		shared := documents{}
		leader, follower := newReplica(t, shared, true), newReplica(t, shared, alone)
		if alone {
			// The proof that the test can fail: without the shared memory they differ.
			follower.o.Memory = documents{}
		}
		for _, subset := range []string{"v1", "v2", "v3"} { // there is no v3
			leader.sees(t, subset)
			if subset != "v2" {
				follower.sees(t, subset)
			}
		}
		diff := cmp.Diff(leader.state(), follower.state())
		if alone != (diff != "") {
			t.Errorf("alone %v: the replicas differ: %q", alone, diff)
		}
	}
}

// TestRecall: what the leader keeps acts on the others without a change of their
// own, and what a replica has learned is kept once it leads.
func TestRecall(t *testing.T) {
	shared, leads := documents{}, false
	leader, follower := newReplica(t, shared, true), newReplica(t, shared, false)
	follower.sees(t, "v1")
	follower.sees(t, "v3")
	for _, subset := range []string{"v1", "v2", "v3"} {
		leader.sees(t, subset)
	}
	if cmp.Equal(leader.state(), follower.state()) {
		t.Fatal("they agree by chance")
	}
	follower.Recall()
	follower.b.rebuild(t.Context())
	if d := cmp.Diff(leader.state(), follower.state()); d != "" {
		t.Errorf("after a recall they differ: %s", d)
	}

	fresh := documents{}
	first := newReplica(t, fresh, false)
	first.o.Remembers = func() bool { return leads }
	first.sees(t, "v1")
	if len(fresh) != 0 {
		t.Error("a replica that does not lead keeps something")
	}
	leads = true
	first.Recall()
	first.b.rebuild(t.Context())
	if len(fresh) == 0 {
		t.Error("the new leader keeps nothing")
	}
}

// TestNameTable: names that the cluster's DNS has are left out; who may not see a
// service is not told of it; equal tables are one resource.
func TestNameTable(t *testing.T) {
	r := newReplica(t, documents{}, true)
	r.source.list = decode(t, `
apiVersion: v1
kind: Service
metadata: {name: known}
spec: {clusterIP: 10.96.0.9, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: reviews}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: ours}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: hidden, namespace: other, annotations: {networking.istio.io/exportTo: "."}}
spec: {ports: [{port: 80}]}
`)
	r.source.revision++
	r.b.rebuild(t.Context())
	before := r.conn.State().Types[wire.NameTableType][wire.NameTableResource]
	table, err := wire.UnmarshalNameTable(before.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(table) != 1 || len(table["ours.default.svc.cluster.local"].Addrs) != 1 {
		t.Errorf("names %v", table)
	}
	r.SetWorkloads([]registry.Workload{workload("reviews", "v1", 0)})
	r.b.rebuild(t.Context())
	if after := r.conn.State().Types[wire.NameTableType][wire.NameTableResource]; after != before {
		t.Error("unchanged names are sent again")
	}
	if proxies := r.ProxyStatuses(); len(proxies) != 0 {
		t.Errorf("a tool counts as a proxy: %v", proxies)
	}
}
