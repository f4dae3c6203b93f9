package rbac_test

import (
	"fmt"
	"strings"
)

// testListeners are the listeners of both sides by name: one connection manager
// each with all policies, in different positions behind other proxies, and one
// relay for each policy about connections.
func testListeners() map[string]string {
	out := map[string]string{
		"direct":    httpListener("direct", "127.0.1.1", `"use_remote_address":false`, false),
		"edge":      httpListener("edge", "127.0.1.2", `"use_remote_address":true`, false),
		"edge-hop":  httpListener("edge-hop", "127.0.1.3", `"use_remote_address":true,"xff_num_trusted_hops":1`, false),
		"inner-hop": httpListener("inner-hop", "127.0.1.4", `"use_remote_address":false,"xff_num_trusted_hops":1`, false),
		"proxied":   httpListener("proxied", "127.0.1.5", `"use_remote_address":true`, true),
	}
	for i, p := range connPolicies {
		name := "tcp-" + p.name
		out[name] = `{"name":"` + name + `","address":{"socket_address":{"address":"` + fmt.Sprint("127.0.2.", i+1) + `","port_value":0}},"filter_chains":[{"filters":[
 {"name":"envoy.filters.network.rbac","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC","stat_prefix":"tcp.","rules":` + p.rules + `}},
 {"name":"envoy.filters.network.tcp_proxy","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"x","cluster":"echo"}}]}]}`
	}
	return out
}

func httpListener(name, addr, more string, proxied bool) string {
	var routes []string
	for _, p := range policies {
		routes = append(routes, fmt.Sprintf(`{"match":{"prefix":"/","headers":[{"name":"x-case","string_match":{"exact":%q}}]},"direct_response":{"status":200},
 "typed_per_filter_config":{"envoy.filters.http.rbac":{"@type":"type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute","rbac":{"rules":%s}}}}`, p.name, p.rules))
	}
	filters := ""
	if proxied {
		filters = `"listener_filters":[{"name":"envoy.filters.listener.proxy_protocol","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"}}],`
	}
	return `{"name":"` + name + `","address":{"socket_address":{"address":"` + addr + `","port_value":0}},` + filters + `"filter_chains":[{"filters":[
 {"name":"envoy.filters.network.http_connection_manager","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
 "stat_prefix":"x","normalize_path":true,` + more + `,
 "access_log":[{"name":"envoy.access_loggers.file","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"/dev/stdout","log_format":{"text_format_source":{"inline_string":"%REQ(X-N)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%\n"}}}}],
 "route_config":{"name":"r","virtual_hosts":[{"name":"all","domains":["*"],"routes":[` + strings.Join(routes, ",\n") + `]}]},
 "http_filters":[{"name":"envoy.filters.http.rbac","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"}},
 {"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}`
}

type policy struct{ name, rules string }

// allow and deny make rules of one policy.
func allow(name, permission, principal string) policy {
	return rule(name, "ALLOW", permission, principal)
}
func deny(name, permission, principal string) policy {
	return rule(name, "DENY", permission, principal)
}

func rule(name, action, permission, principal string) policy {
	return policy{name, fmt.Sprintf(`{"action":%q,"policies":{"ns[default]-policy[%s]-rule[0]":{"permissions":[%s],"principals":[%s]}}}`, action, name, permission, principal)}
}

const anyOne = `{"any":true}`

func path(kind, value string) string {
	return fmt.Sprintf(`{"url_path":{"path":{%q:%q}}}`, kind, value)
}
func field(name, match string) string {
	return fmt.Sprintf(`{"header":{"name":%q,%s}}`, name, match)
}
func cidr(kind, prefix string, bits int) string {
	return fmt.Sprintf(`{%q:{"address_prefix":%q,"prefix_len":%d}}`, kind, prefix, bits)
}
func template(t string) string {
	return fmt.Sprintf(`{"uri_template":{"name":"t","typed_config":{"@type":"type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","path_template":%q}}}`, t)
}

