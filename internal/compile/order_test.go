package compile_test

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/xds/build"
)

// TestOrderDoesNotMatter: the same objects and workloads in any order give the
// same bytes and the same verdicts, on every replica and after every restart.
func TestOrderDoesNotMatter(t *testing.T) {
	eachCase(t, func(t *testing.T, in map[string]string, cn caseNode) {
		want := run(t, in, cn, nil)
		for seed := range uint64(5) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			got := run(t, in, cn, func(objs []*api.Object, ws []registry.Workload) {
				rnd.Shuffle(len(objs), func(i, j int) { objs[i], objs[j] = objs[j], objs[i] })
				rnd.Shuffle(len(ws), func(i, j int) { ws[i], ws[j] = ws[j], ws[i] })
			})
			if diff := gocmp.Diff(want.statuses, got.statuses); diff != "" {
				t.Fatalf("verdicts, seed %d:\n%s", seed, diff)
			}
			if ir.Sum(want.proxy) != ir.Sum(got.proxy) {
				t.Fatalf("ir, seed %d:\n%s", seed, gocmp.Diff(dumpIR(t, want.proxy, nil), dumpIR(t, got.proxy, nil)))
			}
			sameSet(t, want.set, got.set)
		}
	})
}

func sameSet(t *testing.T, want, got *build.Set) {
	t.Helper()
	a, b := all(want), all(got)
	if len(a) != len(b) {
		t.Fatalf("%d resources, want %d", len(b), len(a))
	}
	for i := range a {
		if a[i].Name != b[i].Name || a[i].Hash != b[i].Hash || !bytes.Equal(a[i].Body, b[i].Body) {
			t.Fatalf("resource %s: want %v, got %v", a[i].Name, dumpResource(t, a[i]), dumpResource(t, b[i]))
		}
		if diff := gocmp.Diff(a[i].Origins, b[i].Origins); diff != "" {
			t.Fatalf("origins of %s:\n%s", a[i].Name, diff)
		}
	}
}

func all(s *build.Set) []build.Resource {
	return slices.Concat(s.Listeners, s.Routes, s.Clusters, s.Endpoints, s.Secrets)
}

// TestEndpointsAlone: the path for endpoint changes gives what the whole does.
func TestEndpointsAlone(t *testing.T) {
	eachCase(t, func(t *testing.T, in map[string]string, cn caseNode) {
		p := run(t, in, cn, nil)
		if len(p.proxy.Assignments) != len(p.set.Endpoints) {
			t.Fatalf("%d assignments, %d resources", len(p.proxy.Assignments), len(p.set.Endpoints))
		}
		for _, a := range p.proxy.Assignments {
			alone, ok := compile.Endpoints(p.snap, p.node, a.Cluster)
			if !ok {
				t.Errorf("no endpoints of %s", a.Cluster)
			}
			got, err := build.Endpoints(alone)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(p.set.Endpoints, func(r build.Resource) bool { return r.Name == a.Cluster.String() })
			if i < 0 || !bytes.Equal(p.set.Endpoints[i].Body, got.Body) {
				t.Errorf("endpoints of %s differ from those of the whole", a.Cluster)
			}
		}
		for _, key := range []ir.Key{
			{Direction: ir.OutboundTo, Port: 9080, Host: "nobody.default.svc.cluster.local"},
			{Direction: ir.OutboundTo, Port: 1, Host: "reviews.default.svc.cluster.local"},
			{Direction: ir.OutboundTo, Port: 9080, Subset: "no-such", Host: "reviews.default.svc.cluster.local"},
			{Direction: ir.BlackHole},
		} {
			if _, ok := compile.Endpoints(p.snap, p.node, key); ok {
				t.Errorf("%s has endpoints", key)
			}
		}
	})
}

// TestReferences: what routes, listeners and assignments name exists in the same
// set, so that no request meets a hole that the control plane made.
func TestReferences(t *testing.T) {
	eachCase(t, func(t *testing.T, in map[string]string, cn caseNode) {
		p := run(t, in, cn, nil).proxy
		clusters, tables := map[ir.Key]bool{}, map[string]bool{}
		for i := range p.Clusters {
			if clusters[p.Clusters[i].Key] {
				t.Errorf("cluster %s is there twice", p.Clusters[i].Key)
			}
			clusters[p.Clusters[i].Key] = true
		}
		check := func(where string, list []ir.WeightedCluster) {
			for _, w := range list {
				if !clusters[w.Cluster] && w.Cluster.Direction != ir.Unusable {
					t.Errorf("%s names the cluster %s, which is not there", where, w.Cluster)
				}
			}
		}
		for i := range p.Tables {
			tables[p.Tables[i].Name] = true
			for _, h := range p.Tables[i].Hosts {
				for j := range h.Routes {
					check(h.Name, h.Routes[j].Clusters)
					for _, m := range h.Routes[j].Mirrors {
						check(h.Name, []ir.WeightedCluster{{Cluster: m.Cluster}})
					}
				}
			}
		}
		for i := range p.Outbound {
			l := &p.Outbound[i]
			for j := range l.Chains {
				check("listener", l.Chains[j].To)
			}
			for _, name := range append([]string{l.Table}, terminatedTables(l)...) {
				if name != "" && !tables[name] {
					t.Errorf("a listener names the table %s, which is not there", name)
				}
			}
		}
	})
}

func terminatedTables(l *ir.Listener) []string {
	var out []string
	for i := range l.Chains {
		out = append(out, l.Chains[i].Table)
	}
	return out
}

func eachCase(t *testing.T, f func(t *testing.T, in map[string]string, cn caseNode)) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden cases: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := withBase(t, sections(ar))
			var cn caseNode
			decodeYAML(t, in["node.yaml"], &cn)
			f(t, in, cn)
		})
	}
}
