package compile_test

import (
	"os"
	"testing"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/xds/build"
)

// acceptable parses every resource of a native proxy as the proxy does: what the
// control plane sends is never a NACK.
func acceptable(t *testing.T, p *pipeline) {
	t.Helper()
	acceptableBut(t, p, map[uint64]bool{})
}

// acceptableBut leaves out resources with a known hash, and adds the new ones.
func acceptableBut(t *testing.T, p *pipeline, known map[uint64]bool) {
	t.Helper()
	if p.proxy.DataPlane != ir.Native {
		return
	}
	deps := config.Deps{Gateway: p.proxy.Gateway, Filters: []config.FilterBuilder{
		anyFilter{"istio.metadata_exchange", "io.istio.http.peer_metadata.Config"},
		anyFilter{"envoy.filters.http.grpc_stats", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"},
		anyFilter{"istio.alpn", "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"},
		anyFilter{"envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"},
		anyFilter{"envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"},
		anyFilter{"envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"},
	}}
	for _, list := range [][]build.Resource{p.set.Listeners, p.set.Routes, p.set.Clusters, p.set.Endpoints} {
		for _, r := range list {
			if known[r.Hash] {
				continue
			}
			known[r.Hash] = true
			if _, err := config.Parse(r.TypeURL, r.Body, deps); err != nil {
				t.Errorf("the native proxy refuses %s: %v", r.Name, err)
			}
		}
	}
}

// anyFilter accepts any configuration of a type.
type anyFilter struct{ name, typeName string }

func (f anyFilter) Name() string       { return f.name }
func (f anyFilter) TypeURLs() []string { return []string{"type.googleapis.com/" + f.typeName} }

func (f anyFilter) Parse(string, []byte) (any, error) { return f.typeName, nil }

func (f anyFilter) ParseOverride(string, []byte) (any, error) { return f.typeName, nil }

func (f anyFilter) New(any, int) (stream.Filter, error) { return nil, nil }

func writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
