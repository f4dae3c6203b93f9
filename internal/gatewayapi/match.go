package gatewayapi

import (
	"regexp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// httpMatch reads a match of an HTTPRoute.
func (c *ruleReader) httpMatch(at verdict.Origin, in *gatewayv1.HTTPRouteMatch) mesh.HTTPMatch {
	out := mesh.HTTPMatch{Origin: at}
	c.path(&out, at.At("path"), in.Path)
	if in.Method != nil {
		out.Method = &mesh.StringMatch{Kind: mesh.Exact, Value: string(*in.Method)}
	}
	for i, h := range in.Headers {
		c.header(&out, at.At(list("headers", i)), string(h.Name), h.Value, string(value(h.Type, gatewayv1.HeaderMatchExact)))
	}
	for i, q := range in.QueryParams {
		at := at.At(list("queryParams", i))
		if hasName(out.Query, string(q.Name)) {
			c.say(at, verdict.Shadowed, "an earlier entry of the list is for the same parameter")
			continue
		}
		if s, ok := c.text(&out, at, q.Value, string(value(q.Type, gatewayv1.QueryParamMatchExact))); ok {
			out.Query = append(out.Query, mesh.NamedMatch{Name: string(q.Name), StringMatch: s})
		}
	}
	return out
}

// path reads a path match; none means every path.
func (c *ruleReader) path(out *mesh.HTTPMatch, at verdict.Origin, in *gatewayv1.HTTPPathMatch) {
	if in == nil {
		in = &gatewayv1.HTTPPathMatch{}
	}
	v := value(in.Value, "/")
	kind := value(in.Type, gatewayv1.PathMatchPathPrefix)
	if kind != gatewayv1.PathMatchRegularExpression && (!strings.HasPrefix(v, "/") || strings.ContainsAny(v, "?#\r\n\x00")) {
		c.unusable(out, at.At("value"), "%q is not a path that begins with a slash", v)
		return
	}
	switch kind {
	case gatewayv1.PathMatchExact:
		out.Path = &mesh.StringMatch{Kind: mesh.Exact, Value: v}
	case gatewayv1.PathMatchPathPrefix:
		out.Path = prefix(v)
	case gatewayv1.PathMatchRegularExpression:
		if c.regex(out, at.At("value"), v) {
			out.Path = &mesh.StringMatch{Kind: mesh.Regex, Value: v}
		}
	default:
		c.unusable(out, at.At("type"), "the type %s is not known", kind)
	}
}

// prefix is the match of a prefix of segments. A slash at its end means nothing.
func prefix(v string) *mesh.StringMatch {
	if v = strings.TrimRight(v, "/"); v == "" {
		return &mesh.StringMatch{Kind: mesh.Prefix, Value: "/"}
	}
	return &mesh.StringMatch{Kind: mesh.Segments, Value: v}
}

// header reads a header match; of several for one header, the first counts.
func (c *ruleReader) header(out *mesh.HTTPMatch, at verdict.Origin, name, v, kind string) {
	name = strings.ToLower(name)
	switch {
	case !headerName.MatchString(name):
		c.unusable(out, at.At("name"), "%q is not a header's name", name)
		return
	case hasName(out.Headers, name):
		c.say(at, verdict.Shadowed, "an earlier entry of the list is for the same header")
		return
	}
	if s, ok := c.text(out, at, v, kind); ok {
		out.Headers = append(out.Headers, mesh.NamedMatch{Name: name, StringMatch: s})
	}
}

// text reads a comparison of headers and parameters, whose types have the same names.
func (c *ruleReader) text(out *mesh.HTTPMatch, at verdict.Origin, v, kind string) (mesh.StringMatch, bool) {
	switch kind {
	case string(gatewayv1.HeaderMatchExact):
		return mesh.StringMatch{Kind: mesh.Exact, Value: v}, true
	case string(gatewayv1.HeaderMatchRegularExpression):
		return mesh.StringMatch{Kind: mesh.Regex, Value: v}, c.regex(out, at.At("value"), v)
	}
	c.unusable(out, at.At("type"), "the type %s is not known", kind)
	return mesh.StringMatch{}, false
}

func (c *ruleReader) regex(out *mesh.HTTPMatch, at verdict.Origin, re string) bool {
	if _, err := regexp.Compile(re); err != nil {
		c.unusable(out, at, "not a regular expression of RE2: %s", err)
		return false
	}
	return true
}

func hasName(list []mesh.NamedMatch, name string) bool {
	return slices.ContainsFunc(list, func(m mesh.NamedMatch) bool { return m.Name == name })
}

// grpcMatch reads a match of a GRPCRoute: a call is a request for the path
// "/SERVICE/METHOD" (gRPC over HTTP/2, "Requests").
func (c *ruleReader) grpcMatch(at verdict.Origin, in *gatewayv1.GRPCRouteMatch) mesh.HTTPMatch {
	out := mesh.HTTPMatch{Origin: at, Path: &mesh.StringMatch{Kind: mesh.Prefix, Value: "/"}}
	if m := in.Method; m != nil {
		c.method(&out, at.At("method"), m)
	}
	for i, h := range in.Headers {
		c.header(&out, at.At(list("headers", i)), string(h.Name), h.Value, string(value(h.Type, gatewayv1.GRPCHeaderMatchExact)))
	}
	return out
}

// anyName is one part of a gRPC path.
const anyName = "[^/]+"

func (c *ruleReader) method(out *mesh.HTTPMatch, at verdict.Origin, m *gatewayv1.GRPCMethodMatch) {
	service, method := value(m.Service, ""), value(m.Method, "")
	kind := value(m.Type, gatewayv1.GRPCMethodMatchExact)
	if kind == gatewayv1.GRPCMethodMatchExact && strings.ContainsAny(service+method, "/?#\r\n\x00") {
		c.unusable(out, at, "the name of a service or method holds no %q", "/")
		return
	}
	switch {
	case service == "" && method == "":
		c.unusable(out, at, "one of service and method is required")
	case kind == gatewayv1.GRPCMethodMatchExact && method == "":
		out.Path = &mesh.StringMatch{Kind: mesh.Segments, Value: "/" + service}
	case kind == gatewayv1.GRPCMethodMatchExact && service == "":
		out.Path = &mesh.StringMatch{Kind: mesh.Regex, Value: "/" + anyName + "/" + regexp.QuoteMeta(method)}
	case kind == gatewayv1.GRPCMethodMatchExact:
		out.Path = &mesh.StringMatch{Kind: mesh.Exact, Value: "/" + service + "/" + method}
	case kind == gatewayv1.GRPCMethodMatchRegularExpression:
		re := "/" + orAny(service) + "/" + orAny(method)
		if c.regex(out, at, re) {
			out.Path = &mesh.StringMatch{Kind: mesh.Regex, Value: re}
		}
	default:
		c.unusable(out, at.At("type"), "the type %s is not known", kind)
	}
}

// orAny keeps an alternative of a user's expression within its part of the path.
func orAny(re string) string {
	if re == "" {
		return anyName
	}
	return "(?:" + re + ")"
}
