package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// watchReadiness follows the conditions: a certificate, and an Envoy that serves.
func (a *agent) watchReadiness(ctx context.Context) error {
	if err := a.id.Wait(ctx); err != nil {
		return nil // ctx ended
	}
	a.ready.Set("certificate", "")
	wait := 50 * time.Millisecond
	for {
		why := ""
		if err := a.admin.ready(ctx); err != nil {
			why, wait = err.Error(), 50*time.Millisecond
		} else {
			wait = min(2*wait, time.Second)
		}
		if ctx.Err() != nil {
			return nil
		}
		if why == "" {
			a.live.Store(true)
			if a.life.Draining() {
				why = "it is draining"
			}
		}
		a.ready.Set("envoy", why)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// statusHandler answers readiness probes.
func (a *agent) statusHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz/ready", a.ready)
	return mux
}

// metricsHandler serves the metrics of Envoy and application as one page.
func (a *agent) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz/ready", a.ready)
	for _, path := range []string{"GET /stats/prometheus", "GET /metrics"} {
		mux.HandleFunc(path, a.metrics)
	}
	return mux
}

// ownMetrics writes the Envoy's metrics.
func (a *agent) ownMetrics(ctx context.Context, w io.Writer, _ bool) error {
	text, err := a.admin.call(ctx, http.MethodGet, "/stats/prometheus")
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

func (a *agent) metrics(w http.ResponseWriter, r *http.Request) {
	text, err := a.admin.call(r.Context(), http.MethodGet, "/stats/prometheus")
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = io.WriteString(w, text) // the client's departure is its own affair
	if a.o.AppMetrics == "" {
		return
	}
	if err := copyPage(r.Context(), w, a.o.AppMetrics); err != nil {
		// The mesh's metrics are served all the same, as Istio's agent does.
		a.o.Log.Warn("the application's metrics are missing", "url", a.o.AppMetrics, "err", err)
	}
}

func copyPage(ctx context.Context, w io.Writer, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", resp.Status)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}
