package explain

import (
	"fmt"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// http goes on with a request: table, virtual host, route.
func (w *work) http(h *config.HTTP) {
	table := h.Inline
	if table == nil {
		if table = w.res.tables[h.RouteName]; table == nil {
			w.fail("route table %q, which the listener names, is not there", h.RouteName)
			return
		}
	}
	req := w.request()
	if h.StripPort {
		req.Authority = match.WithoutPort(req.Authority)
	}
	host := match.FindHost(table, req.Authority, &w.rec)
	// A host none of whose domains matches has nothing to do with the request.
	s := w.rec.step("virtual host", func(c match.Candidate) bool { return !strings.HasPrefix(c.Why, "none of its") })
	if host == nil {
		s.Name, s.Why = "none", fmt.Sprintf("route table %q has no virtual host for %q", table.Name, req.Authority)
		w.out.Steps = append(w.out.Steps, s)
		w.fail("status 404: no virtual host for %q", req.Authority)
		return
	}
	if host.RequireTLS {
		s.Does = append(s.Does, "redirects plain text to https")
	}
	w.out.Steps = append(w.out.Steps, s)
	if host.RequireTLS && !w.req.TLS {
		w.out.Answer = fmt.Sprintf("The proxy answers 301 with https://%s%s.", req.Authority, req.Path)
		return
	}
	w.route(host, req)
}

// request makes the request that the evaluator sees.
func (w *work) request() *stream.Request {
	r := w.req
	req := &stream.Request{Method: []byte(r.Method), Scheme: []byte("http"), Authority: []byte(r.Authority), Path: []byte(r.Path)}
	if r.TLS {
		req.Scheme = []byte("https")
	}
	for _, h := range r.Headers {
		req.AddString(stream.N(h[0]), h[1])
	}
	return req
}

func (w *work) route(host *config.VirtualHost, req *stream.Request) {
	r := match.FindRoute(host, req, w.req.Random, &w.rec)
	s := w.rec.step("route", nil)
	if r == nil {
		s.Name, s.Why = "none", "no route of the virtual host matches"
		w.out.Steps = append(w.out.Steps, s)
		w.fail("status 404: no route of virtual host %q matches", host.Name)
		return
	}
	s.Does = effects(r, req)
	w.out.Steps = append(w.out.Steps, s)
	switch {
	case r.Redirect != nil:
		w.out.Answer = fmt.Sprintf("The proxy answers %d with location %s.", r.Redirect.Status, match.Location(nil, r, req))
	case r.Direct != nil:
		w.out.Answer = fmt.Sprintf("The proxy answers %d itself, with %d bytes of body.", r.Direct.Status, len(r.Direct.Body))
		if r.Metadata.Reason != "" {
			w.out.Failure = r.Metadata.Reason
			w.out.Answer = fmt.Sprintf("The proxy answers %d: %s", r.Direct.Status, r.Metadata.Reason)
		}
	default:
		w.forward(r, req)
	}
}

func (w *work) forward(r *config.Route, req *stream.Request) {
	f := r.Forward
	if f.ClusterHeader != nil {
		name := string(req.Get(*f.ClusterHeader))
		if name == "" {
			w.fail("the route takes its cluster from field %s, which the request has not", f.ClusterHeader)
			return
		}
		w.clusters([]config.WeightedCluster{{Cluster: config.ClusterRef{Name: name}, Weight: 1}}, 1)
		return
	}
	match.PickCluster(f, w.req.Random, &w.rec)
	w.clusters(f.Clusters, f.TotalWeight)
}

// effects puts what a route does to a request into words.
func effects(r *config.Route, req *stream.Request) []string {
	var out []string
	for _, o := range r.Overrides {
		if s, ok := o.(setting); ok && s != "" {
			out = append(out, string(s))
		}
	}
	if f := r.Forward; f != nil {
		if match.RewritesPath(r) {
			out = append(out, fmt.Sprintf("rewrites the path to %q", match.RewritePath(nil, r, req.Path)))
		}
		if f.HostRewrite != "" {
			out = append(out, fmt.Sprintf("rewrites the authority to %q", f.HostRewrite))
		}
		if f.AutoHostRewrite {
			out = append(out, "rewrites the authority to the endpoint's host name")
		}
		out = append(out, timing(f)...)
		for _, m := range f.Mirrors {
			out = append(out, fmt.Sprintf("mirrors %s of requests to %s", millionths(m.Millionths), m.Cluster.Name))
		}
	}
	out = append(out, headerEffects("request", r.RequestHeaders)...)
	return append(out, headerEffects("response", r.ResponseHeaders)...)
}

func timing(f *config.Forward) []string {
	var out []string
	if f.Timeout > 0 {
		out = append(out, "gives up after "+f.Timeout.String())
	}
	if rt := f.Retry; rt != nil && rt.Retries > 0 {
		text := fmt.Sprintf("tries up to %d times", rt.Retries+1)
		if rt.PerTryTimeout > 0 {
			text += fmt.Sprintf(", %s each", rt.PerTryTimeout.Round(time.Millisecond))
		}
		out = append(out, text)
	}
	return out
}

func headerEffects(of string, list []config.HeaderOps) []string {
	var out []string
	for _, ops := range list {
		for _, n := range ops.Remove {
			out = append(out, fmt.Sprintf("removes %s header %s", of, n))
		}
		for _, a := range ops.Add {
			verb := "adds"
			switch a.Action {
			case config.OverwriteOrAdd, config.OverwriteIfExists:
				verb = "sets"
			}
			out = append(out, fmt.Sprintf("%s %s header %s: %s", verb, of, a.Name, a.Value))
		}
	}
	return out
}
