package build

import (
	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Istio's filters exist in Istio's build of Envoy and in our proxy; a stock Envoy
// refuses them. Their messages are no public Go types: they travel as TypedStruct.
const (
	exchangeName = "istio.metadata_exchange"
	alpnName     = "istio.alpn"
	statsName    = "istio.stats"
)

func typedStruct(typeName string, v *structpb.Struct) *anypb.Any {
	return typed(&udpav1.TypedStruct{TypeUrl: "type.googleapis.com/" + typeName, Value: v})
}

// tcpExchange is the exchange of peer metadata on mTLS connections that agreed on
// ALPN istio-peer-exchange.
func tcpExchange() *anypb.Any {
	return typedStruct("envoy.tcp.metadataexchange.config.MetadataExchange",
		object("protocol", "istio-peer-exchange", "enable_discovery", true))
}

func tcpExchangeFilter() *listenerv3.Filter {
	return &listenerv3.Filter{Name: exchangeName, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: tcpExchange()}}
}

func clusterExchangeFilter() *clusterv3.Filter {
	return &clusterv3.Filter{Name: exchangeName, TypedConfig: tcpExchange()}
}

// httpExchange is the exchange of peer metadata in headers: with callers on the
// inbound side, with callees on the outbound side.
func httpExchange(inbound bool) *hcmv3.HttpFilter {
	side := "upstream"
	if inbound {
		side = "downstream"
	}
	headers := object("istio_headers", &structpb.Struct{})
	return httpFilter(exchangeName, typedStruct("io.istio.http.peer_metadata.Config", object(
		side+"_discovery", []*structpb.Struct{headers, object("workload_discovery", &structpb.Struct{})},
		side+"_propagation", []*structpb.Struct{headers},
	)))
}

// alpn offers the mesh's HTTP protocols to callees, per request.
func alpn() *hcmv3.HttpFilter {
	return httpFilter(alpnName, typedStruct("istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", &structpb.Struct{}))
}

func statsConfig() *anypb.Any { return typedStruct("stats.PluginConfig", &structpb.Struct{}) }

// httpStats counts requests (istio_requests_total and the like).
func httpStats() *hcmv3.HttpFilter { return httpFilter(statsName, statsConfig()) }

// tcpStats counts connections (istio_tcp_connections_opened_total and the like).
func tcpStats() *listenerv3.Filter {
	return &listenerv3.Filter{Name: statsName, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: statsConfig()}}
}
