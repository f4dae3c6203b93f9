package hcm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/telemetry"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
	"github.com/prometheus/client_golang/prometheus"
)

// endpoint is the last filter of a test's chain.
type endpoint func(*stream.Stream) (*stream.Response, error)

func (e endpoint) Handle(s *stream.Stream, _ stream.Next) (*stream.Response, error) { return e(s) }

type builder struct{ config.FilterBuilder }

func (builder) New(cfg any, _ int) (stream.Filter, error) { return cfg.(stream.Filter), nil }

func withEndpoint(cfg config.HTTP, e endpoint) *config.HTTP {
	cfg.Filters = []config.HTTPFilter{{Name: "test", Slot: 7, Builder: builder{}, Config: stream.Filter(e)}}
	if cfg.Inline == nil {
		cfg.Inline = &config.RouteTable{Hosts: []*config.VirtualHost{{Domains: []string{"*"}, Routes: []*config.Route{{
			Name: "all", Match: config.RouteMatch{PathKind: config.PathPrefix, Path: "/"}, Forward: &config.Forward{},
		}}}}}
	}
	match.Prepare(cfg.Inline)
	return &cfg
}

var fixedNow = func() time.Time { return time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC) }

// exchange sends one request and gives the answer.
func exchange(t testing.TB, cfg *config.HTTP, o Options, c *stream.Conn, request string) *http.Response {
	t.Helper()
	o.Now = fixedNow
	m, err := New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	client, server := pipe.New()
	done := make(chan struct{})
	go func() { m.NewConn(server, c).Serve(); close(done) }()
	t.Cleanup(func() { client.Close(); <-done })
	if _, err := client.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// seen sends one request and gives what the end of the chain saw of it.
func seen(t testing.TB, cfg config.HTTP, o Options, c *stream.Conn, request string) (path, authority string, fields map[string][]string) {
	t.Helper()
	fields = map[string][]string{}
	resp := exchange(t, withEndpoint(cfg, func(s *stream.Stream) (*stream.Response, error) {
		path, authority = string(s.Request.Path), string(s.Request.Authority)
		for n, v := range s.Request.All() {
			k := strings.ToLower(string(n))
			fields[k] = append(fields[k], string(v))
		}
		return &stream.Response{Status: 200}, nil
	}), o, c, request)
	resp.Body.Close()
	return path, authority, fields
}

func conn(tls *stream.TLS) *stream.Conn {
	return &stream.Conn{Remote: netip.MustParseAddrPort("203.0.113.7:4000"), TLS: tls}
}

func TestRequestFields(t *testing.T) {
	uuid := `[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`
	mutual := &stream.TLS{Mutual: true, LocalURI: "spiffe://d/ns/a/sa/b", PeerURI: "spiffe://d/ns/c/sa/d", PeerURIs: []string{"spiffe://d/ns/c/sa/d"}, PeerHash: "ab", PeerSubj: `CN="x"`, PeerDNS: []string{"a.b"}}
	details := config.HTTP{ClientCertSubject: true, ClientCertURI: true, ClientCertDNS: true}
	mine := `By=spiffe://d/ns/a/sa/b;Hash=ab;Subject="CN=\\"x\\"";URI=spiffe://d/ns/c/sa/d;DNS=a\.b`
	mode := func(m config.ClientCertMode) config.HTTP { c := details; c.ClientCert = m; return c }
	for name, c := range map[string]struct {
		cfg    config.HTTP
		dir    stream.Direction
		tls    *stream.TLS
		fields string
		want   map[string]string // regexp over the joined values; "" for absent
	}{
		"id made":            {cfg: config.HTTP{GenerateRequestID: true}, want: map[string]string{"x-request-id": uuid, "x-forwarded-proto": "http"}},
		"id kept":            {cfg: config.HTTP{GenerateRequestID: true}, fields: "X-Request-Id: mine\r\n", want: map[string]string{"x-request-id": "mine"}},
		"id of a stranger":   {cfg: config.HTTP{GenerateRequestID: true, UseRemoteAddress: true}, fields: "X-Request-Id: mine\r\n", want: map[string]string{"x-request-id": uuid}},
		"id preserved":       {cfg: config.HTTP{GenerateRequestID: true, UseRemoteAddress: true, PreserveRequestID: true}, fields: "X-Request-Id: mine\r\n", want: map[string]string{"x-request-id": "mine"}},
		"no id":              {want: map[string]string{"x-request-id": ""}},
		"edge":               {cfg: config.HTTP{UseRemoteAddress: true}, fields: "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Envoy-Internal: true\r\nX-Envoy-Peer-Metadata: x\r\nX-Lateen-Reason: x\r\n", want: map[string]string{"x-forwarded-for": `10\.0\.0\.1,203\.0\.113\.7`, "x-forwarded-proto": "http", "x-envoy-internal": "", "x-envoy-external-address": `203\.0\.113\.7`, "x-envoy-peer-metadata": "", "x-lateen-reason": ""}},
		"trusted hop":        {cfg: config.HTTP{UseRemoteAddress: true, XFFTrustedHops: 1}, fields: "X-Forwarded-For: 198.51.100.1, 198.51.100.2\r\nX-Forwarded-Proto: https\r\n", want: map[string]string{"x-envoy-external-address": `198\.51\.100\.2`, "x-forwarded-proto": "https"}},
		"gateway, no XFF":    {dir: stream.Gateway, fields: "X-Envoy-Retry-On: 5xx\r\n", want: map[string]string{"x-envoy-retry-on": "", "x-forwarded-for": ""}},
		"inside":             {fields: "X-Envoy-Retry-On: 5xx\r\nX-Forwarded-Proto: https\r\n", want: map[string]string{"x-envoy-retry-on": "5xx", "x-forwarded-proto": "https", "x-forwarded-for": ""}},
		"over tls":           {tls: &stream.TLS{}, want: map[string]string{"x-forwarded-proto": "https"}},
		"xfcc sanitize":      {cfg: mode(config.CertSanitize), tls: mutual, fields: "X-Forwarded-Client-Cert: Hash=1\r\n", want: map[string]string{"x-forwarded-client-cert": ""}},
		"xfcc forward":       {cfg: mode(config.CertForwardOnly), tls: mutual, fields: "X-Forwarded-Client-Cert: Hash=1\r\n", want: map[string]string{"x-forwarded-client-cert": "Hash=1"}},
		"xfcc append":        {cfg: mode(config.CertAppendForward), tls: mutual, fields: "X-Forwarded-Client-Cert: Hash=1\r\n", want: map[string]string{"x-forwarded-client-cert": "Hash=1," + mine}},
		"xfcc append first":  {cfg: mode(config.CertAppendForward), tls: mutual, want: map[string]string{"x-forwarded-client-cert": mine}},
		"xfcc set":           {cfg: mode(config.CertSanitizeSet), tls: mutual, fields: "X-Forwarded-Client-Cert: Hash=1\r\n", want: map[string]string{"x-forwarded-client-cert": mine}},
		"xfcc without mtls":  {cfg: mode(config.CertAppendForward), tls: &stream.TLS{}, fields: "X-Forwarded-Client-Cert: Hash=1\r\n", want: map[string]string{"x-forwarded-client-cert": ""}},
		"xfcc plain":         {cfg: mode(config.CertForwardOnly), fields: "X-Forwarded-Client-Cert: Hash=1\r\n", want: map[string]string{"x-forwarded-client-cert": ""}},
		"xfcc always":        {cfg: mode(config.CertAlwaysForwardOnly), fields: "X-Forwarded-Client-Cert: Hash=1\r\n", want: map[string]string{"x-forwarded-client-cert": "Hash=1"}},
		"hop by hop removed": {fields: "Connection: keep-alive\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n", want: map[string]string{"connection": "", "keep-alive": "", "proxy-connection": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, got := seen(t, c.cfg, Options{Dir: c.dir}, conn(c.tls), "GET / HTTP/1.1\r\nHost: a\r\n"+c.fields+"\r\n")
			for k, want := range c.want {
				if !regexp.MustCompile("^(?:" + want + ")$").MatchString(strings.Join(got[k], "|")) {
					t.Errorf("%s: %q, want %s", k, got[k], want)
				}
			}
		})
	}
}

func TestPaths(t *testing.T) {
	normal := config.HTTP{NormalizePath: true}
	all := config.HTTP{NormalizePath: true, MergeSlashes: true, EscapedSlashes: config.SlashesUnescapeForward}
	for _, c := range []struct {
		cfg      config.HTTP
		in, want string // a number stands for a local answer
	}{
		{config.HTTP{}, "/a/../b//c%2Fd", "/a/../b//c%2Fd"},
		{normal, "/", "/"}, {normal, "/a/../b", "/b"}, {normal, "/a/./b/", "/a/b/"}, {normal, "/..", "/"}, {normal, "/../../a", "/a"},
		{normal, "/a/b/..", "/a/"}, {normal, "/a/.", "/a/"}, {normal, "/a/%2e%2E/b", "/b"}, {normal, "/%41%7e", "/A~"}, {normal, "/a%2fb", "/a%2Fb"},
		{normal, `/a\..\b`, "/b"}, {normal, "/a//b", "/a//b"}, {normal, "/.a/..b/...", "/.a/..b/..."}, {normal, "/a?x=/../%2e", "/a?x=/../%2e"},
		{normal, "/a%zz", "400"}, {normal, "/a%00", "400"}, {normal, "/a%2", "400"},
		{all, "//a///b", "/a/b"}, {all, "/a%2Fb%5cc", "/a/b/c"}, {all, "/a%2f%2f..%2fb", "/a/b"},
		{config.HTTP{EscapedSlashes: config.SlashesReject}, "/a%2Fb", "400"}, {config.HTTP{EscapedSlashes: config.SlashesReject}, "/a%20b", "/a%20b"},
		{config.HTTP{EscapedSlashes: config.SlashesUnescapeRedirect}, "/a%2Fb?q", "307 /a/b?q"},
	} {
		t.Run(c.in, func(t *testing.T) {
			path := ""
			resp := exchange(t, withEndpoint(c.cfg, func(s *stream.Stream) (*stream.Response, error) {
				path = string(s.Request.Path)
				return &stream.Response{Status: 200}, nil
			}), Options{}, conn(nil), "GET "+c.in+" HTTP/1.1\r\nHost: a\r\n\r\n")
			if resp.StatusCode != 200 {
				path = strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("Location")))
			}
			if path != c.want {
				t.Errorf("%q, want %q", path, c.want)
			}
		})
	}
}

