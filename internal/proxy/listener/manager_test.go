package listener

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// greeter serves a connection: it says who serves it, then echoes until the end.
type greeter struct {
	name string
	t    rawio.Transport
	c    *stream.Conn

	mu    sync.Mutex
	drain bool
}

func (g *greeter) Serve() stream.Reason {
	defer g.t.Close()
	if _, err := fmt.Fprintf(g.t, "%s %s\n", g.name, g.c.Remote.Addr()); err != nil {
		return stream.Reason{Code: stream.DownstreamGone}
	}
	buf := make([]byte, 1024)
	for {
		n, err := g.t.Read(buf)
		if n > 0 {
			if _, err := g.t.Write(buf[:n]); err != nil {
				return stream.Reason{}
			}
		}
		g.mu.Lock()
		end := g.drain
		g.mu.Unlock()
		if err != nil || end {
			return stream.Reason{}
		}
	}
}

func (g *greeter) Drain() { g.mu.Lock(); g.drain = true; g.mu.Unlock() }

func (g *greeter) Close(stream.Reason) { _ = g.t.SetDeadline(rawio.Past) }

// chain makes a built chain of l.
func chain(t testing.TB, l *config.Listener, fc *config.FilterChain, secrets tlsctx.Secrets) *config.FilterChain {
	t.Helper()
	var s *tlsctx.Server
	if fc.TLS != nil {
		var err error
		if s, err = tlsctx.NewServer(fc.TLS, secrets, tlsctx.ServerOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	fc.Runtime = NewChain(l, fc, s, func(tr rawio.Transport, c *stream.Conn) Conn { return &greeter{name: fc.Name, t: tr, c: c} })
	return fc
}

func bound(name, addr string) *config.Listener {
	return &config.Listener{Name: name, Addr: netip.MustParseAddrPort(addr), Bind: true}
}

// start applies listeners and gives the address of the first that is bound.
func start(t testing.TB, o Options, set ...*config.Listener) (*Manager, string) {
	t.Helper()
	o.Sockets = rawio.HostSockets{}
	m := New(o)
	t.Cleanup(m.Close)
	if failed := m.Apply(set); len(failed) > 0 {
		t.Fatal(failed)
	}
	for _, i := range m.Listeners() {
		if len(i.Bound) > 0 {
			return m, i.Bound[0].String()
		}
	}
	t.Fatal("nothing is bound")
	return nil, ""
}

// ask sends text and gives the first line of the answer, "" for a closed
// connection.
func ask(t testing.TB, addr, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	return line(t, c, text)
}

func line(t testing.TB, c net.Conn, text string) string {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		return ""
	}
	var out []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(c, b); err != nil {
			if isTimeout(err) {
				t.Fatal("no answer")
			}
			return string(out)
		}
		if b[0] == '\n' {
			return string(out)
		}
		out = append(out, b[0])
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func eventually(t testing.TB, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("did not happen")
		}
	}
}

func TestInspectors(t *testing.T) {
	l := bound("l", "127.0.0.1:0")
	l.HTTPInspector, l.TLSInspector, l.ContinueOnTimeout = true, true, true
	l.InspectTimeout = 50 * time.Millisecond
	l.Chains = []*config.FilterChain{
		chain(t, l, &config.FilterChain{Name: "http", Match: config.ChainMatch{Transport: "raw_buffer", ALPNs: []string{"http/1.1", "h2c"}}}, nil),
		chain(t, l, &config.FilterChain{Name: "mesh", Match: config.ChainMatch{Transport: "tls", ALPNs: []string{"istio"}}}, nil),
	}
	l.DefaultChain = chain(t, l, &config.FilterChain{Name: "tcp"}, nil)
	_, addr := start(t, Options{}, l)
	mesh := string(clientHello(t, &tls.Config{NextProtos: []string{"istio"}, InsecureSkipVerify: true}))
	app := string(clientHello(t, &tls.Config{NextProtos: []string{"h2"}, InsecureSkipVerify: true}))
	for name, c := range map[string]struct{ send, want string }{
		"http": {"GET / HTTP/1.1\r\n", "http"}, "text": {"hello", "tcp"}, "http2": {preface, "http"}, "http/1.0": {"GET / HTTP/1.0\r\n", "tcp"},
		"mesh tls": {mesh, "mesh"}, "tls of the application": {app, "tcp"}, "silence": {"", "tcp"}, "half a request line": {"GET /", "tcp"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ask(t, addr, c.send); got != c.want+" 127.0.0.1" {
				t.Errorf("served by %q, want %q", got, c.want)
			}
		})
	}
}

