package config

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

func parseInboundListener(t *testing.T, text string) *Listener {
	t.Helper()
	l, err := ParseListener(fromJSON(t, text, &listenerv3.Listener{}), testDeps())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestListener(t *testing.T) {
	l := parseInboundListener(t, inboundListener)
	want := &Listener{
		Name: "virtualInbound", Addr: netip.MustParseAddrPort("0.0.0.0:15006"), Bind: true, OriginalDst: true, Dir: stream.Inbound,
		TLSInspector: true, HTTPInspector: true, ContinueOnTimeout: true,
		TLSInspectorOff:  []PortRange{{15006, 15007}},
		HTTPInspectorOff: []PortRange{{9080, 9081}, {15006, 15007}},
	}
	if d := cmp.Diff(want, l, cmpopts.IgnoreFields(Listener{}, "Hash", "Chains"), cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
		t.Error(d)
	}
	if len(l.Chains) != 2 || l.Chains[0].TCP == nil || l.Chains[1].HTTP == nil {
		t.Fatalf("chains: %+v", l.Chains)
	}
	if got := l.Chains[0].TCP.Clusters[0].Cluster; got.Handle != "handle of BlackHoleCluster" {
		t.Errorf("cluster handle: %v", got)
	}
	c := l.Chains[1]
	if !c.PeerExchange {
		t.Error("the chain has the metadata exchange filter")
	}
	wantTLS := &DownstreamTLS{RequireClient: true, Common: CommonTLS{
		Certificates: []SecretRef{{Name: "default"}}, Validation: SecretRef{Name: "ROOTCA"},
		SANs: []StringMatch{{Kind: StringPrefix, Value: "spiffe://cluster.local/"}}, ALPN: []string{"h2", "http/1.1"},
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13,
		Ciphers: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_128_GCM_SHA256},
	}}
	if d := cmp.Diff(wantTLS, c.TLS); d != "" {
		t.Error(d)
	}
}

func TestHTTPConnectionManager(t *testing.T) {
	h := parseInboundListener(t, inboundListener).Chains[1].HTTP
	want := &HTTP{
		StatPrefix: "inbound_0.0.0.0_9080;", ServerName: "istio-envoy", ClientCert: CertAppendForward,
		ClientCertSubject: true, ClientCertDNS: true, ClientCertURI: true, GenerateRequestID: true, NormalizePath: true,
		Proxy100Continue: true, Upgrades: []string{"websocket"}, IdleTimeout: time.Hour, MaxHeadBytes: 60 << 10, MaxHeaders: 100,
		DrainTimeout: 5 * time.Second, Stats: &Stats{Reporter: "destination"},
	}
	if d := cmp.Diff(want, h, cmpopts.IgnoreFields(HTTP{}, "Inline", "Filters", "AccessLogs")); d != "" {
		t.Error(d)
	}
	if len(h.AccessLogs) != 1 || h.AccessLogs[0].Path != "/dev/stdout" || h.AccessLogs[0].Text.String() != "%REQ(:METHOD)%\n" {
		t.Errorf("access logs: %+v", h.AccessLogs)
	}
	var slots []int
	for _, f := range h.Filters {
		slots = append(slots, f.Slot)
	}
	if d := cmp.Diff([]int{0, 3, 5}, slots); d != "" { // positions in testDeps; statistics are no builder's
		t.Error(d)
	}
	if r := h.Inline.Hosts[0].Routes[0]; r.Operation != "productpage:9080/*" || r.Forward.Retry.On != OnResetBeforeRequest || r.Forward.Timeout != 0 {
		t.Errorf("inline route: %+v", r)
	}
}

// A TypedStruct arrives as the bytes of its inner type, or of a Struct where that
// type is not linked in.
func TestTypedStruct(t *testing.T) {
	filters := parseInboundListener(t, inboundListener).Chains[1].HTTP.Filters
	fault := &faultv3.HTTPFault{}
	if err := proto.Unmarshal([]byte(filters[1].Config.(string)), fault); err != nil || fault.GetAbort().GetHttpStatus() != 418 {
		t.Errorf("fault: %v, %v", fault, err)
	}
	peer := &structpb.Struct{}
	if err := proto.Unmarshal([]byte(filters[0].Config.(string)), peer); err != nil || peer.GetFields()["downstream_discovery"] == nil {
		t.Errorf("peer metadata: %v, %v", peer, err)
	}
}

