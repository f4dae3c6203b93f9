package config

// Resources in the shape in which Istio's control plane sends them.

const inboundListener = `{
 "name": "virtualInbound",
 "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15006}},
 "traffic_direction": "INBOUND",
 "listener_filters_timeout": "0s", "continue_on_listener_filters_timeout": true, "max_connections_to_accept_per_socket_event": 1,
 "listener_filters": [
  {"name": "envoy.filters.listener.original_dst", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"}},
  {"name": "envoy.filters.listener.tls_inspector",
   "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector", "initial_read_buffer_size": 512},
   "filter_disabled": {"destination_port_range": {"start": 15006, "end": 15007}}},
  {"name": "envoy.filters.listener.http_inspector",
   "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"},
   "filter_disabled": {"or_match": {"rules": [{"destination_port_range": {"start": 9080, "end": 9081}}, {"destination_port_range": {"start": 15006, "end": 15007}}]}}}
 ],
 "filter_chains": [
  {"name": "blackhole", "filter_chain_match": {"destination_port": 15006},
   "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "BlackHoleCluster", "cluster": "BlackHoleCluster"}}]},
  {"name": "app", "filter_chain_match": {"destination_port": 9080, "transport_protocol": "tls", "application_protocols": ["istio", "istio-http/1.1"]},
   "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
     "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
     "require_client_certificate": true,
     "common_tls_context": {
      "alpn_protocols": ["h2", "http/1.1"],
      "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3", "cipher_suites": ["ECDHE-RSA-AES128-GCM-SHA256", "AES128-GCM-SHA256"]},
      "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": {"api_config_source": {"api_type": "GRPC"}}}],
      "combined_validation_context": {
       "default_validation_context": {"match_subject_alt_names": [{"prefix": "spiffe://cluster.local/"}]},
       "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": {"api_config_source": {"api_type": "GRPC"}}}}}}},
   "filters": [
    {"name": "istio.metadata_exchange", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
     "type_url": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange", "value": {"enable_discovery": true, "protocol": "istio-peer-exchange"}}},
    {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
     "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
     "stat_prefix": "inbound_0.0.0.0_9080;", "server_name": "istio-envoy", "stream_idle_timeout": "0s", "use_remote_address": false,
     "forward_client_cert_details": "APPEND_FORWARD", "set_current_client_cert_details": {"subject": true, "dns": true, "uri": true},
     "proxy_100_continue": true, "normalize_path": true, "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
     "upgrade_configs": [{"upgrade_type": "WebSocket"}],
     "tracing": {"client_sampling": {"value": 100}},
     "request_id_extension": {"typed_config": {"@type": "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", "use_request_id_for_trace_sampling": true}},
     "access_log": [{"name": "envoy.access_loggers.file", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
       "path": "/dev/stdout", "log_format": {"text_format_source": {"inline_string": "%REQ(:METHOD)%\n"}}}}],
     "http_filters": [
      {"name": "istio.metadata_exchange", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
        "type_url": "type.googleapis.com/io.istio.http.peer_metadata.Config", "value": {"downstream_discovery": [{"istio_headers": {}}]}}},
      {"name": "envoy.filters.http.fault", "typed_config": {"@type": "type.googleapis.com/xds.type.v3.TypedStruct",
        "type_url": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", "value": {"abort": {"http_status": 418}}}},
      {"name": "istio.stats", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": "type.googleapis.com/stats.PluginConfig", "value": {"disable_host_header_fallback": true}}},
      {"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
     "route_config": {"name": "inbound|9080||", "validate_clusters": false, "virtual_hosts": [{"name": "inbound|http|9080", "domains": ["*"], "routes": [
       {"name": "default", "match": {"prefix": "/"}, "decorator": {"operation": "productpage:9080/*"}, "route": {"cluster": "inbound|9080||", "timeout": "0s",
        "retry_policy": {"retry_on": "reset-before-request", "num_retries": 2}, "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"}}}]}]}
    }}]}
 ]
}`

