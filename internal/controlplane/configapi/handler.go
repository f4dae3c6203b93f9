package configapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Limits of one request.
const (
	maxBody     = 32 << 20
	defaultWait = 30 * time.Second
	longestWait = 10 * time.Minute
)

// handler serves the API.
type handler struct{ Deps }

// NewHandler returns the API's HTTP handler:
//
//	POST   /v1/apply    ?dryRun=true &file=NAME &namespace=NS    YAML, JSON or a Request
//	POST   /v1/delete   ?dryRun=true &file=NAME &namespace=NS    the objects that the body names
//	GET    /v1/objects  ?kind=K &namespace=NS &name=N &selector=S
//	DELETE /v1/objects  ?kind=K &namespace=NS &name=N &selector=S &dryRun=true
//	GET    /v1/status   ?kind=K &namespace=NS &name=N
//	GET    /v1/wait     ?revision=N &timeout=30s
//
// Whoever can open the socket may do everything; the socket's mode decides.
func NewHandler(d Deps) http.Handler {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	h := &handler{d}
	mux := http.NewServeMux()
	mux.Handle("POST /v1/apply", h.answer(h.apply))
	mux.Handle("POST /v1/delete", h.answer(h.deleteFiles))
	mux.Handle("GET /v1/objects", h.answer(h.objects))
	mux.Handle("DELETE /v1/objects", h.answer(h.deleteObjects))
	mux.Handle("GET /v1/status", h.answer(h.status))
	mux.Handle("GET /v1/wait", h.answer(h.wait))
	mux.Handle("/", h.answer(func(r *http.Request) (any, error) {
		return nil, refuse(http.StatusNotFound, "there is no %s %s", r.Method, r.URL.Path)
	}))
	return mux
}

// Error is a refused request, on the server's and the client's side.
type Error struct{ Failure }

// Error gives one line for each problem.
func (e *Error) Error() string {
	text := ""
	for i, p := range e.Problems {
		if i > 0 {
			text += "\n"
		}
		text += p.String()
	}
	return text
}

// String gives the form of api.DecodeError.
func (p Problem) String() string {
	return (&api.DecodeError{File: p.File, Line: p.Line, Object: p.Object, Path: p.Path, Msg: p.Message}).Error()
}

func refuse(status int, format string, args ...any) *Error {
	return &Error{Failure{Status: status, Problems: []Problem{{Message: fmt.Sprintf(format, args...)}}}}
}

// answer writes what serve returns as JSON.
func (h *handler) answer(serve func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		status := http.StatusOK
		body, err := serve(r)
		if err != nil {
			var refused *Error
			if !errors.As(err, &refused) {
				h.Log.Error("configuration request failed", "method", r.Method, "path", r.URL.Path, "err", err)
				refused = refuse(http.StatusInternalServerError, "%s", err)
			}
			status, body = refused.Status, refused.Failure
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(body); err != nil {
			h.Log.Warn("writing an answer failed", "path", r.URL.Path, "err", err)
		}
	})
}

// query is the selection that several requests share.
type query struct {
	store.Filter
	kind     *api.Kind // nil for all
	selector labels.Selector
}

func parseQuery(r *http.Request) (query, error) {
	q := query{selector: labels.Everything()}
	v := r.URL.Query()
	q.Namespace, q.Name = v.Get("namespace"), v.Get("name")
	if k := v.Get("kind"); k != "" {
		kind, err := api.ParseKind(k)
		if err != nil {
			return q, refuse(http.StatusBadRequest, "%s", err)
		}
		q.kind, q.Kind = kind, kind.ID()
	}
	if s := v.Get("selector"); s != "" {
		selector, err := labels.Parse(s)
		if err != nil {
			return q, refuse(http.StatusBadRequest, "the selector %q is wrong: %s", s, err)
		}
		q.selector = selector
	}
	return q, nil
}

func (q query) selects(ref verdict.Ref, set map[string]string) bool {
	if q.Kind != "" && ref.Kind != q.Kind || q.Name != "" && ref.Name != q.Name {
		return false
	}
	if q.Namespace != "" && ref.Namespace != "" && ref.Namespace != q.Namespace {
		return false
	}
	return q.selector.Matches(labels.Set(set))
}

func (h *handler) objects(r *http.Request) (any, error) {
	q, err := parseQuery(r)
	if err != nil {
		return nil, err
	}
	all, revision := h.Store.Snapshot()
	list := ObjectList{Revision: revision, Items: []json.RawMessage{}}
	for _, o := range all {
		if !q.selects(o.Ref(), o.Meta.Labels) {
			continue
		}
		text, err := api.EncodeJSON(o)
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, text)
	}
	if q.Name != "" && q.kind != nil && len(list.Items) == 0 {
		return nil, refuse(http.StatusNotFound, "%s %q not found", q.kind.Resource(), q.Name)
	}
	return list, nil
}

func (h *handler) wait(r *http.Request) (any, error) {
	if h.Progress == nil {
		return nil, refuse(http.StatusServiceUnavailable, "no control plane is connected to this store")
	}
	v := r.URL.Query()
	revision, err := strconv.ParseInt(v.Get("revision"), 10, 64)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the revision %q is not a number", v.Get("revision"))
	}
	timeout := defaultWait
	if t := v.Get("timeout"); t != "" {
		if timeout, err = time.ParseDuration(t); err != nil || timeout <= 0 || timeout > longestWait {
			return nil, refuse(http.StatusBadRequest, "the timeout %q is not a duration of at most %s", t, longestWait)
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	report, err := h.Progress.Wait(ctx, revision)
	if err != nil {
		return nil, fmt.Errorf("waiting for revision %d: %w", revision, err)
	}
	return report, nil
}
