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

// Authority signs the certificates of all sides: ECDSA P-256, for a day.
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

// NewAuthority makes an authority.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench root"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
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
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	id, err := url.Parse(SPIFFE(account))
	if err != nil {
		return Pair{}, err
	}
	cert, err := a.sign(&key.PublicKey, account, []string{ServerName}, id)
	if err != nil {
		return Pair{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return Pair{Cert: cert, Key: encode("PRIVATE KEY", der)}, err
}

func (a *Authority) sign(key any, account string, names []string, ids ...*url.URL) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: account}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(23 * time.Hour), DNSNames: names, URIs: ids,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.cert, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return encode("CERTIFICATE", der), nil
}

// CreateCertificate signs what lateen-proxy asks for. The harness is its own
// mesh: it believes the names.
func (a *Authority) CreateCertificate(_ context.Context, r *securityv1.IstioCertificateRequest) (*securityv1.IstioCertificateResponse, error) {
	block, _ := pem.Decode([]byte(r.GetCsr()))
	if block == nil {
		return nil, errors.New("the request is not PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	leaf, err := a.sign(csr.PublicKey, "", nil, csr.URIs...)
	if err != nil {
		return nil, err
	}
	return &securityv1.IstioCertificateResponse{CertChain: []string{string(leaf), string(a.RootPEM)}}, nil
}
