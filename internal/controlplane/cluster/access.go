package cluster

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"

	"github.com/lateen-mesh/lateen/internal/kube"
)

// viewer is whoever asks for a page: somebody who sees all of the mesh, or the
// proxies of one namespace.
type viewer struct {
	all       bool
	namespace string
}

// sees reports whether the viewer may see a proxy, "NAME.NAMESPACE".
func (v viewer) sees(proxy string) bool {
	return v.all || v.namespace != "" && strings.HasSuffix(proxy, "."+v.namespace)
}

// access lets people and programs see the state of the mesh: from loopback (a
// port-forward, which the API server has authorized) everything; with the token of a
// service account of the system namespace everything; with another's the proxies of
// its own namespace.
type access struct {
	review    Reviewer
	audiences []string
	system    string // namespace
	log       *slog.Logger
}

var errStranger = errors.New("who asks? Come over a port-forward, or with the bearer token of a service account")

// viewer finds out who asks.
func (a access) viewer(r *http.Request) (viewer, error) {
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && from.Addr().Unmap().IsLoopback() {
		return viewer{all: true}, nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		return viewer{}, errStranger
	}
	caller, err := a.review.Review(r.Context(), token, a.audiences)
	if errors.Is(err, kube.ErrRejected) {
		caller, err = a.review.Review(r.Context(), token, nil) // one for the API server itself, as kubectl makes them
	}
	if err != nil {
		return viewer{}, err
	}
	if caller.Namespace == a.system {
		return viewer{all: true}, nil
	}
	return viewer{namespace: caller.Namespace}, nil
}

// page is a page that shows each viewer what it may see.
type page func(w http.ResponseWriter, r *http.Request, v viewer)

// guard asks who a page is for.
func (a access) guard(p page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := a.viewer(r)
		if err != nil {
			status := http.StatusUnauthorized
			if !errors.Is(err, errStranger) && !errors.Is(err, kube.ErrRejected) {
				status = http.StatusServiceUnavailable
			}
			a.log.Info("a page was not shown", "path", r.URL.Path, "from", r.RemoteAddr, "err", err)
			http.Error(w, err.Error(), status)
			return
		}
		p(w, r, v)
	})
}

// whole is a page for those who see everything.
func whole(h http.Handler) page {
	return func(w http.ResponseWriter, r *http.Request, v viewer) {
		if !v.all {
			http.Error(w, "this page shows all of the mesh; the token is of the namespace "+v.namespace, http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	}
}

// ofProxy is a page about the proxy that the query names.
func ofProxy(h http.Handler) page {
	return func(w http.ResponseWriter, r *http.Request, v viewer) {
		if !v.sees(r.URL.Query().Get("proxyID")) {
			http.Error(w, "the token is of the namespace "+v.namespace+", and good for its proxies only", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	}
}
