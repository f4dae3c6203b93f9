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
	name := a.Cluster.String()
	out := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	for i := range a.Localities {
		l := &a.Localities[i]
		group := &endpointv3.LocalityLbEndpoints{
			Locality:            &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.Subzone},
			LoadBalancingWeight: wrapperspb.UInt32(cmp.Or(l.Weight, uint32(len(l.Endpoints)))),
			Priority:            l.Priority,
		}
		for j := range l.Endpoints {
			group.LbEndpoints = append(group.LbEndpoints, endpoint(&l.Endpoints[j]))
		}
		out.Endpoints = append(out.Endpoints, group)
	}
	return resource(EndpointType, name, out, nil)
}

func endpoint(e *ir.Endpoint) *endpointv3.LbEndpoint {
	parts := map[string]*structpb.Struct{"istio": object("workload", e.Label)}
	if e.MeshTLS {
		parts["envoy.transport_socket_match"] = object("tlsMode", "istio")
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: address(e.Addr.Addr().String(), e.Addr.Port()),
		}},
		Metadata:            metadata(parts),
		LoadBalancingWeight: wrapperspb.UInt32(1),
	}
}
