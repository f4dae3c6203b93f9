package config

// routeFields: gRPC time-out limits act on grpc-timeout, which is not read before
// gRPC comes; runtime keys name overrides of a runtime that this proxy has not.
var routeFields = table{
	"envoy.config.route.v3.RouteConfiguration": has(
		`name virtual_hosts internal_only_headers response_headers_to_add response_headers_to_remove request_headers_to_add
		request_headers_to_remove most_specific_header_mutations_wins max_direct_response_body_size_bytes request_mirror_policies
		ignore_port_in_host_matching typed_per_filter_config`,
		`metadata`, `validate_clusters`),
	"envoy.config.route.v3.VirtualHost": has(
		`name domains routes require_tls request_headers_to_add request_headers_to_remove response_headers_to_add
		response_headers_to_remove typed_per_filter_config include_request_attempt_count include_attempt_count_in_response
		retry_policy request_mirror_policies`,
		`metadata`, `virtual_clusters`),
	"envoy.config.route.v3.Route": has(
		`name match route redirect direct_response decorator typed_per_filter_config request_headers_to_add
		request_headers_to_remove response_headers_to_add response_headers_to_remove`,
		`metadata`, `stat_prefix`),
	"envoy.config.route.v3.Decorator": has(`operation`, ``, ``),
	"envoy.config.route.v3.RouteMatch": has(
		`prefix path safe_regex connect_matcher path_separated_prefix case_sensitive runtime_fraction headers query_parameters`, ``, ``),
	"envoy.config.route.v3.RouteMatch.ConnectMatcher": has(``, ``, ``),
	"envoy.config.route.v3.RouteAction": has(
		`cluster cluster_header weighted_clusters cluster_not_found_response_code prefix_rewrite regex_rewrite
		host_rewrite_literal auto_host_rewrite append_x_forwarded_host timeout idle_timeout retry_policy
		request_mirror_policies priority hash_policy upgrade_configs max_stream_duration
		max_grpc_timeout grpc_timeout_offset`,
		``, `early_data_policy`),
	"envoy.config.route.v3.RouteAction.MaxStreamDuration": has(
		`max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset`, ``, ``),
	"envoy.config.route.v3.RouteAction.UpgradeConfig": has(`upgrade_type enabled`, ``, ``),
	"envoy.config.route.v3.WeightedCluster":           has(`clusters total_weight`, ``, `runtime_key_prefix`),
	"envoy.config.route.v3.WeightedCluster.ClusterWeight": has(
		`name weight request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove
		typed_per_filter_config host_rewrite_literal`, ``, ``),
	"envoy.config.route.v3.HeaderMatcher": has(
		`name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match string_match
		invert_match treat_missing_header_as_empty`, ``, ``),
	"envoy.config.route.v3.QueryParameterMatcher": has(`name string_match present_match`, ``, ``),
	"envoy.config.route.v3.RetryPolicy": has(
		`retry_on num_retries per_try_timeout per_try_idle_timeout retry_host_predicate host_selection_retry_max_attempts
		retriable_status_codes retry_back_off retriable_headers retriable_request_headers retry_priority`, ``, ``),
	"envoy.config.route.v3.RetryPolicy.RetryPriority":                                 has(`name`, `typed_config`, ``),
	"envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig": has(`update_frequency`, ``, ``),
	"envoy.config.route.v3.RetryPolicy.RetryBackOff":                                  has(`base_interval max_interval`, ``, ``),
	"envoy.config.route.v3.RetryPolicy.RetryHostPredicate":                            has(`name`, `typed_config`, ``),
	// There is no tracing to sample a mirrored request for.
	"envoy.config.route.v3.RouteAction.RequestMirrorPolicy": has(
		`cluster runtime_fraction disable_shadow_host_suffix_append`, ``, `trace_sampled`),
	"envoy.config.route.v3.RouteAction.HashPolicy":                      has(`header cookie connection_properties query_parameter terminal`, ``, ``),
	"envoy.config.route.v3.RouteAction.HashPolicy.Header":               has(`header_name`, ``, ``),
	"envoy.config.route.v3.RouteAction.HashPolicy.Cookie":               has(`name ttl path attributes`, ``, ``),
	"envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute":      has(`name value`, ``, ``),
	"envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties": has(`source_ip`, ``, ``),
	"envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter":       has(`name`, ``, ``),
	"envoy.config.route.v3.RedirectAction": has(
		`https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite response_code strip_query`, ``, ``),
	"envoy.config.route.v3.DirectResponseAction": has(`status body`, ``, ``),
	"envoy.config.route.v3.FilterConfig":         has(`is_optional disabled`, `config`, ``),
}

// sharedFields are messages that several resources use.
var sharedFields = table{
	"envoy.config.core.v3.Address":                  has(`socket_address`, ``, ``),
	"envoy.config.core.v3.SocketAddress":            has(`protocol address port_value`, ``, `ipv4_compat`),
	"envoy.config.core.v3.CidrRange":                has(`address_prefix prefix_len`, ``, ``),
	"envoy.config.core.v3.DataSource":               has(`inline_bytes inline_string`, ``, ``),
	"envoy.config.core.v3.HeaderValueOption":        has(`header append append_action keep_empty_value`, ``, ``),
	"envoy.config.core.v3.HeaderValue":              has(`key value raw_value`, ``, ``),
	"envoy.config.core.v3.RuntimeFractionalPercent": has(`default_value`, ``, `runtime_key`),
	"envoy.config.core.v3.RuntimeDouble":            has(`default_value`, ``, `runtime_key`),
	"envoy.type.v3.FractionalPercent":               has(`numerator denominator`, ``, ``),
	"envoy.type.v3.Percent":                         has(`value`, ``, ``),
	"envoy.type.matcher.v3.StringMatcher":           has(`exact prefix suffix safe_regex contains ignore_case`, ``, ``),
	// The only engine there is, RE2, may be named or not; its size limits tune.
	"envoy.type.matcher.v3.RegexMatcher":            has(`regex`, ``, `google_re2`),
	"envoy.type.matcher.v3.RegexMatchAndSubstitute": has(`pattern substitution`, ``, ``),
}
