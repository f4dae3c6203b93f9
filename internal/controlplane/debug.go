package controlplane

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
)

// meshHandler serves the mesh's state to its supervisor, besides what Handler
// serves.
func (cp *ControlPlane) meshHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", cp.Handler())
	mux.Handle("/v1/", meshapi.NewHandler(cp))
	return mux
}

// Handler serves, in Istio's manner:
//
//	GET /ready                     200 once configuration is served
//	GET /version
//	GET /metrics
//	GET /debug/syncz               how far each proxy is
//	GET /debug/config_dump ?proxyID=NAME.NAMESPACE   what a proxy should have
//	GET /debug/endpointz           the mesh's services and who serves them
//	GET /debug/status              all verdicts
func (cp *ControlPlane) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := cp.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"version": cp.cfg.Version})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(cp.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/syncz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, cp.Proxies()) })
	mux.HandleFunc("GET /debug/config_dump", cp.configDump)
	mux.HandleFunc("GET /debug/endpointz", cp.endpointz)
	mux.HandleFunc("GET /debug/status", func(w http.ResponseWriter, _ *http.Request) {
		list, revision := cp.Statuses()
		writeJSON(w, http.StatusOK, map[string]any{"revision": revision, "statuses": list})
	})
	return mux
}

// writeJSON answers with indented JSON.
func writeJSON(w http.ResponseWriter, status int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // the client's departure is its own affair
}