func TestStripPort(t *testing.T) {
	for in, want := range map[string]string{"a:80": "a", "a": "a", "[::1]:80": "[::1]", "[::1]": "[::1]", "a:": "a", "1.2.3.4:5": "1.2.3.4"} {
		if _, got, _ := seen(t, config.HTTP{StripPort: true}, Options{}, conn(nil), "GET / HTTP/1.1\r\nHost: "+in+"\r\n\r\n"); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestLocalReplies(t *testing.T) {
	fail := func(*stream.Stream) (*stream.Response, error) {
		return nil, stream.NewReply(0, stream.Reason{Code: stream.ConnectFailure, Detail: "dial 10.0.0.1:80: refused\r\nX: y"})
	}
	mtls := &stream.TLS{Mutual: true}
	for name, c := range map[string]struct {
		dir  stream.Direction
		tls  *stream.TLS
		tell bool
	}{
		"to the workload": {stream.Outbound, nil, true}, "to a mesh peer": {stream.Inbound, mtls, true},
		"to a plain client": {stream.Inbound, nil, false}, "at the edge": {stream.Gateway, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			resp := exchange(t, withEndpoint(config.HTTP{ServerName: "istio-envoy"}, fail), Options{Dir: c.dir}, conn(c.tls), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 503 || !strings.HasPrefix(string(body), "upstream connect error") {
				t.Errorf("%d %q %v", resp.StatusCode, body, err)
			}
			h := resp.Header
			if h.Get("Content-Type") != "text/plain" || h.Get("Server") != "istio-envoy" || h.Get("Date") != "Sat, 21 Nov 2026 10:00:00 GMT" || resp.ContentLength != int64(len(body)) {
				t.Errorf("%v", h)
			}
			if got := h.Get(ReasonHeader); (got != "") != c.tell || c.tell && got != "connect_failure: dial 10.0.0.1:80: refused  X: y" {
				t.Errorf("reason %q", got)
			}
		})
	}
}

func TestResponses(t *testing.T) {
	answer := func(*stream.Stream) (*stream.Response, error) {
		r := &stream.Response{Status: 204}
		r.AddString(stream.Server, "app")
		r.AddString(stream.EnvoyPeerMetadata, "x")
		r.AddString(stream.Date, "then")
		return r, nil
	}
	for name, c := range map[string]struct {
		cfg          config.HTTP
		dir          stream.Direction
		server, peer string
	}{
		"overwritten": {config.HTTP{}, stream.Inbound, "envoy", "x"}, "passed": {config.HTTP{PassServer: true}, stream.Inbound, "app", "x"},
		"at the edge": {config.HTTP{}, stream.Gateway, "envoy", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := exchange(t, withEndpoint(c.cfg, answer), Options{Dir: c.dir}, conn(nil), "GET / HTTP/1.1\r\nHost: a\r\n\r\n").Header
			if h.Get("Server") != c.server || h.Get("X-Envoy-Peer-Metadata") != c.peer || h.Get("Date") != "then" {
				t.Errorf("%v", h)
			}
		})
	}
}

func TestRouting(t *testing.T) {
	table := &config.RouteTable{Hosts: []*config.VirtualHost{
		{Domains: []string{"tls"}, RequireTLS: true, Routes: []*config.Route{{Name: "t", Match: config.RouteMatch{Path: "/"}}}},
		{Domains: []string{"a"}, Routes: []*config.Route{{Name: "one", Match: config.RouteMatch{Path: "/one"}}}},
	}}
	name := func(s *stream.Stream) (*stream.Response, error) {
		r := &stream.Response{Status: 200}
		if s.Route != nil {
			r.AddString(stream.Location, s.Route.RouteName())
		}
		return r, nil
	}
	for in, want := range map[string]string{"a /one": "200 one", "a /two": "200 ", "b /one": "200 ", "tls /x": "301 https://tls/x"} {
		host, path, _ := strings.Cut(in, " ")
		resp := exchange(t, withEndpoint(config.HTTP{Inline: table}, name), Options{}, conn(nil), "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		if got := fmt.Sprintf("%d %s", resp.StatusCode, resp.Header.Get("Location")); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestUnsupportedProtocols(t *testing.T) {
	ok := func(*stream.Stream) (*stream.Response, error) { return &stream.Response{Status: 200}, nil }
	if resp := exchange(t, withEndpoint(config.HTTP{}, ok), Options{}, conn(nil), "GET / HTTP/3.7\r\nHost: a\r\n\r\n"); resp.StatusCode != 505 {
		t.Errorf("HTTP/3.7: %d", resp.StatusCode)
	}
	if resp := exchange(t, withEndpoint(config.HTTP{Codec: config.CodecHTTP1}, ok), Options{}, conn(nil), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); resp.StatusCode != 505 {
		t.Errorf("HTTP/2: %d", resp.StatusCode)
	}
}

func TestDrainEndsWithTheNextAnswer(t *testing.T) {
	m, err := New(withEndpoint(config.HTTP{DrainTimeout: time.Hour}, func(*stream.Stream) (*stream.Response, error) { return &stream.Response{Status: 200}, nil }), Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, server := pipe.New()
	c := m.NewConn(server, conn(nil))
	done := make(chan stream.Reason, 1)
	go func() { done <- c.Serve() }()
	r := bufio.NewReader(client)
	for i, wantClose := range []bool{false, true} {
		if i == 1 {
			c.Drain()
		}
		if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.Close != wantClose {
			t.Fatalf("answer %d: close %v, %v", i, resp.Close, err)
		}
	}
	client.Close()
	<-done
}

func FuzzNormalise(f *testing.F) {
	for _, s := range []string{"/a/../b", "/a%2e", `/\..\`, "/%2F..//x", "/.", "/?%"} {
		f.Add(s)
	}
	m, err := New(withEndpoint(config.HTTP{NormalizePath: true, MergeSlashes: true, EscapedSlashes: config.SlashesUnescapeForward}, nil), Options{})
	if err != nil {
		f.Fatal(err)
	}
	h := &handler{Manager: m}
	f.Fuzz(func(t *testing.T, s string) {
		if !strings.HasPrefix(s, "/") {
			return
		}
		r := &stream.Request{Path: []byte(s)}
		if err := h.normalise(r); err != nil {
			var reply *stream.Reply
			if !errors.As(err, &reply) {
				t.Fatalf("%v", err)
			}
			return
		}
		path, _, _ := strings.Cut(string(r.Path), "?")
		if !strings.HasPrefix(path, "/") || strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") || strings.Contains(path, "//") {
			t.Errorf("%q became %q", s, path)
		}
	})
}

// BenchmarkRequest is one request through codec, connection manager, metadata
// exchange, statistics and access log, without a router.
func BenchmarkRequest(b *testing.B) {
	sinks := telemetry.NewSinks(io.Discard, nil, nil)
	defer sinks.Close()
	metrics, err := telemetry.NewMetrics(prometheus.NewRegistry(), &peermeta.Peer{Workload: "w"}, 0)
	if err != nil {
		b.Fatal(err)
	}
	cfg := withEndpoint(config.HTTP{GenerateRequestID: true, NormalizePath: true, ServerName: "istio-envoy"}, nil)
	resp := &stream.Response{}
	cfg.Filters[0].Config = stream.Filter(endpoint(func(*stream.Stream) (*stream.Response, error) {
		resp.Reset()
		resp.Status = 200
		return resp, nil
	}))
	m, err := New(cfg, Options{Dir: stream.Inbound, Observers: []stream.Observer{metrics}})
	if err != nil {
		b.Fatal(err)
	}
	client, server := pipe.New()
	done := make(chan struct{})
	go func() { defer close(done); m.NewConn(server, conn(nil)).Serve() }()
	req := []byte("GET /productpage HTTP/1.1\r\nHost: productpage:9080\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	buf := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Write(req); err != nil {
			b.Fatal(err)
		}
		if _, err := client.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
	client.Close()
	<-done
}
