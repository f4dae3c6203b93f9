package internal

import (
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/lateen-mesh/lateen/"

// layers is the partial order of the packages, in the grammar of Go's own
// go/build/deps_test.go: "a, b < c, d" says that c and d may import a and b and
// whatever these may import. Names are relative to internal/; NONE is the bottom.
// A package that is missing here fails the test: say first where it belongs.
const layers = `
	# ground: the standard library and libraries only
	NONE < verdict, spiffe, ops, wire, sum, proxy/stream, proxy/timer, proxy/rawio, testkit/cert, testkit/apiserver;
	proxy/rawio < testkit/pipe, testkit/socket;

	# workload side
	proxy/stream < proxy/stream/streamtest;
	proxy/stream, proxy/rawio < proxy/http1;
	proxy/stream, proxy/rawio < proxy/http2;
	proxy/stream < proxy/config/format;
	proxy/config/format < proxy/config;
	proxy/config < proxy/match, proxy/balance;
	proxy/match, proxy/balance < explain;

	proxy/config, proxy/rawio, spiffe < proxy/tlsctx;
	proxy/tlsctx, proxy/balance, proxy/http1, proxy/http2, proxy/timer < proxy/upstream;
	proxy/upstream, proxy/match < proxy/router, proxy/relay;
	proxy/config, proxy/match, proxy/rawio < proxy/filters/fault, proxy/filters/rbac, proxy/filters/cors, proxy/filters/grpcstats, proxy/filters/alpn, proxy/filters/peermeta;
	proxy/config, proxy/filters/peermeta, proxy/match < proxy/telemetry;
	proxy/match, proxy/tlsctx, proxy/http1 < proxy/listener;
	proxy/match, proxy/http1, proxy/http2, proxy/telemetry < proxy/hcm;
	NONE < xds/client;
	proxy/stream, wire, xds/client < proxy/demand;
	wire < proxy/report;
	proxy/config, proxy/filters/peermeta, wire < proxy/tap;
	ops < proxy/overload;
	proxy/router, proxy/relay, proxy/listener, proxy/hcm, proxy/telemetry, proxy/report, proxy/tap, proxy/overload, proxy/demand, xds/client, ops,
	proxy/filters/fault, proxy/filters/rbac, proxy/filters/cors, proxy/filters/grpcstats, proxy/filters/alpn, proxy/filters/peermeta
	< proxy;
	spiffe, proxy/tlsctx < identity;
	proxy/rawio, ops < intercept < cni;
	NONE < dns;
	ops < agent/pod, agent/uplink, agent/probes, agent/scrape, agent/life;
	agent/probes, agent/scrape, agent/life < agent/pages;
	xds/client < xds/client/cache;
	identity, agent/pod, agent/uplink, agent/pages, xds/client/cache, dns, wire < agent/sidecar;
	identity, proxy, intercept, agent/sidecar < proxy/command;
	identity, ops, xds/client, proxy/telemetry, agent/sidecar < agent;

	# API
	verdict < api < api/validate;
	api < store;
	spiffe < ca;

	# model
	verdict < registry;
	registry, sum < mesh;
	api, api/validate, mesh < istioapi;
	api, mesh < gatewayapi < gatewaydeploy;
	istioapi, gatewayapi < analyze < cli;

	# per variant
	verdict, sum < ir;
	mesh, ir < compile;
	ir < xds/build;
	NONE < xds/server;
	istioapi, gatewayapi, compile, sum, xds/build, xds/server, store, wire < push;

	# above
	verdict < inject < controlplane, cli;
	api, api/validate, registry, gatewaydeploy < kube;
	kube < kube/apply < install < cli;
	kube < kube/forward < cli;
	api < describe < cli;
	kube < controlplane;
	api, api/validate, store < controlplane/configapi;
	api, api/validate < webhook;
	wire < history < observe;
	push, controlplane/configapi, explain, observe < console < controlplane;
	push, ca, controlplane/configapi, explain, ops < controlplane < controlplane/cluster < controlplane/command;
	kube, inject, webhook < controlplane/cluster;
	controlplane/command, controlplane, proxy/command, agent, dns < local < cli;
	push, kube < doctor < cli;
`

// grammar holds for each package what it may import.
type grammar map[string]map[string]bool

func parseLayers(t *testing.T, text string) grammar {
	t.Helper()
	g := grammar{}
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		b.WriteString(line)
	}
	for rule := range strings.SplitSeq(b.String(), ";") {
		var below []string
		for group := range strings.SplitSeq(rule, "<") {
			var names []string
			for name := range strings.SplitSeq(group, ",") {
				if name = strings.TrimSpace(name); name != "" && name != "NONE" {
					names = append(names, name)
				}
			}
			for _, n := range names {
				if g[n] == nil {
					g[n] = map[string]bool{}
				}
				for _, b := range below {
					g[n][b] = true
				}
			}
			below = append(below, names...)
		}
	}
	for changed := true; changed; { // close transitively
		changed = false
		for _, may := range g {
			for b := range maps.Clone(may) {
				for c := range g[b] {
					changed = changed || !may[c]
					may[c] = true
				}
			}
		}
	}
	for n, may := range g {
		if may[n] {
			t.Fatalf("%s is above itself", n)
		}
	}
	return g
}