var policies = []policy{
	{"nothing", `{}`},
	{"none-denied", `{"action":"DENY"}`},
	{"log", `{"action":"LOG","policies":{"a":{"permissions":[{"any":true}],"principals":[{"any":true}]}}}`},
	{"sorted", `{"action":"DENY","policies":{"b":{"permissions":[{"any":true}],"principals":[{"any":true}]},"a b\tc":{"permissions":[` + path("prefix", "/admin") + `],"principals":[{"any":true}]}}}`},
	allow("path-exact", path("exact", "/admin"), anyOne),
	deny("deny-path-exact", path("exact", "/admin"), anyOne),
	allow("path-prefix", path("prefix", "/admin"), anyOne),
	deny("path-suffix", path("suffix", "/users"), anyOne),
	deny("path-contains", path("contains", "dmi"), anyOne),
	deny("path-fold", `{"url_path":{"path":{"exact":"/admin","ignore_case":true}}}`, anyOne),
	deny("path-fold-prefix", `{"url_path":{"path":{"prefix":"/aDMin/","ignore_case":true}}}`, anyOne),
	deny("path-regex", `{"url_path":{"path":{"safe_regex":{"regex":"/admin(/.*)?"}}}}`, anyOne),
	deny("path-regex-part", `{"url_path":{"path":{"safe_regex":{"regex":"admin"}}}}`, anyOne),
	deny("path-regex-like", `{"url_path":{"path":{"safe_regex":{"regex":"/admin.*"}}}}`, anyOne),
	deny("path-regex-alternatives", `{"url_path":{"path":{"safe_regex":{"regex":"/admin|/a"}}}}`, anyOne),
	deny("path-regex-dot", `{"url_path":{"path":{"safe_regex":{"regex":"/.dmin"}}}}`, anyOne),
	deny("path-header", field(":path", `"string_match":{"prefix":"/admin?"}`), anyOne),
	deny("path-header-exact", field(":path", `"string_match":{"exact":"/admin"}`), anyOne),
	allow("not-path", `{"not_rule":`+path("prefix", "/admin")+`}`, anyOne),
	allow("template-one", template("/admin/*"), anyOne),
	allow("template-rest", template("/admin/**"), anyOne),
	allow("template-inner", template("/admin/*/x"), anyOne),
	allow("template-named", template("/{a}/{b=*}/{c=**}"), anyOne),
	deny("template-literal", template("/admin"), anyOne),
	allow("method", field(":method", `"string_match":{"exact":"GET"}`), anyOne),
	allow("method-not", `{"not_rule":`+field(":method", `"string_match":{"exact":"GET"}`)+`}`, anyOne),
	allow("method-fold", field(":method", `"string_match":{"exact":"get","ignore_case":true}`), anyOne),
	allow("host", field(":authority", `"string_match":{"exact":"a.example","ignore_case":true}`), anyOne),
	deny("host-deny", field(":authority", `"string_match":{"exact":"a.example","ignore_case":true}`), anyOne),
	allow("host-suffix", field(":authority", `"string_match":{"suffix":".example","ignore_case":true}`), anyOne),
	allow("host-by-name", field("Host", `"string_match":{"exact":"a.example"}`), anyOne),
	deny("host-regex", field(":authority", `"string_match":{"safe_regex":{"regex":"(?i)a.example(:[0-9]+)?"}}`), anyOne),
	allow("header-exact", anyOne, field("x-tenant", `"string_match":{"exact":"a"}`)),
	deny("header-exact-deny", anyOne, field("x-tenant", `"string_match":{"exact":"a"}`)),
	allow("header-prefix", anyOne, field("X-Tenant", `"string_match":{"prefix":"a"}`)),
	allow("header-suffix", anyOne, field("x-tenant", `"string_match":{"suffix":"b"}`)),
	allow("header-contains", anyOne, field("x-tenant", `"string_match":{"contains":","}`)),
	allow("header-present", anyOne, field("x-tenant", `"present_match":true`)),
	allow("header-absent", anyOne, field("x-tenant", `"present_match":false`)),
	allow("header-present-not", anyOne, field("x-tenant", `"present_match":true,"invert_match":true`)),
	allow("header-not", anyOne, field("x-tenant", `"string_match":{"exact":"a"},"invert_match":true`)),
	allow("header-not-missing", anyOne, field("x-tenant", `"string_match":{"exact":"a"},"invert_match":true,"treat_missing_header_as_empty":true`)),
	allow("header-empty", anyOne, field("x-tenant", `"string_match":{"exact":""},"treat_missing_header_as_empty":true`)),
	allow("header-empty-only", anyOne, field("x-tenant", `"string_match":{"exact":""}`)),
	allow("header-range", anyOne, field("x-number", `"range_match":{"start":"-5","end":"10"}`)),
	allow("header-range-not", anyOne, field("x-number", `"range_match":{"start":"1","end":"10"},"invert_match":true`)),
	allow("header-regex", anyOne, field("x-tenant", `"string_match":{"safe_regex":{"regex":"[a-z]+"}}`)),
	allow("header-not-id", anyOne, `{"not_id":`+field("x-tenant", `"string_match":{"exact":"a"}`)+`}`),
	allow("header-old", anyOne, field("x-tenant", `"exact_match":"a"`)),
	allow("ua", anyOne, field("user-agent", `"string_match":{"prefix":"Mozilla/"}`)),
	allow("and", `{"and_rules":{"rules":[`+field(":method", `"string_match":{"exact":"GET"}`)+`,`+path("prefix", "/admin")+`]}}`, anyOne),
	allow("or", `{"or_rules":{"rules":[`+field(":method", `"string_match":{"exact":"POST"}`)+`,`+path("prefix", "/admin")+`]}}`, anyOne),
	allow("and-ids", anyOne, `{"and_ids":{"ids":[`+field("x-tenant", `"string_match":{"exact":"a"}`)+`,{"not_id":`+path("exact", "/admin")+`}]}}`),
	allow("or-ids", anyOne, `{"or_ids":{"ids":[`+field("x-tenant", `"string_match":{"exact":"a"}`)+`,`+path("exact", "/admin")+`]}}`),
	allow("direct-ip", anyOne, cidr("direct_remote_ip", "127.0.0.0", 8)),
	deny("direct-ip-deny", anyOne, cidr("direct_remote_ip", "10.0.0.0", 8)),
	allow("source-ip", anyOne, cidr("source_ip", "127.0.0.1", 32)),
	allow("source-ip-proxied", anyOne, cidr("source_ip", "10.9.9.9", 32)),
	allow("remote-ip", anyOne, cidr("remote_ip", "10.0.0.0", 8)),
	deny("remote-ip-deny", anyOne, cidr("remote_ip", "10.1.0.0", 16)),
	allow("remote-ip-own", anyOne, cidr("remote_ip", "127.0.0.1", 32)),
	allow("remote-ip-six", anyOne, cidr("remote_ip", "2001:db8::", 32)),
	allow("remote-ip-all", anyOne, cidr("remote_ip", "0.0.0.0", 0)),
	deny("dest-ip", cidr("destination_ip", "127.0.0.0", 8), anyOne),
	allow("dest-ip-proxied", cidr("destination_ip", "10.8.8.8", 32), anyOne),
	deny("dest-port", `{"destination_port":9080}`, anyOne),
	deny("dest-port-range", `{"destination_port_range":{"start":1024,"end":65536}}`, anyOne),
	allow("tls", anyOne, `{"authenticated":{}}`),
	deny("not-principal", anyOne, `{"not_id":{"authenticated":{"principal_name":{"exact":"spiffe://cluster.local/ns/a/sa/b"}}}}`),
	allow("sni", `{"requested_server_name":{"exact":"a"}}`, anyOne),
	allow("no-sni", `{"requested_server_name":{"exact":""}}`, anyOne),
	allow("sni-regex", `{"requested_server_name":{"safe_regex":{"regex":".*"}}}`, anyOne),
	allow("metadata", anyOne, `{"metadata":{"filter":"envoy.filters.http.jwt_authn","path":[{"key":"payload"},{"key":"iss"}],"value":{"string_match":{"safe_regex":{"regex":".+"}}}}}`),
	allow("metadata-not", anyOne, `{"metadata":{"filter":"envoy.filters.http.jwt_authn","path":[{"key":"payload"}],"value":{"string_match":{"exact":"a"}},"invert":true}}`),
	allow("metadata-absent", anyOne, `{"metadata":{"filter":"envoy.filters.http.jwt_authn","path":[{"key":"payload"}],"value":{"present_match":false}}}`),
	allow("metadata-null", anyOne, `{"metadata":{"filter":"envoy.filters.http.jwt_authn","path":[{"key":"payload"}],"value":{"null_match":{}}}}`),
	allow("peer", anyOne, `{"filter_state":{"key":"io.istio.peer_principal","string_match":{"prefix":"spiffe://"}}}`),
	deny("peer-not", anyOne, `{"not_id":{"filter_state":{"key":"io.istio.peer_principal","string_match":{"prefix":"spiffe://"}}}}`),
}

