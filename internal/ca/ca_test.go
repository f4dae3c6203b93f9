package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	securityv1 "istio.io/api/security/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/spiffe"
)

func request(t *testing.T, template *x509.CertificateRequest, key any) []byte {
	t.Helper()
	if key == nil {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key = k
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func parseLeaf(text []byte) (*x509.Certificate, error) {
	list, err := parseCerts(text)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

var reviews = spiffe.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "bookinfo-reviews"}

func TestSign(t *testing.T) {
	a, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.Sign(t.Context(), Request{CSR: request(t, &x509.CertificateRequest{URIs: []*url.URL{reviews.URI()}}, nil), ID: reviews, Lifetime: 48 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := parseLeaf(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != reviews.String() || leaf.IsCA {
		t.Errorf("URIs %v, CA %v", leaf.URIs, leaf.IsCA)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > DefaultLifetime+backdate || life < DefaultLifetime {
		t.Errorf("asked for 48 h, lives %v", life)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain[len(chain)-1])
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			t.Error(err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	a, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	other := spiffe.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "admin"}
	tampered := request(t, &x509.CertificateRequest{}, nil)
	block, _ := pem.Decode(tampered)
	block.Bytes[len(block.Bytes)-1] ^= 1
	for name, csr := range map[string][]byte{
		"another identity":   request(t, &x509.CertificateRequest{URIs: []*url.URL{other.URI()}}, nil),
		"two identities":     request(t, &x509.CertificateRequest{URIs: []*url.URL{reviews.URI(), other.URI()}}, nil),
		"a DNS name":         request(t, &x509.CertificateRequest{DNSNames: []string{"reviews"}}, nil),
		"a short RSA key":    request(t, &x509.CertificateRequest{}, rsaKey),
		"a broken signature": pem.EncodeToMemory(block),
		"no PEM":             []byte("x"),
		"two blocks":         append(request(t, &x509.CertificateRequest{}, nil), request(t, &x509.CertificateRequest{}, nil)...),
	} {
		if _, err := a.Sign(t.Context(), Request{CSR: csr, ID: reviews}); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

func TestRootIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	a, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info.Mode(), err)
	}
	b, err := Open(Options{Dir: dir})
	if err != nil || string(a.Roots()) != string(b.Roots()) {
		t.Errorf("another root after reopening: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, keyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "readable by others") {
		t.Errorf("a readable key: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, keyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("a lost key: %v", err)
	}
	dir = t.TempDir()
	if a, err = Open(Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, certFile)); err != nil { // as after a crash between the two files
		t.Fatal(err)
	}
	if b, err = Open(Options{Dir: dir}); err != nil || !a.issuer.key.(*ecdsa.PrivateKey).Equal(b.issuer.key) {
		t.Errorf("a key without its certificate: %v", err)
	}
	later := func() time.Time { return time.Now().Add(rootLifetime + time.Hour) }
	dir = t.TempDir()
	if _, err := Open(Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Now: later}); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired root: %v", err)
	}
}

func TestTokens(t *testing.T) {
	now := time.Unix(1000, 0)
	dir := t.TempDir()
	tokens, err := OpenTokens(dir, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	w := Workload{"default", "bookinfo-reviews", "reviews-v1-0"}
	token, err := tokens.Issue(w, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenTokens(dir, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Check(token); err != nil || got != w {
		t.Errorf("%v, %v", got, err)
	}
	strange, err := OpenTokens(t.TempDir(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	forged, _ := strange.Issue(w, time.Hour)
	for name, bad := range map[string]string{"empty": "", "cut": token[:len(token)-1], "another mesh's": forged, "body swapped": "e30." + strings.SplitN(token, ".", 2)[1]} {
		if _, err := tokens.Check(bad); err == nil {
			t.Errorf("%s token counts", name)
		}
	}
	now = now.Add(2 * time.Hour)
	if _, err := tokens.Check(token); err == nil {
		t.Error("an expired token counts")
	}
}

// TestService: over gRPC, a workload gets its own identity and no other.
func TestService(t *testing.T) {
	dir := t.TempDir()
	a, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := OpenTokens(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	NewService(a, tokens, nil, slog.New(slog.DiscardHandler)).Register(srv)
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	conn, err := grpc.NewClient("unix://"+filepath.Join(dir, "s"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := securityv1.NewIstioCertificateServiceClient(conn)
	token, err := tokens.Issue(Workload{"default", "bookinfo-reviews", "reviews-v1-0"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	other := spiffe.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "admin"}
	for _, tc := range []struct {
		name, token string
		id          spiffe.ID
		want        codes.Code
	}{
		{"its own", token, reviews, codes.OK},
		{"another's", token, other, codes.InvalidArgument},
		{"without a token", "", reviews, codes.Unauthenticated},
		{"with a bad token", "x.y", reviews, codes.Unauthenticated},
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+tc.token)
		csr := request(t, &x509.CertificateRequest{URIs: []*url.URL{tc.id.URI()}}, nil)
		resp, err := c.CreateCertificate(ctx, &securityv1.IstioCertificateRequest{Csr: string(csr)})
		if status.Code(err) != tc.want {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err == nil && len(resp.GetCertChain()) != 2 {
			t.Errorf("%s: %d certificates", tc.name, len(resp.GetCertChain()))
		}
	}
}
