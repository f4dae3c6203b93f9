package cni

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// apiServer answers as an API server does, for one node.
type apiServer struct {
	api *API

	mu     sync.Mutex
	pods   []*Pod           // guarded by mu
	events chan string      // lines of the watch
	log    []string         // guarded by mu; what was changed
	gone   bool             // guarded by mu; the DaemonSet
	broken bool             // guarded by mu; every answer is 500
	taints []map[string]any // guarded by mu
	dir    string
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{events: make(chan string, 10), dir: t.TempDir()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/namespaces/{ns}/pods/{name}", s.pod)
	mux.HandleFunc("DELETE /api/v1/namespaces/{ns}/pods/{name}", s.change)
	mux.HandleFunc("PATCH /api/v1/namespaces/{ns}/pods/{name}/status", s.change)
	mux.HandleFunc("GET /api/v1/pods", s.list)
	mux.HandleFunc("GET /api/v1/nodes/node1", func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{"spec": map[string]any{"taints": s.taints}})
	})
	mux.HandleFunc("PATCH /api/v1/nodes/node1", s.change)
	mux.HandleFunc("GET /apis/apps/v1/namespaces/istio-system/daemonsets/istio-cni-node", func(w http.ResponseWriter, _ *http.Request) {
		if s.gone {
			http.Error(w, `{"message": "not found"}`, http.StatusNotFound)
			return
		}
		write(w, map[string]any{})
	})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer secret":
			http.Error(w, `{"message": "who are you?"}`, http.StatusUnauthorized)
		case s.isBroken():
			http.Error(w, `{"message": "out of order"}`, http.StatusInternalServerError)
		default:
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, text := range map[string]string{"ca.crt": string(ca), "token": "secret\n"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.api = newAPI(server.URL, s.dir)
	return s
}

func write(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}

func (s *apiServer) isBroken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

func (s *apiServer) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *apiServer) pod(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		if p.Metadata.Namespace == r.PathValue("ns") && p.Metadata.Name == r.PathValue("name") {
			write(w, p)
			return
		}
	}
	http.Error(w, `{"message": "pods not found"}`, http.StatusNotFound)
}

func (s *apiServer) list(w http.ResponseWriter, r *http.Request) {
	if got := r.FormValue("fieldSelector"); got != "spec.nodeName=node1" {
		http.Error(w, fmt.Sprintf(`{"message": "selector %q"}`, got), http.StatusBadRequest)
		return
	}
	if r.FormValue("watch") == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		write(w, map[string]any{"metadata": map[string]any{"resourceVersion": "7"}, "items": s.pods})
		return
	}
	if got := r.FormValue("resourceVersion"); got != "7" {
		http.Error(w, fmt.Sprintf(`{"message": "version %q"}`, got), http.StatusBadRequest)
		return
	}
	w.(http.Flusher).Flush()
	for {
		select {
		case line := <-s.events:
			fmt.Fprintln(w, line)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func (s *apiServer) change(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Content-Type")+" "+string(body)))
	write(w, map[string]any{})
}

func (s *apiServer) changes() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.log, "\n")
}
