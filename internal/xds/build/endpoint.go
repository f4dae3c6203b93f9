package build

import (
	"cmp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

// Endpoints builds one cluster's endpoints alone: the path of changes that touch
// workloads and nothing else. The result equals the one in Resources' set. A
// cluster without endpoints has an empty assignment, not none.
func Endpoints(a ir.Assignment) (Resource, error) {
	return resource(EndpointType, a.Cluster.String(), assignment(&a), nil)
}

func assignment(a *ir.Assignment) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: a.Cluster.String()}
	for i := range a.Localities {
		l := &a.Localities[i]
		group := &endpointv3.LocalityLbEndpoints{
			Locality: &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.Subzone},
			Priority: l.Priority,
		}
		var weight uint32
		for j := range l.Endpoints {
			group.LbEndpoints = append(group.LbEndpoints, endpoint(&l.Endpoints[j]))
			weight += max(l.Endpoints[j].Weight, 1)
		}
		group.LoadBalancingWeight = wrapperspb.UInt32(cmp.Or(l.Weight, weight))
		out.Endpoints = append(out.Endpoints, group)
	}
	return out
}

func endpoint(e *ir.Endpoint) *endpointv3.LbEndpoint {
	parts := map[string]*structpb.Struct{"istio": object("workload", e.Label)}
	if e.MeshTLS {
		parts["envoy.transport_socket_match"] = object("tlsMode", "istio")
	}
	host := e.Name
	if host == "" {
		host = e.Addr.Addr().String()
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: address(host, e.Addr.Port()),
		}},
		Metadata:            metadata(parts),
		LoadBalancingWeight: wrapperspb.UInt32(max(e.Weight, 1)),
	}
}
