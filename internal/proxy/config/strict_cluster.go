package config

// clusterFields: what is ignored names statistics, or tunes what this proxy does
// in its own way (buffers, the DNS library, warming, clean-up of original
// destinations).
var clusterFields = table{
	"envoy.config.cluster.v3.Cluster": has(
		`name type eds_cluster_config connect_timeout lb_policy load_assignment max_requests_per_connection circuit_breakers
		common_http_protocol_options dns_refresh_rate dns_lookup_family outlier_detection upstream_bind_config
		ring_hash_lb_config maglev_lb_config original_dst_lb_config least_request_lb_config round_robin_lb_config
		common_lb_config upstream_connection_options filters protocol_selection http2_protocol_options`,
		`transport_socket_matches transport_socket metadata typed_extension_protocol_options http_protocol_options
		typed_dns_resolver_config`,
		`alt_stat_name stats_matcher per_connection_buffer_limit_bytes per_connection_buffer_high_watermark_timeout dns_jitter
		dns_failure_refresh_rate respect_dns_ttl wait_for_warm_on_init cleanup_interval ignore_health_on_host_removal
		track_timeout_budgets track_cluster_stats`),
	"envoy.config.cluster.v3.Cluster.EdsClusterConfig": has(`service_name`, `eds_config`, ``),
	"envoy.config.cluster.v3.Cluster.CommonLbConfig": has(
		`healthy_panic_threshold locality_weighted_lb_config`, ``, `update_merge_window ignore_new_hosts_until_first_hc`),
	"envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig": has(``, ``, ``),
	"envoy.config.cluster.v3.Cluster.RingHashLbConfig":                        has(`minimum_ring_size maximum_ring_size hash_function`, ``, ``),
	"envoy.config.cluster.v3.Cluster.MaglevLbConfig":                          has(`table_size`, ``, ``),
	"envoy.config.cluster.v3.Cluster.RoundRobinLbConfig":                      has(`slow_start_config`, ``, ``),
	"envoy.config.cluster.v3.Cluster.LeastRequestLbConfig":                    has(`choice_count active_request_bias slow_start_config`, ``, ``),
	"envoy.config.cluster.v3.Cluster.SlowStartConfig":                         has(`slow_start_window aggression min_weight_percent`, ``, ``),
	"envoy.config.cluster.v3.Cluster.OriginalDstLbConfig":                     has(`use_http_header`, ``, ``),
	"envoy.config.cluster.v3.CircuitBreakers":                                 has(`thresholds`, ``, ``),
	"envoy.config.cluster.v3.CircuitBreakers.Thresholds": has(
		`priority max_connections max_pending_requests max_requests max_retries retry_budget`, ``, `track_remaining max_connection_pools`),
	"envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget": has(`budget_percent min_retry_concurrency budget_interval`, ``, ``),
	// Ejection by success rate and by failure percentage is not done: it must be
	// switched off, which the parser checks; then its parameters are idle.
	"envoy.config.cluster.v3.OutlierDetection": has(
		`consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx enforcing_success_rate
		consecutive_gateway_failure enforcing_consecutive_gateway_failure split_external_local_origin_errors
		consecutive_local_origin_failure enforcing_consecutive_local_origin_failure enforcing_local_origin_success_rate
		enforcing_failure_percentage enforcing_failure_percentage_local_origin max_ejection_time`,
		``,
		`success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor failure_percentage_threshold
		failure_percentage_minimum_hosts failure_percentage_request_volume max_ejection_time_jitter
		successful_active_health_check_uneject_host`),
	"envoy.config.cluster.v3.UpstreamConnectionOptions":    has(`tcp_keepalive`, ``, `set_local_interface_name_on_upstream_connections`),
	"envoy.config.core.v3.TcpKeepalive":                    has(`keepalive_probes keepalive_time keepalive_interval`, ``, ``),
	"envoy.config.core.v3.BindConfig":                      has(`source_address`, ``, `freebind`),
	"envoy.config.cluster.v3.Filter":                       has(`name`, `typed_config`, ``),
	"envoy.config.cluster.v3.Cluster.TransportSocketMatch": has(`name`, `match transport_socket`, ``),

	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": has(
		`common_http_protocol_options upstream_http_protocol_options explicit_http_config use_downstream_protocol_config auto_config
		outlier_detection`, ``, ``),
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection":        has(``, `error_matcher`, ``),
	"envoy.config.core.v3.UpstreamHttpProtocolOptions":                               has(`auto_sni`, ``, ``),
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig":      has(`http_protocol_options http2_protocol_options`, ``, ``),
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig": has(`http_protocol_options http2_protocol_options`, ``, ``),
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig":          has(`http_protocol_options http2_protocol_options`, ``, ``),
}

var endpointFields = table{
	"envoy.config.endpoint.v3.ClusterLoadAssignment":        has(`cluster_name endpoints policy`, ``, ``),
	"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy": has(`overprovisioning_factor`, ``, ``),
	"envoy.config.endpoint.v3.LocalityLbEndpoints": has(
		`locality lb_endpoints load_balancing_weight priority`, ``, `metadata proximity`),
	"envoy.config.core.v3.Locality": has(`region zone sub_zone`, ``, ``),
	"envoy.config.endpoint.v3.LbEndpoint": has(
		`endpoint health_status load_balancing_weight`, `metadata`, ``),
	// There are no active health checks to configure.
	"envoy.config.endpoint.v3.Endpoint": has(`address hostname`, ``, `health_check_config observability_name`),
}

var tlsFields = table{
	"envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext": has(
		`common_tls_context require_client_certificate ocsp_staple_policy`, ``, `full_scan_certs_on_sni_mismatch`),
	"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext": has(
		`common_tls_context sni auto_host_sni allow_renegotiation max_session_keys`, ``, `enforce_rsa_key_usage`),
	"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext": has(
		`tls_params tls_certificates tls_certificate_sds_secret_configs validation_context validation_context_sds_secret_config
		combined_validation_context alpn_protocols`, ``, ``),
	"envoy.extensions.transport_sockets.tls.v3.TlsParameters": has(
		`tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites`, ``, ``),
	"envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig": has(`name`, `sds_config`, ``),
	"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext": has(
		`default_validation_context validation_context_sds_secret_config`, ``, ``),
	"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext": has(
		`trusted_ca verify_certificate_spki verify_certificate_hash match_subject_alt_names crl allow_expired_certificate
		trust_chain_verification`, ``, ``),
	"envoy.extensions.transport_sockets.tls.v3.TlsCertificate":                            has(`certificate_chain private_key`, ``, ``),
	"envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer":                          has(``, ``, ``),
	"envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport": has(`config`, `transport_socket`, ``),
	"envoy.config.core.v3.ProxyProtocolConfig":                                            has(`version`, ``, ``),
}
