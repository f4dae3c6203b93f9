package build

import (
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// The shapes of resources are tested by the golden cases of package compile.

func TestPerMillion(t *testing.T) {
	for percent, want := range map[float64]uint32{0: 0, 0.0001: 1, 0.1: 1000, 12.5: 125000, 33.3333: 333333, 99.99999: 1000000, 100: 1000000} {
		if got := perMillion(percent).Numerator; got != want {
			t.Errorf("%v %%: got %d, want %d", percent, got, want)
		}
	}
}

// TestNoEndpoints: a cluster without endpoints has an assignment that says so;
// without one Envoy would go on waiting.
func TestNoEndpoints(t *testing.T) {
	key := ir.Key{Direction: ir.OutboundTo, Port: 80, Host: "a"}
	r, err := Endpoints(ir.Assignment{Cluster: key})
	if err != nil {
		t.Fatal(err)
	}
	var m endpointv3.ClusterLoadAssignment
	if err := proto.Unmarshal(r.Body, &m); err != nil {
		t.Fatal(err)
	}
	if r.Name != "outbound|80||a" || m.ClusterName != r.Name || len(m.Endpoints) != 0 || r.Hash == 0 {
		t.Errorf("got %+v, %v", r, &m)
	}
}

func TestConfigPath(t *testing.T) {
	for ref, want := range map[verdict.Ref]string{
		{Kind: "VirtualService", Namespace: "n", Name: "a"}:  "/apis/networking.istio.io/v1/namespaces/n/virtual-service/a",
		{Kind: "DestinationRule", Namespace: "n", Name: "a"}: "/apis/networking.istio.io/v1/namespaces/n/destination-rule/a",
		{Kind: "Service", Namespace: "n", Name: "a"}:         "",
		{}: "",
	} {
		if got := configPath(ref); got != want {
			t.Errorf("%s: got %q, want %q", ref, got, want)
		}
	}
}

// TestOriginsDoNotChangeResources: who wrote a cluster's policy, and in which
// generation, is no reason to send it again.
func TestOriginsDoNotChangeResources(t *testing.T) {
	at := func(generation int64) *ir.Proxy {
		o := verdict.Origin{Ref: verdict.Ref{Kind: "DestinationRule", Namespace: "n", Name: "a"}, Generation: generation, Path: "spec"}
		return &ir.Proxy{Clusters: []ir.Cluster{{Key: ir.Key{Direction: ir.OutboundTo, Port: 80, Host: "a"}, Origins: []verdict.Origin{o, o}}}}
	}
	one, err := Resources(at(1))
	if err != nil {
		t.Fatal(err)
	}
	two, err := Resources(at(2))
	if err != nil {
		t.Fatal(err)
	}
	if one.Clusters[0].Hash != two.Clusters[0].Hash {
		t.Error("a generation changes the resource")
	}
	if len(one.Clusters[0].Origins) != 1 || one.Clusters[0].Origins[0].Generation != 1 {
		t.Errorf("origins %v", one.Clusters[0].Origins)
	}
}
