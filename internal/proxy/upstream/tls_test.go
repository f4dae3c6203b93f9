package upstream

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// selfSigned is an identity that is its own root.
func selfSigned(t testing.TB, id string) *tlsctx.Secret {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: id}, URIs: []*url.URL{u},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tlsctx.Secret{
		Certificate: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
		Roots:       []*x509.Certificate{leaf},
	}
}

type secretMap struct {
	mu sync.Mutex
	m  map[string]*tlsctx.Secret
}

func (s *secretMap) Secret(name string) (*tlsctx.Secret, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.m[name]
	return x, ok
}

func (s *secretMap) set(name string, x *tlsctx.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[name] = x
}

const serverID = "spiffe://cluster.local/ns/default/sa/server"

// httpsServer answers on loopback, in the version that was negotiated, and tells the
// protocols that clients offered. As Go's own servers, it refuses clients that offer
// none of its protocols.
func httpsServer(t *testing.T, id *tlsctx.Secret, protocols ...string) (addr netip.AddrPort, offered func() [][]string) {
	var mu sync.Mutex
	var list [][]string
	cfg := &tls.Config{
		Certificates: []tls.Certificate{*id.Certificate}, ClientAuth: tls.RequireAnyClientCert, NextProtos: protocols,
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			mu.Lock()
			defer mu.Unlock()
			list = append(list, h.SupportedProtos)
			return nil, nil
		},
	}
	addr = onLoopback(t, func(c net.Conn) {
		tc := tls.Server(c, cfg)
		if err := tc.Handshake(); err != nil {
			return
		}
		if p, _ := tlsctx.Spoken(tc.ConnectionState().NegotiatedProtocol); p == stream.HTTP2 {
			// Under its own name: it does not know the mesh's.
			(&xhttp2.Server{}).ServeConn(struct{ net.Conn }{tc}, &xhttp2.ServeConnOpts{Handler: ok})
			return
		}
		answerAll(tc)
	})
	return addr, func() [][]string {
		mu.Lock()
		defer mu.Unlock()
		return list
	}
}

var ok = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })

// onLoopback serves connections on a port of its own until the test ends, and
// closes those that are left then.
func onLoopback(t testing.TB, serve func(net.Conn)) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Go(func() {
				serve(c)
				c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

func answerAll(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
	}
}

// TestTLSPool: the endpoint's metadata chooses TLS, the request's protocols are
// offered, connections are pooled, sessions resumed, and a new root acts on the
// next connection without touching those that stand.
func TestTLSPool(t *testing.T) {
	server, client := selfSigned(t, serverID), selfSigned(t, "spiffe://cluster.local/ns/default/sa/client")
	addr, offered := httpsServer(t, server, "istio-http/1.1")
	secrets := &secretMap{m: map[string]*tlsctx.Secret{"default": client}}
	watch, err := rawio.NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	m := New(Options{Sockets: rawio.HostSockets{}, Watch: watch, Secrets: secrets})
	defer m.Close()
	c := static(nil, addr)
	c.Static.Localities[0].Endpoints[0].SocketMatch = map[string]string{"tlsMode": "istio"}
	c.TLSMatches = []config.TLSMatch{
		{Name: "tlsMode-istio", Match: map[string]string{"tlsMode": "istio"}, TLS: &config.UpstreamTLS{
			SNI: "outbound_.80_._.server", MaxSessions: 1, Common: config.CommonTLS{
				Certificates: []config.SecretRef{{Name: "default"}}, Validation: config.SecretRef{Name: "ROOTCA"},
				ALPN: []string{"istio-peer-exchange", "istio", "h2"},
				SANs: []config.StringMatch{{Value: serverID}},
			}}},
		{Name: "tlsMode-disabled"},
	}
	if err := m.Apply([]*config.Cluster{c}, nil); err != nil {
		t.Fatal(err)
	}
	h := m.Handle("c")
	alpn := []string{"istio-http/1.1", "istio", "http/1.1"}
	offer := stream.NewALPN(alpn, []string{"istio-h2", "istio", "h2"})
	try := func(reuse bool) (*stream.Stream, error) {
		s := request()
		s.UpstreamALPN = offer
		l, err := h.Acquire(s, &Tried{})
		if err != nil {
			return s, err
		}
		ok := useBody(t, l, s)
		l.Release(Outcome{Status: 200, Reusable: ok && reuse})
		return s, nil
	}
	if s, err := try(true); code(err) != stream.UpstreamTLS || !strings.Contains(err.Error(), `"ROOTCA" has not arrived`) || s.Upstream.FailureError == "" {
		t.Errorf("without roots: %v", err)
	}
	secrets.set("ROOTCA", server)
	for i := range 3 {
		s, err := try(true)
		if err != nil {
			t.Fatal(err)
		}
		if f := s.Upstream.TLS; f == nil || f.PeerURI != serverID || f.ALPN != "istio-http/1.1" || f.Resumed {
			t.Errorf("request %d: %+v", i, f)
		}
	}
	if n := h.Stats().CxTotal.Load(); n != 1 {
		t.Errorf("%d connections for three requests", n)
	}
	if got := offered(); len(got) != 1 || strings.Join(got[0], ",") != strings.Join(alpn, ",") {
		t.Errorf("offered %v", got)
	}
	if _, err := try(false); err != nil { // closes the connection
		t.Fatal(err)
	}
	if s, err := try(true); err != nil || !s.Upstream.TLS.Resumed {
		t.Errorf("the session was not resumed: %v", err)
	}
	secrets.set("ROOTCA", client) // the server's root is withdrawn
	if _, err := try(false); err != nil {
		t.Errorf("the connection that stands was touched: %v", err)
	}
	if _, err := try(true); code(err) != stream.UpstreamTLS || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("after the root was withdrawn: %v", err)
	}
}

func useBody(t testing.TB, l Lease, s *stream.Stream) bool {
	t.Helper()
	ex, err := l.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := ex.Send(&s.Request, nil, true); err != nil {
		t.Fatal(err)
	}
	resp, err := ex.Receive()
	if err != nil {
		t.Fatal(err)
	}
	for resp.Body != nil {
		if _, err := resp.Body.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return ex.Release()
}

// TestSocketHangup: the endpoint closes an idle connection on a real socket, and
// the watch takes it out of the pool.
func TestSocketHangup(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conns := make(chan net.Conn, 4)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		ConnState: func(c net.Conn, s http.ConnState) {
			if s == http.StateIdle {
				conns <- c
			}
		},
	}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	defer func() { srv.Close(); <-done }()
	watch, err := rawio.NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	m := New(Options{Sockets: rawio.HostSockets{}, Watch: watch})
	defer m.Close()
	if err := m.Apply([]*config.Cluster{static(nil, netip.MustParseAddrPort(l.Addr().String()))}, nil); err != nil {
		t.Fatal(err)
	}
	h := m.Handle("c")
	s := request()
	lease, err := h.Acquire(s, &Tried{})
	if err != nil {
		t.Fatal(err)
	}
	lease.Release(Outcome{Status: 200, Reusable: useBody(t, lease, s)})
	(<-conns).Close()
	for end := time.Now().Add(5 * time.Second); h.Stats().CxActive.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the closed connection stays in the pool")
		}
	}
}