// TestInspectedBytesAreServed: what the inspectors read is not lost.
func TestInspectedBytesAreServed(t *testing.T) {
	l := bound("l", "127.0.0.1:0")
	l.HTTPInspector = true
	l.DefaultChain = chain(t, l, &config.FilterChain{Name: "tcp"}, nil)
	_, addr := start(t, Options{}, l)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := line(t, c, "hello\n"); got != "tcp 127.0.0.1" {
		t.Fatal(got)
	}
	if got := line(t, c, ""); got != "hello" {
		t.Errorf("echo %q", got)
	}
}

func TestSilenceIsRefused(t *testing.T) {
	l := bound("l", "127.0.0.1:0")
	l.HTTPInspector, l.InspectTimeout = true, 20*time.Millisecond
	l.DefaultChain = chain(t, l, &config.FilterChain{Name: "tcp"}, nil)
	why := make(chan stream.Reason, 1)
	_, addr := start(t, Options{Unserved: func(_ *config.Listener, _ *stream.Conn, r stream.Reason) { why <- r }}, l)
	if got := ask(t, addr, ""); got != "" {
		t.Errorf("served by %q", got)
	}
	if r := <-why; r.Detail != errSilent.Error() {
		t.Errorf("%v", r)
	}
}

func TestServerFirstWithoutInspectors(t *testing.T) {
	l := bound("l", "127.0.0.1:0")
	l.HTTPInspector, l.TLSInspector = true, true
	l.DefaultChain = chain(t, l, &config.FilterChain{Name: "tcp"}, nil)
	all := []config.PortRange{{Start: 1, End: 65535}}
	l.HTTPInspectorOff, l.TLSInspectorOff = all, all
	_, addr := start(t, Options{}, l)
	if got := ask(t, addr, ""); got != "tcp 127.0.0.1" {
		t.Errorf("served by %q", got)
	}
}

func TestProxyProtocol(t *testing.T) {
	l := bound("l", "127.0.0.1:0")
	l.ProxyProtocol = true
	l.Chains = []*config.FilterChain{chain(t, l, &config.FilterChain{Name: "from", Match: config.ChainMatch{SrcPrefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}}, nil)}
	l.DefaultChain = chain(t, l, &config.FilterChain{Name: "other"}, nil)
	_, addr := start(t, Options{}, l)
	for send, want := range map[string]string{
		"PROXY TCP4 192.0.2.9 10.0.0.1 1 2\r\n": "from 192.0.2.9", "PROXY UNKNOWN\r\n": "other 127.0.0.1", "GET / HTTP/1.1\r\n": "",
	} {
		if got := ask(t, addr, send); got != want {
			t.Errorf("%q: %q, want %q", send, got, want)
		}
	}
}

func TestHandOver(t *testing.T) {
	any := bound("any", "0.0.0.0:0")
	any.UseOriginalDst = true
	any.DefaultChain = chain(t, any, &config.FilterChain{Name: "any"}, nil)
	m, addr := start(t, Options{}, any)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	exact := &config.Listener{Name: "exact", Addr: netip.MustParseAddrPort("127.0.0.2:" + port)}
	exact.DefaultChain = chain(t, exact, &config.FilterChain{Name: "exact"}, nil)
	if failed := m.Apply([]*config.Listener{any, exact}); len(failed) > 0 {
		t.Fatal(failed)
	}
	for host, want := range map[string]string{"127.0.0.1": "any", "127.0.0.2": "exact"} {
		if got := ask(t, host+":"+port, ""); got != want+" 127.0.0.1" && got != want+" "+host {
			t.Errorf("%s is served by %q", host, got)
		}
	}
}

func TestNoChain(t *testing.T) {
	l := bound("l", "127.0.0.1:0")
	l.TLSInspector = true
	l.Chains = []*config.FilterChain{chain(t, l, &config.FilterChain{Name: "mesh", Match: config.ChainMatch{Transport: "tls", ALPNs: []string{"istio"}}}, nil)}
	why := make(chan stream.Reason, 1)
	m, addr := start(t, Options{Unserved: func(_ *config.Listener, _ *stream.Conn, r stream.Reason) { why <- r }}, l)
	if got := ask(t, addr, "plain"); got != "" {
		t.Errorf("served by %q", got)
	}
	if r := <-why; r.Code != stream.TLSRequired {
		t.Errorf("%v", r)
	}
	if m.Stats().NoChain.Load() != 1 {
		t.Error("not counted")
	}
}

func TestConnectionLimit(t *testing.T) {
	l := bound("l", "127.0.0.1:0")
	l.DefaultChain = chain(t, l, &config.FilterChain{Name: "tcp"}, nil)
	m, addr := start(t, Options{MaxConnections: 1}, l)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if got := line(t, c, ""); got != "tcp 127.0.0.1" {
		t.Fatal(got)
	}
	if got := ask(t, addr, ""); strings.HasPrefix(got, "tcp") {
		t.Errorf("the second is served: %q", got)
	}
	c.Close()
	eventually(t, func() bool { return m.Stats().Active.Load() == 0 })
	if got := ask(t, addr, ""); got != "tcp 127.0.0.1" {
		t.Errorf("after the first ended: %q", got)
	}
	if m.Stats().Refused.Load() != 1 {
		t.Errorf("%d refused", m.Stats().Refused.Load())
	}
}