// A chain keeps its hash while another one, or the listener, changes.
func TestHashes(t *testing.T) {
	a := parseInboundListener(t, inboundListener)
	b := parseInboundListener(t, strings.Replace(inboundListener, `"cluster": "BlackHoleCluster"`, `"cluster": "Other"`, 1))
	if a.Hash == b.Hash || a.Chains[0].Hash == b.Chains[0].Hash || a.Chains[1].Hash != b.Chains[1].Hash {
		t.Errorf("listener %x %x, chain 0 %x %x, chain 1 %x %x", a.Hash, b.Hash, a.Chains[0].Hash, b.Chains[0].Hash, a.Chains[1].Hash, b.Chains[1].Hash)
	}
	if c := parseInboundListener(t, inboundListener); c.Hash != a.Hash {
		t.Error("equal resources have unequal hashes")
	}
}

func TestSameMatchTwice(t *testing.T) {
	text := strings.Replace(inboundListener, `"filter_chain_match": {"destination_port": 9080, "transport_protocol": "tls", "application_protocols": ["istio", "istio-http/1.1"]}`,
		`"filter_chain_match": {"destination_port": 15006}`, 1)
	_, err := ParseListener(fromJSON(t, text, &listenerv3.Listener{}), testDeps())
	if err == nil || !strings.Contains(err.Error(), "filter_chains[1].filter_chain_match: another chain has the same match") {
		t.Errorf("got %v", err)
	}
}

func TestDirection(t *testing.T) {
	text := strings.Replace(inboundListener, "INBOUND", "OUTBOUND", 1)
	d := testDeps()
	d.Gateway = true
	l, err := ParseListener(fromJSON(t, text, &listenerv3.Listener{}), d)
	if err != nil || l.Dir != stream.Gateway || l.Chains[1].HTTP.Stats.Reporter != "source" {
		t.Errorf("got %v, %v", l, err)
	}
}

func TestRouteTable(t *testing.T) {
	table, err := ParseRouteTable(fromJSON(t, routeTable, &routev3.RouteConfiguration{}), testDeps())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"reviews", "reviews.default", "10.96.1.2"}, table.Hosts[0].Domains); d != "" {
		t.Error(d)
	}
	r := table.Hosts[0].Routes[0]
	if m := r.Match; m.PathKind != PathExact || m.Path != "/admin" || !m.CaseFold || len(m.Headers) != 3 || len(m.Query) != 1 {
		t.Errorf("match: %+v", m)
	}
	if h := r.Match.Headers[1]; h.Value.Kind != StringAny || !h.Invert {
		t.Errorf("present_match false: %+v", h)
	}
	f := r.Forward
	if f.TotalWeight != 100 || len(f.Clusters) != 2 || f.Timeout != 3*time.Second || f.RegexRewriteSub != `/b/\1` {
		t.Errorf("forward: %+v", f)
	}
	wantRetry := &Retry{
		On: OnConnectFailure | OnRetriableStatus, Statuses: []uint32{503}, Retries: 2, PerTryTimeout: time.Second,
		BackoffBase: 25 * time.Millisecond, BackoffMax: 250 * time.Millisecond, AvoidPrevious: true, HostAttempts: 5,
	}
	if d := cmp.Diff(wantRetry, f.Retry); d != "" {
		t.Error(d)
	}
	if m := f.Mirrors[0]; m.Millionths != 100_000 || !m.KeepHost {
		t.Errorf("mirror: %+v", m)
	}
	if h := f.HashPolicy[0]; h.Cookie != "user" || h.CookieTTL == nil || *h.CookieTTL != time.Minute {
		t.Errorf("hash policy: %+v", h)
	}
	// Route, virtual host, table.
	if len(r.RequestHeaders) != 3 || r.RequestHeaders[0].Add[0].Format == nil || r.RequestHeaders[1].Remove[0].String() != "x-host" || r.RequestHeaders[2].Add[0].Name.String() != "x-table" {
		t.Errorf("header operations: %+v", r.RequestHeaders)
	}
	if r.Override(3) == nil || r.Override(4) == nil || r.Override(5) != nil || r.Override(99) != nil {
		t.Errorf("overrides: %v", r.Overrides)
	}
	if last := table.Hosts[0].Routes[3]; last.Override(3) != nil || last.Override(4) == nil || last.Forward.Timeout != 15*time.Second {
		t.Errorf("last route: %+v", last)
	}
	if rd := table.Hosts[0].Routes[1].Redirect; rd.Status != 302 || rd.Path != "/new" {
		t.Errorf("redirect: %+v", rd)
	}
	if got := r.Metadata.Config; !strings.HasSuffix(got, "virtual-service/reviews") {
		t.Errorf("metadata: %q", got)
	}
}

