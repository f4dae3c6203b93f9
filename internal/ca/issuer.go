package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Names of the parts of an authority's key material: those of Istio's Secrets
// "cacerts" and "istio-ca-secret", and of Kubernetes' TLS Secrets.
const (
	certFile  = "ca-cert.pem"
	keyFile   = "ca-key.pem"
	chainFile = "cert-chain.pem"
	rootFile  = "root-cert.pem"

	tlsCertFile = "tls.crt"
	tlsKeyFile  = "tls.key"
	tlsRootFile = "ca.crt"
)

// Issuer is the key material of an authority. It is checked and immutable.
type Issuer struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain [][]byte // PEM: what follows a leaf on the wire, the issuer first; none where it is the root
	roots []byte   // PEM
	// notAfter is when the first certificate on the way to the root expires.
	notAfter time.Time
}

// Certificate is the issuer's own.
func (i *Issuer) Certificate() *x509.Certificate { return i.cert }

// NotAfter is when the first certificate on the way to the root expires.
func (i *Issuer) NotAfter() time.Time { return i.notAfter }

// SelfSigned reports whether the issuer is its own root.
func (i *Issuer) SelfSigned() bool { return len(i.chain) == 0 }

// Same reports whether two issuers sign alike.
func (i *Issuer) Same(o *Issuer) bool {
	return i.cert.Equal(o.cert) && bytes.Equal(i.roots, o.roots) && bytes.Equal(bytes.Join(i.chain, nil), bytes.Join(o.chain, nil))
}

// ParseIssuer reads key material in one of two forms: Istio's (ca-cert.pem,
// ca-key.pem, root-cert.pem and cert-chain.pem; without the last two the
// certificate is its own root) or that of a TLS Secret (tls.crt with the chain,
// tls.key, ca.crt). It checks that all parts belong together and are valid now.
// The error names the part.
func ParseIssuer(parts map[string][]byte, now time.Time) (*Issuer, error) {
	names := [4]string{certFile, keyFile, chainFile, rootFile}
	if len(parts[certFile]) == 0 && len(parts[tlsCertFile]) > 0 {
		names = [4]string{tlsCertFile, tlsKeyFile, tlsCertFile, tlsRootFile}
	}
	for _, n := range names[:2] {
		if len(parts[n]) == 0 {
			return nil, fmt.Errorf("%s is missing", n)
		}
	}
	certs, err := parseCerts(parts[names[0]])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", names[0], err)
	}
	i := &Issuer{cert: certs[0]}
	if i.key, err = parseKey(parts[names[1]]); err != nil {
		return nil, fmt.Errorf("%s: %w", names[1], err)
	}
	if public, ok := i.key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(i.cert.PublicKey) {
		return nil, fmt.Errorf("%s does not belong to %s", names[1], names[0])
	}
	if err := checkAuthority(i.cert, now); err != nil {
		return nil, fmt.Errorf("%s: %w", names[0], err)
	}
	if len(parts[names[3]]) == 0 { // its own root
		return i.selfSigned(names[0], names[3])
	}
	return i, i.chainTo(parts[names[2]], names[2], parts[names[3]], names[3], now)
}

func (i *Issuer) selfSigned(certName, rootName string) (*Issuer, error) {
	if err := i.cert.CheckSignatureFrom(i.cert); err != nil {
		return nil, fmt.Errorf("%s is missing, and %s is not its own root", rootName, certName)
	}
	i.roots, i.notAfter = encode(i.cert), i.cert.NotAfter
	return i, nil
}

