package config

// listenerFields: what is ignored tunes accepting, buffers or statistics, which
// this proxy does in its own way.
var listenerFields = table{
	"envoy.config.listener.v3.Listener": has(
		`name address filter_chains use_original_dst default_filter_chain deprecated_v1 listener_filters
		listener_filters_timeout continue_on_listener_filters_timeout traffic_direction access_log bind_to_port`,
		`metadata`,
		`stat_prefix stats_matcher per_connection_buffer_limit_bytes per_connection_buffer_high_watermark_timeout drain_type
		tcp_fast_open_queue_length connection_balance_config reuse_port enable_reuse_port tcp_backlog_size
		max_connections_to_accept_per_socket_event ignore_global_conn_limit bypass_overload_manager`),
	"envoy.config.listener.v3.Listener.DeprecatedV1":                      has(`bind_to_port`, ``, ``),
	"envoy.config.listener.v3.ListenerFilter":                             has(`name filter_disabled`, `typed_config`, ``),
	"envoy.config.listener.v3.ListenerFilterChainMatchPredicate":          has(`or_match any_match destination_port_range`, ``, ``),
	"envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet": has(`rules`, ``, ``),
	"envoy.type.v3.Int32Range":                                            has(`start end`, ``, ``),
	"envoy.type.v3.Int64Range":                                            has(`start end`, ``, ``),
	"envoy.config.listener.v3.FilterChain": has(
		`filter_chain_match filters transport_socket_connect_timeout name`, `metadata transport_socket`, ``),
	"envoy.config.listener.v3.FilterChainMatch": has(
		`destination_port prefix_ranges source_type source_prefix_ranges source_ports server_names transport_protocol application_protocols`, ``, ``),
	"envoy.config.listener.v3.Filter": has(`name`, `typed_config`, ``),

	"envoy.extensions.filters.listener.original_dst.v3.OriginalDst":     has(``, ``, ``),
	"envoy.extensions.filters.listener.http_inspector.v3.HttpInspector": has(``, ``, ``),
	// Our inspector reads a hello of any legal size at once; a broken one is not TLS.
	"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector": has(
		``, ``, `initial_read_buffer_size max_client_hello_size close_connection_on_client_hello_parsing_errors`),
	"envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol": has(``, ``, `stat_prefix`),

	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy": has(
		`stat_prefix cluster weighted_clusters idle_timeout access_log max_connect_attempts hash_policy`, ``, ``),
	"envoy.type.v3.HashPolicy":                                                             has(`source_ip`, ``, ``),
	"envoy.type.v3.HashPolicy.SourceIp":                                                    has(``, ``, ``),
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster":               has(`clusters`, ``, ``),
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight": has(`name weight`, ``, ``),

	"envoy.config.accesslog.v3.AccessLog": has(`name`, `typed_config filter`, ``),
	"envoy.extensions.access_loggers.file.v3.FileAccessLog": has(
		`path format log_format`, `json_format typed_json_format`, ``),
	"envoy.extensions.access_loggers.stream.v3.StdoutAccessLog": has(`log_format`, ``, ``),
	"envoy.extensions.access_loggers.stream.v3.StderrAccessLog": has(`log_format`, ``, ``),
	// Formatters only name operators; one that is not known fails by itself.
	"envoy.config.core.v3.SubstitutionFormatString": has(
		`text_format text_format_source`, `json_format`, `formatters json_format_options`),
}

// httpFields is the HTTP connection manager's part.
var httpFields = table{
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": has(
		`codec_type stat_prefix rds route_config http_filters common_http_protocol_options http_protocol_options http2_protocol_options server_name
		server_header_transformation max_request_headers_kb stream_idle_timeout request_timeout request_headers_timeout
		drain_timeout access_log use_remote_address xff_num_trusted_hops generate_request_id preserve_external_request_id
		forward_client_cert_details set_current_client_cert_details proxy_100_continue upgrade_configs normalize_path
		merge_slashes path_with_escaped_slashes_action strip_any_host_port append_x_forwarded_port`,
		`tracing request_id_extension`,
		`delayed_close_timeout stream_error_on_invalid_http_message record_route_resolution_stats`),
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.SetCurrentClientCertDetails": has(
		`subject cert dns uri`, ``, ``),
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig": has(`upgrade_type enabled`, ``, ``),
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter":                          has(`name is_optional disabled`, `typed_config`, ``),
	"envoy.extensions.filters.network.http_connection_manager.v3.Rds":                                 has(`route_config_name`, `config_source`, ``),
	"envoy.config.core.v3.HttpProtocolOptions": has(
		`idle_timeout max_connection_duration max_headers_count headers_with_underscores_action max_requests_per_connection`, ``, ``),
	// Trailers always pass, and the codec keeps the case of names.
	"envoy.config.core.v3.Http1ProtocolOptions": has(
		`accept_http_10 default_host_for_http_10`, `header_key_format`, `enable_trailers use_balsa_parser allow_absolute_url`),
	"envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig": has(``, ``, `pack_trace_reason use_request_id_for_trace_sampling`),
}
