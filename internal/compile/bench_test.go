package compile_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/xds/build"
)

// bigMesh has n services of three workloads each; every fourth has a rule set and
// a policy with two subsets.
func bigMesh(n int) (mesh.Config, mesh.Inputs) {
	cfg, in := mesh.Config{}, mesh.Inputs{VIPs: map[string]netip.Addr{}}
	addr := netip.MustParseAddr("10.244.0.1")
	vip := netip.MustParseAddr("10.96.0.1")
	for i := range n {
		name, ns := fmt.Sprintf("svc-%04d", i), fmt.Sprintf("ns-%02d", i%20)
		svc := registry.Service{
			Origin: verdict.Origin{Ref: verdict.Ref{Kind: "Service", Namespace: ns, Name: name}},
			Name:   name, Namespace: ns, Selector: map[string]string{"app": name},
			Ports: []registry.ServicePort{{Name: "http", Number: 80, TargetNumber: 8080, Protocol: registry.HTTP}},
		}
		cfg.Services = append(cfg.Services, svc)
		in.VIPs[svc.Key()] = vip
		vip = vip.Next()
		for j := range 3 {
			in.Workloads = append(in.Workloads, registry.Workload{
				Name: fmt.Sprintf("%s-%d", name, j), Namespace: ns, Owner: name, ServiceAccount: name, Addr: addr, Ready: true, Proxied: true,
				Labels: map[string]string{"app": name, "version": fmt.Sprintf("v%d", j%2+1)},
			})
			addr = addr.Next()
		}
		if i%4 == 0 {
			addRules(&cfg, name, ns)
		}
	}
	return cfg, in
}

func addRules(cfg *mesh.Config, name, ns string) {
	host := mesh.Hostname(name, ns)
	at := func(kind string) mesh.Meta {
		return mesh.Meta{Origin: verdict.Origin{Ref: verdict.Ref{Kind: kind, Namespace: ns, Name: name}}}
	}
	cfg.Policies = append(cfg.Policies, mesh.HostPolicy{Meta: at("DestinationRule"), Namespace: ns, Name: name, Host: host, Subsets: []mesh.Subset{
		{Name: "v1", Labels: map[string]string{"version": "v1"}}, {Name: "v2", Labels: map[string]string{"version": "v2"}},
	}})
	rule := func(subset string, matches ...mesh.HTTPMatch) mesh.HTTPRule {
		return mesh.HTTPRule{Origin: at("VirtualService").Origin.At("spec.http"), Matches: matches, Destinations: []mesh.Destination{{Host: host, Subset: subset, Weight: 100}}}
	}
	cfg.Routes = append(cfg.Routes, mesh.RouteSet{
		Meta: at("VirtualService"), Namespace: ns, Name: name, Hosts: []string{host}, Gateways: []string{mesh.MeshGateway},
		HTTP: []mesh.HTTPRule{
			rule("v2", mesh.HTTPMatch{Headers: []mesh.NamedMatch{{Name: "end-user", StringMatch: mesh.StringMatch{Kind: mesh.Exact, Value: "jason"}}}}),
			rule("v1"),
		},
	})
}

func benchNode() compile.Node {
	return compile.Node{
		Kind: compile.Sidecar, Namespace: "ns-00", Labels: map[string]string{"app": "svc-0000", "version": "v1"},
		IPs: []netip.Addr{netip.MustParseAddr("10.244.0.1")}, Workload: "svc-0000", DataPlane: ir.Native,
	}
}

func BenchmarkBuild(b *testing.B) {
	cfg, in := bigMesh(1000)
	b.ReportAllocs()
	for b.Loop() {
		mesh.Build(cfg, in)
	}
}

func BenchmarkProxy(b *testing.B) {
	snap, _ := mesh.Build(bigMesh(1000))
	b.ReportAllocs()
	for b.Loop() {
		compile.Proxy(snap, benchNode(), nil)
	}
}

func BenchmarkResources(b *testing.B) {
	snap, _ := mesh.Build(bigMesh(1000))
	p, _ := compile.Proxy(snap, benchNode(), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := build.Resources(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEndpoints(b *testing.B) {
	snap, _ := mesh.Build(bigMesh(1000))
	node, key := benchNode(), ir.Key{Direction: ir.OutboundTo, Port: 80, Host: mesh.Hostname("svc-0500", "ns-00")}
	b.ReportAllocs()
	for b.Loop() {
		a, ok := compile.Endpoints(snap, node, key)
		if _, err := build.Endpoints(a); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	snap, _ := mesh.Build(bigMesh(1000))
	p, _ := compile.Proxy(snap, benchNode(), nil)
	b.ReportAllocs()
	for b.Loop() {
		ir.Sum(p)
	}
}
