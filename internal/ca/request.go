package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/lateen-mesh/lateen/internal/spiffe"
)

// smallestRSA is the least size of RSA keys in bits.
const smallestRSA = 2048

// checkRequest verifies a request's own signature, its key and its names.
func checkRequest(csrPEM []byte, id spiffe.ID) (*x509.CertificateRequest, error) {
	csr, err := parseRequest(csrPEM)
	if err != nil {
		return nil, err
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

// parseRequest verifies a request's own signature and its key.
func parseRequest(csrPEM []byte) (*x509.CertificateRequest, error) {
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
	return csr, checkKey(csr.PublicKey)
}

// checkKey allows the keys that all data planes can use: those of Envoy's TLS
// library. Lateen's own proxies use ECDSA P-256, Istio's agents RSA by default.
func checkKey(public any) error {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() {
			return nil
		}
		return fmt.Errorf("the request's key is ECDSA %s; the mesh takes P-256 and P-384", key.Curve.Params().Name)
	case *rsa.PublicKey:
		if key.N.BitLen() >= smallestRSA {
			return nil
		}
		return fmt.Errorf("the request's RSA key has %d bits, and needs %d", key.N.BitLen(), smallestRSA)
	}
	return fmt.Errorf("the request's key is %T; the mesh takes ECDSA and RSA", public)
}
