package main

import "fmt"

// typed is a filter whose configuration is Istio's own.
func typed(name, kind string, value m) m {
	return m{"name": name, "typed_config": m{"@type": typePrefix + "udpa.type.v1.TypedStruct", "type_url": typePrefix + kind, "value": value}}
}

func native(name, kind string) m {
	return m{"name": name, "typed_config": m{"@type": typePrefix + kind}}
}

// accessLog writes where nothing is kept: twenty minutes of lines would fill a disk,
// and the writer is exercised all the same.
func accessLog() []m {
	return []m{{"name": "envoy.access_loggers.file", "typed_config": m{
		"@type": typePrefix + "envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/null",
		"log_format": m{"text_format_source": m{"inline_string": "[%START_TIME%] \"%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST%\n"}},
	}}}
}

// manager is an HTTP connection manager with the filters of Istio's sidecars.
func manager(side string, version int, routing m) m {
	peers := m{"upstream_discovery": []m{{"istio_headers": m{}}}, "upstream_propagation": []m{{"istio_headers": m{}}}}
	if side == "inbound" {
		peers = m{"downstream_discovery": []m{{"istio_headers": m{}}}, "downstream_propagation": []m{{"istio_headers": m{}}}}
	}
	filters := []m{
		typed("istio.metadata_exchange", "io.istio.http.peer_metadata.Config", peers),
		native("envoy.filters.http.grpc_stats", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"),
	}
	if side == "outbound" {
		filters = append(filters, typed("istio.alpn", "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", m{}))
	}
	filters = append(filters,
		native("envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
		native("envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"),
		typed("istio.stats", "stats.PluginConfig", m{}),
		native("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"))
	config := m{
		"@type":       typePrefix + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": side, "server_name": fmt.Sprintf("soak-%d", version), "normalize_path": true, "use_remote_address": false,
		"stream_idle_timeout": "0s", "request_headers_timeout": "5s", "upgrade_configs": []m{{"upgrade_type": "websocket"}},
		"http2_protocol_options": m{"allow_connect": true}, "access_log": accessLog(), "http_filters": filters,
	}
	for k, v := range routing {
		config[k] = v
	}
	return m{"name": "envoy.filters.network.http_connection_manager", "typed_config": config}
}

// tcpFilters are those before the TCP proxy.
func tcpFilters() []m {
	return []m{
		typed("istio.metadata_exchange", "envoy.tcp.metadataexchange.config.MetadataExchange", m{"protocol": "istio-peer-exchange"}),
		typed("istio.stats", "stats.PluginConfig", m{}),
	}
}

func tcpProxy(cluster string) m {
	return m{"name": "envoy.filters.network.tcp_proxy", "typed_config": m{
		"@type":       typePrefix + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
		"stat_prefix": cluster, "cluster": cluster, "access_log": accessLog(),
	}}
}
