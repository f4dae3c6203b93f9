package gatewayapi

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// grpcRoute reads a GRPCRoute. HTTPRoutes and GRPCRoutes of one host are merged: calls
// are requests, and rank among them by their paths.
func (r *reader) grpcRoute(o *api.Object, in *gatewayv1.GRPCRoute) {
	rt := r.newRoute(o, in.Spec.Hostnames)
	for _, set := range rt.ruleSets(in.Spec.ParentRefs) {
		c := &ruleReader{reader: r, rt: rt, set: set}
		for i := range in.Spec.Rules {
			c.grpcRule(o.Origin().At("spec").At(list("rules", i)), &in.Spec.Rules[i])
		}
	}
	r.attach(rt, in.Spec.ParentRefs, in.Spec.UseDefaultGateways)
}

func (c *ruleReader) grpcRule(at verdict.Origin, in *gatewayv1.GRPCRouteRule) {
	out := mesh.HTTPRule{Origin: at, Name: string(value(in.Name, ""))}
	for i := range in.Matches {
		out.Matches = append(out.Matches, c.grpcMatch(at.At(list("matches", i)), &in.Matches[i]))
	}
	c.filters(&out, asHTTP(in.Filters))
	refs := make([]backendRef, len(in.BackendRefs))
	for i := range in.BackendRefs {
		refs[i] = backendRef{&in.BackendRefs[i].BackendRef, asHTTP(in.BackendRefs[i].Filters)}
	}
	c.backends(&out, refs)
	c.persistence(at, in.SessionPersistence)
	c.rule(out)
}

// asHTTP gives filters of a GRPCRoute as those of an HTTPRoute, whose names and content
// are the same.
func asHTTP(filters []gatewayv1.GRPCRouteFilter) []gatewayv1.HTTPRouteFilter {
	out := make([]gatewayv1.HTTPRouteFilter, len(filters))
	for i, f := range filters {
		out[i] = gatewayv1.HTTPRouteFilter{
			Type:                   gatewayv1.HTTPRouteFilterType(f.Type),
			RequestHeaderModifier:  f.RequestHeaderModifier,
			ResponseHeaderModifier: f.ResponseHeaderModifier,
			RequestMirror:          f.RequestMirror,
			ExtensionRef:           f.ExtensionRef,
		}
	}
	return out
}