// chainTo checks the way from the issuer to a root.
func (i *Issuer) chainTo(chainPEM []byte, chainName string, rootPEM []byte, rootName string, now time.Time) error {
	roots, err := parseCerts(rootPEM)
	if err != nil {
		return fmt.Errorf("%s: %w", rootName, err)
	}
	var chain []*x509.Certificate
	if len(bytes.TrimSpace(chainPEM)) > 0 {
		if chain, err = parseCerts(chainPEM); err != nil {
			return fmt.Errorf("%s: %w", chainName, err)
		}
	}
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, c := range roots {
		o.Roots.AddCert(c)
	}
	for _, c := range chain {
		o.Intermediates.AddCert(c)
	}
	ways, err := i.cert.Verify(o)
	if err != nil {
		return fmt.Errorf("there is no way from the certificate over %s to %s: %w", chainName, rootName, err)
	}
	i.notAfter = ways[0][0].NotAfter
	for _, c := range ways[0] {
		if c.NotAfter.Before(i.notAfter) {
			i.notAfter = c.NotAfter
		}
	}
	if i.roots, err = Bundle(rootPEM); err != nil {
		return fmt.Errorf("%s: %w", rootName, err)
	}
	if len(chain) == 0 && len(ways[0]) == 1 {
		return nil // a root itself
	}
	if len(chain) == 0 || !chain[0].Equal(i.cert) {
		i.chain = append(i.chain, encode(i.cert))
	}
	for _, c := range chain {
		i.chain = append(i.chain, encode(c))
	}
	return nil
}

// checkAuthority refuses certificates that must not sign.
func checkAuthority(c *x509.Certificate, now time.Time) error {
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return errors.New("it is not the certificate of an authority")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("its key may not sign certificates (key usage)")
	case now.After(c.NotAfter):
		return fmt.Errorf("it expired on %s", c.NotAfter.Format(time.DateOnly))
	case now.Add(backdate).Before(c.NotBefore):
		return fmt.Errorf("it is not valid before %s", c.NotBefore.Format(time.DateTime))
	}
	return nil
}

// Bundle joins PEM certificates of authorities into one text, each once, in
// order.
func Bundle(texts ...[]byte) ([]byte, error) {
	var out []byte
	seen := map[string]bool{}
	for _, text := range texts {
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		certs, err := parseCerts(text)
		if err != nil {
			return nil, fmt.Errorf("trusted roots: %w", err)
		}
		for _, c := range certs {
			if !seen[string(c.Raw)] {
				seen[string(c.Raw)] = true
				out = append(out, encode(c)...)
			}
		}
	}
	return out, nil
}

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// parseCerts reads one or more certificates.
func parseCerts(text []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if len(bytes.TrimSpace(rest)) > 0 && len(list) > 0 {
				return nil, errors.New("there is text after the last PEM block")
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block is %q, not CERTIFICATE", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, errors.New("no PEM block")
	}
	return list, nil
}

// parseKey reads an ECDSA or RSA key in any of the usual forms.
func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	if block.Type == "EC PARAMETERS" { // openssl writes them before the key
		return parseKey(text[bytes.Index(text, []byte("-----END EC PARAMETERS-----"))+len("-----END EC PARAMETERS-----"):])
	}
	var k any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		k, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		k, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		k, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("the PEM block is %q, not a key", block.Type)
	}
	if err != nil {
		return nil, err
	}
	switch key := k.(type) {
	case *ecdsa.PrivateKey:
		return key, checkKey(&key.PublicKey)
	case *rsa.PrivateKey:
		return key, checkKey(&key.PublicKey)
	}
	return nil, fmt.Errorf("the key is %T, neither ECDSA nor RSA", k)
}

// newRoot makes a self-signed root for a key, in Istio's form; nil makes a new key.
func newRoot(trustDomain string, key crypto.Signer, now time.Time) (parts map[string][]byte, err error) {
	if key == nil {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{trustDomain}, CommonName: "Lateen root"},
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(rootLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: 1,
		URIs: []*url.URL{{Scheme: "spiffe", Host: trustDomain}}, // a trust domain's own SVID (SPIFFE X509-SVID §4.1)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return (&Issuer{cert: cert, key: key}).parts()
}

// parts gives the key material of a self-signed issuer in Istio's form.
func (i *Issuer) parts() (map[string][]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(i.key)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{certFile: encode(i.cert), keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})}, nil
}
