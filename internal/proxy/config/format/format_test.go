package format

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// istioDefault is the text format of Istio's access log.
const istioDefault = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ` +
	`%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% ` +
	`%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ` +
	`"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% ` +
	`%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n"

type route string

func (r route) RouteName() string { return string(r) }
func (route) Override(int) any    { return nil }

func httpSource() *Source {
	s := &stream.Stream{
		ID:    7,
		Start: time.Date(2026, 3, 1, 12, 30, 45, 123456789, time.UTC),
		Route: route("default"),
		Conn: &stream.Conn{
			ID: 9, Remote: netip.MustParseAddrPort("10.244.0.3:40000"), Local: netip.MustParseAddrPort("10.96.0.4:9080"),
			TLS: &stream.TLS{
				ServerName: "outbound_.9080_._.reviews", PeerURI: "spiffe://cluster.local/ns/default/sa/a",
				LocalURI: "spiffe://cluster.local/ns/default/sa/b", Version: tls.VersionTLS13, Cipher: tls.TLS_AES_128_GCM_SHA256,
			},
		},
	}
	s.Request.Method, s.Request.Path = []byte("GET"), []byte("/reviews/1?x=1")
	s.Request.Authority, s.Request.Scheme = []byte("reviews:9080"), []byte("http")
	s.Request.AddString(stream.UserAgent, "curl/8")
	s.Request.AddString(stream.RequestID, "id-1")
	s.Upstream = stream.Upstream{
		Cluster: "outbound|9080||reviews.default.svc.cluster.local", Host: netip.MustParseAddrPort("10.244.0.9:9080"),
		Local: netip.MustParseAddrPort("10.244.0.3:50000"), Attempts: 1,
	}
	resp := &stream.Response{Status: 200}
	resp.AddString(stream.EnvoyServiceTime, "4")
	out := &stream.Outcome{
		Status: 200, BytesReceived: 3, BytesSent: 295, Duration: int64(5 * time.Millisecond),
		RequestDuration: int64(time.Millisecond), ResponseDuration: int64(4 * time.Millisecond), Response: resp,
	}
	return &Source{Stream: s, Response: resp, Outcome: out}
}

func TestIstioDefault(t *testing.T) {
	p, err := Parse(istioDefault)
	if err != nil {
		t.Fatal(err)
	}
	want := `[2026-03-01T12:30:45.123Z] "GET /reviews/1?x=1 HTTP/1.1" 200 - via_upstream - "-" 3 295 5 4 "-" "curl/8" "id-1" ` +
		`"reviews:9080" "10.244.0.9:9080" outbound|9080||reviews.default.svc.cluster.local 10.244.0.3:50000 10.96.0.4:9080 ` +
		`10.244.0.3:40000 outbound_.9080_._.reviews default` + "\n"
	if got := string(p.Append(nil, httpSource())); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOperators(t *testing.T) {
	t.Setenv("LATEEN_FORMAT_TEST", "here")
	tests := []struct{ format, want string }{
		{"100%%", "100%"},
		{"plain", "plain"},
		{"%START_TIME(%Y/%m/%dT%H:%M:%S.%3f %%)%", "2026/03/01T12:30:45.123 %"},
		{"%START_TIME(%s)% %START_TIME(%3s)% %START_TIME(%f)%", "1772368245 1772368245123 123456789"},
		{"%REQ(:PATH):8%", "/reviews"},
		{"%REQ_WITHOUT_QUERY(:PATH)%", "/reviews/1"},
		{"%REQ(nope?user-agent)%", "curl/8"},
		{"%REQ(nope)%", "-"},
		{"%REQ(:scheme)% %RESP(:status)%", "http 200"},
		{"%TRAILER(grpc-status)%", "-"},
		{"%DURATION% %REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%", "5 1 4 1"},
		{"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS%", "10.244.0.3 9080 -"},
		{"%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER%", "spiffe://cluster.local/ns/default/sa/a TLSv1.3 TLS_AES_128_GCM_SHA256"},
		{"%UPSTREAM_PEER_URI_SAN%", "-"},
		{"%FILTER_STATE(a.b:TYPED)% %DYNAMIC_METADATA(istio:x)%", "- -"},
		{"%ENVIRONMENT(LATEEN_FORMAT_TEST)% %ENVIRONMENT(LATEEN_FORMAT_NONE)%", "here -"},
		{"%CONNECTION_ID%/%STREAM_ID%", "9/7"},
	}
	for _, tt := range tests {
		t.Run(tt.format, func(t *testing.T) {
			p, err := Parse(tt.format)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(p.Append(nil, httpSource())); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestClientAddress: the client is who x-forwarded-for says, but for the edge.
func TestClientAddress(t *testing.T) {
	p, err := Parse("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%")
	if err != nil {
		t.Fatal(err)
	}
	const own = "10.244.0.3:40000 10.244.0.3 40000 10.244.0.3:40000"
	for _, tt := range []struct {
		edge bool
		hops uint16
		xff  string
		want string
	}{
		{false, 0, "", own},
		{false, 0, "192.0.2.1, 192.0.2.2", "192.0.2.2:0 192.0.2.2 0 10.244.0.3:40000"},
		{false, 1, "192.0.2.1, 192.0.2.2", "192.0.2.1:0 192.0.2.1 0 10.244.0.3:40000"},
		{true, 0, "192.0.2.1,10.244.0.3", own},
		{true, 1, "192.0.2.1,10.244.0.3", "192.0.2.1:0 192.0.2.1 0 10.244.0.3:40000"},
		{true, 1, "10.244.0.3", own},
	} {
		src := httpSource()
		src.Stream.Edge, src.Stream.TrustedHops = tt.edge, tt.hops
		if tt.xff != "" {
			src.Stream.Request.AddString(stream.ForwardedFor, tt.xff)
		}
		if got := string(p.Append(nil, src)); got != tt.want {
			t.Errorf("edge %v, %d hops, %q: got %q, want %q", tt.edge, tt.hops, tt.xff, got, tt.want)
		}
	}
}

func TestAppendValue(t *testing.T) {
	p, err := Parse("%REQ(nope)%")
	if err != nil {
		t.Fatal(err)
	}
	if out, ok := p.AppendValue([]byte("x"), httpSource()); ok || string(out) != "x" {
		t.Errorf("got %q, %v; want x, false", out, ok)
	}
}

func TestFailures(t *testing.T) {
	src := httpSource()
	src.Stream.Upstream.FailureError = "tls: bad\ncert \"x\""
	src.Outcome.Reason = stream.Reason{Code: stream.UpstreamTLS}
	p, err := Parse("%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(p.Append(nil, src)), `UF tls:_bad_cert__x_`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"%NOPE%":                   "is not known",
		"%REQ%":                    "needs an argument",
		"%REQ(a":                   "not closed",
		"50% off":                  "not closed",
		"%DURATION(x)%":            "takes no arguments",
		"%REQ(a):x%":               "length limit",
		"%REQ(a)b%":                "follows the arguments",
		"%REQ(:nope)%":             "pseudo-header",
		"%START_TIME(%Q)%":         "%Q is not known",
		"%START_TIME(%3Y)%":        "%3Y is not known",
		"%CEL(request.path)%":      "is not known",
		"%START_TIME(%H) trailing": "not closed",
	} {
		t.Run(text, func(t *testing.T) {
			if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want an error with %q", err, want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(istioDefault)
	f.Add("%START_TIME(%3f%%)%%REQ(a?b):3%")
	src := httpSource()
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := Parse(text); err == nil {
			p.Append(nil, src)
			p.AppendValue(nil, &Source{Stream: &stream.Stream{}})
		}
	})
}

func BenchmarkIstioDefault(b *testing.B) {
	p, err := Parse(istioDefault)
	if err != nil {
		b.Fatal(err)
	}
	src, dst := httpSource(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		dst = p.Append(dst[:0], src)
	}
}
