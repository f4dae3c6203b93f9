// Package ca is the mesh's certificate authority: a root made once per mesh, or
// keys that somebody plugs in, or signers of Kubernetes that have the keys;
// short-lived leaves that carry a SPIFFE identity; the tokens by which workloads
// of one machine prove who they are before they have one; and the service that
// signs.
package ca

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/spiffe"
)

const (
	rootLifetime = 10 * 365 * 24 * time.Hour
	// DefaultLifetime of a workload's certificate, as Istio's.
	DefaultLifetime = 24 * time.Hour
	// LongestLifetime is what a workload may ask for where the operator does not
	// say less, as Istio's MAX_WORKLOAD_CERT_TTL.
	LongestLifetime = 90 * 24 * time.Hour
	// backdate of a certificate, for clocks that run behind.
	backdate = 2 * time.Minute
)

// Request asks for the certificate of a workload.
type Request struct {
	CSR []byte // PEM, one block CERTIFICATE REQUEST
	// ID is who the caller is; names in the request must be this one.
	ID spiffe.ID
	// Lifetime that the workload would like; 0 takes the authority's default.
	Lifetime time.Duration
	// Signer is the signer of Kubernetes that the workload asks for; "" for the
	// default. An authority with keys of its own has only one.
	Signer string
}

// Signer makes certificates: an *Authority with its own root or a plugged-in
// intermediate, or a *Delegate of Kubernetes' signers.
type Signer interface {
	TrustDomain() string
	// Sign returns PEM: the leaf first, then what leads to the root, and the trusted
	// roots in the last element.
	Sign(ctx context.Context, r Request) (chain [][]byte, err error)
	// SignServer signs for a server of the control plane's own, with DNS names. The
	// chain is that of Sign.
	SignServer(ctx context.Context, csrPEM []byte, names []string) (chain [][]byte, err error)
	// Roots is the PEM of all roots that the mesh trusts.
	Roots() []byte
	// Changed gives a channel that is closed when what the methods above return
	// changes.
	Changed() <-chan struct{}
}

// Authority signs with a key that it holds. It is safe for concurrent use.
type Authority struct {
	// immutable
	trustDomain string
	lifetime    time.Duration
	longest     time.Duration
	now         func() time.Time

	mu      sync.Mutex
	issuer  *Issuer       // guarded by mu; the value is immutable
	anchors []byte        // guarded by mu: PEM of further trusted roots
	roots   []byte        // guarded by mu: those of the issuer and the anchors
	changed chan struct{} // guarded by mu; closed and replaced
}

// Terms say for whom and for how long an Authority signs.
type Terms struct {
	TrustDomain string // default cluster.local
	// Lifetime of workloads' certificates; default 24 h. Longest is what a workload
	// can ask for; default Lifetime.
	Lifetime, Longest time.Duration
	Now               func() time.Time // default time.Now
}

// NewAuthority makes an authority that signs with an issuer's key.
func NewAuthority(issuer *Issuer, t Terms) (*Authority, error) {
	a := &Authority{trustDomain: t.TrustDomain, lifetime: t.Lifetime, longest: t.Longest, now: t.Now, changed: make(chan struct{})}
	if a.trustDomain == "" {
		a.trustDomain = spiffe.DefaultTrustDomain
	}
	if a.lifetime == 0 {
		a.lifetime = DefaultLifetime
	}
	a.longest = max(a.longest, a.lifetime)
	if a.now == nil {
		a.now = time.Now
	}
	if _, err := spiffe.New(a.trustDomain, "any", "any"); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return a, a.replace(issuer, nil)
}

// Replace makes the authority sign with another issuer's key. What was signed
// before stays valid as long as its root is among Roots.
func (a *Authority) Replace(issuer *Issuer) error {
	a.mu.Lock()
	anchors := a.anchors
	a.mu.Unlock()
	return a.replace(issuer, anchors)
}

// Trust sets the roots (PEM) that the mesh trusts besides the issuer's: those of
// MeshConfig.caCertificates, and old ones while a root is rotated.
func (a *Authority) Trust(anchors []byte) error { return a.replace(a.Issuer(), anchors) }

func (a *Authority) replace(issuer *Issuer, anchors []byte) error {
	roots, err := Bundle(issuer.roots, anchors)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.issuer == issuer && bytes.Equal(a.roots, roots) {
		return nil
	}
	a.issuer, a.anchors, a.roots = issuer, bytes.Clone(anchors), roots
	close(a.changed)
	a.changed = make(chan struct{})
	return nil
}

// Issuer is the one in use.
func (a *Authority) Issuer() *Issuer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issuer
}

// Roots gives the PEM of the trusted roots.
func (a *Authority) Roots() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return bytes.Clone(a.roots)
}

// Changed implements Signer.
func (a *Authority) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// TrustDomain names the trust domain that the authority signs for.
func (a *Authority) TrustDomain() string { return a.trustDomain }

// Sign makes a certificate for the identity and the key of a certificate
// request. Names that the request asks for must be that identity and nothing
// else. The lifetime is bounded by the authority's.
func (a *Authority) Sign(_ context.Context, r Request) (chain [][]byte, err error) {
	csr, err := checkRequest(r.CSR, r.ID)
	if err != nil {
		return nil, err
	}
	if r.Signer != "" {
		return nil, fmt.Errorf("the workload asks for the signer %q, and this mesh signs with keys of its own", r.Signer)
	}
	lifetime := r.Lifetime
	if lifetime <= 0 {
		lifetime = a.lifetime
	}
	return a.sign(csr, min(lifetime, a.longest), func(t *x509.Certificate) {
		t.URIs = []*url.URL{r.ID.URI()}
	})
}

// SignServer implements Signer. The names are the caller's, not the request's: it
// is the control plane itself.
func (a *Authority) SignServer(_ context.Context, csrPEM []byte, names []string) (chain [][]byte, err error) {
	csr, err := parseRequest(csrPEM)
	if err != nil {
		return nil, err
	}
	return a.sign(csr, a.lifetime, func(t *x509.Certificate) {
		t.DNSNames = names
		t.Subject.CommonName = names[0]
	})
}

func (a *Authority) sign(csr *x509.CertificateRequest, lifetime time.Duration, name func(*x509.Certificate)) ([][]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	issuer, roots := a.issuer, a.roots
	a.mu.Unlock()
	now := a.now()
	template := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	name(template)
	if !issuer.notAfter.After(now) {
		return nil, fmt.Errorf("the authority's own certificates expired on %s", issuer.notAfter.Format(time.DateTime))
	}
	if template.NotAfter.After(issuer.notAfter) {
		template.NotAfter = issuer.notAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, csr.PublicKey, issuer.key)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	chain := [][]byte{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	chain = append(chain, issuer.chain...)
	return append(chain, bytes.Clone(roots)), nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}