const routeTable = `{
 "name": "9080", "ignore_port_in_host_matching": true, "validate_clusters": false, "max_direct_response_body_size_bytes": 1048576,
 "request_headers_to_add": [{"header": {"key": "x-table", "value": "t"}}],
 "virtual_hosts": [
  {"name": "reviews.default.svc.cluster.local:9080", "domains": ["Reviews", "reviews.default", "10.96.1.2"], "include_request_attempt_count": true,
   "request_headers_to_remove": ["x-host"],
   "typed_per_filter_config": {"envoy.filters.http.cors": {"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy"}},
   "routes": [
    {"name": "full", "match": {"path": "/Admin", "case_sensitive": false,
      "headers": [{"name": "x-a", "string_match": {"safe_regex": {"regex": "a.*"}}}, {"name": "x-c", "present_match": false},
        {"name": "x-d", "string_match": {"exact": "d"}, "invert_match": true, "treat_missing_header_as_empty": true}],
      "query_parameters": [{"name": "q", "string_match": {"exact": "1"}}]},
     "metadata": {"filter_metadata": {"istio": {"config": "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"}}},
     "route": {"weighted_clusters": {"clusters": [{"name": "v1", "weight": 90}, {"name": "v2", "weight": 10}], "total_weight": 100},
       "regex_rewrite": {"pattern": {"regex": "/a/(.*)"}, "substitution": "/b/\\1"}, "timeout": "3s", "max_grpc_timeout": "3s",
       "retry_policy": {"retry_on": "connect-failure,retriable-status-codes", "num_retries": 2, "per_try_timeout": "1s", "retriable_status_codes": [503],
         "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}],
         "host_selection_retry_max_attempts": "5", "retry_back_off": {"base_interval": "0.025s"}},
       "request_mirror_policies": [{"cluster": "m", "runtime_fraction": {"default_value": {"numerator": 100000, "denominator": "MILLION"}}, "trace_sampled": false, "disable_shadow_host_suffix_append": true}],
       "hash_policy": [{"cookie": {"name": "user", "ttl": "60s"}}]},
     "request_headers_to_add": [{"header": {"key": "x-req", "value": "%PROTOCOL%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
     "typed_per_filter_config": {"envoy.filters.http.fault": {"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", "abort": {"http_status": 500}}}},
    {"match": {"prefix": "/old"}, "redirect": {"path_redirect": "/new", "response_code": "FOUND"}},
    {"match": {"prefix": "/no"}, "direct_response": {"status": 403, "body": {"inline_string": "denied"}}},
    {"match": {"prefix": "/"}, "route": {"cluster": "all"}}
   ]},
  {"name": "allow_any", "domains": ["*"], "routes": [{"name": "allow_any", "match": {"prefix": "/"}, "route": {"cluster": "PassthroughCluster", "timeout": "0s"}}]}
 ]
}`

const edsCluster = `{
 "name": "outbound|9080|v1|reviews.default.svc.cluster.local", "alt_stat_name": "x", "type": "EDS", "lb_policy": "LEAST_REQUEST", "connect_timeout": "10s",
 "eds_cluster_config": {"eds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}, "service_name": "service"},
 "common_lb_config": {"healthy_panic_threshold": {}},
 "circuit_breakers": {"thresholds": [{"max_connections": 10, "max_pending_requests": 4294967295, "max_requests": 4294967295, "max_retries": 2}]},
 "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
   "common_http_protocol_options": {"idle_timeout": "300s", "max_requests_per_connection": 3}, "explicit_http_config": {"http2_protocol_options": {}}}},
 "outlier_detection": {"consecutive_5xx": 3, "interval": "5s", "base_ejection_time": "400s", "max_ejection_percent": 50, "enforcing_consecutive_5xx": 100, "enforcing_success_rate": 0},
 "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 60}},
 "metadata": {"filter_metadata": {"istio": {"config": "/apis/networking.istio.io/v1/namespaces/default/destination-rule/reviews", "subset": "v1",
   "services": [{"host": "reviews.default.svc.cluster.local", "name": "reviews", "namespace": "default"}]}}},
 "filters": [{"name": "istio.metadata_exchange", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
   "type_url": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange", "value": {"protocol": "istio-peer-exchange"}}}],
 "transport_socket_matches": [
  {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "outbound_.9080_.v1_.reviews.default.svc.cluster.local",
    "common_tls_context": {"alpn_protocols": ["istio-peer-exchange", "istio"], "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
      "tls_certificate_sds_secret_configs": [{"name": "default", "sds_config": {"api_config_source": {"api_type": "GRPC"}}}],
      "combined_validation_context": {"default_validation_context": {"match_subject_alt_names": [{"exact": "spiffe://cluster.local/ns/default/sa/reviews"}]},
       "validation_context_sds_secret_config": {"name": "ROOTCA", "sds_config": {"ads": {}}}}}}}},
  {"name": "tlsMode-disabled", "match": {}, "transport_socket": {"name": "envoy.transport_sockets.raw_buffer"}}]
}`

const endpoints = `{
 "cluster_name": "service",
 "endpoints": [
  {"locality": {"region": "r", "zone": "z"}, "load_balancing_weight": 3, "lb_endpoints": [
   {"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 9080}}}, "load_balancing_weight": 2,
    "metadata": {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}, "istio": {"workload": "reviews-v1;default;reviews;v1;Kubernetes"}}}},
   {"endpoint": {"address": {"socket_address": {"address": "10.0.0.2", "port_value": 9080}}}, "health_status": "DRAINING"}]},
  {"priority": 1, "lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "fd00::1", "port_value": 9080}}}}]}]
}`
