// Package mesh is the control plane of a measurement: one authority, and one ADS
// server that gives Envoy and lateen-proxy the same resources.
package mesh

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	securityv1 "istio.io/api/security/v1alpha1"
)

// life is that of the certificates, unless a caller says otherwise: longer than any
// measurement.
const life = 23 * time.Hour

// Authority signs the certificates of all sides: ECDSA P-256.
type Authority struct {
	securityv1.UnimplementedIstioCertificateServiceServer
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// RootPEM is the authority's own certificate.
	RootPEM []byte
}

// Pair is a certificate and its key in PEM.
type Pair struct{ Cert, Key []byte }

// ServerName is the DNS name in every certificate, for proxies that cannot check
// a SPIFFE id; the SPIFFE id is SPIFFE(account).
const ServerName = "server.bench"

// SPIFFE gives the id of a service account.
func SPIFFE(account string) string { return "spiffe://cluster.local/ns/default/sa/" + account }

// NewAuthority makes an authority with a root of the name.
func NewAuthority(name string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{cert: cert, key: key, RootPEM: encode("CERTIFICATE", der)}, nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// Issue makes a key and a certificate for a service account.
func (a *Authority) Issue(account string) (Pair, error) {
	id, err := url.Parse(SPIFFE(account))
	if err != nil {
		return Pair{}, err
	}
	return a.IssueFor(x509.Certificate{Subject: pkix.Name{CommonName: account}, DNSNames: []string{ServerName}, URIs: []*url.URL{id}}, life)
}

// IssueFor makes a key and a certificate with the names of a template.
func (a *Authority) IssueFor(names x509.Certificate, life time.Duration) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	cert, err := a.sign(&key.PublicKey, names, life)
	if err != nil {
		return Pair{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return Pair{Cert: cert, Key: encode("PRIVATE KEY", der)}, err
}

// SignRequest signs a request in PEM. The harness is its own mesh: it believes the
// names.
func (a *Authority) SignRequest(csrPEM string, life time.Duration) ([]byte, error) {
	block, _ := pem.Decode([]byte(csrPEM))
	if block == nil {
		return nil, errors.New("the request is not PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	return a.sign(csr.PublicKey, x509.Certificate{URIs: csr.URIs}, life)
}

// Name is the name of the root.
func (a *Authority) Name() string { return a.cert.Subject.CommonName }

// Trust adds the root to a pool.
func (a *Authority) Trust(p *x509.CertPool) { p.AddCert(a.cert) }

func (a *Authority) sign(key any, names x509.Certificate, life time.Duration) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: names.Subject, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life), DNSNames: names.DNSNames, URIs: names.URIs,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.cert, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return encode("CERTIFICATE", der), nil
}

// CreateCertificate signs what lateen-proxy asks for.
func (a *Authority) CreateCertificate(_ context.Context, r *securityv1.IstioCertificateRequest) (*securityv1.IstioCertificateResponse, error) {
	leaf, err := a.SignRequest(r.GetCsr(), life)
	if err != nil {
		return nil, err
	}
	return &securityv1.IstioCertificateResponse{CertChain: []string{string(leaf), string(a.RootPEM)}}, nil
}