func TestMostSpecificHeaderMutationsWin(t *testing.T) {
	text := strings.Replace(routeTable, `"name": "9080",`, `"name": "9080", "most_specific_header_mutations_wins": true,`, 1)
	table, err := ParseRouteTable(fromJSON(t, text, &routev3.RouteConfiguration{}), testDeps())
	if err != nil {
		t.Fatal(err)
	}
	r := table.Hosts[0].Routes[0]
	if !r.ClusterOpsLast || r.RequestHeaders[0].Add[0].Name.String() != "x-table" || r.RequestHeaders[2].Add[0].Name.String() != "x-req" {
		t.Errorf("header operations: %+v", r.RequestHeaders)
	}
}

func TestCluster(t *testing.T) {
	c, err := ParseCluster(fromJSON(t, edsCluster, &clusterv3.Cluster{}), testDeps())
	if err != nil {
		t.Fatal(err)
	}
	const unlimited = 4294967295
	want := &Cluster{
		Name: "outbound|9080|v1|reviews.default.svc.cluster.local", Type: ClusterEDS, EDSName: "service", Policy: LeastRequest,
		ChoiceCount: 2, ActiveBias: 1, ConnectTimeout: 10 * time.Second, DNSRefresh: 5 * time.Second, PeerExchange: true,
		Breakers: [2]Breakers{
			{MaxConnections: 10, MaxPending: unlimited, MaxRequests: unlimited, MaxRetries: 2},
			{MaxConnections: 1024, MaxPending: 1024, MaxRequests: 1024, MaxRetries: 3},
		},
		IdleTimeout: 300 * time.Second, MaxRequests: 3, Protocol: SpeakHTTP2, KeepAlive: &KeepAlive{Time: 60},
		Outlier: &Outlier{
			Consecutive5xx: 3, ConsecutiveGateway: 5, ConsecutiveLocal: 5, Enforce5xx: 100, EnforceLocal: 100,
			Interval: 5 * time.Second, BaseEjection: 400 * time.Second, MaxEjection: 400 * time.Second, MaxEjectionPercent: 50,
		},
		TLSMatches: []TLSMatch{
			{Name: "tlsMode-istio", Match: map[string]string{"tlsMode": "istio"}, TLS: &UpstreamTLS{
				SNI: "outbound_.9080_.v1_.reviews.default.svc.cluster.local", MaxSessions: 1,
				Common: CommonTLS{
					Certificates: []SecretRef{{Name: "default"}}, Validation: SecretRef{Name: "ROOTCA", FromADS: true},
					SANs:       []StringMatch{{Kind: StringExact, Value: "spiffe://cluster.local/ns/default/sa/reviews"}},
					ALPN:       []string{"istio-peer-exchange", "istio"},
					MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13,
				},
			}},
			{Name: "tlsMode-disabled"},
		},
		Metadata: Metadata{
			Config: "/apis/networking.istio.io/v1/namespaces/default/destination-rule/reviews", Subset: "v1",
			Services: []Service{{"reviews.default.svc.cluster.local", "reviews", "default"}},
		},
	}
	if d := cmp.Diff(want, c, cmpopts.IgnoreFields(Cluster{}, "Hash"), cmpopts.EquateComparable(netip.Addr{})); d != "" {
		t.Error(d)
	}
}

