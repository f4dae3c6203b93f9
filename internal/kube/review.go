package kube

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"time"

	authn "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Caller is who presented a service account's token.
type Caller struct {
	Namespace      string
	ServiceAccount string
	Pod            string // "" for tokens that are not bound to a pod
	PodUID         string
	Node           string // "" where the API server does not tell (before 1.30)
}

const (
	// reviewLife is how long an accepted token is not asked about again: a proxy
	// that connects for xDS asks for a certificate in the same moment. A deleted
	// pod's token works for that much longer.
	reviewLife    = 10 * time.Second
	reviewEntries = 10_000
	reviewTimeout = 10 * time.Second

	accountPrefix = "system:serviceaccount:" // Kubernetes, serviceaccount.MakeUsername
	extraPodName  = "authentication.kubernetes.io/pod-name"
	extraPodUID   = "authentication.kubernetes.io/pod-uid"
	extraNodeName = "authentication.kubernetes.io/node-name"
)

// Review asks the API server whose token it is. The error is ErrRejected where the
// token is not good for one of the audiences; any other error means that nobody
// could be asked. Accepted tokens are remembered for ten seconds.
func (c *Client) Review(ctx context.Context, token string, audiences []string) (Caller, error) {
	key := sha256.Sum256([]byte(strings.Join(audiences, "\x00") + "\x00\x00" + token))
	if caller, ok := c.reviews.get(key, time.Now()); ok {
		return caller, nil
	}
	ctx, cancel := context.WithTimeout(c.context(ctx), reviewTimeout)
	defer cancel()
	answer, err := c.typed.AuthenticationV1().TokenReviews().Create(ctx, &authn.TokenReview{
		Spec: authn.TokenReviewSpec{Token: token, Audiences: audiences},
	}, metav1.CreateOptions{})
	if err != nil {
		return Caller{}, explain(err, "reviewing a token")
	}
	caller, err := callerOf(&answer.Status, audiences)
	if err != nil {
		return Caller{}, err
	}
	c.reviews.put(key, caller, time.Now())
	return caller, nil
}

// callerOf reads the API server's answer.
func callerOf(s *authn.TokenReviewStatus, audiences []string) (Caller, error) {
	if !s.Authenticated {
		reason := s.Error
		if reason == "" {
			reason = "it is not valid"
		}
		return Caller{}, fmt.Errorf("%w: %s", ErrRejected, reason)
	}
	// A server that does not know audiences answers without any (TokenReview,
	// status.audiences): the token is then good for the API server, not for us.
	if len(audiences) > 0 && !intersects(s.Audiences, audiences) {
		return Caller{}, fmt.Errorf("%w: it is for the audience %q, not for %q", ErrRejected, s.Audiences, audiences)
	}
	name, ok := strings.CutPrefix(s.User.Username, accountPrefix)
	namespace, account, ok2 := strings.Cut(name, ":")
	if !ok || !ok2 || namespace == "" || account == "" || strings.Contains(account, ":") {
		return Caller{}, fmt.Errorf("%w: %q is not a service account", ErrRejected, s.User.Username)
	}
	extra := func(key string) string {
		if v := s.User.Extra[key]; len(v) == 1 {
			return v[0]
		}
		return ""
	}
	return Caller{Namespace: namespace, ServiceAccount: account, Pod: extra(extraPodName), PodUID: extra(extraPodUID), Node: extra(extraNodeName)}, nil
}

func intersects(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}

// reviewCache remembers accepted tokens by their hash.
type reviewCache struct {
	mu   sync.Mutex
	seen map[[sha256.Size]byte]reviewed // guarded by mu
}

type reviewed struct {
	caller Caller
	at     time.Time
}

func (r *reviewCache) get(key [sha256.Size]byte, now time.Time) (Caller, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.seen[key]
	if !ok || now.Sub(v.at) >= reviewLife {
		return Caller{}, false
	}
	return v.caller, true
}

func (r *reviewCache) put(key [sha256.Size]byte, caller Caller, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[[sha256.Size]byte]reviewed{}
	}
	if len(r.seen) >= reviewEntries {
		for k, v := range r.seen {
			if now.Sub(v.at) >= reviewLife {
				delete(r.seen, k)
			}
		}
	}
	if len(r.seen) >= reviewEntries { // more than 1,000 new tokens a second: go without
		clear(r.seen)
	}
	r.seen[key] = reviewed{caller, now}
}