func TestUpdateKeepsAndDrains(t *testing.T) {
	a := bound("a", "127.0.0.1:0")
	kept := chain(t, a, &config.FilterChain{Name: "kept", Match: config.ChainMatch{SrcPrefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}}, nil)
	gone := chain(t, a, &config.FilterChain{Name: "gone"}, nil)
	a.Chains, a.DefaultChain = []*config.FilterChain{kept}, gone
	m, addr := start(t, Options{DrainTime: 50 * time.Millisecond}, a)
	from := func(ip string) net.Conn {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	stays, goes := from("127.0.0.1"), from("127.0.0.3")
	if x, y := line(t, stays, ""), line(t, goes, ""); x != "kept 127.0.0.1" || y != "gone 127.0.0.3" {
		t.Fatal(x, y)
	}
	b := bound("a", "127.0.0.1:0")
	b.Chains, b.DefaultChain = []*config.FilterChain{kept}, chain(t, b, &config.FilterChain{Name: "new"}, nil)
	if failed := m.Apply([]*config.Listener{b}); len(failed) > 0 {
		t.Fatal(failed)
	}
	if got := line(t, from("127.0.0.3"), ""); got != "new 127.0.0.3" {
		t.Errorf("a new connection is served by %q", got)
	}
	if err := goes.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := goes.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("the withdrawn chain's connection: %v", err)
	}
	if got := line(t, stays, "still\n"); got != "still" {
		t.Errorf("the kept chain's connection: %q", got)
	}
}

func TestBindFailureKeepsTheOld(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	a := bound("a", "127.0.0.1:0")
	a.DefaultChain = chain(t, a, &config.FilterChain{Name: "old"}, nil)
	m, addr := start(t, Options{}, a)
	b := bound("a", taken.Addr().String())
	b.DefaultChain = chain(t, b, &config.FilterChain{Name: "new"}, nil)
	failed := m.Apply([]*config.Listener{b})
	if err := failed["a"]; err == nil || !strings.Contains(err.Error(), "cannot bind") {
		t.Errorf("%v", failed)
	}
	if got := ask(t, addr, ""); got != "old 127.0.0.1" {
		t.Errorf("served by %q", got)
	}
	c := bound("c", a.Addr.String())
	c.DefaultChain = a.DefaultChain
	if failed := m.Apply([]*config.Listener{a, c}); failed["c"] == nil || failed["a"] != nil {
		t.Errorf("two listeners at one address: %v", failed)
	}
}

type oneSecret struct{ s *tlsctx.Secret }

func (o oneSecret) Secret(string) (*tlsctx.Secret, bool) { return o.s, o.s != nil }

func selfSigned(t testing.TB) *tlsctx.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tlsctx.Secret{Certificate: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}
}

// TestSlowHandshakesDoNotBlockOthers: with one slot, clients that stop in the
// middle of their handshakes keep nobody out.
func TestSlowHandshakesDoNotBlockOthers(t *testing.T) {
	l := bound("l", "127.0.0.1:0")
	l.TLSInspector = true
	fc := &config.FilterChain{Name: "tls", TLS: &config.DownstreamTLS{Common: config.CommonTLS{Certificates: []config.SecretRef{{Name: "default"}}}}, HandshakeTimeout: 5 * time.Second}
	l.DefaultChain = chain(t, l, fc, oneSecret{selfSigned(t)})
	_, addr := start(t, Options{Handshakes: 1}, l)
	for range 5 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(clientHello(t, &tls.Config{InsecureSkipVerify: true})); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	raw, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if got := line(t, raw, ""); got != "tls 127.0.0.1" {
		t.Errorf("%q", got)
	}
}

func TestHandshakeTimeout(t *testing.T) {
	l := bound("l", "127.0.0.1:0")
	fc := &config.FilterChain{Name: "tls", TLS: &config.DownstreamTLS{Common: config.CommonTLS{Certificates: []config.SecretRef{{Name: "default"}}}}, HandshakeTimeout: 30 * time.Millisecond}
	l.DefaultChain = chain(t, l, fc, oneSecret{selfSigned(t)})
	m, addr := start(t, Options{}, l)
	if got := ask(t, addr, ""); got != "" {
		t.Errorf("%q", got)
	}
	eventually(t, func() bool { return m.Stats().HandshakeFail.Load() == 1 })
}
