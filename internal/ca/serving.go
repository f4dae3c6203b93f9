package ca

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// Serving keeps the certificate of the control plane's own servers current. Its
// methods are safe for concurrent use.
type Serving struct {
	// immutable
	signer Signer
	names  []string
	log    *slog.Logger

	current atomic.Pointer[serving]
}

// serving is one certificate and the roots of its clients; immutable.
type serving struct {
	cert  *tls.Certificate
	roots *x509.CertPool
	renew time.Time // when the next certificate is to be made
	trust <-chan struct{}
}

// Serve makes the first certificate for a server of the names.
func Serve(ctx context.Context, signer Signer, names []string, log *slog.Logger) (*Serving, error) {
	if len(names) == 0 {
		return nil, errors.New("the control plane's certificate has no names")
	}
	s := &Serving{signer: signer, names: names, log: log}
	return s, s.issue(ctx)
}

// issue makes a certificate with a new key.
func (s *Serving) issue(ctx context.Context) error {
	trust := s.signer.Changed() // before anything is read, so that no change is missed
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: s.names[0]}, DNSNames: s.names,
	}, key)
	if err != nil {
		return err
	}
	chain, err := s.signer.SignServer(ctx, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), s.names)
	if err != nil {
		return fmt.Errorf("the control plane's certificate: %w", err)
	}
	certs, err := parseCerts(bytes.Join(chain[:len(chain)-1], nil))
	if err != nil {
		return fmt.Errorf("the control plane's certificate: %w", err)
	}
	now := &serving{cert: &tls.Certificate{PrivateKey: key, Leaf: certs[0]}, trust: trust}
	for _, c := range certs {
		now.cert.Certificate = append(now.cert.Certificate, c.Raw)
	}
	if now.roots, err = Pool(s.signer.Roots()); err != nil {
		return err
	}
	now.renew = time.Now().Add(time.Until(certs[0].NotAfter) / 2) // certificates begin before they are made
	s.current.Store(now)
	return nil
}

// retry is the pause after a certificate could not be made.
const retry = 10 * time.Second

// Run makes new certificates at half the life of the old one, and when the
// authority changes, until ctx ends. Connections go on with what they began with.
func (s *Serving) Run(ctx context.Context) error {
	for {
		c := s.current.Load()
		t := time.NewTimer(time.Until(c.renew))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-c.trust:
		case <-t.C:
		}
		t.Stop()
		for {
			err := s.issue(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			s.log.Error("the control plane's certificate was not renewed", "err", err, "expires", c.cert.Leaf.NotAfter)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(retry):
			}
		}
		s.log.Info("the control plane has a new certificate", "expires", s.current.Load().cert.Leaf.NotAfter)
	}
}

// Config makes the TLS settings of a server, from a template with the protocols
// and versions. With clients, it asks callers for a certificate of the mesh, and
// lets those in who have none: they prove otherwise who they are.
func (s *Serving) Config(template *tls.Config, clients bool) *tls.Config {
	outer := template.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := s.current.Load()
		inner := template.Clone()
		inner.Certificates = []tls.Certificate{*c.cert}
		inner.SessionTicketsDisabled = true // a ticket would outlive the trust that it was given under
		if clients {
			inner.ClientAuth, inner.ClientCAs = tls.VerifyClientCertIfGiven, c.roots
		}
		return inner, nil
	}
	return outer
}

// Leaf is the certificate in use.
func (s *Serving) Leaf() *x509.Certificate { return s.current.Load().cert.Leaf }
