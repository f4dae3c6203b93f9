package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// cluster is a system namespace in memory.
type cluster struct {
	mu      sync.Mutex
	secrets map[string]map[string][]byte
	created int
	fail    error
	race    func() // before a creation
}

func (c *cluster) Secret(_ context.Context, name string) (map[string][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.secrets[name], c.fail
}

func (c *cluster) CreateSecret(_ context.Context, name string, data map[string][]byte) (bool, error) {
	if c.race != nil {
		c.race()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.secrets[name] != nil {
		return false, nil
	}
	c.created++
	c.secrets[name] = data
	return true, c.fail
}

func (c *cluster) UpdateSecret(_ context.Context, name string, data map[string][]byte) error {
	c.set(name, data)
	return c.fail
}

func (c *cluster) set(name string, data map[string][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if data == nil {
		delete(c.secrets, name)
		return
	}
	c.secrets[name] = data
}

func newCluster() *cluster { return &cluster{secrets: map[string]map[string][]byte{}} }

func open(t *testing.T, c *cluster, terms Terms) *Keeper {
	t.Helper()
	k, err := Keep(t.Context(), KeeperOptions{Secrets: c, Terms: terms, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestReplicasShareTheRoot: of many replicas that start at once one makes the root,
// and all sign with it.
func TestReplicasShareTheRoot(t *testing.T) {
	c := newCluster()
	const n = 8
	var all sync.WaitGroup
	gate := make(chan struct{})
	var arrived sync.WaitGroup
	arrived.Add(n)
	c.race = func() { arrived.Done(); <-gate }
	go func() { arrived.Wait(); close(gate) }() // all have seen that there is none
	roots := make([]string, n)
	for i := range n {
		all.Go(func() {
			k, err := Keep(t.Context(), KeeperOptions{Secrets: c})
			if err != nil {
				t.Error(err)
				return
			}
			roots[i] = string(k.Authority().Roots())
		})
	}
	all.Wait()
	if c.created != 1 {
		t.Errorf("%d roots were made", c.created)
	}
	for _, r := range roots {
		if r != roots[0] || r == "" {
			t.Fatal("replicas have different roots")
		}
	}
}

// TestPluggedSecret: plugged-in keys go before the mesh's own, are taken over while
// running, and what is broken changes nothing but what is reported.
func TestPluggedSecret(t *testing.T) {
	c := newCluster()
	root := authorityOf(t, "root", nil, nil, nil)
	first, second := authorityOf(t, "first", root, nil, nil), authorityOf(t, "second", root, nil, nil)
	c.set(PluggedSecret, plugged(t, root, first))
	k := open(t, c, Terms{})
	if c.created != 0 {
		t.Error("a root was made beside the plugged-in one")
	}
	issuer := func() string {
		leaf, _ := sign(t, k.Authority())
		return leaf.Issuer.CommonName
	}
	if got := issuer(); got != "first" {
		t.Errorf("%s signs", got)
	}
	broken := plugged(t, root, second)
	broken[keyFile] = first.keyPEM(t)
	c.set(PluggedSecret, broken)
	if err := k.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "does not belong") {
		t.Errorf("broken keys: %v", err)
	}
	if got := issuer(); got != "first" {
		t.Errorf("after broken keys %s signs", got)
	}
	c.set(PluggedSecret, plugged(t, root, second))
	changed := k.Authority().Changed()
	if err := k.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody is told")
	}
	if got := issuer(); got != "second" {
		t.Errorf("after the change %s signs", got)
	}
	c.set(PluggedSecret, nil)
	if err := k.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("removed keys: %v", err)
	}
	if got := issuer(); got != "second" {
		t.Errorf("without the Secret %s signs", got)
	}
	c.set(PluggedSecret, broken)
	if _, err := Keep(t.Context(), KeeperOptions{Secrets: c}); err == nil {
		t.Error("a replica starts with its own root beside broken plugged-in keys")
	}
	c.fail = errors.New("the API server is away")
	if err := k.Reload(t.Context()); !errors.Is(err, c.fail) || issuer() != "second" {
		t.Errorf("without the API server: %v", err)
	}
}

// TestKeeperRun: a token makes the keeper read, and failures are told.
func TestKeeperRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		var last error
		k, err := Keep(t.Context(), KeeperOptions{Secrets: c, Failed: func(err error) { last = err }})
		if err != nil {
			t.Fatal(err)
		}
		before := k.Authority().Issuer().cert
		ctx, cancel := context.WithCancel(t.Context())
		changes := make(chan struct{}, 1)
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx, changes, time.Minute) }()
		c.set(SelfSecret, map[string][]byte{})
		changes <- struct{}{}
		synctest.Wait()
		if last == nil {
			t.Error("a token changes nothing")
		}
		c.set(SelfSecret, nil) // removed by hand: the same root is written again
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if last != nil {
			t.Errorf("after a period: %v", last)
		}
		if i, err := ParseIssuer(c.secrets[SelfSecret], time.Now()); err != nil || !i.cert.Equal(before) {
			t.Errorf("another root in place of the removed one: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestRenewal: the own root gets a new certificate for the same key before it ends:
// leaves of the old one hold under the new.
func TestRenewal(t *testing.T) {
	c := newCluster()
	now := time.Now()
	k := open(t, c, Terms{Now: func() time.Time { return now }})
	before := k.Authority().Issuer().Certificate()
	leaf, _ := sign(t, k.Authority())
	now = now.Add(rootLifetime / 2)
	if err := k.Renew(t.Context()); err != nil || !k.Authority().Issuer().Certificate().Equal(before) {
		t.Errorf("renewed at half time: %v", err)
	}
	now = before.NotAfter.Add(-rootLifetime / 10)
	data := maps.Clone(c.secrets[SelfSecret])
	if err := k.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := k.Authority().Issuer().Certificate()
	if !after.NotAfter.After(before.NotAfter) || string(c.secrets[SelfSecret][keyFile]) != string(data[keyFile]) {
		t.Errorf("expires %v, before %v", after.NotAfter, before.NotAfter)
	}
	if err := leaf.CheckSignatureFrom(after); err != nil {
		t.Errorf("a leaf of the old root: %v", err)
	}
}

// TestServing: the servers' certificate is a new one at half its life and when the
// authority changes, and a client of the roots takes both.
func TestServing(t *testing.T) {
	t.Run("another issuer", func(t *testing.T) {
		c := newCluster()
		root := authorityOf(t, "root", nil, nil, nil)
		c.set(PluggedSecret, plugged(t, root, authorityOf(t, "first", root, nil, nil)))
		k := open(t, c, Terms{})
		get := serve(t, k)
		if first := get(); first.Issuer.CommonName != "first" {
			t.Errorf("issued by %v", first.Issuer)
		}
		c.set(PluggedSecret, plugged(t, root, authorityOf(t, "second", root, nil, nil)))
		if err := k.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait(t, "a certificate of the new issuer", func() bool { return get().Issuer.CommonName == "second" })
	})
	t.Run("half its life", func(t *testing.T) {
		get := serve(t, open(t, newCluster(), Terms{Lifetime: 2 * time.Second}))
		first, begin := get(), time.Now()
		wait(t, "a renewed certificate", func() bool { return !get().Equal(first) })
		if took := time.Since(begin); took < 500*time.Millisecond {
			t.Errorf("renewed after %v of 2 s", took)
		}
	})
}

// serve runs a server of an authority; get is the certificate that a client sees
// and takes.
func serve(t *testing.T, k *Keeper) (get func() *x509.Certificate) {
	t.Helper()
	s, err := Serve(t.Context(), k.Authority(), []string{"istiod.istio-system.svc", "istiod.istio-system"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	l, err := tls.Listen("tcp", "127.0.0.1:0", s.Config(&tls.Config{MinVersion: tls.VersionTLS12}, true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); <-done; l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _ = c.(*tls.Conn).Handshake() }()
		}
	}()
	return func() *x509.Certificate {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(k.Authority().Roots())
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "istiod.istio-system.svc"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0]
	}
}

func wait(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// signers are Kubernetes' signers in memory: one authority for each.
type signers map[string]*pair

func (s signers) Certify(_ context.Context, signer string, csrPEM []byte, lifetime time.Duration) ([]byte, error) {
	p := s[signer]
	if p == nil {
		return nil, errors.New("denied")
	}
	csr, err := parseRequest(csrPEM)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now(), NotAfter: time.Now().Add(lifetime), URIs: csr.URIs, DNSNames: csr.DNSNames,
	}, p.cert, csr.PublicKey, p.key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

// TestDelegate: Kubernetes' signers sign, and what they answer is not believed.
func TestDelegate(t *testing.T) {
	one, two, liar := authorityOf(t, "one", nil, nil, nil), authorityOf(t, "two", nil, nil, nil), authorityOf(t, "liar", nil, nil, nil)
	roots := []SignerRoots{
		{Signers: []string{"example.com/one"}, PEM: one.certPEM()}, {Signers: []string{"example.com/two"}, PEM: two.certPEM()},
		{Signers: []string{"example.com/liar", "example.com/deaf"}, PEM: one.certPEM()},
	}
	d, err := NewDelegate(DelegateOptions{
		Certifier: signers{"example.com/one": one, "example.com/two": two, "example.com/liar": liar}, Signer: "example.com/one", Roots: roots,
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr := request(t, &x509.CertificateRequest{URIs: []*url.URL{reviews.URI()}}, key)
	for name, c := range map[string]struct {
		csr    []byte
		signer string
		issuer string
		want   string
	}{
		"the default":      {csr, "", "one", ""},
		"another":          {csr, "two", "two", ""},
		"unknown roots":    {csr, "three", "", "not known"},
		"one that lies":    {csr, "liar", "", "do not vouch"},
		"one that is deaf": {csr, "deaf", "", ErrUnavailable.Error()},
		"no name":          {request(t, &x509.CertificateRequest{}, key), "", "", "names no SPIFFE id"},
	} {
		t.Run(name, func(t *testing.T) {
			chain, err := d.Sign(t.Context(), Request{CSR: c.csr, ID: reviews, Signer: c.signer})
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := parseLeaf(chain[0])
			if err != nil || leaf.Issuer.CommonName != c.issuer {
				t.Errorf("%v: signed by %v", err, leaf.Issuer)
			}
			if life := time.Until(leaf.NotAfter); life > DefaultLifetime {
				t.Errorf("lives %v", life)
			}
			if trusted(leaf, chain, chain[len(chain)-1]) != nil {
				t.Error("the chain does not lead to the roots that come with it")
			}
		})
	}
	if _, err := Serve(t.Context(), d, []string{"istiod.istio-system.svc"}, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
	if _, err := NewDelegate(DelegateOptions{Signer: "example.com/one"}); err == nil || !strings.Contains(err.Error(), "caCertificates") {
		t.Errorf("without roots: %v", err)
	}
}
