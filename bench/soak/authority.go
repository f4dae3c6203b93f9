package main

import (
	"context"
	"crypto/x509"
	"fmt"
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

// authority signs for the proxies with one of two roots. Which one signs and which
// are trusted goes round as operators replace a root: first both are trusted, then
// the other signs, then the old one is trusted no longer.
type authority struct {
	securityv1.UnimplementedIstioCertificateServiceServer
	roots  [2]*mesh.Authority
	start  time.Time
	issued atomic.Int64
}

func newAuthority() (*authority, error) {
	a := &authority{start: time.Now()}
	for i := range a.roots {
		var err error
		if a.roots[i], err = mesh.NewAuthority(fmt.Sprintf("soak root %d", i)); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// phases is one turn: which root signs, and which are trusted.
var phases = [...]struct{ signer, trusted string }{{"a", "a"}, {"a", "ab"}, {"b", "ab"}, {"b", "b"}, {"b", "ab"}, {"a", "ab"}}

// now gives the signer of the moment and the bundle of trusted roots.
func (a *authority) now() (signer *mesh.Authority, bundle []byte) {
	phase := phases[int(time.Since(a.start)/phaseLength)%len(phases)]
	for i, name := range []string{"a", "b"} {
		if phase.signer == name {
			signer = a.roots[i]
		}
		if strings.Contains(phase.trusted, name) {
			bundle = append(bundle, a.roots[i].RootPEM...)
		}
	}
	return signer, bundle
}

// CreateCertificate signs what a proxy asks for.
func (a *authority) CreateCertificate(_ context.Context, r *securityv1.IstioCertificateRequest) (*securityv1.IstioCertificateResponse, error) {
	signer, bundle := a.now()
	leaf, err := signer.SignRequest(r.GetCsr(), certLife)
	if err != nil {
		return nil, err
	}
	a.issued.Add(1)
	return &securityv1.IstioCertificateResponse{CertChain: []string{string(leaf), string(bundle)}}, nil
}

// edgeSecret makes the secret of the edge's listener, which comes over ADS.
func (a *authority) edgeSecret() (mesh.Resource, error) {
	signer, _ := a.now()
	pair, err := signer.IssueFor(x509.Certificate{DNSNames: []string{mesh.ServerName}}, time.Hour)
	if err != nil {
		return mesh.Resource{}, err
	}
	a.issued.Add(1)
	return resource("edge", m{
		"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "name": "edge",
		"tls_certificate": m{
			"certificate_chain": m{"inline_string": string(pair.Cert)},
			"private_key":       m{"inline_string": string(pair.Key)},
		},
	}), nil
}

// pool holds both roots, for clients of the edge.
func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	for _, r := range a.roots {
		r.Trust(p)
	}
	return p
}
