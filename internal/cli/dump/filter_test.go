package dump

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
)

// words prints and squeezes a table.
func words(t *testing.T, write func(b *strings.Builder) error) string {
	t.Helper()
	var b strings.Builder
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func TestFilters(t *testing.T) {
	parse := func() *Config {
		c, err := Parse([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, f := range []struct {
		filter Clusters
		want   int
	}{
		{Clusters{}, 2}, {Clusters{FQDN: "reviews.default"}, 1}, {Clusters{Port: 9080}, 1}, {Clusters{Port: 80}, 0},
		{Clusters{Subset: "v1"}, 1}, {Clusters{Subset: "v2"}, 0}, {Clusters{Direction: "OUTBOUND"}, 1}, {Clusters{Direction: "inbound"}, 0},
	} {
		c := parse()
		if c.KeepClusters(f.filter); len(c.Clusters) != f.want {
			t.Errorf("%+v: %d clusters, want %d", f.filter, len(c.Clusters), f.want)
		}
	}
	for _, f := range []struct {
		filter Listeners
		want   int
	}{{Listeners{}, 1}, {Listeners{Type: "http+tcp"}, 1}, {Listeners{Type: "TCP"}, 0}, {Listeners{Port: 9080, Address: "0.0.0.0"}, 1}, {Listeners{Address: "1.2.3.4"}, 0}} {
		c := parse()
		if c.KeepListeners(f.filter); len(c.Listeners) != f.want {
			t.Errorf("%+v: %d listeners, want %d", f.filter, len(c.Listeners), f.want)
		}
	}
	c := parse()
	if c.KeepRoutes("9080"); len(c.Routes) != 1 {
		t.Error("the route table 9080 is gone")
	}
	if c.KeepRoutes("80"); len(c.Routes) != 0 {
		t.Error("the route table 9080 stays")
	}
	list := []Endpoint{{Address: "10.0.0.2:80", Status: "HEALTHY", Cluster: "b"}, {Address: "10.0.0.1:81", Status: "UNHEALTHY", Cluster: "a"}, {Address: "10.0.0.1:80", Status: "HEALTHY", Cluster: "a"}}
	for _, f := range []struct {
		filter Endpoints
		want   int
	}{{Endpoints{}, 3}, {Endpoints{Address: "10.0.0.1"}, 2}, {Endpoints{Port: 80}, 2}, {Endpoints{Cluster: "b"}, 1}, {Endpoints{Status: "healthy"}, 2}} {
		if got := f.filter.Keep(append([]Endpoint(nil), list...)); len(got) != f.want {
			t.Errorf("%+v: %v", f.filter, got)
		}
	}
}

// TestComparison: a proxy that has what it should matches; a difference is shown
// with its lines; what the proxy made itself is none.
func TestComparison(t *testing.T) {
	want, err := Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	have, err := Parse([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	write := func() string {
		return words(t, func(b *strings.Builder) error { return WriteComparison(b, Compare(want, have)) })
	}
	if got := write(); got != "Clusters Match Listeners Match Routes Match" {
		t.Error(got)
	}
	have.Clusters[0].LbPolicy = 1
	have.Routes = nil
	own := proto.CloneOf(have.Clusters[1])
	own.Name = "xds-grpc"
	have.Clusters = append(have.Clusters, own)
	got := write()
	for _, part := range []string{"Clusters Don't Match", `+ "lbPolicy": "LEAST_REQUEST",`, "Listeners Match", "Routes Don't Match", "@@ 9080 @@", `- "name": "9080"`} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in\n%s", part, got)
		}
	}
	if strings.Contains(got, "xds-grpc") {
		t.Errorf("the proxy's own cluster is told:\n%s", got)
	}
}

func TestMiddle(t *testing.T) {
	got := strings.Join(changes(strings.Fields("a b c d e f g h i"), strings.Fields("a b c d x f y g h i")), "")
	if want := " b c d-e+x f+y g h i"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if changes([]string{"a"}, []string{"a"}) != nil {
		t.Error("equal texts differ")
	}
}

const authorization = `{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","dynamic_listeners":[{"name":"l","active_state":{"listener":{
 "@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l","filter_chains":[{"filters":[
 {"name":"r","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC","stat_prefix":"x","rules":{"action":"DENY","policies":{
  "ns[foo]-policy[deny]-rule[0]":{"permissions":[{"any":true}],"principals":[{"any":true}]}}}}},
 {"name":"h","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"x","http_filters":[
  {"name":"rbac","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC","rules":{"action":"ALLOW","policies":{
   "ns[foo]-policy[httpbin]-rule[0]":{"permissions":[{"any":true}],"principals":[{"any":true}]},"ns[foo]-policy[httpbin]-rule[1]":{"permissions":[{"any":true}],"principals":[{"any":true}]}}}}}]}}]}]}}}]}]}`

func TestAuthorization(t *testing.T) {
	for text, want := range map[string]string{
		authorization: "ACTION AuthorizationPolicy RULES ALLOW httpbin.foo 2 DENY deny.foo 1",
		config:        "The proxy has no RBAC filters: it enforces no AuthorizationPolicy.",
	} {
		c, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := words(t, func(b *strings.Builder) error { return c.WriteAuthorization(b) }); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAssigned(t *testing.T) {
	c, err := Parse([]byte(`{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.EndpointsConfigDump","dynamic_endpoint_configs":[{"endpoint_config":{
	 "@type":"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment","cluster_name":"outbound|80||a","endpoints":[{"locality":{"region":"r","zone":"z"},"lb_endpoints":[
	 {"endpoint":{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}}}},{"health_status":"DRAINING","endpoint":{"address":{"socket_address":{"address":"10.0.0.2","port_value":80}}}}]}]}}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := words(t, func(b *strings.Builder) error { return WriteAssigned(b, Endpoints{}.Keep(c.Assigned())) }),
		"NAME STATUS LOCALITY CLUSTER 10.0.0.1:80 HEALTHY r/z outbound|80||a 10.0.0.2:80 DRAINING r/z outbound|80||a"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzParse: dumps come from files that users name.
func FuzzParse(f *testing.F) {
	f.Add([]byte(config))
	f.Add([]byte(authorization))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if err != nil {
			return
		}
		var b strings.Builder
		for _, write := range []func() error{
			func() error { return c.WriteClusters(&b) }, func() error { return c.WriteListeners(&b) }, func() error { return c.WriteRoutes(&b) },
			func() error { return c.WriteAuthorization(&b) }, func() error { return WriteComparison(&b, Compare(c, c)) },
		} {
			if err := write(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
