package ca

import (
	"crypto/x509"
	"net/url"
	"testing"
	"time"
)

// FuzzSign: whatever a request says, a certificate is for the caller alone.
func FuzzSign(f *testing.F) {
	a, err := Open(Options{Dir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	t := &testing.T{}
	f.Add(request(t, &x509.CertificateRequest{URIs: []*url.URL{reviews.URI()}}, nil))
	f.Add(request(t, &x509.CertificateRequest{}, nil))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, csr []byte) {
		chain, err := a.Sign(t.Context(), Request{CSR: csr, ID: reviews})
		if err != nil {
			return
		}
		leaf, err := parseLeaf(chain[0])
		if err != nil {
			t.Fatal(err)
		}
		if len(leaf.URIs) != 1 || leaf.URIs[0].String() != reviews.String() || len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0 || leaf.IsCA {
			t.Errorf("signed %v %v", leaf.URIs, leaf.DNSNames)
		}
	})
}

// FuzzToken: nothing but what was issued counts.
func FuzzToken(f *testing.F) {
	tokens, err := OpenTokens(f.TempDir(), func() time.Time { return time.Unix(1000, 0) })
	if err != nil {
		f.Fatal(err)
	}
	good, err := tokens.Issue(Workload{"default", "reviews", "reviews-0"}, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("")
	f.Add(".")
	f.Add(good + "=")
	f.Fuzz(func(t *testing.T, token string) {
		if w, err := tokens.Check(token); err == nil && token != good {
			t.Errorf("%q counts as %v", token, w)
		}
	})
}
