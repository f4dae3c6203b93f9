package dump

import (
	"strings"
	"testing"
	"time"
)

// config is a dump as Envoy and our own proxy give it, cut short.
const config = `{"configs":[
 {"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","dynamic_listeners":[
  {"name":"0.0.0.0_9080","error_state":{"details":"the last update was bad"},"active_state":{"listener":{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"0.0.0.0_9080",
   "address":{"socket_address":{"address":"0.0.0.0","port_value":9080}},
   "filter_chains":[{"filter_chain_match":{"transport_protocol":"raw_buffer"},"filters":[{"name":"h","typed_config":{
    "@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"x","rds":{"route_config_name":"9080"}}}]}],
   "default_filter_chain":{"filters":[{"name":"t","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"x","cluster":"PassthroughCluster"}}]}}}}]},
 {"@type":"type.googleapis.com/envoy.admin.v3.ClustersConfigDump","dynamic_active_clusters":[
  {"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"outbound|9080|v1|reviews.default.svc.cluster.local","type":"EDS",
   "metadata":{"filter_metadata":{"istio":{"config":"/apis/networking.istio.io/v1/namespaces/default/destination-rule/reviews"}}}}},
  {"cluster":{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"BlackHoleCluster","type":"STATIC"}}]},
 {"@type":"type.googleapis.com/envoy.admin.v3.RoutesConfigDump","dynamic_route_configs":[
  {"route_config":{"@type":"type.googleapis.com/envoy.config.route.v3.RouteConfiguration","name":"9080","virtual_hosts":[
   {"name":"reviews:9080","domains":["reviews","reviews.default","10.96.0.1"],"routes":[
    {"match":{"prefix":"/","headers":[{"name":"end-user","string_match":{"exact":"jason"}},{"name":"x","string_match":{"prefix":"a"},"invert_match":true}]},
     "metadata":{"filter_metadata":{"istio":{"config":"/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"}}}},
    {"match":{"path":"/exact"}},{"match":{"safe_regex":{"regex":"/r.*"}}}]}]}}]},
 {"@type":"type.googleapis.com/envoy.admin.v3.SecretsConfigDump","dynamic_active_secrets":[{"name":"default","secret":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret","name":"default"}}]}
]}`

func TestTables(t *testing.T) {
	c, err := Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, write := range []func() error{
		func() error { return c.WriteListeners(&b) }, func() error { return c.WriteClusters(&b) }, func() error { return c.WriteRoutes(&b) },
		func() error { return c.WriteSecrets(&b, time.Unix(0, 0)) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	got := strings.Join(strings.Fields(b.String()), " ")
	for _, want := range []string{
		"0.0.0.0 9080 Trans: raw_buffer Route: 9080", "0.0.0.0 9080 ALL Cluster: PassthroughCluster",
		"reviews.default.svc.cluster.local 9080 v1 outbound EDS reviews.default", "BlackHoleCluster - - - STATIC -",
		"9080 reviews:9080 reviews, reviews.default + 1 more... /* end-user=jason !(x=a*) reviews.default", "/exact -", "regex /r.* -",
		"default - ACTIVE false no certificate",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if len(c.Rejected) != 1 || !strings.Contains(c.Rejected[0], "the last update was bad") {
		t.Errorf("rejected: %v", c.Rejected)
	}
	if list, err := Resources([]byte(config)); err != nil || len(list) != 4 {
		t.Errorf("%d resources, %v", len(list), err)
	}
}

func TestEndpoints(t *testing.T) {
	var b strings.Builder
	list, err := ParseEndpoints([]byte(`{"cluster_statuses":[{"name":"outbound|80||a","host_statuses":[
		{"address":{"socket_address":{"address":"10.0.0.2","port_value":80}},"health_status":{"eds_health_status":"HEALTHY"}},
		{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}},"health_status":{"failed_outlier_check":true}}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteEndpoints(&b, Endpoints{}.Keep(list)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(strings.Fields(b.String()), " "); !strings.HasSuffix(got, "10.0.0.1:80 HEALTHY FAILED outbound|80||a 10.0.0.2:80 HEALTHY OK outbound|80||a") {
		t.Error(got)
	}
}

func TestNoDump(t *testing.T) {
	for _, text := range []string{"", "x", `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","dynamic_listeners":[{"active_state":{"listener":{"@type":"type.googleapis.com/nothing"}}}]}]}`} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%q parses", text)
		}
	}
}
