package controlplane

import (
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// Proxies tells the state of every connected proxy.
func (cp *ControlPlane) Proxies() []push.ProxyStatus { return cp.engine.Proxies() }

// meshHandler serves the state of the mesh, and below /debug what Istio's control
// plane shows there.
func (cp *ControlPlane) meshHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/", meshapi.NewHandler(cp))
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if cp.engine.Built() == nil {
			http.Error(w, "the first configuration is not built yet", http.StatusServiceUnavailable)
		}
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(cp.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/syncz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, cp.engine.Proxies()) })
	mux.HandleFunc("GET /debug/resources", func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("proxyID")
		for _, c := range cp.engine.Conns() {
			if s := c.State(); s != nil && push.ProxyName(c.Node.GetId()) == name {
				writeJSON(w, resourceVersions(s))
				return
			}
		}
		http.Error(w, "no connected proxy is named "+name, http.StatusNotFound)
	})
	return mux
}

// resourceVersions shows what a proxy is offered: type, name, version.
func resourceVersions(s *server.State) map[string]map[string]string {
	out := map[string]map[string]string{}
	for t, list := range s.Types {
		versions := map[string]string{}
		for name, r := range list {
			versions[name] = r.Version
		}
		out[server.ShortType(t)] = versions
	}
	return out
}

func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) // the client's departure is its own affair
}
