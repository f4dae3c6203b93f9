package gatewayapi

import (
	"cmp"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// filters reads the filters of a rule. One that cannot act makes the rule answer 500:
// requests must not pass without it (HTTPRouteRule.filters).
func (c *ruleReader) filters(out *mesh.HTTPRule, filters []gatewayv1.HTTPRouteFilter) {
	for i := range filters {
		f := &filters[i]
		at := out.Origin.At(list("filters", i))
		switch {
		case f.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
			c.headers(out, &out.Request, at.At("requestHeaderModifier"), f.RequestHeaderModifier)
		case f.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
			c.headers(out, &out.Response, at.At("responseHeaderModifier"), f.ResponseHeaderModifier)
		case f.Type == gatewayv1.HTTPRouteFilterRequestMirror && f.RequestMirror != nil:
			c.mirror(out, at.At("requestMirror"), f.RequestMirror)
		case f.Type == gatewayv1.HTTPRouteFilterRequestRedirect && f.RequestRedirect != nil && out.Redirect == nil:
			c.redirect(out, at.At("requestRedirect"), f.RequestRedirect)
		case f.Type == gatewayv1.HTTPRouteFilterURLRewrite && f.URLRewrite != nil && out.Rewrite == nil:
			c.rewrite(out, at.At("urlRewrite"), f.URLRewrite)
		case f.Type == gatewayv1.HTTPRouteFilterRequestRedirect && out.Redirect != nil, f.Type == gatewayv1.HTTPRouteFilterURLRewrite && out.Rewrite != nil:
			c.invalid(out, at, verdict.Invalid, gatewayv1.RouteReasonIncompatibleFilters, "a rule has one filter of the type %s", f.Type)
		default:
			c.invalid(out, at.At("type"), verdict.Unsupported, gatewayv1.RouteReasonUnsupportedValue, "filters of the type %s are not supported yet", f.Type)
		}
	}
	if out.Redirect != nil && out.Rewrite != nil {
		c.invalid(out, out.Origin.At("filters"), verdict.Invalid, gatewayv1.RouteReasonIncompatibleFilters, "a redirect and a rewrite exclude each other")
	}
}

// backendFilters reads the filters of one backend: changes of headers only.
func (c *ruleReader) backendFilters(out *mesh.HTTPRule, d *mesh.Destination, filters []gatewayv1.HTTPRouteFilter) {
	for i := range filters {
		f := &filters[i]
		at := d.Origin.At(list("filters", i))
		switch {
		case f.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && f.RequestHeaderModifier != nil:
			c.headers(out, &d.Request, at.At("requestHeaderModifier"), f.RequestHeaderModifier)
		case f.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && f.ResponseHeaderModifier != nil:
			c.headers(out, &d.Response, at.At("responseHeaderModifier"), f.ResponseHeaderModifier)
		default:
			c.invalid(out, at.At("type"), verdict.Unsupported, gatewayv1.RouteReasonUnsupportedValue, "filters of the type %s are not supported for a backend", f.Type)
		}
	}
}

// headers adds header changes; of several for one header, the first counts.
func (c *ruleReader) headers(rule *mesh.HTTPRule, out *mesh.HeaderOps, at verdict.Origin, in *gatewayv1.HTTPHeaderFilter) {
	add := func(at verdict.Origin, to []mesh.Header, h gatewayv1.HTTPHeader) []mesh.Header {
		name := strings.ToLower(string(h.Name))
		if !c.changeable(rule, at, name) {
			return to
		}
		if !plain(h.Value) {
			c.invalid(rule, at.At("value"), verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "the value of %s holds a control character", name)
			return to
		}
		if slices.ContainsFunc(to, func(o mesh.Header) bool { return o.Name == name }) {
			c.say(at, verdict.Shadowed, "an earlier entry of the list is for the same header")
			return to
		}
		// Data planes read operators between per cent signs; here a value is a text.
		return append(to, mesh.Header{Name: name, Value: strings.ReplaceAll(h.Value, "%", "%%")})
	}
	for i, h := range in.Set {
		out.Set = add(at.At(list("set", i)), out.Set, h)
	}
	for i, h := range in.Add {
		out.Add = add(at.At(list("add", i)), out.Add, h)
	}
	for i, name := range in.Remove {
		if name = strings.ToLower(name); c.changeable(rule, at.At(list("remove", i)), name) {
			out.Remove = append(out.Remove, name)
		}
	}
	slices.SortStableFunc(out.Set, func(a, b mesh.Header) int { return cmp.Compare(a.Name, b.Name) })
}

// changeable reports whether a header can be changed by a filter.
func (c *ruleReader) changeable(rule *mesh.HTTPRule, at verdict.Origin, name string) bool {
	switch {
	case !headerName.MatchString(name):
		c.invalid(rule, at, verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "%q is not a header's name", name)
	case name == "host":
		c.invalid(rule, at, verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "the header host is changed by the filter URLRewrite")
	default:
		return true
	}
	return false
}

// mirror reads a mirror. One whose backend cannot be used is left out; the condition
// says so.
func (c *ruleReader) mirror(out *mesh.HTTPRule, at verdict.Origin, in *gatewayv1.HTTPRequestMirrorFilter) {
	percent := 100.0
	switch {
	case in.Percent != nil:
		percent = float64(*in.Percent)
	case in.Fraction != nil:
		percent = 100 * float64(in.Fraction.Numerator) / float64(value(in.Fraction.Denominator, 100))
	}
	if !(percent >= 0 && percent <= 100) { // also true for NaN
		c.invalid(out, at, verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "the share is not between 0 and 100 per cent")
		return
	}
	d := c.destination(at.At("backendRef"), &in.BackendRef)
	if d.Invalid == "" && percent > 0 {
		out.Mirrors = append(out.Mirrors, mesh.Mirror{Destination: d, Percent: percent})
	}
}

func (c *ruleReader) redirect(out *mesh.HTTPRule, at verdict.Origin, in *gatewayv1.HTTPRequestRedirectFilter) {
	rd := &mesh.Redirect{Scheme: value(in.Scheme, ""), Authority: string(value(in.Hostname, "")), Status: 302}
	out.Redirect = rd
	switch code := value(in.StatusCode, 302); code {
	case 301, 302, 303, 307, 308:
		rd.Status = uint32(code)
	default:
		c.invalid(out, at.At("statusCode"), verdict.Unsupported, gatewayv1.RouteReasonUnsupportedValue, "the status %d is none of 301, 302, 303, 307 and 308", code)
	}
	if rd.Scheme != "" && rd.Scheme != "http" && rd.Scheme != "https" {
		c.invalid(out, at.At("scheme"), verdict.Unsupported, gatewayv1.RouteReasonUnsupportedValue, "the scheme %q is neither http nor https", rd.Scheme)
	}
	if p := value(in.Port, 0); p < 0 || p > 65535 {
		c.invalid(out, at.At("port"), verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "the port %d is out of range", p)
	} else {
		rd.Port = uint32(p)
	}
	if !plain(rd.Authority) {
		c.invalid(out, at.At("hostname"), verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "the hostname holds a control character")
	}
	switch path, scope := c.replacement(out, at.At("path"), in.Path); scope {
	case mesh.OfWhole:
		rd.Path = cmp.Or(path, "/")
	case mesh.OfSegments:
		rd.Path, rd.PrefixURI, rd.Segments = path, true, true
	}
}

func (c *ruleReader) rewrite(out *mesh.HTTPRule, at verdict.Origin, in *gatewayv1.HTTPURLRewriteFilter) {
	rw := &mesh.Rewrite{Authority: string(value(in.Hostname, ""))}
	out.Rewrite = rw
	if !plain(rw.Authority) {
		c.invalid(out, at.At("hostname"), verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "the hostname holds a control character")
	}
	rw.Path, rw.Scope = c.replacement(out, at.At("path"), in.Path)
	if rw.Scope == mesh.OfWhole {
		rw.Path = cmp.Or(rw.Path, "/")
	}
}

// replacement reads what a path is replaced by, and how much of it; OfMatch where
// nothing is. The prefix can be replaced only where each match has one.
func (c *ruleReader) replacement(out *mesh.HTTPRule, at verdict.Origin, in *gatewayv1.HTTPPathModifier) (path string, scope mesh.Scope) {
	if in == nil {
		return "", mesh.OfMatch
	}
	switch {
	case in.Type == gatewayv1.FullPathHTTPPathModifier && in.ReplaceFullPath != nil:
		path, scope = *in.ReplaceFullPath, mesh.OfWhole
	case in.Type == gatewayv1.PrefixMatchHTTPPathModifier && in.ReplacePrefixMatch != nil:
		path, scope = *in.ReplacePrefixMatch, mesh.OfSegments
		for i := range out.Matches {
			if p := out.Matches[i].Path; p != nil && p.Kind != mesh.Segments && p.Kind != mesh.Prefix {
				c.invalid(out, at, verdict.Invalid, gatewayv1.RouteReasonIncompatibleFilters, "replacePrefixMatch needs matches of the type PathPrefix")
				break
			}
		}
	default:
		c.invalid(out, at.At("type"), verdict.Unsupported, gatewayv1.RouteReasonUnsupportedValue, "the type %s is not known, or its value is missing", in.Type)
	}
	if !plain(path) {
		c.invalid(out, at, verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "the path holds a control character")
	}
	if path != "" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path, scope
}
