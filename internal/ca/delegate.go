package ca

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/spiffe"
)

// Certifier brings requests to Kubernetes' signers: it makes a
// CertificateSigningRequest, approves it, and waits for the certificate.
type Certifier interface {
	Certify(ctx context.Context, signer string, csrPEM []byte, lifetime time.Duration) (certPEM []byte, err error)
}

// SignerRoots are the roots of the certificates of one or more of Kubernetes'
// signers: an entry of MeshConfig.caCertificates.
type SignerRoots struct {
	Signers []string // full names, "DOMAIN/NAME"; none: all signers that have no entry
	PEM     []byte
}

// DelegateOptions configure a Delegate.
type DelegateOptions struct {
	Certifier Certifier
	// Signer is the default signer, "DOMAIN/NAME"; a workload may ask for another
	// of the same domain by its NAME (proxy metadata ISTIO_META_CERT_SIGNER).
	Signer string
	Terms  Terms
	Roots  []SignerRoots
}

// Delegate lets Kubernetes' signers make the certificates, and checks who asks
// for what. It is safe for concurrent use.
type Delegate struct {
	// immutable
	o DelegateOptions

	mu      sync.Mutex
	roots   []SignerRoots // guarded by mu; the slice is replaced
	changed chan struct{} // guarded by mu; closed and replaced
}

// NewDelegate makes a Delegate. The roots of the default signer must be known:
// otherwise nobody could check its certificates.
func NewDelegate(o DelegateOptions) (*Delegate, error) {
	if domain, name, ok := strings.Cut(o.Signer, "/"); !ok || domain == "" || name == "" {
		return nil, fmt.Errorf("the signer %q is not of the form DOMAIN/NAME", o.Signer)
	}
	if o.Terms.TrustDomain == "" {
		o.Terms.TrustDomain = spiffe.DefaultTrustDomain
	}
	if o.Terms.Lifetime == 0 {
		o.Terms.Lifetime = DefaultLifetime
	}
	o.Terms.Longest = max(o.Terms.Longest, o.Terms.Lifetime)
	d := &Delegate{o: o, changed: make(chan struct{})}
	return d, d.Trust(o.Roots)
}

// Trust replaces the roots of the signers.
func (d *Delegate) Trust(roots []SignerRoots) error {
	for _, r := range roots {
		if err := CheckRoots(r.PEM); err != nil {
			return fmt.Errorf("roots of the signers %s: %w", strings.Join(r.Signers, ", "), err)
		}
	}
	if rootsOf(roots, d.o.Signer) == nil {
		return fmt.Errorf("the roots of the signer %s are not known: give them in MeshConfig.caCertificates with certSigners [%s]", d.o.Signer, d.o.Signer)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.EqualFunc(d.roots, roots, func(a, b SignerRoots) bool { return slices.Equal(a.Signers, b.Signers) && bytes.Equal(a.PEM, b.PEM) }) {
		return nil
	}
	d.roots = slices.Clone(roots)
	close(d.changed)
	d.changed = make(chan struct{})
	return nil
}

// rootsOf finds the roots of a signer; nil where they are not known.
func rootsOf(roots []SignerRoots, signer string) []byte {
	var rest []byte
	for _, r := range roots {
		if slices.Contains(r.Signers, signer) {
			return r.PEM
		}
		if len(r.Signers) == 0 {
			rest = r.PEM
		}
	}
	return rest
}

// TrustDomain implements Signer.
func (d *Delegate) TrustDomain() string { return d.o.Terms.TrustDomain }

// Roots implements Signer: those of all signers.
func (d *Delegate) Roots() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	texts := make([][]byte, len(d.roots))
	for i, r := range d.roots {
		texts[i] = r.PEM
	}
	all, err := Bundle(texts...)
	if err != nil {
		return bytes.Join(texts, nil) // cannot be: Trust has read them
	}
	return all
}

// Changed implements Signer.
func (d *Delegate) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// Sign implements Signer.
func (d *Delegate) Sign(ctx context.Context, r Request) ([][]byte, error) {
	csr, err := checkRequest(r.CSR, r.ID)
	if err != nil {
		return nil, err
	}
	if len(csr.URIs) == 0 {
		return nil, errors.New("the request names no SPIFFE id, and a signer of Kubernetes signs what the request names")
	}
	signer := d.o.Signer
	if r.Signer != "" {
		domain, _, _ := strings.Cut(signer, "/")
		signer = domain + "/" + r.Signer
	}
	lifetime := r.Lifetime
	if lifetime <= 0 {
		lifetime = d.o.Terms.Lifetime
	}
	return d.certify(ctx, signer, r.CSR, min(lifetime, d.o.Terms.Longest), func(leaf *x509.Certificate) error {
		if len(leaf.URIs) != 1 || leaf.URIs[0].String() != r.ID.String() {
			return fmt.Errorf("it is for %v instead of %s", leaf.URIs, r.ID)
		}
		return nil
	})
}

// SignServer implements Signer.
func (d *Delegate) SignServer(ctx context.Context, csrPEM []byte, names []string) ([][]byte, error) {
	return d.certify(ctx, d.o.Signer, csrPEM, d.o.Terms.Lifetime, func(leaf *x509.Certificate) error {
		for _, n := range names {
			if err := leaf.VerifyHostname(n); err != nil {
				return err
			}
		}
		return nil
	})
}

// certify asks a signer and checks its answer: it may be anybody's program.
func (d *Delegate) certify(ctx context.Context, signer string, csrPEM []byte, lifetime time.Duration, check func(*x509.Certificate) error) ([][]byte, error) {
	d.mu.Lock()
	roots := rootsOf(d.roots, signer)
	d.mu.Unlock()
	if roots == nil {
		return nil, fmt.Errorf("the roots of the signer %s are not known: give them in MeshConfig.caCertificates", signer)
	}
	text, err := d.o.Certifier.Certify(ctx, signer, csrPEM, lifetime)
	if err != nil {
		return nil, fmt.Errorf("%w: signer %s: %w", ErrUnavailable, signer, err)
	}
	certs, err := parseCerts(text)
	if err != nil {
		return nil, fmt.Errorf("the signer %s answered no certificate: %w", signer, err)
	}
	if err := check(certs[0]); err != nil {
		return nil, fmt.Errorf("the signer %s answered a certificate that does not fit: %w", signer, err)
	}
	pool, err := Pool(roots)
	if err != nil {
		return nil, err
	}
	o := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, c := range certs[1:] {
		o.Intermediates.AddCert(c)
	}
	if d.o.Terms.Now != nil {
		o.CurrentTime = d.o.Terms.Now()
	}
	if _, err := certs[0].Verify(o); err != nil {
		return nil, fmt.Errorf("the signer %s answered a certificate that its roots do not vouch for: %w", signer, err)
	}
	var chain [][]byte
	for _, c := range certs {
		chain = append(chain, encode(c))
	}
	return append(chain, d.Roots()), nil
}
