package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/spiffe"
)

// issuer signs with a root of its own; lifetime decides how soon renewal is due.
type issuer struct {
	t        *testing.T
	lifetime time.Duration
	gate     chan struct{} // one token per certificate
	n        int64
}

func (i *issuer) Issue(ctx context.Context, text []byte) ([]string, error) {
	select {
	case <-i.gate:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	i.n++
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(100 + i.n), NotBefore: time.Now(), NotAfter: time.Now().Add(i.lifetime), URIs: csr.URIs}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, csr.PublicKey, key)
	if err != nil {
		return nil, err
	}
	certificate := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return []string{certificate(leafDER), certificate(rootDER)}, nil
}

func secretsClient(t *testing.T, id *identity.Identity) secretv3.SecretDiscoveryServiceClient {
	t.Helper()
	socket := t.TempDir() + "/s"
	l, err := listenPrivate(socket)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	secretv3.RegisterSecretDiscoveryServiceServer(g, &secrets{id: id, log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	done := make(chan struct{})
	go func() { defer close(done); g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-done })
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return secretv3.NewSecretDiscoveryServiceClient(conn)
}

func startIdentity(t *testing.T, i *issuer) *identity.Identity {
	t.Helper()
	self := spiffe.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "reviews"}
	id := identity.New(identity.Options{ID: self, Issuer: i})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- id.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return id
}

func unpack(t *testing.T, a *anypb.Any) *tlsv3.Secret {
	t.Helper()
	m := &tlsv3.Secret{}
	if err := a.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSecrets: an Envoy that asks early waits, gets certificate and roots, and the
// next ones at each renewal; answers alone bring nothing.
func TestSecrets(t *testing.T) {
	i := &issuer{t: t, lifetime: 2 * time.Second, gate: make(chan struct{}, 8)}
	c := secretsClient(t, startIdentity(t, i))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := c.StreamSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	send := func(nonce string, names ...string) {
		t.Helper()
		if err := s.Send(&discoveryv3.DiscoveryRequest{TypeUrl: secretType, ResourceNames: names, ResponseNonce: nonce}); err != nil {
			t.Fatal(err)
		}
	}
	send("", "default")
	responses := make(chan *discoveryv3.DiscoveryResponse, 8)
	go func() {
		defer close(responses)
		for {
			r, err := s.Recv()
			if err != nil {
				return
			}
			responses <- r
		}
	}()
	select {
	case r := <-responses:
		t.Fatalf("a secret without a certificate: %v", r)
	case <-time.After(50 * time.Millisecond):
	}
	i.gate <- struct{}{}
	r := <-responses
	first := unpack(t, r.Resources[0])
	if first.Name != "default" || !strings.Contains(string(first.GetTlsCertificate().GetPrivateKey().GetInlineBytes()), "PRIVATE KEY") {
		t.Errorf("secret %v", first.Name)
	}
	send(r.Nonce, "default")
	select {
	case r := <-responses:
		t.Errorf("an answer brings %v", r)
	case <-time.After(50 * time.Millisecond):
	}
	i.gate <- struct{}{} // due after about a second
	r = <-responses
	if next := unpack(t, r.Resources[0]); string(next.GetTlsCertificate().GetCertificateChain().GetInlineBytes()) == string(first.GetTlsCertificate().GetCertificateChain().GetInlineBytes()) {
		t.Error("the renewed certificate is the old one")
	}
	send(r.Nonce, "default", "ROOTCA")
	if r = <-responses; len(r.Resources) != 2 || !strings.Contains(string(unpack(t, r.Resources[0]).GetValidationContext().GetTrustedCa().GetInlineBytes()), "CERTIFICATE") {
		t.Errorf("both secrets: %d", len(r.Resources))
	}
	send(r.Nonce, "other")
	for range responses {
	}
	if err := s.RecvMsg(&discoveryv3.DiscoveryResponse{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an unknown secret: %v", err)
	}
}

func TestDeltaSecrets(t *testing.T) {
	i := &issuer{t: t, lifetime: time.Hour, gate: make(chan struct{}, 8)}
	i.gate <- struct{}{}
	c := secretsClient(t, startIdentity(t, i))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := c.DeltaSecrets(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: secretType, ResourceNamesSubscribe: []string{"ROOTCA"}}); err != nil {
		t.Fatal(err)
	}
	r, err := s.Recv()
	if err != nil || len(r.Resources) != 1 || r.Resources[0].Name != "ROOTCA" || r.Resources[0].Version == "" {
		t.Fatalf("%v, %v", r, err)
	}
	fetched, err := c.FetchSecrets(ctx, &discoveryv3.DiscoveryRequest{ResourceNames: []string{"default"}})
	if err != nil || len(fetched.Resources) != 1 {
		t.Errorf("%v, %v", fetched, err)
	}
}

func TestBootstrapRefuses(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:15000", "here", ""} {
		if _, err := bootstrap(&Options{Admin: addr, RuntimeDir: "/x"}); err == nil {
			t.Errorf("the admin address %q is taken", addr)
		}
	}
	if err := Run(t.Context(), Options{}); err == nil {
		t.Error("an agent without an Envoy runs")
	}
}

// TestNoEnvoy: an agent that cannot start its Envoy ends, and says why.
func TestNoEnvoy(t *testing.T) {
	err := Run(t.Context(), Options{
		EnvoyPath: "/does/not/exist", XDS: "unix:///none", RuntimeDir: t.TempDir(), Metrics: "-", Status: "-", Admin: "127.0.0.1:1",
		Token: func() (string, error) { return "", nil },
		Node:  &corev3.Node{Id: "sidecar~10.0.0.1~a.b~c", Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"NAMESPACE": structpb.NewStringValue("b")}}},
	})
	if err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
		t.Errorf("%v", err)
	}
}
