package rbac

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"

	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

func wire(t testing.TB, m proto.Message, text string) []byte {
	t.Helper()
	if err := protojson.Unmarshal([]byte(text), m); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Rules as Istio writes them for its documented examples.
const (
	denyAdmin = `{"action":"DENY","policies":{"ns[default]-policy[deny-admin]-rule[0]":{
 "permissions":[{"and_rules":{"rules":[{"or_rules":{"rules":[{"url_path":{"path":{"exact":"/admin"}}}]}}]}}],
 "principals":[{"and_ids":{"ids":[{"not_id":{"or_ids":{"ids":[{"direct_remote_ip":{"address_prefix":"10.0.0.0","prefix_len":8}}]}}}]}}]}}}`
	viewer = `{"policies":{
 "ns[default]-policy[allow-nothing]-rule[0]":{"permissions":[{"not_rule":{"any":true}}],"principals":[{"not_id":{"any":true}}]},
 "ns[default]-policy[viewer]-rule[0]":{
 "permissions":[{"and_rules":{"rules":[{"or_rules":{"rules":[{"header":{"name":":method","string_match":{"exact":"GET"}}}]}},
  {"or_rules":{"rules":[{"url_path":{"path":{"prefix":"/productpage"}}},{"url_path":{"path":{"prefix":"/static/"}}}]}}]}}],
 "principals":[{"and_ids":{"ids":[
  {"or_ids":{"ids":[{"authenticated":{"principal_name":{"exact":"spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway"}}}]}},
  {"not_id":{"or_ids":{"ids":[{"authenticated":{"principal_name":{"safe_regex":{"regex":".*/ns/evil/.*"}}}}]}}},
  {"or_ids":{"ids":[{"header":{"name":"x-tenant","string_match":{"exact":"a"}}},{"header":{"name":"x-tenant","string_match":{"prefix":"b"}}}]}}]}}]}}}`
)

const gateway = "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway"

type route struct{ override any }

func (route) RouteName() string    { return "r" }
func (r route) Override(i int) any { return map[int]any{3: r.override}[i] }

type passed struct{}

func (passed) Handle(*stream.Stream, stream.Next) (*stream.Response, error) {
	return &stream.Response{Status: 200}, nil
}

// chain makes a chain of filters with these configurations.
func chain(t testing.TB, stats *Stats, configs ...string) stream.Chain {
	t.Helper()
	var out stream.Chain
	b := NewBuilder(stats)
	for _, c := range configs {
		cfg, err := b.Parse(config.HTTPRBACURL, wire(t, &httprbacv3.RBAC{}, c))
		if err != nil {
			t.Fatal(err)
		}
		f, err := b.New(cfg, 3)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return append(out, passed{})
}

func exchange(from, peer, method, path string, headers ...string) *stream.Stream {
	s := &stream.Stream{Conn: &stream.Conn{Remote: netip.MustParseAddrPort(from), Local: netip.MustParseAddrPort("10.1.1.1:9080")}}
	if peer != "" {
		s.Conn.TLS = &stream.TLS{Mutual: true, PeerURI: peer, PeerURIs: []string{peer}}
	}
	s.Request.Method, s.Request.Path, s.Request.Authority = []byte(method), []byte(path), []byte("productpage")
	for i := 0; i < len(headers); i += 2 {
		s.Request.AddString(stream.N(headers[i]), headers[i+1])
	}
	return s
}

// TestIstioRules runs requests through the two filters that Istio makes of a DENY
// and an ALLOW policy.
func TestIstioRules(t *testing.T) {
	const none, admin = "rbac_access_denied_matched_policy[none]", "rbac_access_denied_matched_policy[ns[default]-policy[deny-admin]-rule[0]]"
	tests := []struct {
		name    string
		s       *stream.Stream
		details string // of the denial; "" for none
	}{
		{"allowed", exchange("10.2.0.1:1", gateway, "GET", "/productpage?u=1", "x-tenant", "a"), ""},
		{"allowed by prefix", exchange("10.2.0.1:1", gateway, "GET", "/static/x", "x-tenant", "bcd"), ""},
		{"wrong method", exchange("10.2.0.1:1", gateway, "POST", "/productpage", "x-tenant", "a"), none},
		{"wrong path", exchange("10.2.0.1:1", gateway, "GET", "/static", "x-tenant", "a"), none},
		{"wrong tenant", exchange("10.2.0.1:1", gateway, "GET", "/productpage", "x-tenant", "c"), none},
		{"no tenant", exchange("10.2.0.1:1", gateway, "GET", "/productpage"), none},
		{"two tenants, one of them right", exchange("10.2.0.1:1", gateway, "GET", "/productpage", "x-tenant", "c", "x-tenant", "a"), ""},
		{"two tenants as one text", exchange("10.2.0.1:1", gateway, "GET", "/productpage", "x-tenant", "c,a"), none},
		{"plain text", exchange("10.2.0.1:1", "", "GET", "/productpage", "x-tenant", "a"), none},
		{"another identity", exchange("10.2.0.1:1", "spiffe://cluster.local/ns/evil/sa/istio-ingressgateway", "GET", "/productpage", "x-tenant", "a"), none},
		{"longer identity", exchange("10.2.0.1:1", gateway+"2", "GET", "/productpage", "x-tenant", "a"), none},
		{"admin from outside", exchange("192.0.2.1:1", gateway, "GET", "/admin", "x-tenant", "a"), admin},
		{"admin from inside", exchange("10.2.0.1:1", gateway, "GET", "/admin", "x-tenant", "a"), none},
		{"admin by 4in6", exchange("[::ffff:10.2.0.1]:1", gateway, "GET", "/admin", "x-tenant", "a"), none},
		{"x-forwarded-for is not the peer", exchange("192.0.2.1:1", gateway, "GET", "/admin", "x-tenant", "a", "x-forwarded-for", "10.2.0.1"), admin},
	}
	var stats Stats
	c := chain(t, &stats, `{"rules":`+denyAdmin+`,"shadow_rules_stat_prefix":"istio_dry_run_allow_"}`, `{"rules":`+viewer+`}`)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, err := c.Handle(tt.s)
			if tt.details == "" {
				if err != nil || resp.Status != 200 {
					t.Errorf("got %v", err)
				}
				return
			}
			r, ok := err.(*stream.Reply)
			if !ok || r.Status != 403 || r.Body != "RBAC: access denied" || r.Reason.Code != stream.PolicyDenied || r.Reason.Details() != tt.details {
				t.Errorf("got %+v, want details %s", err, tt.details)
			}
			if ok && r.Reason.Error() != "policy_denied" {
				t.Errorf("clients are told %q", r.Reason.Error())
			}
		})
	}
	got := map[string]uint64{}
	maps.Insert(got, stats.All())
	want := map[string]uint64{
		"http.rbac.allowed": 13 + 3, "http.rbac.denied": 12, "http.rbac.shadow_allowed": 0, "http.rbac.shadow_denied": 0,
		"http.rbac.istio_dry_run_allow_shadow_allowed": 0, "http.rbac.istio_dry_run_allow_shadow_denied": 0,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestDryRun(t *testing.T) {
	var stats Stats
	c := chain(t, &stats, `{"shadow_rules":`+denyAdmin+`,"shadow_rules_stat_prefix":"istio_dry_run_deny_"}`)
	for i, tt := range []struct{ path, result, policy string }{
		{"/admin", "denied", "ns[default]-policy[deny-admin]-rule[0]"},
		{"/", "allowed", ""},
	} {
		s := exchange("192.0.2.1:1", "", "GET", tt.path)
		if _, err := c.Handle(s); err != nil {
			t.Fatal("a dry run denies")
		}
		result, _ := s.Metadata.Get(Name, "istio_dry_run_deny_shadow_engine_result")
		policy, ok := s.Metadata.Get(Name, "istio_dry_run_deny_shadow_effective_policy_id")
		if result != tt.result || ok != (tt.policy != "") || ok && policy != tt.policy {
			t.Errorf("%d: %v by %v", i, result, policy)
		}
	}
	got := map[string]uint64{}
	maps.Insert(got, stats.All())
	if got["http.rbac.istio_dry_run_deny_shadow_denied"] != 1 || got["http.rbac.istio_dry_run_deny_shadow_allowed"] != 1 || got["http.rbac.allowed"] != 0 {
		t.Errorf("%v", got)
	}
}

func TestLog(t *testing.T) {
	c := chain(t, new(Stats), `{"rules":{"action":"LOG","policies":{"a":{"permissions":[{"url_path":{"path":{"exact":"/a"}}}],"principals":[{"any":true}]}}}}`)
	for path, want := range map[string]bool{"/a": true, "/b": false} {
		s := exchange("192.0.2.1:1", "", "GET", path)
		_, err := c.Handle(s)
		if hint, _ := s.Metadata.Get("envoy.common", "access_log_hint"); err != nil || hint != any(want) {
			t.Errorf("%s: %v, %v", path, hint, err)
		}
	}
}

// TestRoute: a route's own rules replace the filter's; none open it.
func TestRoute(t *testing.T) {
	b := NewBuilder(new(Stats))
	c := chain(t, new(Stats), `{"rules":{}}`) // allows nothing
	for text, want := range map[string]bool{
		``:   false,
		`{}`: true,
		`{"rbac":{"rules":{"policies":{"a":{"permissions":[{"any":true}],"principals":[{"any":true}]}}}}}`: true,
		`{"rbac":{"rules":{}}}`: false,
	} {
		s := exchange("192.0.2.1:1", "", "GET", "/")
		if text != "" {
			o, err := b.ParseOverride(config.HTTPRBACPerRouteURL, wire(t, &httprbacv3.RBACPerRoute{}, text))
			if err != nil {
				t.Fatal(err)
			}
			s.Route = route{o}
		}
		if _, err := c.Handle(s); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := b.ParseOverride(config.HTTPRBACURL, nil); err == nil {
		t.Error("a route with the filter's own type")
	}
}

func TestNetwork(t *testing.T) {
	parse := func(text string) *config.Access {
		m := &networkrbacv3.RBAC{}
		wire(t, m, text)
		raw, err := proto.Marshal(&httprbacv3.RBAC{Rules: m.GetRules(), ShadowRules: m.GetShadowRules()})
		if err != nil {
			t.Fatal(err)
		}
		a, err := config.ParseHTTPAccess(raw)
		if err != nil {
			t.Fatal(err)
		}
		a.StatPrefix = m.GetStatPrefix()
		return a
	}
	var stats Stats
	// A DENY rule about paths matches connections without them, as Istio leaves these
	// parts out; an ALLOW rule about them matches none.
	n := NewNetwork([]*config.Access{
		parse(`{"rules":{"action":"DENY","policies":{"d":{"permissions":[{"destination_port":9080}],"principals":[{"not_id":{"direct_remote_ip":{"address_prefix":"10.0.0.0","prefix_len":8}}}]}}},"stat_prefix":"tcp."}`),
		parse(`{"rules":{"policies":{"a b":{"permissions":[{"any":true}],"principals":[{"authenticated":{"principal_name":{"exact":"` + gateway + `"}}}]},
 "p":{"permissions":[{"url_path":{"path":{"prefix":"/"}}}],"principals":[{"any":true}]}}},"stat_prefix":"tcp."}`),
	}, &stats)
	for _, tt := range []struct{ from, peer, details string }{
		{"10.1.2.3:1", gateway, ""},
		{"10.1.2.3:1", "", "rbac_access_denied_matched_policy[none]"},
		{"192.0.2.1:1", gateway, "rbac_access_denied_matched_policy[d]"},
	} {
		why, ok := n.Check(exchange(tt.from, tt.peer, "", "").Conn)
		if ok != (tt.details == "") || !ok && why.Details() != tt.details {
			t.Errorf("%s %q: %v %q", tt.from, tt.peer, ok, why.Details())
		}
	}
	got := map[string]uint64{}
	maps.Insert(got, stats.All())
	if got["tcp.rbac.denied"] != 2 || got["tcp.rbac.allowed"] != 3 {
		t.Errorf("%v", got)
	}
	if why, ok := (Network)(nil).Check(&stream.Conn{}); !ok {
		t.Error(why)
	}
}

// manyPolicies are n policies of Istio's shape, none of which but the last matches
// the benchmark's request.
func manyPolicies(n int) string {
	text := ""
	for i := range n {
		path := fmt.Sprintf("/other%d", i)
		if i == n-1 {
			path = "/productpage"
		}
		text += fmt.Sprintf(`%s"ns[default]-policy[p%03d]-rule[0]":{
 "permissions":[{"and_rules":{"rules":[{"or_rules":{"rules":[{"header":{"name":":method","string_match":{"exact":"GET"}}}]}},{"or_rules":{"rules":[{"url_path":{"path":{"prefix":%q}}}]}}]}}],
 "principals":[{"and_ids":{"ids":[{"or_ids":{"ids":[{"authenticated":{"principal_name":{"exact":%q}}}]}},{"not_id":{"authenticated":{"principal_name":{"safe_regex":{"regex":".*/ns/evil/.*"}}}}},
 {"or_ids":{"ids":[{"remote_ip":{"address_prefix":"10.0.0.0","prefix_len":8}},{"header":{"name":"x-tenant","string_match":{"prefix":"a"}}}]}}]}}]}`,
			map[bool]string{true: ",\n"}[i > 0], i, path, gateway)
	}
	return `{"rules":{"policies":{` + text + `}}}`
}

func TestNoAllocations(t *testing.T) {
	c := chain(t, new(Stats), `{"rules":`+denyAdmin+`,"shadow_rules":`+viewer+`}`, manyPolicies(100))
	c[len(c)-1] = deny{} // passed makes a response
	for name, s := range map[string]*stream.Stream{
		"allowed": exchange("192.0.2.1:1", gateway, "GET", "/productpage", "x-tenant", "b", "x-forwarded-for", "192.0.2.7, 10.0.0.9"),
		"denied":  exchange("192.0.2.1:1", gateway, "GET", "/admin"),
	} {
		if n := testing.AllocsPerRun(100, func() {
			s.Metadata.Reset()
			_, err := c.Handle(s)
			if (err == error(errEnd)) != (name == "allowed") {
				t.Fatalf("%s: %v", name, err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

var errEnd = stream.Reason{Code: stream.None}

type deny struct{}

var end error = errEnd

func (deny) Handle(*stream.Stream, stream.Next) (*stream.Response, error) { return nil, end }

func BenchmarkHandle(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n, "-policies"), func(b *testing.B) {
			c := chain(b, new(Stats), manyPolicies(n))
			c[len(c)-1] = deny{}
			s := exchange("192.0.2.1:1", gateway, "GET", "/productpage", "x-tenant", "b", "x-forwarded-for", "192.0.2.7, 10.0.0.9")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Handle(s); err != end {
					b.Fatal(err)
				}
			}
		})
	}
}
