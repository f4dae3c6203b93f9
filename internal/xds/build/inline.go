package build

import (
	"strconv"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

// inboundRoutes is the inline route table before a workload: everything goes to
// one port. Requests that were not sent yet are tried again when the connection
// turns out closed.
func (b *builder) inboundRoutes(key ir.Key, port uint16, services []ir.ServiceRef) *routev3.RouteConfiguration {
	operation := ":" + strconv.Itoa(int(port)) + "/*"
	if len(services) > 0 {
		operation = services[0].Host + ":" + strconv.Itoa(int(services[0].Port)) + "/*"
	}
	table := inlineTable(key.String(), "inbound|http|"+strconv.Itoa(int(port)), &routev3.Route{
		Name:  "default",
		Match: anyPath(),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: key.String()},
			Timeout:          durationpb.New(0),
			RetryPolicy:      &routev3.RetryPolicy{RetryOn: "reset-before-request", NumRetries: wrapperspb.UInt32(2)},
			MaxStreamDuration: &routev3.RouteAction_MaxStreamDuration{
				MaxStreamDuration:    durationpb.New(0),
				GrpcTimeoutHeaderMax: durationpb.New(0),
			},
		}},
		Decorator: &routev3.Decorator{Operation: operation},
	})
	if !b.native() {
		// The filter istio.metadata_exchange takes them away where there is one.
		table.RequestHeadersToRemove = []string{"x-envoy-peer-metadata", "x-envoy-peer-metadata-id"}
	}
	return table
}

func inlineTable(name, host string, r *routev3.Route) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:             name,
		VirtualHosts:     []*routev3.VirtualHost{{Name: host, Domains: []string{"*"}, Routes: []*routev3.Route{r}}},
		ValidateClusters: wrapperspb.Bool(false),
	}
}

func anyPath() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}