// allows tells whether pkg may import dep, both relative to internal/. A package
// below a named one that is not named itself belongs to it.
func (g grammar) allows(pkg, dep string) error {
	p, ok := g.find(pkg)
	if !ok {
		return fmt.Errorf("%s has no layer: name it in internal/deps_test.go", pkg)
	}
	d, ok := g.find(dep)
	if !ok {
		return fmt.Errorf("%s has no layer: name it in internal/deps_test.go", dep)
	}
	if p != d && !g[p][d] {
		return fmt.Errorf("%s imports %s, which is not below it", pkg, dep)
	}
	return nil
}

func (g grammar) find(pkg string) (string, bool) {
	for p := pkg; ; {
		if _, ok := g[p]; ok {
			return p, true
		}
		i := strings.LastIndexByte(p, '/')
		if i < 0 {
			return "", false
		}
		p = p[:i]
	}
}

// goList runs go list and returns its lines.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		if e, ok := err.(*exec.ExitError); ok {
			err = fmt.Errorf("%w: %s", err, e.Stderr)
		}
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestLayers(t *testing.T) {
	g := parseLayers(t, layers)
	for _, line := range goList(t, "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./internal/...") {
		f := strings.Fields(line)
		pkg, ok := strings.CutPrefix(f[0], module+"internal/")
		if !ok {
			continue // this package
		}
		for _, dep := range f[1:] {
			if dep, ok := strings.CutPrefix(dep, module+"internal/"); ok {
				if err := g.allows(pkg, dep); err != nil {
					t.Error(err)
				}
			} else if dep == module+"charts" && pkg == "install" {
				continue // the charts are embedded beside their files
			} else if dep == module+"web" && pkg == "controlplane" {
				continue // so are the console's pages
			} else if strings.HasPrefix(dep, module) && pkg != "cli" && pkg != "local" && !strings.HasPrefix(pkg, "local/") {
				t.Errorf("%s imports %s: only cli and local know the samples", pkg, dep)
			}
		}
	}
}

// TestLayersCanFail proves that the check above sees what it should.
func TestLayersCanFail(t *testing.T) {
	g := parseLayers(t, layers)
	for pkg, dep := range map[string]string{
		"proxy/router": "mesh", "proxy": "api", "ir": "api", "mesh": "istioapi", "verdict": "ops", "explain": "proxy/upstream", "store": "push",
		"proxy/stream": "proxy/config", "nowhere": "ops",
	} {
		if g.allows(pkg, dep) == nil {
			t.Errorf("%s may import %s", pkg, dep)
		}
	}
	if err := g.allows("proxy", "proxy/stream"); err != nil {
		t.Error(err)
	}
}

// TestSidecarLinksLittle: lateen-proxy stays small because it links neither
// Kubernetes nor the control plane, and of Istio only the CSR service.
func TestSidecarLinksLittle(t *testing.T) {
	deps := goList(t, "-deps", "-tags", "grpcnotrace", "./cmd/lateen-proxy") // as the Makefile builds it
	for _, dep := range deps {
		foreign := strings.HasPrefix(dep, "k8s.io/") || strings.HasPrefix(dep, "sigs.k8s.io/") ||
			strings.HasPrefix(dep, "istio.io/") && dep != "istio.io/api/security/v1alpha1"
		if foreign {
			t.Errorf("lateen-proxy links %s", dep)
		}
		if dep == "text/template" || dep == "html/template" {
			// They call methods by computed names: the linker then keeps every method of
			// every type, which makes the binary larger by half.
			t.Errorf("lateen-proxy links %s", dep)
		}
		rel, own := strings.CutPrefix(dep, module+"internal/")
		if top, _, _ := strings.Cut(rel, "/"); own && slices.Contains([]string{"api", "store", "mesh", "istioapi", "registry", "ir", "compile", "push", "controlplane", "local", "cli", "ca"}, top) {
			t.Errorf("lateen-proxy links %s", dep)
		}
	}
	if !slices.Contains(deps, module+"internal/proxy") {
		t.Error("lateen-proxy does not link the proxy: is this test looking at the right command?")
	}
}
