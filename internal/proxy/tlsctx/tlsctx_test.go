package tlsctx

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// authority is a throw-away CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serial int64

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	serial++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{Organization: []string{"test"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return &authority{cert, key}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (a *authority) roots() *Secret { return &Secret{Roots: []*x509.Certificate{a.cert}} }

// leaf issues a certificate with a SPIFFE id ("spiffe://…") or a DNS name.
func (a *authority) leaf(t testing.TB, name string, life time.Duration) *Secret {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	serial++
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "leaf"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if u, err := url.Parse(name); err == nil && u.Scheme == "spiffe" {
		tmpl.URIs = []*url.URL{u}
	} else {
		tmpl.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	check(t, err)
	leaf, err := x509.ParseCertificate(der)
	check(t, err)
	return &Secret{Certificate: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}
}

// store is Secrets that a test changes.
type store struct {
	mu sync.Mutex
	m  map[string]*Secret
}

func (s *store) Secret(name string) (*Secret, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, ok := s.m[name]
	return x, ok
}

func (s *store) set(name string, x *Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = map[string]*Secret{}
	}
	s.m[name] = x
}

const (
	serverID = "spiffe://cluster.local/ns/default/sa/server"
	clientID = "spiffe://cluster.local/ns/default/sa/client"
)

func mesh(sans ...config.StringMatch) config.CommonTLS {
	return config.CommonTLS{
		Certificates: []config.SecretRef{{Name: "default"}}, Validation: config.SecretRef{Name: "ROOTCA"},
		SANs: sans, ALPN: []string{"istio", "http/1.1"},
	}
}

func exact(v string) config.StringMatch {
	return config.StringMatch{Kind: config.StringExact, Value: v}
}

// pair is a server and a client context with secrets of their own.
type pair struct {
	t              testing.TB
	server         *Server
	client         *Client
	serverS, clntS *store
}

func newPair(t testing.TB, down *config.DownstreamTLS, up *config.UpstreamTLS) *pair {
	p := &pair{t: t, serverS: &store{}, clntS: &store{}}
	var err error
	p.server, err = NewServer(down, p.serverS, ServerOptions{PeerPEM: true})
	check(t, err)
	p.client, err = NewClient(up, p.clntS, nil)
	check(t, err)
	return p
}

func meshPair(t testing.TB, ca *authority) *pair {
	p := newPair(t, &config.DownstreamTLS{Common: mesh(), RequireClient: true},
		&config.UpstreamTLS{Common: mesh(exact(serverID)), SNI: "outbound_.80_._.server", MaxSessions: 1})
	p.serverS.set("default", ca.leaf(t, serverID, time.Hour))
	p.serverS.set("ROOTCA", ca.roots())
	p.clntS.set("default", ca.leaf(t, clientID, time.Hour))
	p.clntS.set("ROOTCA", ca.roots())
	return p
}

type handshake struct {
	server, client         *rawio.TLSConn
	serverErr, clientErr   error
	serverSide, clientSide tls.ConnectionState
}

// shake makes one connection and sends a byte each way, so that session tickets
// arrive and a client sees that it was refused.
func (p *pair) shake(d Dial) *handshake {
	p.t.Helper()
	scfg, err := p.server.Config()
	check(p.t, err)
	d.Endpoint = netip.MustParseAddrPort("10.0.0.1:80")
	ccfg, err := p.client.Config(d)
	check(p.t, err)
	a, b := pipe.New()
	h := &handshake{client: rawio.ClientTLS(a, ccfg), server: rawio.ServerTLS(b, scfg)}
	var wg sync.WaitGroup
	wg.Go(func() {
		var buf [1]byte
		if h.serverErr = h.server.Handshake(context.Background()); h.serverErr == nil {
			if _, h.serverErr = h.server.Write([]byte("x")); h.serverErr == nil {
				_, h.serverErr = h.server.Read(buf[:])
			}
		}
		if h.serverErr != nil {
			h.server.Close()
		}
	})
	var buf [1]byte
	if h.clientErr = h.client.Handshake(context.Background()); h.clientErr == nil {
		if _, h.clientErr = h.client.Write([]byte("y")); h.clientErr == nil {
			_, h.clientErr = h.client.Read(buf[:])
		}
	}
	if h.clientErr != nil {
		h.client.Close()
	}
	wg.Wait()
	h.serverSide, h.clientSide = h.server.ConnectionState(), h.client.ConnectionState()
	return h
}

func (h *handshake) ok(t testing.TB) {
	t.Helper()
	if h.serverErr != nil || h.clientErr != nil {
		t.Fatalf("server: %v; client: %v", h.serverErr, h.clientErr)
	}
}

func TestMutual(t *testing.T) {
	p := meshPair(t, newAuthority(t))
	h := p.shake(Dial{Speak: HTTP1, ALPN: stream.NewALPN([]string{"istio-http/1.1", "istio"}, nil)})
	h.ok(t)
	f := p.server.Facts(h.serverSide)
	if f.PeerURI != clientID || f.LocalURI != serverID || f.ALPN != "istio" || !f.Mutual || f.Version != tls.VersionTLS13 ||
		f.ServerName != "outbound_.80_._.server" || f.PeerSubj != "CN=leaf" || len(f.PeerHash) != 64 ||
		!strings.HasPrefix(f.PeerPEM, "-----BEGIN%20CERTIFICATE-----%0A") {
		t.Errorf("server side: %+v", f)
	}
	if f := p.client.Facts(h.clientSide); f.PeerURI != serverID || f.LocalURI != clientID || f.Issuer != "O=test" {
		t.Errorf("client side: %+v", f)
	}
}

// TestResumption: sessions resume while identity and trust stay, and no longer.
func TestResumption(t *testing.T) {
	ca := newAuthority(t)
	p := meshPair(t, ca)
	resumed := func() bool {
		t.Helper()
		h := p.shake(Dial{})
		h.ok(t)
		return h.serverSide.DidResume && p.server.Facts(h.serverSide).PeerURI == clientID
	}
	if resumed() {
		t.Error("the first connection was resumed")
	}
	if !resumed() {
		t.Error("the second connection was not resumed")
	}
	p.serverS.set("default", ca.leaf(t, serverID, time.Hour)) // a renewed certificate: new ticket keys
	if resumed() {
		t.Error("resumed over a change of the server's identity")
	}
	if !resumed() {
		t.Error("not resumed after the change")
	}
	p.serverS.set("ROOTCA", newAuthority(t).roots()) // the client's root is withdrawn
	h := p.shake(Dial{})
	if h.serverErr == nil || !strings.Contains(h.serverErr.Error(), clientID) {
		t.Errorf("after the root was withdrawn: %v", h.serverErr)
	}
}

// TestVerifyOnResumption: even with a ticket key that survived, a resumed session is
// held to the roots of now.
func TestVerifyOnResumption(t *testing.T) {
	ca := newAuthority(t)
	p := meshPair(t, ca)
	p.shake(Dial{}).ok(t)
	v := &verifier{common: p.server.common, epoch: newEpoch(material{roots: newAuthority(t).roots()}), server: true}
	p.server.cur.config.VerifyConnection = v.verify
	p.server.cur.config.GetConfigForClient = nil
	h := p.shake(Dial{})
	if h.serverErr == nil {
		t.Errorf("resumed: %v", h.serverSide.DidResume)
	}
}

func TestRefusals(t *testing.T) {
	ca := newAuthority(t)
	cases := []struct {
		name string
		edit func(*pair)
		want string
		side string
	}{
		{"unknown client root", func(p *pair) { p.clntS.set("default", newAuthority(t).leaf(t, clientID, time.Hour)) }, "unknown authority", "server"},
		{"expired client", func(p *pair) { p.clntS.set("default", ca.leaf(t, clientID, -time.Minute)) }, "expired", "server"},
		{"wrong server", func(p *pair) { p.serverS.set("default", ca.leaf(t, clientID, time.Hour)) }, "no subject alternative name matches", "client"},
		{"unknown server root", func(p *pair) { p.clntS.set("ROOTCA", newAuthority(t).roots()) }, "unknown authority", "client"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			p := meshPair(t, ca)
			tc.edit(p)
			h := p.shake(Dial{})
			err := h.serverErr
			if tc.side == "client" {
				err = h.clientErr
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("server: %v; client: %v", h.serverErr, h.clientErr)
			}
		})
	}
}

func TestMissingSecret(t *testing.T) {
	ca := newAuthority(t)
	p := newPair(t, &config.DownstreamTLS{Common: mesh(), RequireClient: true}, &config.UpstreamTLS{Common: mesh()})
	var missing *MissingError
	if _, err := p.server.Config(); !errors.As(err, &missing) || missing.Name != "default" {
		t.Errorf("got %v", err)
	}
	p.serverS.set("default", ca.leaf(t, serverID, time.Hour))
	if _, err := p.server.Config(); !errors.As(err, &missing) || missing.Name != "ROOTCA" {
		t.Errorf("got %v", err)
	}
	p.serverS.set("ROOTCA", ca.roots())
	if _, err := p.server.Config(); err != nil {
		t.Error(err)
	}
}

func TestRevoked(t *testing.T) {
	ca := newAuthority(t)
	bad, good := ca.leaf(t, clientID, time.Hour), ca.leaf(t, clientID, time.Hour)
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: bad.Certificate.Leaf.SerialNumber, RevocationTime: time.Now()}},
	}, ca.cert, ca.key)
	check(t, err)
	down := &config.DownstreamTLS{Common: mesh(), RequireClient: true}
	down.Common.CRLs = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	p := newPair(t, down, &config.UpstreamTLS{Common: mesh()})
	p.serverS.set("default", ca.leaf(t, serverID, time.Hour))
	p.serverS.set("ROOTCA", ca.roots())
	p.clntS.set("ROOTCA", ca.roots())
	p.clntS.set("default", good)
	p.shake(Dial{}).ok(t)
	p.clntS.set("default", bad)
	if h := p.shake(Dial{}); h.serverErr == nil || !strings.Contains(h.serverErr.Error(), "revoked") {
		t.Errorf("got %v", h.serverErr)
	}
}

