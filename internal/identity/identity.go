// Package identity keeps a workload's certificate: the key is made here and never
// leaves the process, the certificate is asked for with a request that the key
// signs, and renewed at half of its life. Connections are not touched by a
// renewal; new handshakes use the new certificate.
//
// While the authority does not answer, the old certificate stays in use and the
// request is repeated; near the end of the certificate's life that is said loudly.
package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
	"github.com/lateen-mesh/lateen/internal/spiffe"
)

// The names under which Envoy's and our own configuration refer to the secrets.
const (
	CertificateName = "default"
	RootsName       = "ROOTCA"
)

// Issuer signs a certificate request. The chain holds PEM, the leaf first and the
// root last; several roots may follow one another in the last element.
type Issuer interface {
	Issue(ctx context.Context, csr []byte) (chain []string, err error)
}

// Options configure an Identity.
type Options struct {
	ID     spiffe.ID
	Issuer Issuer
	Log    *slog.Logger
	Now    func() time.Time // default time.Now
	// Jitter gives a number in [0,1) that spreads renewals; default random.
	Jitter func() float64
	// Keep keeps the certificate beyond the process; nil: nothing does.
	Keep Keeper
	// Grace is the part of a certificate's life that is left when it is renewed
	// (Istio's SECRET_GRACE_PERIOD_RATIO); 0: half of it.
	Grace float64
}

// Identity is a workload's certificate and roots, kept current by Run. It
// implements tlsctx.Secrets. Safe for concurrent use.
type Identity struct {
	o       Options
	current atomic.Pointer[state]

	refresh chan struct{} // one slot: renew soon

	requests, failures atomic.Uint64

	mu      sync.Mutex
	changed chan struct{} // guarded by mu; closed and replaced at each renewal
}

// state is one certificate with its roots; immutable.
type state struct {
	cert    *tlsctx.Secret
	roots   *tlsctx.Secret
	certPEM []byte
	keyPEM  []byte
	rootPEM []byte
	leaf    *x509.Certificate
}

// New makes an Identity without a certificate; Run gets it.
func New(o Options) *Identity {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Jitter == nil {
		o.Jitter = randomFraction
	}
	if o.Grace <= 0 || o.Grace >= 1 {
		o.Grace = 0.5
	}
	return &Identity{o: o, changed: make(chan struct{}), refresh: make(chan struct{}, 1)}
}

// Secret implements tlsctx.Secrets.
func (i *Identity) Secret(name string) (*tlsctx.Secret, bool) {
	s := i.current.Load()
	if s == nil {
		return nil, false
	}
	switch name {
	case CertificateName:
		return s.cert, true
	case RootsName:
		return s.roots, true
	}
	return nil, false
}

// PEM gives the current secrets as PEM, for an agent that hands them to its own
// proxy over a private socket; ok is false before the first certificate.
func (i *Identity) PEM() (cert, key, roots []byte, ok bool) {
	s := i.current.Load()
	if s == nil {
		return nil, nil, nil, false
	}
	return s.certPEM, s.keyPEM, s.rootPEM, true
}

// Expires is the end of the current certificate's life; zero while there is none.
func (i *Identity) Expires() time.Time {
	if s := i.current.Load(); s != nil {
		return s.leaf.NotAfter
	}
	return time.Time{}
}

// Requests counts the requests to the authority so far, and those that failed.
func (i *Identity) Requests() (all, failed uint64) { return i.requests.Load(), i.failures.Load() }

// Refresh renews the certificate soon, for roots that have changed: within
// refreshWithin, so that the workloads of a mesh do not all ask at once.
func (i *Identity) Refresh() {
	select {
	case i.refresh <- struct{}{}:
	default: // it is due already
	}
}

// refreshWithin spreads what Refresh asks for.
const refreshWithin = 30 * time.Second

// Changed returns a channel that is closed at the next renewal.
func (i *Identity) Changed() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.changed
}

// Wait returns when there is a certificate, or with ctx's error.
func (i *Identity) Wait(ctx context.Context) error {
	for {
		c := i.Changed()
		if i.current.Load() != nil {
			return nil
		}
		select {
		case <-c:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the certificate of %s: %w", i.o.ID, context.Cause(ctx))
		}
	}
}

const (
	firstRetry = 200 * time.Millisecond
	maxRetry   = 30 * time.Second
	tryTimeout = 10 * time.Second
)

