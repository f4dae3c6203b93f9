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
func (cp *ControlPlane) meshHandler(console http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", cp.Handler())
	mux.Handle("/v1/", meshapi.NewHandler(cp))
	mux.Handle("/api/", console) // for commands
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
//	GET /debug/adsz                who is connected and what it was sent
//	GET /debug/connections         who is connected
//	GET /debug/registryz           the mesh's services
//	GET /debug/configz             the objects as they were read, without Secrets
//	GET /debug/push_status         the newest build
//	GET /debug/status              all verdicts
func (c *Core) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := c.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"version": c.version})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/syncz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, c.Proxies()) })
	mux.HandleFunc("GET /debug/adsz", c.adsz)
	mux.HandleFunc("GET /debug/connections", c.connections)
	mux.HandleFunc("GET /debug/registryz", c.registryz)
	mux.HandleFunc("GET /debug/configz", c.configz)
	mux.HandleFunc("GET /debug/push_status", c.pushStatus)
	mux.HandleFunc("GET /debug/config_dump", c.configDump)
	mux.HandleFunc("GET /debug/endpointz", c.endpointz)
	mux.HandleFunc("GET /debug/status", func(w http.ResponseWriter, _ *http.Request) {
		list, revision := c.Statuses()
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
