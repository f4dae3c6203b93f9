package push

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// large is an engine with services, three workloads each, and connected proxies.
func large(b *testing.B, services, proxies int) (*Engine, []registry.Workload) {
	b.Helper()
	var text strings.Builder
	var workloads []registry.Workload
	for i := range services {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Service\nmetadata: {name: s%d}\nspec: {selector: {app: s%d}, ports: [{name: http, port: 9080}]}\n", i, i)
		for n := range 3 {
			workloads = append(workloads, registry.Workload{
				Name: fmt.Sprintf("s%d-%d", i, n), Namespace: "default", Owner: fmt.Sprintf("s%d", i), ServiceAccount: "default",
				Labels: map[string]string{"app": fmt.Sprintf("s%d", i)}, Addr: netip.AddrFrom4([4]byte{10, 200 + byte(n), byte(i >> 8), byte(i)}), Ready: true, Proxied: true,
			})
		}
	}
	list, err := apiDecode(text.String())
	if err != nil {
		b.Fatal(err)
	}
	e, err := New(Options{Objects: &objects{list: list, revision: 1}, Memory: documents{}})
	if err != nil {
		b.Fatal(err)
	}
	for i := range proxies {
		if err := e.Connected(&server.Conn{Node: proxy(fmt.Sprintf("curl-%d", i), fmt.Sprintf("10.244.0.%d", i+1), map[string]any{"app": "curl"})}); err != nil {
			b.Fatal(err)
		}
	}
	e.SetWorkloads(workloads)
	e.b.rebuild(b.Context())
	return e, workloads
}

// BenchmarkReadiness is the path of endpoints: one of 3,000 workloads comes and
// goes, ten proxies.
func BenchmarkReadiness(b *testing.B) {
	e, workloads := large(b, 1000, 10)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		workloads[7].Ready = i%2 == 0
		e.SetWorkloads(workloads)
		e.b.rebuild(b.Context())
	}
}

// BenchmarkFull compiles everything for ten proxies.
func BenchmarkFull(b *testing.B) {
	e, workloads := large(b, 1000, 10)
	source := e.o.Objects.(*objects)
	b.ReportAllocs()
	for b.Loop() {
		source.revision++
		e.SetWorkloads(workloads)
		e.b.rebuild(b.Context())
	}
}
