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
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"
)

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (p pair) certPEM() []byte { return encode(p.cert) }

func (p pair) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// authorityOf makes the certificate of an authority, signed by a parent; nil: by
// itself.
func authorityOf(t testing.TB, name string, parent *pair, change func(*x509.Certificate), key crypto.Signer) *pair {
	t.Helper()
	var err error
	if key == nil {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	serial, err := newSerial()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	if change != nil {
		change(template)
	}
	p := &pair{key: key}
	if parent == nil {
		parent = &pair{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return p
}

// plugged is key material in Istio's form: a root, and an intermediate that signs.
func plugged(t testing.TB, root, signer *pair) map[string][]byte {
	t.Helper()
	return map[string][]byte{
		certFile: signer.certPEM(), keyFile: signer.keyPEM(t), rootFile: root.certPEM(),
		chainFile: append(signer.certPEM(), root.certPEM()...),
	}
}

func sign(t testing.TB, a *Authority) (leaf *x509.Certificate, chain [][]byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{reviews.URI()}}, key)
	if err != nil {
		t.Fatal(err)
	}
	chain, err = a.Sign(t.Context(), Request{CSR: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), ID: reviews})
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err = parseLeaf(chain[0]); err != nil {
		t.Fatal(err)
	}
	return leaf, chain
}

// trusted checks a chain as a peer does: against roots, with what it is sent.
func trusted(leaf *x509.Certificate, chain [][]byte, roots []byte) error {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	o.Roots.AppendCertsFromPEM(roots)
	for _, c := range chain[1 : len(chain)-1] {
		o.Intermediates.AppendCertsFromPEM(c)
	}
	_, err := leaf.Verify(o)
	return err
}

// TestPlugged: key material in both forms signs certificates whose chain leads to
// the root, the root being the third and last, as Istio's task checks it.
func TestPlugged(t *testing.T) {
	root := authorityOf(t, "root", nil, nil, nil)
	signer := authorityOf(t, "signer", root, nil, nil)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaSigner := authorityOf(t, "rsa signer", root, nil, rsaKey)
	noChain := plugged(t, root, signer)
	delete(noChain, chainFile)
	pkcs1 := plugged(t, root, rsaSigner)
	pkcs1[keyFile] = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})
	sec1DER, err := x509.MarshalECPrivateKey(signer.key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	sec1 := plugged(t, root, signer)
	sec1[keyFile] = append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1DER})...)
	for name, parts := range map[string]map[string][]byte{
		"Istio's names":      plugged(t, root, signer),
		"without a chain":    noChain,
		"a TLS Secret":       {tlsCertFile: append(signer.certPEM(), root.certPEM()...), tlsKeyFile: signer.keyPEM(t), tlsRootFile: root.certPEM()},
		"an RSA key":         plugged(t, root, rsaSigner),
		"an RSA key, PKCS 1": pkcs1,
		"an EC key, SEC 1":   sec1,
	} {
		t.Run(name, func(t *testing.T) {
			i, err := ParseIssuer(parts, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			a, err := NewAuthority(i, Terms{})
			if err != nil {
				t.Fatal(err)
			}
			leaf, chain := sign(t, a)
			if err := trusted(leaf, chain, root.certPEM()); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(chain[len(chain)-1], root.certPEM()) || !bytes.Equal(a.Roots(), root.certPEM()) {
				t.Error("the last element is not the root")
			}
			if leaf.NotAfter.After(signer.cert.NotAfter) {
				t.Error("a certificate outlives its issuer")
			}
		})
	}
}

