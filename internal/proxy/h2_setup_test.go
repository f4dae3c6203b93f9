package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// hop is one proxy between clients and an application, with one protocol on each
// side.
type hop struct {
	*sidecar
	client *http.Client
	base   string // http://…
}

// combination names the protocols of both sides.
type combination struct{ down, up string }

var combinations = []combination{{"h1", "h1"}, {"h1", "h2"}, {"h2", "h1"}, {"h2", "h2"}}

// each runs a test on all four combinations.
func each(t *testing.T, app http.HandlerFunc, f func(t *testing.T, h *hop, c combination)) {
	for _, c := range combinations {
		t.Run(c.down+" to "+c.up, func(t *testing.T) {
			f(t, newHop(t, c, server(t, app), ""), c)
		})
	}
}

// only makes the protocols of one version, without TLS.
func only(version string) *http.Protocols {
	p := &http.Protocols{}
	p.SetHTTP1(version == "h1")
	p.SetUnencryptedHTTP2(version == "h2")
	return p
}

// server is an application that speaks both versions.
func server(t testing.TB, h http.Handler) netip.AddrPort {
	t.Helper()
	l := loopback(t)
	both := only("h1")
	both.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: both, ErrorLog: nil}
	done := make(chan struct{})
	go func() { _ = s.Serve(l); close(done) }() // ends with Close
	t.Cleanup(func() { s.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String())
}

// cluster is a cluster with one endpoint that is spoken to in one version.
func cluster(name, version string, addr netip.AddrPort) string {
	if version == "h2" {
		return asHTTP2(static(name, addr))
	}
	return static(name, addr)
}

// asHTTP2 has a cluster spoken to in HTTP/2.
func asHTTP2(cluster string) string {
	const options = `"typed_extension_protocol_options":{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","explicit_http_config":{"http2_protocol_options":{}}}},`
	return strings.Replace(cluster, `"connect_timeout"`, options+`"connect_timeout"`, 1)
}

// newHop starts a proxy in front of addr. action is further JSON of the route.
func newHop(t testing.TB, c combination, addr netip.AddrPort, action string) *hop {
	t.Helper()
	h := &hop{}
	h.sidecar = newSidecar(t, "productpage", secrets{}, func(s *sidecar) {
		s.set("c", cluster("c", c.up, addr))
		s.set("0.0.0.0_9080", strings.Replace(outbound(""), `[{"upgrade_type":"websocket"}]`, `[{"upgrade_type":"websocket"},{"upgrade_type":"CONNECT"}]`, 1))
		s.set("9080", hopTable(action))
	})
	tr := &http.Transport{Protocols: only(c.down)}
	t.Cleanup(tr.CloseIdleConnections)
	h.client = &http.Client{Transport: tr}
	h.base = "http://" + h.addr("0.0.0.0_9080").String()
	return h
}

func hopTable(action string) string {
	return fmt.Sprintf(`{"@type":"type.googleapis.com/envoy.config.route.v3.RouteConfiguration","name":"9080","virtual_hosts":[{"name":"all","domains":["*"],
 "routes":[{"match":{"connect_matcher":{}},"route":{"cluster":"c","timeout":"0s"}},{"name":"r","match":{"prefix":"/"},"route":{"cluster":"c","timeout":"0s"%s}}]}]}`, action)
}

// do makes a request that has to end within some seconds.
func (h *hop) do(t testing.TB, method, path string, body io.Reader, fields ...string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, h.base+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func readAll(t testing.TB, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// dial opens a plain connection to the hop.
func (h *hop) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(h.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}