// TestNoCommonALPN: as in Envoy, the handshake goes on without a protocol.
func TestNoCommonALPN(t *testing.T) {
	p := meshPair(t, newAuthority(t))
	h := p.shake(Dial{Speak: HTTP1, ALPN: stream.NewALPN([]string{"something"}, nil)})
	h.ok(t)
	if h.serverSide.NegotiatedProtocol != "" {
		t.Errorf("negotiated %q", h.serverSide.NegotiatedProtocol)
	}
	if h := p.shake(Dial{Speak: HTTP1, ALPN: stream.NewALPN([]string{"something"}, nil)}); !h.serverSide.DidResume {
		t.Error("the ticket of a connection without ALPN is of no use")
	}
}

func TestConfigErrors(t *testing.T) {
	for name, cfg := range map[string]*config.DownstreamTLS{
		"no certificate": {},
		"no roots":       {Common: config.CommonTLS{Certificates: []config.SecretRef{{Name: "x"}}}, RequireClient: true},
		"bad pem":        {Common: config.CommonTLS{Certificates: []config.SecretRef{{Cert: []byte("x"), Key: []byte("y")}}}},
		"bad hash":       {Common: config.CommonTLS{Certificates: []config.SecretRef{{Name: "x"}}, CertHashes: []string{"zz"}}},
	} {
		if _, err := NewServer(cfg, nil, ServerOptions{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMatchSANs(t *testing.T) {
	ca := newAuthority(t)
	cases := []struct {
		name string
		m    config.StringMatch
		want bool
	}{
		{"*.example.com", exact("a.example.com"), true},
		{"*.example.com", exact("a.b.example.com"), false},
		{"*.example.com", exact("example.com"), false},
		{serverID, config.StringMatch{Kind: config.StringPrefix, Value: "spiffe://cluster.local/ns/default/"}, true},
		{serverID, config.StringMatch{Kind: config.StringSuffix, Value: "/sa/client"}, false},
	}
	for _, tc := range cases {
		if got := matchSANs([]config.StringMatch{tc.m}, ca.leaf(t, tc.name, time.Hour).Certificate.Leaf); got != tc.want {
			t.Errorf("%s against %+v: %v", tc.name, tc.m, got)
		}
	}
}

// FuzzParseSecret: a secret is complete or refused.
func FuzzParseSecret(f *testing.F) {
	ca := newAuthority(f)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, roots []byte) {
		s, err := ParseSecret(nil, nil, roots)
		if err == nil && len(roots) > 0 && len(s.Roots) == 0 {
			t.Error("no roots and no error")
		}
	})
}
