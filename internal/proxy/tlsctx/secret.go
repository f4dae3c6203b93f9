// Package tlsctx makes TLS contexts of the data plane from configuration and
// secrets: server sides for filter chains, client sides for clusters.
//
// Secrets are looked up at each handshake. A secret that changed is a new *Secret;
// a context that sees one builds a new tls.Config with new ticket keys and an
// empty session cache, while established connections go on untouched. Peers are
// verified in VerifyConnection, which crypto/tls also calls for resumed sessions:
// a resumption is held to the roots, revocations and name rules of today.
package tlsctx

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// Secret is a certificate with its key, or roots, or both. It is immutable: a
// renewed secret is a new value.
type Secret struct {
	Certificate *tls.Certificate // with Leaf set; nil if there is none
	Roots       []*x509.Certificate
	CRLs        []*x509.RevocationList // of certificates below Roots
}

// ParseCRLs reads revocation lists in PEM.
func ParseCRLs(data []byte) ([]*x509.RevocationList, error) { return parseCRLs(data) }

// Secrets gives the current secret of a name ("default", "ROOTCA", a gateway's
// credential). ok is false while it has not arrived. Safe for concurrent use, and
// cheap: it is called for every handshake. A change is told by another pointer.
type Secrets interface {
	Secret(name string) (s *Secret, ok bool)
}

// ParseSecret reads PEM: a certificate chain (leaf first) with its key, roots, or
// both; nil stands for what is absent.
func ParseSecret(cert, key, roots []byte) (*Secret, error) {
	s := new(Secret)
	if len(cert) > 0 || len(key) > 0 {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("certificate and key: %w", err)
		}
		if pair.Leaf == nil {
			return nil, errors.New("certificate and key: no leaf certificate")
		}
		s.Certificate = &pair
	}
	if len(roots) > 0 {
		var err error
		if s.Roots, err = parseCerts(roots); err != nil {
			return nil, fmt.Errorf("roots: %w", err)
		}
	}
	return s, nil
}

// parseCerts reads at least one PEM certificate and nothing else.
func parseCerts(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		block, data = pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("unexpected PEM block %q", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no PEM certificate")
	}
	if len(bytes.TrimSpace(data)) > 0 {
		return nil, errors.New("trailing data after the last PEM certificate")
	}
	return certs, nil
}

// source is a SecretRef made ready: inline material is parsed once.
type source struct {
	name   string
	inline *Secret
}

func newSource(ref config.SecretRef) (source, error) {
	if len(ref.Cert) == 0 && len(ref.Key) == 0 && len(ref.CA) == 0 {
		return source{name: ref.Name}, nil
	}
	s, err := ParseSecret(ref.Cert, ref.Key, ref.CA)
	if err != nil {
		return source{}, fmt.Errorf("inline secret: %w", err)
	}
	return source{inline: s}, nil
}

// isZero reports that nothing is referred to.
func (s source) isZero() bool { return s.name == "" && s.inline == nil }

func (s source) get(from Secrets) (*Secret, error) {
	if s.inline != nil {
		return s.inline, nil
	}
	if from != nil {
		if sec, ok := from.Secret(s.name); ok && sec != nil {
			return sec, nil
		}
	}
	return nil, &MissingError{Name: s.name}
}

// MissingError says that a secret has not arrived yet.
type MissingError struct{ Name string }

// Error implements error.
func (e *MissingError) Error() string {
	return fmt.Sprintf("the secret %q has not arrived yet", e.Name)
}