// Run gets the certificate and renews it until ctx ends.
func (i *Identity) Run(ctx context.Context) error {
	retry := firstRetry
	if wait, ok := i.restore(); ok && !i.sleep(ctx, wait) {
		return nil
	}
	for {
		wait, err := i.renew(ctx)
		if err == nil {
			retry = firstRetry
		} else {
			if ctx.Err() != nil {
				return nil
			}
			i.complain(err)
			wait = retry + time.Duration(i.o.Jitter()*float64(retry))
			retry = min(2*retry, maxRetry)
		}
		if !i.sleep(ctx, wait) {
			return nil
		}
	}
}

// longestSleep bounds one timer: timers stand still while a machine is suspended,
// certificates go on expiring.
const longestSleep = time.Minute

// sleep waits by the wall clock; it is false when ctx ended.
func (i *Identity) sleep(ctx context.Context, wait time.Duration) bool {
	until := i.o.Now().Round(0).Add(wait)
	for {
		left := until.Sub(i.o.Now().Round(0))
		if left <= 0 {
			return true
		}
		t := time.NewTimer(min(left, longestSleep))
		select {
		case <-t.C:
		case <-i.refresh:
			t.Stop()
			if soon := i.o.Now().Round(0).Add(time.Duration(i.o.Jitter() * float64(refreshWithin))); soon.Before(until) {
				until = soon
			}
		case <-ctx.Done():
			t.Stop()
			return false
		}
	}
}

// complain reports a failed renewal: an error when less than a quarter of the
// certificate's life is left, since calls will soon fail.
func (i *Identity) complain(err error) {
	s := i.current.Load()
	if s == nil {
		i.o.Log.Warn("no certificate yet", "identity", i.o.ID.String(), "err", err)
		return
	}
	left := s.leaf.NotAfter.Sub(i.o.Now())
	level := slog.LevelWarn
	if left < s.leaf.NotAfter.Sub(s.leaf.NotBefore)/4 {
		level = slog.LevelError
	}
	i.o.Log.Log(context.Background(), level, "certificate not renewed", "identity", i.o.ID.String(), "left", left.Round(time.Second), "err", err)
}

// renew gets one certificate and returns how long to wait for the next.
func (i *Identity) renew(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	key, csr, err := newRequest(i.o.ID)
	if err != nil {
		return 0, err
	}
	i.requests.Add(1)
	chain, err := i.o.Issuer.Issue(ctx, csr)
	if err != nil {
		i.failures.Add(1)
		return 0, err
	}
	s, err := newState(i.o.ID, key, chain)
	if err != nil {
		i.failures.Add(1)
		return 0, err
	}
	i.use(s)
	if k := i.o.Keep; k != nil {
		if err := k.Save(s.certPEM, s.keyPEM, s.rootPEM); err != nil {
			i.o.Log.Warn("certificate not kept for a later start", "err", err)
		}
	}
	return i.untilRenewal(s), nil
}

// use brings a certificate into use.
func (i *Identity) use(s *state) {
	i.current.Store(s)
	i.mu.Lock()
	close(i.changed)
	i.changed = make(chan struct{})
	i.mu.Unlock()
}

// untilRenewal is how long a certificate is used: half of the life that is left, or
// what Grace says, and up to a tenth less, so that workloads that started together do
// not renew together.
func (i *Identity) untilRenewal(s *state) time.Duration {
	left := s.leaf.NotAfter.Sub(i.o.Now())
	return max(time.Duration(float64(left)*(1-i.o.Grace-0.1*i.o.Jitter())), time.Second)
}

func newRequest(id spiffe.ID) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URI()}}, key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// newState checks what the authority answered before anything uses it.
func newState(id spiffe.ID, key *ecdsa.PrivateKey, chain []string) (*state, error) {
	if len(chain) < 2 {
		return nil, fmt.Errorf("the authority answered %d certificates, want the leaf and the root", len(chain))
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: keyDER})
	s, err := parseState(id, []byte(strings.Join(chain[:len(chain)-1], "")), keyPEM, []byte(chain[len(chain)-1]))
	if err != nil {
		return nil, fmt.Errorf("the authority's answer: %w", err)
	}
	return s, nil
}

func randomFraction() float64 {
	var b [2]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0.5
	}
	return float64(uint16(b[0])<<8|uint16(b[1])) / (1 << 16)
}

// Static is an identity from given PEM that does not change, for tests and tools.
func Static(cert, key, roots []byte) (*Identity, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	if len(roots) == 0 {
		return nil, errors.New("no roots")
	}
	s := &state{certPEM: cert, keyPEM: key, rootPEM: roots, leaf: pair.Leaf}
	if s.cert, err = tlsctx.ParseSecret(cert, key, nil); err != nil {
		return nil, err
	}
	if s.roots, err = tlsctx.ParseSecret(nil, nil, roots); err != nil {
		return nil, err
	}
	i := New(Options{})
	i.current.Store(s)
	return i, nil
}
