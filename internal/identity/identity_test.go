package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/spiffe"
)

var self = spiffe.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "reviews"}

// authority signs what it is asked for, with the clock of the test's bubble.
type authority struct {
	t     *testing.T
	key   *ecdsa.PrivateKey
	root  *x509.Certificate
	pem   string
	calls atomic.Int32
	down  atomic.Bool
	uri   *url.URL
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(1000 * time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, key: key, root: root, pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), uri: self.URI()}
}

func (a *authority) Issue(_ context.Context, text []byte) ([]string, error) {
	n := a.calls.Add(1)
	if a.down.Load() {
		return nil, errors.New("away")
	}
	block, _ := pem.Decode(text)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(int64(n) + 1), NotBefore: time.Now(), NotAfter: time.Now().Add(24 * time.Hour), URIs: []*url.URL{a.uri}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.root, csr.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), a.pem}, nil
}

func serial(t *testing.T, i *Identity) int64 {
	t.Helper()
	s, ok := i.Secret(CertificateName)
	if !ok {
		return 0
	}
	return s.Certificate.Leaf.SerialNumber.Int64()
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		i := New(Options{ID: self, Issuer: a, Log: slog.New(slog.DiscardHandler), Jitter: func() float64 { return 0.5 }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- i.Run(ctx) }()
		if err := i.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if _, ok := i.Secret(RootsName); !ok || serial(t, i) != 2 {
			t.Errorf("the first certificate: serial %d, roots %v", serial(t, i), ok)
		}
		time.Sleep(10 * time.Hour) // renewed at 45 % of 24 h with this jitter: 10 h 48 min
		synctest.Wait()
		if serial(t, i) != 2 {
			t.Errorf("renewed after ten hours")
		}
		changed := i.Changed()
		time.Sleep(time.Hour)
		synctest.Wait()
		select {
		case <-changed:
		default:
			t.Error("the renewal is not told")
		}
		if serial(t, i) != 3 {
			t.Errorf("after eleven hours: serial %d", serial(t, i))
		}
		// The authority goes away: the certificate stays, requests are repeated with
		// growing pauses, and its return is noticed within the longest pause.
		a.down.Store(true)
		before := a.calls.Load()
		time.Sleep(12 * time.Hour)
		synctest.Wait()
		if serial(t, i) != 3 {
			t.Error("the old certificate is gone")
		}
		if n := a.calls.Load() - before; n < 20 || n > 300 {
			t.Errorf("%d requests within an hour's outage", n)
		}
		a.down.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if serial(t, i) == 3 {
			t.Error("the authority's return is not noticed")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestWrongAnswers(t *testing.T) {
	a := newAuthority(t)
	a.uri = spiffe.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "admin"}.URI()
	i := New(Options{ID: self, Issuer: a, Log: slog.New(slog.DiscardHandler)})
	if _, err := i.renew(t.Context()); err == nil {
		t.Error("a certificate for somebody else is taken")
	}
	if _, ok := i.Secret(CertificateName); ok {
		t.Error("and used")
	}
	key, _, err := newRequest(self)
	if err != nil {
		t.Fatal(err)
	}
	for _, chain := range [][]string{nil, {"x"}, {"x", "y"}, {a.pem, a.pem}} {
		if _, err := newState(self, key, chain); err == nil {
			t.Errorf("%.20v is taken", chain)
		}
	}
}

// TestSeveralRoots: while a mesh changes its root, the authority names the old and
// the new one, and both are trusted.
func TestSeveralRoots(t *testing.T) {
	old, current := newAuthority(t), newAuthority(t)
	key, csr, err := newRequest(self)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := current.Issue(t.Context(), csr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newState(self, key, []string{chain[0], chain[1] + old.pem})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.roots.Roots) != 2 || !s.roots.Roots[0].Equal(current.root) || !s.roots.Roots[1].Equal(old.root) {
		t.Errorf("%d roots", len(s.roots.Roots))
	}
}

// TestStatic: a given identity is there from the start.
func TestStatic(t *testing.T) {
	a := newAuthority(t)
	i := New(Options{ID: self, Issuer: a})
	if _, err := i.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	cert, key, roots, _ := i.PEM()
	static, err := Static(cert, key, roots)
	if err != nil {
		t.Fatal(err)
	}
	if err := static.Wait(t.Context()); err != nil || serial(t, static) != serial(t, i) {
		t.Errorf("serial %d, %v", serial(t, static), err)
	}
	if _, err := Static(cert, key, nil); err == nil {
		t.Error("an identity without roots is taken")
	}
}
