// Package pages serves what kubelet, Prometheus and people ask a pod's proxy:
// readiness, the rewritten probes, metrics, and the requests to drain and to end.
package pages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"sync"
	"time"
)

// Options say what is behind the pages. Ready, Metrics and Quit are required.
type Options struct {
	// Ready is nil when the proxy may get traffic, and else says why not.
	Ready func() error
	// Metrics is the merged page; OwnMetrics the proxy's own, nil: the merged one.
	Metrics, OwnMetrics http.Handler
	// Probes answers below /app-health/ and /app-lifecycle/.
	Probes http.Handler
	// Drain is called by /drain, Quit by /quitquitquit; they return at once.
	Drain, Quit func()
	// Profiles shows Go's profiles to clients in the pod.
	Profiles bool
	Log      *slog.Logger
}

// Paths of the pages.
const (
	ReadyPath = "/healthz/ready"
	DrainPath = "/drain"
	QuitPath  = "/quitquitquit"
	StatsPath = "/stats/prometheus"
)

// Agent gives the pages of port 15020.
func Agent(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+ReadyPath, ready(o.Ready))
	mux.Handle("GET "+StatsPath, o.Metrics)
	mux.Handle("GET /metrics", o.Metrics)
	if o.Probes != nil {
		mux.Handle("GET /app-health/", o.Probes)
		mux.Handle("GET /app-lifecycle/", o.Probes)
	}
	mux.HandleFunc("POST "+DrainPath, o.request("drain", o.Drain))
	mux.HandleFunc("POST "+QuitPath, o.request("quit", o.Quit))
	if o.Profiles {
		for path, h := range map[string]http.HandlerFunc{
			"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
			"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
		} {
			mux.HandleFunc(path, local(h))
		}
	}
	return mux
}

// Readiness gives the page of port 15021.
func Readiness(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+ReadyPath, ready(o.Ready))
	return mux
}

// Own gives the page of port 15090: the proxy's metrics alone.
func Own(o Options) http.Handler {
	mux := http.NewServeMux()
	h := o.OwnMetrics
	if h == nil {
		h = o.Metrics
	}
	mux.Handle("GET "+StatsPath, h)
	return mux
}

func ready(err func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if err := err(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintln(w, "ready")
	})
}

// request serves a page that changes something, to clients in the pod.
func (o *Options) request(name string, do func()) http.HandlerFunc {
	return local(func(w http.ResponseWriter, r *http.Request) {
		o.Log.Info("asked over HTTP", "for", name, "from", r.RemoteAddr)
		do()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "OK")
	})
}

// local refuses clients that do not come over loopback.
func local(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() {
			http.Error(w, "this page is for clients in the pod, over loopback", http.StatusForbidden)
			return
		}
		h(w, r)
	}
}

// Serve serves a handler until ctx ends, and closes the listener.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	var wg sync.WaitGroup
	defer wg.Wait()
	ended := make(chan struct{})
	defer close(ended)
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-ended:
			return
		}
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close() // what does not end in time is cut off
		}
	})
	if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("pages at %s: %w", l.Addr(), err)
	}
	return nil
}
