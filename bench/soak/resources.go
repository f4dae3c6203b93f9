package main

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/lateen-mesh/lateen/bench/mesh"
)

// m is a JSON object.
type m = map[string]any

func resource(name string, body m) mesh.Resource {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	return mesh.Resource{Name: name, JSON: string(text)}
}

// The hosts of the traffic. Requests to steadyHost reach the application over
// HTTP/1.1 all the way, those to mixedHost over HTTP/2 between the proxies, those to
// grpcHost over HTTP/2 to the application too; hostileHost is an application that
// misbehaves.
const (
	steadyHost  = "steady.soak"
	mixedHost   = "mixed.soak"
	grpcHost    = "grpc.soak"
	hostileHost = "hostile.soak"
	extraHost   = "extra.soak" // there only now and then
)

// ports are where everything listens.
type ports struct {
	http, edge, tcp, extra    netip.AddrPort // the client's sidecar
	mesh, meshTCP             netip.AddrPort // the server's sidecar
	app, grpcApp, tcpApp, bad netip.AddrPort // the applications
	closed                    netip.AddrPort // nobody
	adminOut, adminIn         netip.AddrPort
}

// setting is what changes of the configuration change.
type setting struct {
	weight  int  // of the first of the two steady clusters, in percent
	timeout int  // connect time-out of clusters, in seconds: a new one makes new pools
	extra   bool // the listener, route and cluster that come and go
	header  int  // number that routes add to requests and answers
	manager int  // number in the connection managers' server_name: a new one drains connections
	inbound int  // the same on the server's side
}

// outbound gives the resources of the client's sidecar.
func (p ports) outbound(s setting) []mesh.Resource {
	peer := func(name, protocol string, to netip.AddrPort) mesh.Resource {
		alpn, speak := []string{"istio-http/1.1", "istio", "http/1.1"}, m{"http_protocol_options": m{}}
		switch protocol {
		case "h2":
			alpn, speak = []string{"istio-h2", "istio", "h2"}, m{"http2_protocol_options": m{}}
		case "tcp":
			alpn = []string{"istio-peer-exchange", "istio"}
		}
		tls := meshTLS(m{"exact": mesh.SPIFFE("server")})
		tls["alpn_protocols"] = alpn
		var filters []m
		if protocol == "tcp" {
			filters = tcpFilters()[:1]
		}
		return cluster(name, to, s.timeout, speak, filters, m{"name": "envoy.transport_sockets.tls", "typed_config": m{
			"@type": typePrefix + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "outbound_.80_._.steady.soak", "common_tls_context": tls,
		}})
	}
	out := []mesh.Resource{
		peer("steady-a", "h1", p.mesh), peer("steady-b", "h1", p.mesh), peer("mixed", "h2", p.mesh), peer("grpc", "h2", p.mesh),
		peer("hostile", "h1", p.mesh), peer("tcp", "tcp", p.meshTCP),
		listener("http", p.http, "OUTBOUND", m{"filters": []m{manager("outbound", s.manager, routesFrom("routes"))}}),
		listener("tcp", p.tcp, "OUTBOUND", m{"filters": append(tcpFilters()[1:], tcpProxy("tcp"))}),
		listener("edge", p.edge, "OUTBOUND", m{"filters": []m{manager("outbound", s.manager, routesFrom("routes"))}, "transport_socket": m{
			"name": "envoy.transport_sockets.tls", "typed_config": m{
				"@type": typePrefix + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
				"common_tls_context": m{"alpn_protocols": []string{"h2", "http/1.1"}, "tls_certificate_sds_secret_configs": []m{
					{"name": "edge", "sds_config": m{"ads": m{}, "resource_api_version": "V3"}}}},
			},
		}}),
	}
	hosts := []m{
		virtualHost(steadyHost, m{"name": "steady", "match": m{"prefix": "/"}, "route": m{"timeout": "0s", "retry_policy": retries, "weighted_clusters": m{"clusters": []m{
			{"name": "steady-a", "weight": s.weight}, {"name": "steady-b", "weight": 100 - s.weight}}}}}),
		virtualHost(mixedHost, plainRoute("mixed")),
		virtualHost(grpcHost, plainRoute("grpc")),
		virtualHost(hostileHost, m{"name": "hostile", "match": m{"prefix": "/"}, "route": m{"cluster": "hostile", "timeout": "1s"}}),
	}
	if s.extra {
		out = append(out, peer("extra", "h1", p.mesh), listener("extra", p.extra, "OUTBOUND", m{"filters": []m{manager("outbound", s.manager, routesFrom("routes"))}}))
		hosts = append(hosts, virtualHost(extraHost, plainRoute("extra")))
	}
	return append(out, resource("routes", m{
		"@type": typePrefix + "envoy.config.route.v3.RouteConfiguration", "name": "routes", "virtual_hosts": hosts,
		"response_headers_to_add": []m{{"header": m{"key": "x-soak-header", "value": fmt.Sprint(s.header)}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}},
		"request_headers_to_add":  []m{{"header": m{"key": "x-soak-request", "value": fmt.Sprint(s.header)}}},
	}))
}

// retries is Istio's default policy.
var retries = m{"retry_on": "connect-failure,refused-stream,unavailable,cancelled,reset-before-request", "num_retries": 2}

