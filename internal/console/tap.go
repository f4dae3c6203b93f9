package console

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/wire"
)

// Tapper asks proxies for live requests; see observe.Hub.
type Tapper interface {
	Tap(ctx context.Context, r wire.TapRequest, wants func(proxy string) bool, f func(*wire.TapEvent) bool) error
}

// tap streams live requests as events.
func (c *Console) tap(w http.ResponseWriter, r *http.Request) {
	request, limit, err := tapRequest(r)
	var wants func(string) bool
	if err == nil {
		wants, err = c.target(r)
	}
	if err != nil || c.Tapper == nil {
		c.answer(func(*http.Request) (any, error) {
			if err == nil {
				err = refuse(http.StatusNotFound, "no proxies report to this console")
			}
			return nil, err
		}).ServeHTTP(w, r)
		return
	}
	s := newEventStream(w)
	if s.comment() != nil {
		return
	}
	n := 0
	err = c.Tapper.Tap(r.Context(), request, wants, func(e *wire.TapEvent) bool {
		n++
		return s.send("request", e) == nil && n != limit
	})
	if err != nil {
		c.Log.Error("a tap ended", "err", err)
	}
}

// tapRequest reads the parameters.
func tapRequest(r *http.Request) (t wire.TapRequest, limit int, err error) {
	q := r.URL.Query()
	t = wire.TapRequest{Method: q.Get("method"), PathPrefix: q.Get("path"), To: q.Get("to")}
	number := func(name string, to *float64) {
		if text := q.Get(name); text != "" && err == nil {
			if *to, err = strconv.ParseFloat(text, 64); err != nil || !(*to >= 0) {
				err = refuse(http.StatusBadRequest, "%s: %q is no number of 0 or more", name, text)
			}
		}
	}
	var most float64
	number("maxRps", &t.MaxRPS)
	number("limit", &most)
	if err != nil {
		return t, 0, err
	}
	if t.StatusFrom, t.StatusTo, err = statusRange(q.Get("status")); err != nil {
		return t, 0, err
	}
	for _, h := range q["header"] {
		name, value, _ := strings.Cut(h, "=")
		t.Headers = append(t.Headers, [2]string{strings.ToLower(name), value})
	}
	return t, int(most), nil
}

// statusRange reads "503", "5xx" or "400-499".
func statusRange(text string) (from, to int, err error) {
	if text == "" {
		return 0, 0, nil
	}
	a, b, isRange := strings.Cut(text, "-")
	if !isRange {
		a, b = strings.ReplaceAll(strings.ToLower(text), "x", "0"), strings.ReplaceAll(strings.ToLower(text), "x", "9")
	}
	from, err = strconv.Atoi(a)
	if err == nil {
		to, err = strconv.Atoi(b)
	}
	if err != nil || from > to || to > 999 || to == 0 {
		return 0, 0, refuse(http.StatusBadRequest, `the status %q is none of the forms "503", "5xx" and "400-499"`, text)
	}
	return from, to, nil
}

// target reads which proxies are meant.
func (c *Console) target(r *http.Request) (func(proxy string) bool, error) {
	what, namespace := r.URL.Query().Get("target"), r.URL.Query().Get("namespace")
	if namespace == "" {
		namespace = "default"
	}
	kind, name, ok := strings.Cut(what, "/")
	switch {
	case what == "*":
		return func(string) bool { return true }, nil
	case !ok || name == "":
		return nil, refuse(http.StatusBadRequest, "target: %q is none of deploy/NAME, svc/NAME, pod/NAME, ns/NAME and *", what)
	}
	switch kind {
	case "ns", "namespace":
		return func(p string) bool { return strings.HasSuffix(p, "."+name) }, nil
	case "po", "pod", "pods":
		return func(p string) bool { return p == name+"."+namespace }, nil
	case "deploy", "deployment", "deployments":
		return c.ofWorkload(namespace, name)
	case "svc", "service", "services":
		for _, h := range c.hosts() {
			if h.Service.Namespace == namespace && h.Service.Name == name {
				return func(p string) bool {
					for _, w := range c.Plane.Snapshot().Workloads().Members(h.Service) {
						if p == w.Name+"."+w.Namespace {
							return true
						}
					}
					return false
				}, nil
			}
		}
		return nil, refuse(http.StatusNotFound, "no service is named %q in the namespace %q", name, namespace)
	}
	return nil, refuse(http.StatusBadRequest, "target: %q is none of deploy, svc, pod and ns", kind)
}

func (c *Console) ofWorkload(namespace, name string) (func(string) bool, error) {
	for _, g := range c.workloadGroups() {
		if g.namespace == namespace && g.name == name {
			return func(p string) bool { // instances come and go
				for _, w := range c.Plane.Snapshot().Workloads().Namespace(namespace) {
					if owner(w) == name && p == w.Name+"."+namespace {
						return true
					}
				}
				return false
			}, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "no workload is named %q in the namespace %q", name, namespace)
}
