package analyze_test

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	appsv1 "k8s.io/api/apps/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/gatewayapi"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/istioapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// result is what the pipeline makes of objects.
type result struct {
	snap    *mesh.Snapshot
	proxies []*ir.Proxy // of a client and of a gateway
	said    []verdict.Status
}

// aged decodes objects; what stands first is the oldest.
func aged(t *testing.T, files ...[]byte) []*api.Object {
	t.Helper()
	var out []*api.Object
	for _, text := range files {
		list, err := api.Decode(bytes.NewReader(text), "x.yaml")
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, list...)
	}
	for i, o := range out {
		o.Meta.Created, o.Meta.Generation = int64(i+1), 1
	}
	return out
}

// pipeline runs all stages that give verdicts, for a sidecar and for a gateway.
func pipeline(t *testing.T, objects []*api.Object) result {
	t.Helper()
	return pipelineAfter(t, objects, compile.Prior{})
}

// pipelineAfter is pipeline with a memory of what was in force.
func pipelineAfter(t *testing.T, objects []*api.Object, prior compile.Prior) result {
	t.Helper()
	config, said := istioapi.Read(objects)
	more, _, gateways := gatewayapi.Read(objects, gatewayapi.Options{})
	config.Add(more)
	in := mesh.Inputs{VIPs: registry.Allocate(nil, netip.MustParsePrefix("10.96.0.0/16"), config.Services)}
	addr := netip.MustParseAddr("10.1.0.1")
	for _, o := range objects {
		if d, ok := o.Spec.(*appsv1.Deployment); ok {
			in.Workloads = append(in.Workloads, registry.Workload{
				Name: o.Meta.Name + "-0", Namespace: o.Meta.Namespace, Owner: o.Meta.Name, OwnerKind: "Deployment", ServiceAccount: "default",
				Labels: d.Spec.Template.Labels, Addr: addr, Ready: true, Proxied: true,
			})
			addr = addr.Next()
		}
	}
	snap, checked := mesh.Build(config, in)
	r := result{snap: snap, said: slices.Concat(said, gateways, checked)}
	for _, n := range []compile.Node{
		{Kind: compile.Sidecar, Namespace: "default", Labels: map[string]string{"app": "client"}, ServiceAccount: "default", Workload: "client"},
		{Kind: compile.Router, Namespace: "default", Labels: map[string]string{"istio": "ingress"}, ServiceAccount: "default", Workload: "ingress"},
	} {
		n.IPs = []netip.Addr{netip.MustParseAddr("10.1.0.99")}
		p, list := compile.Proxy(snap, n, prior)
		r.proxies, r.said = append(r.proxies, p), append(r.said, list...)
	}
	r.said = verdict.Sort(r.said)
	return r
}

// TestConflictCorpus holds what is said of objects that compete, are shadowed or wait:
// each verdict on an object of the case, with the winner that it names.
func TestConflictCorpus(t *testing.T) {
	base, err := os.ReadFile("testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/conflicts/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 60 {
		t.Errorf("%d cases, at least 60 are wanted", len(files))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			own := map[verdict.Ref]bool{}
			for _, o := range aged(t, archive.Files[0].Data) {
				own[o.Ref()] = true
			}
			var b strings.Builder
			problems := 0
			for _, s := range pipeline(t, aged(t, base, archive.Files[0].Data)).said {
				if !own[s.Ref] {
					if s.Code.Problem() && (s.By.IsZero() || !own[s.By]) {
						t.Errorf("an object that is not of the case: %s", s)
					}
					continue
				}
				if s.Code.Problem() {
					problems++
				}
				b.WriteString(s.String())
				if !s.By.IsZero() {
					b.WriteString(" (by " + s.By.String() + ")")
				}
				b.WriteString("\n")
			}
			if *update {
				archive.Files[1].Data = []byte(b.String())
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), b.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if good := strings.HasPrefix(name, "none-"); good != (problems == 0) {
				t.Errorf("%d problems", problems)
			}
		})
	}
}
