package control

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/local/supervise"
)

type server struct {
	mesh Mesh
	stop Stop
	log  *slog.Logger
}

// NewHandler returns the socket's handler:
//
//	GET  /v1/info
//	GET  /v1/pods
//	GET  /v1/logs  ?namespace=NS &name=N &container=C &tail=N &follow=true
//	POST /v1/exec  ?namespace=NS &name=N &container=C    body: Command; see execute
//	POST /v1/down
//	GET, POST /v1/proxies/NS/NAME/admin/…    the admin pages of a workload's proxy
func NewHandler(m Mesh, stop Stop, log *slog.Logger) http.Handler {
	s := &server{m, stop, log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/info", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, m.Info()) })
	mux.HandleFunc("GET /v1/pods", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, m.Pods()) })
	mux.HandleFunc("GET /v1/logs", s.logs)
	mux.HandleFunc("POST /v1/exec", s.execute)
	mux.HandleFunc("POST /v1/down", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		stop()
	})
	mux.HandleFunc("/v1/proxies/{namespace}/{name}/admin/{path...}", s.admin)
	return mux
}

func (s *server) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("control: answer not sent", "error", err)
	}
}

// fail answers with an error: 404 for what is not there.
func (s *server) fail(w http.ResponseWriter, err error) {
	status := http.StatusConflict
	if errors.Is(err, supervise.ErrNotFound) {
		status = http.StatusNotFound
	}
	http.Error(w, err.Error(), status)
}

func target(r *http.Request) Target {
	q := r.URL.Query()
	t := Target{Namespace: q.Get("namespace"), Name: q.Get("name"), Container: q.Get("container")}
	if t.Namespace == "" {
		t.Namespace = "default"
	}
	return t
}

func (s *server) logs(w http.ResponseWriter, r *http.Request) {
	path, err := s.mesh.LogFile(target(r))
	if err != nil {
		s.fail(w, err)
		return
	}
	o := LogOptions{Tail: -1, Follow: r.URL.Query().Get("follow") == "true"}
	if t := r.URL.Query().Get("tail"); t != "" {
		if o.Tail, err = strconv.Atoi(t); err != nil {
			http.Error(w, "tail is not a number", http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	flush := http.NewResponseController(w)
	err = copyLog(r.Context(), path, o, func(p []byte) error {
		if _, err := w.Write(p); err != nil {
			return err
		}
		return flush.Flush()
	})
	if err != nil && r.Context().Err() == nil {
		s.log.Warn("control: log not sent", "file", path, "error", err)
	}
}

// admin passes requests on to a proxy's admin pages.
func (s *server) admin(w http.ResponseWriter, r *http.Request) {
	t := Target{Namespace: r.PathValue("namespace"), Name: r.PathValue("name")}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return s.mesh.Admin(ctx, t)
	}}
	p := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", "admin", "localhost"
			p.Out.URL.Path, p.Out.URL.RawPath = "/"+r.PathValue("path"), ""
		},
		Transport:    transport,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { s.fail(w, err) },
		ErrorLog:     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	p.ServeHTTP(w, r)
}