func TestPluggedErrors(t *testing.T) {
	root := authorityOf(t, "root", nil, nil, nil)
	other := authorityOf(t, "other", nil, nil, nil)
	signer := authorityOf(t, "signer", root, nil, nil)
	with := func(name string, text []byte) map[string][]byte {
		p := plugged(t, root, signer)
		p[name] = text
		return p
	}
	of := func(change func(*x509.Certificate)) map[string][]byte {
		return plugged(t, root, authorityOf(t, "x", root, change, nil))
	}
	for name, c := range map[string]struct {
		parts map[string][]byte
		want  string
	}{
		"nothing":            {nil, "ca-cert.pem is missing"},
		"no key":             {with(keyFile, nil), "ca-key.pem is missing"},
		"no PEM":             {with(certFile, []byte("x")), "ca-cert.pem: no PEM block"},
		"another key":        {with(keyFile, other.keyPEM(t)), "ca-key.pem does not belong to ca-cert.pem"},
		"another root":       {with(rootFile, other.certPEM()), "there is no way"},
		"a broken chain":     {with(chainFile, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")), "cert-chain.pem: "},
		"no root":            {with(rootFile, nil), "root-cert.pem is missing"},
		"a key as a root":    {with(rootFile, root.keyPEM(t)), `root-cert.pem: a PEM block is "PRIVATE KEY"`},
		"a leaf":             {of(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }), "not the certificate of an authority"},
		"may not sign":       {of(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), "may not sign"},
		"expired":            {of(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), "expired"},
		"from tomorrow":      {of(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(23 * time.Hour) }), "not valid before"},
		"a TLS Secret's key": {map[string][]byte{tlsCertFile: signer.certPEM(), tlsRootFile: root.certPEM()}, "tls.key is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseIssuer(c.parts, time.Now()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestRootRotation: while two roots are trusted, certificates of both hold for
// everybody, and the bundle has each root once.
func TestRootRotation(t *testing.T) {
	oldRoot, newRoot := authorityOf(t, "old", nil, nil, nil), authorityOf(t, "new", nil, nil, nil)
	parse := func(parts map[string][]byte) *Issuer {
		i, err := ParseIssuer(parts, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	before := plugged(t, oldRoot, authorityOf(t, "1", oldRoot, nil, nil))
	a, err := NewAuthority(parse(before), Terms{})
	if err != nil {
		t.Fatal(err)
	}
	first, firstChain := sign(t, a)
	changed := a.Changed()
	both := append(oldRoot.certPEM(), newRoot.certPEM()...)
	combined := maps.Clone(before)
	combined[rootFile] = both
	if err := a.Replace(parse(combined)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody is told of new roots")
	}
	after := plugged(t, newRoot, authorityOf(t, "2", newRoot, nil, nil))
	after[rootFile] = both
	if err := a.Replace(parse(after)); err != nil {
		t.Fatal(err)
	}
	second, secondChain := sign(t, a)
	for _, c := range []struct {
		leaf  *x509.Certificate
		chain [][]byte
	}{{first, firstChain}, {second, secondChain}} {
		if err := trusted(c.leaf, c.chain, a.Roots()); err != nil {
			t.Error(err)
		}
	}
	if err := a.Trust(append(newRoot.certPEM(), oldRoot.certPEM()...)); err != nil || !bytes.Equal(a.Roots(), both) {
		t.Errorf("%v, %d bytes of roots, want %d", err, len(a.Roots()), len(both))
	}
}

func FuzzIssuer(f *testing.F) {
	root := authorityOf(f, "root", nil, nil, nil)
	signer := authorityOf(f, "signer", root, nil, nil)
	f.Add(signer.certPEM(), signer.keyPEM(f), []byte(nil), root.certPEM())
	f.Add(root.certPEM(), root.keyPEM(f), []byte(nil), []byte(nil))
	f.Fuzz(func(t *testing.T, cert, key, chain, roots []byte) {
		i, err := ParseIssuer(map[string][]byte{certFile: cert, keyFile: key, chainFile: chain, rootFile: roots}, time.Now())
		if err != nil {
			return
		}
		a, err := NewAuthority(i, Terms{})
		if err != nil {
			t.Fatal(err)
		}
		if leaf, chain := sign(t, a); trusted(leaf, chain, a.Roots()) != nil {
			t.Error("what was taken signs certificates that nobody trusts")
		}
	})
}