func TestClusterDefaults(t *testing.T) {
	c, err := ParseCluster(&clusterv3.Cluster{Name: "c"}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Type != ClusterStatic || c.Policy != RoundRobin || c.ConnectTimeout != 5*time.Second || c.PanicThreshold != 50 ||
		c.IdleTimeout != time.Hour || c.Breakers[0] != (Breakers{MaxConnections: 1024, MaxPending: 1024, MaxRequests: 1024, MaxRetries: 3}) || c.Protocol != SpeakHTTP11 {
		t.Errorf("got %+v", c)
	}
}

func TestClusterKinds(t *testing.T) {
	tests := []struct {
		name, json string
		check      func(c *Cluster) bool
	}{
		{"original destination", `{"name": "c", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}}}`,
			func(c *Cluster) bool {
				return c.Policy == OriginalDst && c.SourceAddr == netip.MustParseAddr("127.0.0.6")
			}},
		{"ring hash", `{"name": "c", "lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "2048"}}`,
			func(c *Cluster) bool { return c.Policy == RingHash && c.RingMin == 2048 && c.RingMax == 8<<20 }},
		{"maglev", `{"name": "c", "lb_policy": "MAGLEV"}`, func(c *Cluster) bool { return c.TableSize == 65537 }},
		{"slow start", `{"name": "c", "round_robin_lb_config": {"slow_start_config": {"slow_start_window": "30s", "aggression": {"default_value": 2, "runtime_key": "k"}}}}`,
			func(c *Cluster) bool { return *c.SlowStart == SlowStart{30 * time.Second, 2, 10} }},
		{"dns", `{"name": "c", "type": "STRICT_DNS", "dns_lookup_family": "V4_ONLY", "respect_dns_ttl": true, "load_assignment": {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "a.example", "port_value": 443}}}}]}]}}`,
			func(c *Cluster) bool {
				return len(c.DNS) == 1 && c.DNS[0].Host == "a.example" && c.DNS[0].Port == 443 && c.DNSFamily == DNSV4Only
			}},
		{"downstream protocol", `{"name": "c", "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "common_http_protocol_options": {"idle_timeout": "0s"}, "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}}}}`,
			func(c *Cluster) bool { return c.Protocol == SpeakDownstream && c.IdleTimeout < 0 }},
		{"HTTP/2", `{"name": "c", "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
			"common_http_protocol_options": {"max_connection_duration": "60s", "max_requests_per_connection": 9},
			"explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 50, "initial_stream_window_size": 70000, "initial_connection_window_size": 100000,
				"connection_keepalive": {"interval": "30s", "timeout": "5s"}, "allow_connect": true}}}}}`,
			func(c *Cluster) bool {
				return c.Protocol == SpeakHTTP2 && c.HTTP2 == HTTP2{50, 70000, 100000, 30 * time.Second, 5 * time.Second} &&
					c.MaxRequests == 9 && c.MaxConnDuration == time.Minute
			}},
		{"HTTP/2 in the old fields", `{"name": "c", "http2_protocol_options": {"max_concurrent_streams": 7}, "common_http_protocol_options": {"idle_timeout": "5s"}, "max_requests_per_connection": 3}`,
			func(c *Cluster) bool {
				return c.Protocol == SpeakHTTP2 && c.HTTP2.MaxStreams == 7 && c.IdleTimeout == 5*time.Second && c.MaxRequests == 3
			}},
		{"negotiated", `{"name": "c", "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
			"auto_config": {"http_protocol_options": {}, "http2_protocol_options": {"max_concurrent_streams": 8}}}}}`,
			func(c *Cluster) bool { return c.Protocol == SpeakALPN && c.HTTP2.MaxStreams == 8 }},
		{"client TLS defaults", `{"name": "c", "transport_socket": {"name": "t", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}}}`,
			func(c *Cluster) bool {
				return c.TLS.Common.MinVersion == tls.VersionTLS12 && c.TLS.Common.MaxVersion == tls.VersionTLS12
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := ParseCluster(fromJSON(t, tt.json, &clusterv3.Cluster{}), Deps{})
			if err != nil {
				t.Fatal(err)
			}
			if !tt.check(c) {
				t.Errorf("got %+v", c)
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	es, err := ParseEndpoints(fromJSON(t, endpoints, &endpointv3.ClusterLoadAssignment{}), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	want := &Endpoints{Name: "service", Overprovisioning: 140, Localities: []Locality{
		{Region: "r", Zone: "z", Weight: 3, Endpoints: []*Endpoint{
			{Addr: netip.MustParseAddrPort("10.0.0.1:9080"), Weight: 2, SocketMatch: map[string]string{"tlsMode": "istio"}, Workload: "reviews-v1;default;reviews;v1;Kubernetes"},
			{Addr: netip.MustParseAddrPort("10.0.0.2:9080"), Weight: 1, Health: Draining},
		}},
		{Priority: 1, Endpoints: []*Endpoint{{Addr: netip.MustParseAddrPort("[fd00::1]:9080"), Weight: 1}}},
	}}
	if d := cmp.Diff(want, es, cmpopts.IgnoreFields(Endpoints{}, "Hash"), cmpopts.EquateComparable(netip.AddrPort{})); d != "" {
		t.Error(d)
	}
}

func FuzzParse(f *testing.F) {
	urls := []string{ListenerURL, RouteURL, ClusterURL, EndpointsURL}
	for i, m := range []proto.Message{
		fromJSON(f, inboundListener, &listenerv3.Listener{}),
		fromJSON(f, routeTable, &routev3.RouteConfiguration{}),
		fromJSON(f, edsCluster, &clusterv3.Cluster{}),
		fromJSON(f, endpoints, &endpointv3.ClusterLoadAssignment{}),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), b)
	}
	deps := testDeps()
	f.Fuzz(func(t *testing.T, kind uint8, value []byte) {
		n, err := Parse(urls[int(kind)%len(urls)], value, deps)
		if (n == nil) != (err != nil) {
			t.Errorf("node %v with error %v", n, err)
		}
	})
}

func BenchmarkParseRouteTable(b *testing.B) {
	value, err := proto.Marshal(fromJSON(b, routeTable, &routev3.RouteConfiguration{}))
	if err != nil {
		b.Fatal(err)
	}
	deps := testDeps()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(RouteURL, value, deps); err != nil {
			b.Fatal(err)
		}
	}
}