// connPolicies are for connections without HTTP.
var connPolicies = []policy{ // no headers: both refuse these
	{"nothing", `{}`},
	allow("ip", anyOne, cidr("direct_remote_ip", "127.0.0.0", 8)),
	allow("other-ip", anyOne, cidr("remote_ip", "10.0.0.0", 8)),
	deny("deny-ip", anyOne, cidr("source_ip", "127.0.0.0", 8)),
	allow("path", path("prefix", "/"), anyOne),
	deny("deny-not-path", `{"not_rule":`+path("prefix", "/")+`}`, anyOne),
	allow("port", `{"destination_port_range":{"start":1,"end":65536}}`, anyOne),
	allow("tls", anyOne, `{"authenticated":{}}`),
	allow("metadata-not", anyOne, `{"metadata":{"filter":"f","path":[{"key":"k"}],"value":{"string_match":{"exact":"a"}},"invert":true}}`),
	{"log", `{"action":"LOG"}`},
}

// requests are sent as they are; the fields that choose a policy come first. Left
// out is what differs on purpose: methods that Envoy does not know, bytes beyond
// ASCII in a path, and "x-forwarded-for: ::ffff:10.1.2.3", which to us is 10.1.2.3.
var requests = requestList()

func requestList() []string {
	var out []string
	for _, p := range []string{
		"/", "/admin", "/admin/", "/Admin", "/ADMIN", "//admin", "/admin//", "/./admin", "/x/../admin", "/admin?x=1", "/admin?", "/?/admin", "/admin%2Fusers",
		"/admin%2fusers", "/%61dmin", "/admin/users", "/admin/users?x", "/administrator", "/x/admin", "/admin;x=1", "/admin%00", "/admin%3Fx", "/admin/a/x", "/admin/a/b/x",
		"/admin/%2e%2e/x", "/admin%20", "/admin/*", "/admin/{x}", "/admin/a|b^c`\"<>", "/admin//x", "/admin/%c3%28", "/admin/a:b@c=d", "/adm%C3%AFn", "/a", "/admin%252Fusers", "/admin\\users", "/a/b/c", "/a/b/", "http://a.example/admin", "http://A.EXAMPLE/admin?x",
	} {
		out = append(out, "GET "+p+" HTTP/1.1\r\nHost: a.example\r\n\r\n")
	}
	for _, m := range []string{"POST", "HEAD", "OPTIONS", "PUT", "PATCH"} {
		end := ""
		if m == "POST" || m == "PUT" || m == "PATCH" {
			end = "Content-Length: 0\r\n"
		}
		out = append(out, m+" /admin HTTP/1.1\r\nHost: a.example\r\n"+end+"\r\n")
	}
	for _, h := range []string{"A.Example", "a.example:80", "a.example.", "b.a.example", "xa.example", "a.example.evil.com", "127.0.0.1", "[::1]:80"} {
		out = append(out, "GET / HTTP/1.1\r\nHost: "+h+"\r\n\r\n")
	}
	for _, f := range []string{
		"x-tenant: a", "x-tenant: A", "x-tenant:a", "x-tenant:   a  ", "X-TENANT: a", "x-tenant: b", "x-tenant: ab", "x-tenant:", "x-tenant: a\r\nx-tenant: b", "x-tenant: b\r\nx-tenant: a",
		"x-tenant: a,b", "x-tenant: a\r\nx-tenant: a", "x-tenant: a\r\nx-tenant:", "x_tenant: a", "x-tenants: a",
		"x-number: 5", "x-number: 10", "x-number: -5", "x-number: +5", "x-number: 05", "x-number: 5.0", "x-number: 0x5", "x-number: 99999999999999999999", "x-number: 5\r\nx-number: 5", "x-number:",
		"user-agent: Mozilla/5.0", "User-Agent: mozilla/5.0",
		"x-forwarded-for: 10.1.2.3", "x-forwarded-for: 10.1.2.3, 192.0.2.1", "x-forwarded-for: 192.0.2.1,10.1.2.3", "x-forwarded-for: 10.1.2.3\r\nx-forwarded-for: 192.0.2.1",
		"x-forwarded-for: 192.0.2.1\r\nx-forwarded-for: 10.1.2.3", "x-forwarded-for: 10.1.2.3:4444", "x-forwarded-for: [2001:db8::1]", "x-forwarded-for: 2001:db8::1",
		"x-forwarded-for: nobody", "x-forwarded-for: 10.1.2.3,", "x-forwarded-for:", "x-forwarded-for: 10.1.2.3,nobody", "x-forwarded-for: 010.1.2.3", "x-forwarded-for: 10.1.2.3 , 10.2.2.2 , 10.3.3.3",
		"X-Forwarded-For: 10.1.2.3", "x-real-ip: 10.1.2.3", "forwarded: for=10.1.2.3", "x-envoy-external-address: 10.1.2.3", "x-forwarded-for: 10.1", "x-forwarded-for: 167837955", "x-forwarded-for: 10.1.2.3%eth0", "x-forwarded-for: \"10.1.2.3\"",
	} {
		out = append(out, "GET /admin HTTP/1.1\r\nHost: a.example\r\n"+f+"\r\n\r\n")
	}
	return out
}