// inbound gives the resources of the server's sidecar.
func (p ports) inbound(s setting) []mesh.Resource {
	h1, h2 := m{"http_protocol_options": m{}}, m{"http2_protocol_options": m{}}
	tls := func(alpn ...string) m {
		common := meshTLS(m{"prefix": "spiffe://cluster.local/"})
		common["alpn_protocols"] = alpn
		return m{"name": "envoy.transport_sockets.tls", "typed_config": m{
			"@type":              typePrefix + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
			"common_tls_context": common, "require_client_certificate": true,
		}}
	}
	// A WebSocket ends at the application in HTTP/1.1 whatever carried it there.
	tunnel := m{"name": "tunnel", "match": m{"path": "/tunnel"}, "route": m{"cluster": "app", "timeout": "0s"}}
	table := m{"route_config": m{"name": "inbound", "validate_clusters": false, "virtual_hosts": []m{
		virtualHost(steadyHost, plainRoute("app")), virtualHost(mixedHost, tunnel, plainRoute("app-h2")), virtualHost(grpcHost, plainRoute("app-grpc")),
		virtualHost(extraHost, plainRoute("app")),
		virtualHost(hostileHost, m{"name": "closed", "match": m{"path": "/closed"}, "route": m{"cluster": "closed", "timeout": "0s"}}, plainRoute("bad")),
	}}}
	return []mesh.Resource{
		cluster("app", p.app, s.timeout, h1, nil, nil), cluster("app-h2", p.app, s.timeout, h2, nil, nil), cluster("app-grpc", p.grpcApp, s.timeout, h2, nil, nil),
		cluster("app-tcp", p.tcpApp, s.timeout, h1, nil, nil), cluster("bad", p.bad, s.timeout, h1, nil, nil), cluster("closed", p.closed, s.timeout, h1, nil, nil),
		listener("mesh", p.mesh, "INBOUND", m{
			"filter_chain_match": m{"transport_protocol": "tls"}, "transport_socket": tls("h2", "http/1.1"),
			"filters": append(tcpFilters()[:1:1], manager("inbound", s.inbound, table)),
		}),
		listener("mesh-tcp", p.meshTCP, "INBOUND", m{
			"filter_chain_match": m{"transport_protocol": "tls"}, "transport_socket": tls("istio-peer-exchange", "istio"),
			"filters": append(tcpFilters(), tcpProxy("app-tcp")),
		}),
	}
}

func virtualHost(host string, routes ...m) m {
	return m{"name": host, "domains": []string{host}, "routes": routes}
}

func plainRoute(cluster string) m {
	return m{"name": cluster, "match": m{"prefix": "/"}, "route": m{"cluster": cluster, "timeout": "0s", "retry_policy": retries}}
}

func routesFrom(name string) m {
	return m{"rds": m{"config_source": m{"ads": m{}, "resource_api_version": "V3"}, "route_config_name": name}}
}

// meshTLS is what both ends of the mesh's TLS share: the workload's own secrets.
func meshTLS(san m) m {
	agent := m{"api_config_source": m{"api_type": "GRPC", "grpc_services": []m{{"envoy_grpc": m{"cluster_name": "sds-grpc"}}}}, "resource_api_version": "V3"}
	return m{
		"tls_params":                         m{"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
		"tls_certificate_sds_secret_configs": []m{{"name": "default", "sds_config": agent}},
		"combined_validation_context": m{
			"default_validation_context":           m{"match_subject_alt_names": []m{san}},
			"validation_context_sds_secret_config": m{"name": "ROOTCA", "sds_config": agent},
		},
	}
}

func cluster(name string, to netip.AddrPort, timeout int, speak m, filters []m, socket m) mesh.Resource {
	c := m{
		"@type": typePrefix + "envoy.config.cluster.v3.Cluster", "name": name, "type": "STATIC", "lb_policy": "LEAST_REQUEST",
		"connect_timeout":  fmt.Sprintf("%ds", timeout),
		"circuit_breakers": m{"thresholds": []m{{"max_connections": 1 << 20, "max_pending_requests": 1 << 20, "max_requests": 1 << 20, "max_retries": 1 << 20}}},
		"load_assignment":  m{"cluster_name": name, "endpoints": []m{{"lb_endpoints": []m{{"endpoint": m{"address": address(to)}}}}}},
		"typed_extension_protocol_options": m{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": m{
			"@type":                        typePrefix + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
			"explicit_http_config":         speak,
			"common_http_protocol_options": m{"idle_timeout": poolIdle.String(), "max_requests_per_connection": 2000},
		}},
		"metadata": m{"filter_metadata": m{"istio": m{"services": []m{{"host": steadyHost, "name": "steady", "namespace": "default"}}}}},
	}
	if filters != nil {
		c["filters"] = filters
	}
	if socket != nil {
		c["transport_socket"] = socket
	}
	return resource(name, c)
}

func address(a netip.AddrPort) m {
	return m{"socket_address": m{"address": a.Addr().String(), "port_value": a.Port()}}
}

func listener(name string, at netip.AddrPort, direction string, chain m) mesh.Resource {
	l := m{
		"@type": typePrefix + "envoy.config.listener.v3.Listener", "name": name, "traffic_direction": direction, "address": address(at),
		"filter_chains": []m{chain},
	}
	if chain["filter_chain_match"] != nil {
		l["listener_filters"] = []m{{"name": "envoy.filters.listener.tls_inspector", "typed_config": m{
			"@type": typePrefix + "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}}
	}
	chain["name"] = "0.0.0.0_80"
	return resource(name, l)
}
