// Package ca is the mesh's certificate authority: a root made once per mesh,
// short-lived leaves that carry a SPIFFE identity, the tokens by which workloads
// prove who they are before they have one, and the service that signs.
package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/internal/spiffe"
)

const (
	rootLifetime = 10 * 365 * 24 * time.Hour
	// DefaultLifetime of a workload's certificate, as Istio's.
	DefaultLifetime = 24 * time.Hour
	// backdate of a certificate, for clocks that run behind.
	backdate = 2 * time.Minute

	keyFile  = "ca-key.pem" // names of Istio's cacerts secret
	certFile = "ca-cert.pem"
)

// Authority signs workload certificates with a key that it holds. It is safe for
// concurrent use.
type Authority struct {
	// immutable
	trustDomain string
	lifetime    time.Duration
	now         func() time.Time
	cert        *x509.Certificate
	key         *ecdsa.PrivateKey
	certPEM     []byte
}

// Options configure an Authority.
type Options struct {
	Dir         string // holds the root's key and certificate; made with mode 0700
	TrustDomain string // default cluster.local
	// Lifetime of workload certificates; default 24 h.
	Lifetime time.Duration
	Now      func() time.Time // default time.Now
}

// Open reads the authority of a mesh from its directory, and makes a new
// self-signed root there the first time.
func Open(o Options) (*Authority, error) {
	a := &Authority{trustDomain: o.TrustDomain, lifetime: o.Lifetime, now: o.Now}
	if a.trustDomain == "" {
		a.trustDomain = spiffe.DefaultTrustDomain
	}
	if a.lifetime == 0 {
		a.lifetime = DefaultLifetime
	}
	if a.now == nil {
		a.now = time.Now
	}
	if _, err := spiffe.New(a.trustDomain, "any", "any"); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	key, err := a.loadKey(o.Dir)
	if err == nil {
		err = a.load(o.Dir, key)
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", o.Dir, err)
	}
	return a, nil
}

// loadKey reads the root's key and makes it the first time. A certificate without
// its key is an error: a new root would cut off every workload.
func (a *Authority) loadKey(dir string) (*ecdsa.PrivateKey, error) {
	path := filepath.Join(dir, keyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, certFile)); err == nil {
			return nil, fmt.Errorf("%s is there, but its key %s is lost", certFile, keyFile)
		}
		return createKey(path)
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is readable by others (mode %v): remove the rights of group and others", keyFile, info.Mode().Perm())
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	return key, nil
}

func createKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// load reads the root's certificate. Where only the key is there, the mesh ended
// between writing the one and the other: the certificate is made for that key.
func (a *Authority) load(dir string, key *ecdsa.PrivateKey) error {
	path := filepath.Join(dir, certFile)
	certPEM, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if certPEM, err = a.selfSign(key); err == nil {
			err = writeFile(path, certPEM, 0o644)
		}
	}
	if err != nil {
		return err
	}
	cert, err := parseCert(certPEM)
	if err != nil {
		return fmt.Errorf("%s: %w", certFile, err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return fmt.Errorf("%s does not belong to %s", keyFile, certFile)
	}
	if !cert.IsCA {
		return fmt.Errorf("%s is not the certificate of an authority", certFile)
	}
	if now := a.now(); now.After(cert.NotAfter) {
		return fmt.Errorf("the root expired on %s", cert.NotAfter.Format(time.DateOnly))
	}
	a.key, a.cert, a.certPEM = key, cert, certPEM
	return nil
}

// selfSign makes the root's certificate.
func (a *Authority) selfSign(key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := a.now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{a.trustDomain}, CommonName: "Lateen root"},
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(rootLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: 1,
		URIs: []*url.URL{{Scheme: "spiffe", Host: a.trustDomain}}, // a trust domain's own SVID (SPIFFE X509-SVID §4.1)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// Roots gives the PEM of the trusted roots.
func (a *Authority) Roots() []byte { return bytes.Clone(a.certPEM) }

// TrustDomain names the trust domain that the authority signs for.
func (a *Authority) TrustDomain() string { return a.trustDomain }

// Sign makes a certificate for the identity and the key of a certificate
// request. Names that the request asks for must be that identity and nothing
// else. lifetime is bounded by the authority's; 0 takes that.
func (a *Authority) Sign(csrPEM []byte, id spiffe.ID, lifetime time.Duration) (chain [][]byte, err error) {
	csr, err := checkRequest(csrPEM, id)
	if err != nil {
		return nil, err
	}
	if lifetime <= 0 || lifetime > a.lifetime {
		lifetime = a.lifetime
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := a.now()
	template := &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{id.URI()},
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, csr.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing for %s: %w", id, err)
	}
	return [][]byte{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), a.Roots()}, nil
}

// checkRequest verifies a request's own signature, its key and its names.
func checkRequest(csrPEM []byte, id spiffe.ID) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(csrPEM)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("the request is not one PEM block CERTIFICATE REQUEST")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the request does not parse: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the request's signature: %w", err)
	}
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("the request's key is %T; the mesh uses ECDSA P-256", csr.PublicKey)
	}
	if len(csr.DNSNames)+len(csr.EmailAddresses)+len(csr.IPAddresses) > 0 {
		return nil, errors.New("the request asks for names that are not SPIFFE ids")
	}
	for _, u := range csr.URIs {
		if u.String() != id.String() {
			return nil, fmt.Errorf("the request asks for %s, the caller is %s", u, id)
		}
	}
	return csr, nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key is %T, not ECDSA", k)
	}
	return key, nil
}

func parseCert(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	return x509.ParseCertificate(block.Bytes)
}

// writeFile writes a new file completely or not at all.
func writeFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = errors.Join(f.Chmod(mode), write(f, data), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func write(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return err
}
