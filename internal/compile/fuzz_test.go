package compile_test

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/gatewayapi"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/istioapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/xds/build"
)

// FuzzPipeline: whatever objects decode, the pipeline neither panics nor makes a
// resource that the native proxy refuses: one user's odd object must not stop the
// configuration of everybody else.
func FuzzPipeline(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(sections(ar)["in.yaml"], sections(ar)["services.yaml"])
	}
	base := withBase(f, map[string]string{})
	workloads := readWorkloads(f, base["workloads.yaml"])
	services, err := api.Decode(strings.NewReader(base["services.yaml"]), "base")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in, extra string) {
		objs := services
		for _, text := range []string{in, extra} {
			list, err := api.Decode(strings.NewReader(text), "-")
			if err != nil {
				return
			}
			objs = append(objs[:len(objs):len(objs)], list...)
		}
		cfg, said := istioapi.Read(objs)
		second, _, saidToo := gatewayapi.Read(objs, gatewayapi.Options{})
		cfg.Add(second)
		said = append(said, saidToo...)
		vips := registry.Allocate(nil, netip.MustParsePrefix("10.96.0.0/16"), cfg.Services)
		snap, more := mesh.Build(cfg, mesh.Inputs{Workloads: workloads, VIPs: vips})
		checkStatuses(t, append(said, more...))
		prior := compile.Next(snap, nil)
		for _, cn := range []caseNode{{Workload: "productpage-v1-0"}, {Workload: "productpage-v1-0", Interception: "NONE"}, {Workload: "gateway-0", Kind: "router"}} {
			p, statuses := compile.Proxy(snap, nodeOf(t, cn, workloads), prior)
			checkStatuses(t, statuses)
			set, err := build.Resources(p)
			if err != nil {
				t.Fatal(err)
			}
			acceptable(t, &pipeline{proxy: p, set: set})
			ir.Sum(p)
		}
	})
}

func checkStatuses(t *testing.T, list []verdict.Status) {
	t.Helper()
	for _, s := range list {
		if s.IsZero() || s.Code == "" || s.Code.Problem() && s.Message == "" {
			t.Errorf("half a verdict: %+v", s)
		}
	}
}
