package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/spiffe"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// TokenAudience is what a proxy's token must be for: Istio's.
const TokenAudience = "istio-ca"

// Reviewer asks the cluster whose token it is. The error is kube.ErrRejected where
// the token does not count; any other means that nobody could be asked.
type Reviewer interface {
	Review(ctx context.Context, token string, audiences []string) (kube.Caller, error)
}

// The limits of what is remembered of tokens.
const (
	// goodFor is how long a token that was accepted holds while the API server does
	// not answer: proxies that connect again keep their control plane through its
	// restart. The token of a pod that was deleted holds for that long too, then.
	goodFor    = 10 * time.Minute
	goodTokens = 10_000
)

// callers tells who calls: by the token that Kubernetes gave a pod, or by a
// certificate of the mesh. It is safe for concurrent use.
type callers struct {
	// immutable
	review    Reviewer
	audiences []string
	domains   func() []string // trust domains whose certificates count
	log       *slog.Logger
	now       func() time.Time

	mu   sync.Mutex
	good map[[sha256.Size]byte]goodToken // guarded by mu
}

// goodToken is a token that was accepted.
type goodToken struct {
	caller kube.Caller
	until  time.Time
}

func newCallers(review Reviewer, audiences []string, domains func() []string, log *slog.Logger, now func() time.Time) *callers {
	return &callers{review: review, audiences: audiences, domains: domains, log: log, now: now, good: map[[sha256.Size]byte]goodToken{}}
}

// Authenticate implements ca.Authenticator. A token goes before a certificate,
// since it says of which pod it is; a token that does not count is refused even
// beside a good certificate.
func (c *callers) Authenticate(ctx context.Context) (ca.Workload, error) {
	token, given := bearer(ctx)
	if !given {
		return c.byCertificate(ctx)
	}
	caller, err := c.byToken(ctx, token)
	if err != nil {
		return ca.Workload{}, err
	}
	return ca.Workload{Namespace: caller.Namespace, ServiceAccount: caller.ServiceAccount, Instance: caller.Pod}, nil
}

// bearer reads the token of a gRPC call.
func bearer(ctx context.Context) (token string, given bool) {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("authorization") {
		if scheme, token, ok := strings.Cut(v, " "); ok && strings.EqualFold(scheme, "bearer") {
			return strings.TrimSpace(token), true
		}
	}
	return "", false
}

// byToken asks the API server. While that does not answer, what it said before
// counts.
func (c *callers) byToken(ctx context.Context, token string) (kube.Caller, error) {
	key := sha256.Sum256([]byte(token))
	caller, err := c.review.Review(ctx, token, c.audiences)
	switch {
	case err == nil:
		c.remember(key, caller, token)
		return caller, nil
	case errors.Is(err, kube.ErrRejected):
		c.forget(key)
		return kube.Caller{}, status.Error(codes.Unauthenticated, err.Error())
	}
	if known, ok := c.recall(key); ok {
		c.log.Warn("the API server does not answer; a token that it accepted before counts", "namespace", known.Namespace, "pod", known.Pod, "err", err)
		return known, nil
	}
	// Not refused, but not known either: the proxy comes again.
	return kube.Caller{}, status.Errorf(codes.Unavailable, "the token cannot be checked now: %s", err)
}

func (c *callers) remember(key [sha256.Size]byte, caller kube.Caller, token string) {
	until := c.now().Add(goodFor)
	if exp := expiry(token); !exp.IsZero() && exp.Before(until) {
		until = exp
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.good) >= goodTokens {
		for k, g := range c.good {
			if !g.until.After(c.now()) {
				delete(c.good, k)
			}
		}
		if len(c.good) >= goodTokens {
			clear(c.good)
		}
	}
	c.good[key] = goodToken{caller, until}
}

func (c *callers) forget(key [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.good, key)
}

func (c *callers) recall(key [sha256.Size]byte) (kube.Caller, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, ok := c.good[key]
	return g.caller, ok && g.until.After(c.now())
}

// expiry reads when a JSON web token ends (RFC 7519 section 4.1.4), without any
// check of it: zero where it does not say.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if json.Unmarshal(body, &claims) != nil || claims.Expires == 0 {
		return time.Time{}
	}
	return time.Unix(claims.Expires, 0)
}

// byCertificate reads the certificate of the connection, which TLS has checked
// against the mesh's roots.
func (c *callers) byCertificate(ctx context.Context) (ca.Workload, error) {
	none := status.Error(codes.Unauthenticated, "no credentials: a bearer token for the audience "+strings.Join(c.audiences, " or ")+", or a client certificate of the mesh, is required")
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ca.Workload{}, none
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return ca.Workload{}, none
	}
	leaf := info.State.VerifiedChains[0][0]
	if len(leaf.URIs) != 1 {
		return ca.Workload{}, status.Errorf(codes.Unauthenticated, "the client certificate has %d URI names, want one SPIFFE id", len(leaf.URIs))
	}
	id, err := spiffe.Parse(leaf.URIs[0].String())
	if err != nil {
		return ca.Workload{}, status.Error(codes.Unauthenticated, err.Error())
	}
	if domains := c.domains(); !slices.Contains(domains, id.TrustDomain) {
		return ca.Workload{}, status.Errorf(codes.Unauthenticated, "the client certificate is of the trust domain %s, this mesh is %s", id.TrustDomain, strings.Join(domains, ", "))
	}
	return ca.Workload{Namespace: id.Namespace, ServiceAccount: id.ServiceAccount}, nil
}

// streams lets xDS streams in by the same rules.
type streams struct{ callers *callers }

// Authenticate implements server.Authenticator.
func (s streams) Authenticate(ctx context.Context) (server.Identity, error) {
	w, err := s.callers.Authenticate(ctx)
	return server.Identity(w), err
}
