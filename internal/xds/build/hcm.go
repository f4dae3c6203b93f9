package build

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// manager is what all connection managers have in common.
func (b *builder) manager(statPrefix string, inbound bool) *hcmv3.HttpConnectionManager {
	out := &hcmv3.HttpConnectionManager{
		StatPrefix:        statPrefix,
		HttpFilters:       b.httpFilters(inbound),
		AccessLog:         accessLogs(),
		StreamIdleTimeout: durationpb.New(0),
		UseRemoteAddress:  wrapperspb.Bool(false),
		Proxy_100Continue: true,
		// WebSockets come over HTTP/2 too (RFC 8441), also from a proxy that upgrades
		// requests between the two.
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{AllowConnect: true},
		UpgradeConfigs:       []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		RequestIdExtension: &hcmv3.RequestIDExtension{TypedConfig: typed(&uuidv3.UuidRequestIdConfig{
			UseRequestIdForTraceSampling: wrapperspb.Bool(true),
		})},
	}
	b.requests(out)
	return out
}

// outboundManager serves a sidecar's workload.
func (b *builder) outboundManager(statPrefix, table string) *hcmv3.HttpConnectionManager {
	m := b.manager(statPrefix, false)
	m.RouteSpecifier = rds(table)
	return m
}

// inboundManager stands before a workload: it tells it who calls (XFCC).
func (b *builder) inboundManager(statPrefix string, routes *routev3.RouteConfiguration) *hcmv3.HttpConnectionManager {
	m := b.manager(statPrefix, true)
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes}
	b.server(m)
	b.clientCert(m)
	return m
}

// edgeManager serves clients from outside: it trusts no header of theirs.
func (b *builder) edgeManager(statPrefix, table string) *hcmv3.HttpConnectionManager {
	m := b.outboundManager(statPrefix, table)
	b.server(m)
	m.HttpProtocolOptions = b.http1()
	m.UseRemoteAddress = wrapperspb.Bool(true)
	b.edge(m)
	m.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{
		Subject: wrapperspb.Bool(true), Cert: true, Dns: true, Uri: true,
	}
	return m
}

func rds(table string) *hcmv3.HttpConnectionManager_Rds {
	return &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: ads(), RouteConfigName: table}}
}

func httpManager(m *hcmv3.HttpConnectionManager) *listenerv3.Filter {
	return &listenerv3.Filter{
		Name:       "envoy.filters.network.http_connection_manager",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: typed(m)},
	}
}
