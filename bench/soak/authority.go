package main

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
	"strings"
	"sync/atomic"
	"time"

	securityv1 "istio.io/api/security/v1alpha1"

	"github.com/lateen-mesh/lateen/bench/mesh"
)

// Certificates live so short that each proxy asks for a new one about every five
// seconds: an identity is renewed after 0.4 to 0.5 of its life.
const (
	certLife    = 12 * time.Second
	rotateEvery = 5 * time.Second
	phaseLength = 15 * time.Second // longer than a certificate's life
)

// root is one signer.
type root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// authority signs for the proxies with one of two roots. Which one signs and which
// are trusted goes round as operators replace a root: first both are trusted, then
// the other signs, then the old one is trusted no longer.
type authority struct {
	securityv1.UnimplementedIstioCertificateServiceServer
	roots  [2]*root
	start  time.Time
	issued atomic.Int64
}

func newAuthority() (*authority, error) {
	a := &authority{start: time.Now()}
	for i := range a.roots {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: fmt.Sprintf("soak root %d", i)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
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
		a.roots[i] = &root{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	}
	return a, nil
}

// phases is one turn: which root signs, and which are trusted.
var phases = [...]struct{ signer, trusted string }{{"a", "a"}, {"a", "ab"}, {"b", "ab"}, {"b", "b"}, {"b", "ab"}, {"a", "ab"}}

// now gives the signer of the moment and the bundle of trusted roots.
func (a *authority) now() (signer *root, bundle []byte) {
	phase := phases[int(time.Since(a.start)/phaseLength)%len(phases)]
	for i, name := range []string{"a", "b"} {
		if phase.signer == name {
			signer = a.roots[i]
		}
		if strings.Contains(phase.trusted, name) {
			bundle = append(bundle, a.roots[i].pem...)
		}
	}
	return signer, bundle
}

// sign makes a certificate of the moment's signer.
func (a *authority) sign(key any, life time.Duration, names []string, ids ...*url.URL) ([]byte, []byte, error) {
	signer, bundle := a.now()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life), DNSNames: names, URIs: ids,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, signer.cert, key, signer.key)
	if err != nil {
		return nil, nil, fmt.Errorf("signing: %w", err)
	}
	a.issued.Add(1)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), bundle, nil
}

// CreateCertificate signs what a proxy asks for; the harness believes its names.
func (a *authority) CreateCertificate(_ context.Context, r *securityv1.IstioCertificateRequest) (*securityv1.IstioCertificateResponse, error) {
	block, _ := pem.Decode([]byte(r.GetCsr()))
	if block == nil {
		return nil, errors.New("the request is not PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	leaf, bundle, err := a.sign(csr.PublicKey, certLife, nil, csr.URIs...)
	if err != nil {
		return nil, err
	}
	return &securityv1.IstioCertificateResponse{CertChain: []string{string(leaf), string(bundle)}}, nil
}

// edgeSecret makes the secret of the edge's listener, which comes over ADS.
func (a *authority) edgeSecret() (mesh.Resource, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return mesh.Resource{}, err
	}
	leaf, _, err := a.sign(&key.PublicKey, time.Hour, []string{mesh.ServerName})
	if err != nil {
		return mesh.Resource{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return mesh.Resource{}, err
	}
	return resource("edge", m{
		"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "name": "edge",
		"tls_certificate": m{
			"certificate_chain": m{"inline_string": string(leaf)},
			"private_key":       m{"inline_string": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))},
		},
	}), nil
}

// pool holds both roots, for clients of the edge.
func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	for _, r := range a.roots {
		p.AddCert(r.cert)
	}
	return p
}
