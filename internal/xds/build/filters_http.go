package build

import (
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

func httpFilter(name string, cfg *anypb.Any) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: cfg}}
}

// httpFilters is the chain of a connection manager, in Istio's order.
func (b *builder) httpFilters(inbound bool) []*hcmv3.HttpFilter {
	var out []*hcmv3.HttpFilter
	if b.native() {
		out = append(out, httpExchange(inbound))
	}
	out = append(out, grpcStats())
	if b.native() && !inbound {
		out = append(out, alpn())
	}
	out = append(out, httpFilter(faultName, typed(&faultv3.HTTPFault{})), httpFilter(corsName, typed(&corsv3.Cors{})))
	if b.native() {
		out = append(out, httpStats())
	}
	return append(out, httpFilter("envoy.filters.http.router", typed(&routerv3.Router{SuppressEnvoyHeaders: b.p.Requests.NoDebugHeaders})))
}

func grpcStats() *hcmv3.HttpFilter {
	return httpFilter("envoy.filters.http.grpc_stats", typed(&grpcstatsv3.FilterConfig{
		EmitFilterState:        true,
		PerMethodStatSpecifier: &grpcstatsv3.FilterConfig_StatsForAllMethods{},
	}))
}
