package gatewayapi

import (
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

func (r *reader) httpRoute(o *api.Object, in *gatewayv1.HTTPRoute) {
	rt := r.newRoute(o, in.Spec.Hostnames)
	rules := in.Spec.Rules
	if len(rules) == 0 { // the API's default: one rule for every path
		rules = []gatewayv1.HTTPRouteRule{{}}
	}
	for _, set := range rt.ruleSets(in.Spec.ParentRefs) {
		c := &ruleReader{reader: r, rt: rt, set: set}
		for i := range rules {
			c.httpRule(o.Origin().At("spec").At(list("rules", i)), &rules[i])
		}
	}
	r.attach(rt, in.Spec.ParentRefs, in.Spec.UseDefaultGateways)
}

func (c *ruleReader) httpRule(at verdict.Origin, in *gatewayv1.HTTPRouteRule) {
	out := mesh.HTTPRule{Origin: at, Name: string(value(in.Name, ""))}
	for i := range in.Matches {
		out.Matches = append(out.Matches, c.httpMatch(at.At(list("matches", i)), &in.Matches[i]))
	}
	c.filters(&out, in.Filters)
	refs := make([]backendRef, len(in.BackendRefs))
	for i := range in.BackendRefs {
		refs[i] = backendRef{&in.BackendRefs[i].BackendRef, in.BackendRefs[i].Filters}
	}
	c.backends(&out, refs)
	if out.Redirect != nil && len(refs) > 0 {
		c.invalid(&out, at.At("backendRefs"), verdict.Invalid, gatewayv1.RouteReasonIncompatibleFilters, "a rule with a redirect has no backends")
	}
	c.times(&out, in)
	c.persistence(at, in.SessionPersistence)
	c.rule(out)
}

// defaultAttempts is how often a request is repeated unless a rule says otherwise, as
// for Istio's routes.
const defaultAttempts = 2

// times reads time-outs and retries (GEP-1742, GEP-1731). Whoever configures retries
// wants them for broken connections and time-outs of a try too.
func (c *ruleReader) times(out *mesh.HTTPRule, in *gatewayv1.HTTPRouteRule) {
	at := out.Origin
	var try time.Duration
	if t := in.Timeouts; t != nil {
		out.Timeout = c.duration(out, at.At("timeouts.request"), t.Request)
		try = c.duration(out, at.At("timeouts.backendRequest"), t.BackendRequest)
		if out.Timeout > 0 && try > out.Timeout {
			c.invalid(out, at.At("timeouts.backendRequest"), verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "it is longer than timeouts.request")
		}
	}
	if in.Retry == nil {
		if try > 0 {
			out.Retries = &mesh.Retries{Attempts: defaultAttempts, PerTryTimeout: try, AvoidPrevious: true}
		}
		return
	}
	retries := &mesh.Retries{
		Attempts: defaultAttempts, PerTryTimeout: try, AvoidPrevious: true,
		Backoff: c.duration(out, at.At("retry.backoff"), in.Retry.Backoff),
		On:      []string{"connect-failure", "refused-stream", "reset"},
	}
	for i, code := range in.Retry.Codes {
		if code < 400 || code > 599 {
			c.invalid(out, at.At("retry").At(list("codes", i)), verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "the status %d is not between 400 and 599", code)
			continue
		}
		retries.Statuses = append(retries.Statuses, uint32(code))
	}
	switch n := value(in.Retry.Attempts, defaultAttempts); {
	case n < 0 || n > 100:
		c.invalid(out, at.At("retry.attempts"), verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "the number of attempts %d is not between 0 and 100", n)
	case n == 0 && try > 0 && (out.Timeout == 0 || try < out.Timeout):
		retries.Attempts, out.Timeout = 0, try // there is one try
	default:
		retries.Attempts = uint32(n)
	}
	out.Retries = retries
}
