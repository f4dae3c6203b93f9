// Package cors answers what browsers ask before they let a page of another origin
// call (Cross-Origin Resource Sharing, the Fetch standard): envoy.filters.http.cors
// (envoy.extensions.filters.http.cors.v3). Only routes have policies.
package cors

import (
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Name is the filter's name.
const Name = "envoy.filters.http.cors"

// Fields of requests and answers.
var (
	fieldOrigin        = stream.N("origin")
	fieldRequestMethod = stream.N("access-control-request-method")
	fieldAllowOrigin   = stream.N("access-control-allow-origin")
	fieldCredentials   = stream.N("access-control-allow-credentials")
	fieldExpose        = stream.N("access-control-expose-headers")
)

type filter struct{ slot int }

// Handle implements stream.Filter. A preflight request of an allowed origin is
// answered here; to the answers of other requests of allowed origins the fields are
// added that let browsers show them. As in Envoy, requests are never refused.
func (f filter) Handle(s *stream.Stream, next stream.Next) (*stream.Response, error) {
	p := f.policy(s)
	if p == nil {
		return next.Handle(s)
	}
	origin := s.Request.Get(fieldOrigin)
	if len(origin) == 0 {
		return next.Handle(s)
	}
	allowed, preflight := p.allows(origin), isPreflight(s)
	switch {
	case preflight && (allowed || !p.forward):
		return nil, p.answer(string(origin), allowed)
	case !allowed:
		return next.Handle(s)
	}
	own := append([]byte(nil), origin...) // the request may be gone when it is answered
	resp, err := next.Handle(s)
	if err != nil {
		if resp, err = stream.Answer(err); err != nil {
			return nil, err
		}
	}
	resp.Set(fieldAllowOrigin, own)
	if p.credentials {
		resp.SetString(fieldCredentials, "true")
	}
	if p.expose != "" {
		resp.SetString(fieldExpose, p.expose)
	}
	return resp, nil
}

// policy is that of the request's route; nil where there is none, or the route
// answers by itself (Envoy's documentation of the filter).
func (f filter) policy(s *stream.Stream) *policy {
	if s.Route == nil {
		return nil
	}
	p, _ := s.Route.Override(f.slot).(*policy)
	if r, ok := s.Route.(*config.Route); p == nil || p.off || ok && r.Forward == nil {
		return nil
	}
	return p
}

func isPreflight(s *stream.Stream) bool {
	return string(s.Request.Method) == "OPTIONS" && len(s.Request.Get(fieldRequestMethod)) > 0
}

// allows reports whether a page of the origin may call. A match that takes "*" takes
// every origin, as in Envoy.
func (p *policy) allows(origin []byte) bool {
	for i := range p.origins {
		if p.every[i] || match.StringMatches(&p.origins[i], origin) {
			return true
		}
	}
	return false
}

// answer is the answer to a preflight request. To one of another origin it tells what
// would be allowed, as Envoy does; without the origin's field, browsers heed nothing.
func (p *policy) answer(origin string, allowed bool) *stream.Reply {
	r := stream.NewReply(200, stream.Reason{Code: stream.DirectResponse, Detail: "CORS preflight", Envoy: "cors_response"})
	add := func(name, value string) {
		if value != "" {
			r.Headers = append(r.Headers, [2]string{name, value})
		}
	}
	if allowed {
		add(fieldAllowOrigin.String(), origin)
		add(fieldExpose.String(), p.expose)
	}
	if p.credentials {
		add(fieldCredentials.String(), "true")
	}
	add("access-control-allow-methods", p.methods)
	add("access-control-allow-headers", p.headers)
	add("access-control-max-age", p.maxAge)
	return r
}
