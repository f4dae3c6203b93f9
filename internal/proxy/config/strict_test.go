package config

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// A misspelt name in the tables would refuse what should be accepted, or hide
// nothing but look as if it did.
func TestTablesNameRealFields(t *testing.T) {
	for name, f := range known {
		mt, err := protoregistry.GlobalTypes.FindMessageByName(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for field, fate := range f {
			fd := mt.Descriptor().Fields().ByName(field)
			if fd == nil {
				t.Errorf("%s has no field %s", name, field)
				continue
			}
			// Whatever is walked must be known itself.
			if m := fd.Message(); fate == consumed && m != nil && !fd.IsMap() && m.FullName().Parent() != "google.protobuf" {
				if _, ok := known[m.FullName()]; !ok {
					t.Errorf("%s.%s: message %s is walked but not known", name, field, m.FullName())
				}
			}
			if fd.Message() != nil && fd.Message().FullName() == protoreflect.FullName("google.protobuf.Any") && fate == consumed && !fd.IsMap() {
				t.Errorf("%s.%s: an Any is read as a whole", name, field)
			}
		}
	}
}

func TestNotSupported(t *testing.T) {
	chain := func(body string) string {
		return `{"name": "l", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}}, "filter_chains": [{` + body + `}]}`
	}
	hcm := func(body string) string {
		return chain(`"filters": [{"name": "x", "typed_config": {"@type": "` + typePrefix +
			`envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "x", "rds": {"route_config_name": "r"}, ` + body + `}}]`)
	}
	router := `{"name": "router", "typed_config": {"@type": "` + typePrefix + `envoy.extensions.filters.http.router.v3.Router"}}`
	host := func(route string) string {
		return `{"name": "r", "virtual_hosts": [{"name": "h", "domains": ["*"], "routes": [` + route + `]}]}`
	}
	cluster := func(body string) string { return `{"name": "c", ` + body + `}` }
	tests := []struct{ name, kind, json, want string }{
		{"transparent listener", "listener", `{"name": "l", "transparent": true}`, `listener "l": transparent: is not supported`},
		{"no chains", "listener", `{"name": "l", "address": {"socket_address": {"address": "::", "port_value": 80}}}`, "has no filter chains"},
		{"pipe", "listener", `{"name": "l", "address": {"pipe": {"path": "/x"}}}`, "address.pipe: is not supported"},
		{"chain without end", "listener", chain(`"name": "c"`), "filter_chains[0].filters: ends neither"},
		{"suffix match", "listener", chain(`"filter_chain_match": {"address_suffix": "1.1.1.1"}`), "filter_chains[0].filter_chain_match.address_suffix: is not supported"},
		{"server name", "listener", chain(`"filter_chain_match": {"server_names": ["a.*.b"]}`), "a wildcard stands alone"},
		{"unknown network filter", "listener", chain(`"filters": [{"name": "x", "typed_config": {"@type": "` + typePrefix + `envoy.config.core.v3.Node"}}]`), "network filter envoy.config.core.v3.Node is not supported"},
		{"http filter", "listener", hcm(`"http_filters": [{"name": "x", "typed_config": {"@type": "` + typePrefix + `envoy.config.core.v3.Node"}}, ` + router + `]`), `filters[0].typed_config.http_filters[0]: filter "x" of type envoy.config.core.v3.Node`},
		{"no router", "listener", hcm(`"http_filters": []`), "http_filters: does not end with the router"},
		{"a filter twice", "listener", hcm(`"http_filters": [` + router + `,` + router + `]`), "http_filters[1]: a chain holds filter envoy.filters.http.router only once"},
		{"via", "listener", hcm(`"via": "x"`), "typed_config.via: is not supported"},
		{"streams of HTTP/2", "listener", hcm(`"http2_protocol_options": {"max_concurrent_streams": 0}`), "http2_protocol_options.max_concurrent_streams: 0 is not in"},
		{"metadata of HTTP/2", "listener", hcm(`"http2_protocol_options": {"allow_metadata": true}`), "http2_protocol_options.allow_metadata: is not supported"},
		{"keep-alive", "listener", hcm(`"http2_protocol_options": {"connection_keepalive": {"interval": "1s"}}`), "connection_keepalive.timeout: is not at least 1ms"},
		{"tracing provider", "listener", hcm(`"tracing": {"provider": {"name": "zipkin"}}`), "tracing.provider: is not supported"},
		{"http3", "listener", hcm(`"codec_type": "HTTP3"`), "codec_type: HTTP3 is not supported"},
		{"log operator", "listener", hcm(`"access_log": [{"name": "f", "typed_config": {"@type": "` + typePrefix +
			`envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/stdout", "log_format": {"text_format": "%NOPE%"}}}]`), "access_log[0].typed_config.log_format.text_format: format"},
		{"log filter", "listener", hcm(`"access_log": [{"name": "f", "filter": {"not_health_check_filter": {}}}]`), "access_log[0].filter: is not supported"},
		{"vhds", "route", `{"name": "r", "vhds": {"config_source": {"ads": {}}}}`, `route table "r": vhds: is not supported`},
		{"twice a domain", "route", `{"name": "r", "virtual_hosts": [{"name": "a", "domains": ["X"]}, {"name": "b", "domains": ["x"]}]}`, `"x" is in virtual host "a" too`},
		{"domain", "route", `{"name": "r", "virtual_hosts": [{"name": "a", "domains": ["a.*.b"]}]}`, "virtual_hosts[0].domains[0]"},
		{"no action", "route", host(`{"match": {"prefix": "/"}}`), "routes[0]: has no action"},
		{"no path", "route", host(`{"match": {"headers": [{"name": "a"}]}, "direct_response": {"status": 200}}`), "match: has no path"},
		{"grpc match", "route", host(`{"match": {"prefix": "/", "grpc": {}}, "direct_response": {"status": 200}}`), "virtual_hosts[0].routes[0].match.grpc: is not supported"},
		{"bad regex", "route", host(`{"match": {"safe_regex": {"regex": "a)(b"}}, "direct_response": {"status": 200}}`), "safe_regex.regex: error parsing regexp"},
		{"zero weights", "route", host(`{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [{"name": "a", "weight": 0}]}}}`), "weighted_clusters: the weights sum up to 0"},
		{"unknown retry", "route", host(`{"match": {"prefix": "/"}, "route": {"cluster": "a", "retry_policy": {"retry_on": "5xx,often"}}}`), `condition "often" is not known`},
		{"hedging", "route", host(`{"match": {"prefix": "/"}, "route": {"cluster": "a", "hedge_policy": {}}}`), "route.hedge_policy: is not supported"},
		{"host header", "route", host(`{"match": {"prefix": "/"}, "route": {"cluster": "a"}, "request_headers_to_add": [{"header": {"key": "Host", "value": "b"}}]}`), "cannot be changed"},
		{"header operator", "route", host(`{"match": {"prefix": "/"}, "route": {"cluster": "a"}, "request_headers_to_add": [{"header": {"key": "a", "value": "%NOPE%"}}]}`), "request_headers_to_add[0].header.value: format"},
		{"unknown override", "route", host(`{"match": {"prefix": "/"}, "route": {"cluster": "a"}, "typed_per_filter_config": {"nope": {"@type": "` + typePrefix + `envoy.config.core.v3.Node"}}}`), "typed_per_filter_config.nope: there is no filter"},
		{"substitution", "route", host(`{"match": {"prefix": "/"}, "route": {"cluster": "a", "regex_rewrite": {"pattern": {"regex": "x"}, "substitution": "\\1"}}}`), "the pattern has 0 groups"},
		{"body too long", "route", `{"name": "r", "max_direct_response_body_size_bytes": 2, "virtual_hosts": [{"name": "h", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "abc"}}}]}]}`, "has 3 bytes"},
		{"health checks", "cluster", cluster(`"health_checks": [{}]`), `cluster "c": health_checks: is not supported`},
		{"success rate", "cluster", cluster(`"outlier_detection": {}`), "enforcing_success_rate: must be 0"},
		{"subsets", "cluster", cluster(`"lb_subset_config": {}`), "lb_subset_config: is not supported"},
		{"policy and type", "cluster", cluster(`"lb_policy": "CLUSTER_PROVIDED"`), "goes with type ORIGINAL_DST"},
		{"typed sans", "cluster", cluster(`"transport_socket": {"name": "t", "typed_config": {"@type": "` + typePrefix + `envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": {"validation_context": {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": "a"}}]}}}}`), "validation_context.match_typed_subject_alt_names: is not supported"},
		{"cipher", "cluster", cluster(`"transport_socket": {"name": "t", "typed_config": {"@type": "` + typePrefix + `envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "common_tls_context": {"tls_params": {"cipher_suites": ["ROT13"]}}}}`), `cipher_suites[0]: "ROT13"`},
		{"zones", "cluster", cluster(`"common_lb_config": {"zone_aware_lb_config": {}}`), "common_lb_config.zone_aware_lb_config: is not supported"},
		{"small window", "cluster", cluster(`"http2_protocol_options": {"initial_stream_window_size": 5}`), `http2_protocol_options.initial_stream_window_size: 5 is not in`},
		{"small window in explicit options", "cluster", cluster(`"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": "` + typePrefix +
			`envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {"initial_stream_window_size": 5}}}}`), `http2_protocol_options.initial_stream_window_size: 5 is not in`},
		{"settings of HTTP/2", "cluster", cluster(`"http2_protocol_options": {"custom_settings_parameters": [{"identifier": 9, "value": 1}]}`), `custom_settings_parameters: is not supported`},
		{"stream duration", "cluster", cluster(`"common_http_protocol_options": {"max_stream_duration": "5s"}`), `common_http_protocol_options.max_stream_duration: is not supported`},
		{"maglev size", "cluster", cluster(`"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": "65536"}`), "not a prime"},
		{"named endpoint", "endpoints", `{"cluster_name": "e", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "a.b", "port_value": 1}}}}]}]}`, "endpoint a.b is a name"},
		{"drop overload", "endpoints", `{"cluster_name": "e", "policy": {"drop_overloads": [{}]}}`, `endpoints "e": policy.drop_overloads: is not supported`},
		{"port", "endpoints", `{"cluster_name": "e", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "1.1.1.1", "port_value": 70000}}}}]}]}`, "port 70000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			switch tt.kind {
			case "listener":
				_, err = ParseListener(fromJSON(t, tt.json, &listenerv3.Listener{}), testDeps())
			case "route":
				_, err = ParseRouteTable(fromJSON(t, tt.json, &routev3.RouteConfiguration{}), testDeps())
			case "cluster":
				_, err = ParseCluster(fromJSON(t, tt.json, &clusterv3.Cluster{}), testDeps())
			case "endpoints":
				_, err = ParseEndpoints(fromJSON(t, tt.json, &endpointv3.ClusterLoadAssignment{}), testDeps())
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestUnknownFieldNumber(t *testing.T) {
	// Field 1000 as a varint: a newer API than ours.
	value := append([]byte{0x0a, 1, 'c'}, 0xc0, 0x3e, 0x01)
	if _, err := Parse(ClusterURL, value, Deps{}); err == nil || !strings.Contains(err.Error(), "does not know") {
		t.Errorf("got %v", err)
	}
}
