package config

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// route reads one route and resolves into it what it inherits.
func (p *parser) route(s *scope, m *routev3.Route, inherit *defaults) (*Route, error) {
	r := &Route{
		Name:            m.GetName(),
		Operation:       m.GetDecorator().GetOperation(),
		AttemptCount:    inherit.host.AttemptCount,
		AttemptCountRsp: inherit.host.AttemptCountRsp,
		ClusterOpsLast:  inherit.reversed,
		Metadata:        parseMetadata(m.GetMetadata()),
	}
	var err error
	if r.Match, err = parseRouteMatch(s.at("match"), m.GetMatch()); err != nil {
		return nil, err
	}
	own, err := requestOps(s, m)
	if err != nil {
		return nil, err
	}
	r.RequestHeaders = orderOps(own, inherit.request, inherit.reversed)
	if own, err = responseOps(s, m); err != nil {
		return nil, err
	}
	r.ResponseHeaders = orderOps(own, inherit.response, inherit.reversed)
	if r.Overrides, err = p.overrides(s, m.GetTypedPerFilterConfig(), inherit.overrides); err != nil {
		return nil, err
	}
	switch a := m.GetAction().(type) {
	case *routev3.Route_Route:
		r.Forward, err = p.forward(s.at("route"), a.Route, inherit)
	case *routev3.Route_Redirect:
		r.Redirect, err = parseRedirect(s.at("redirect"), a.Redirect)
	case *routev3.Route_DirectResponse:
		r.Direct, err = parseDirect(s.at("direct_response"), a.DirectResponse, inherit.maxBody)
	default:
		err = s.errorf("has no action")
	}
	return r, err
}

// orderOps puts header operations into the order in which they apply. Envoy:
// "evaluated from most to least specific", or the other way round.
func orderOps(own HeaderOps, inherited [2]HeaderOps, reversed bool) []HeaderOps {
	order := []HeaderOps{own, inherited[0], inherited[1]}
	if reversed {
		order[0], order[2] = order[2], order[0]
	}
	var out []HeaderOps
	for _, ops := range order {
		if len(ops.Add)+len(ops.Remove) > 0 {
			out = append(out, ops)
		}
	}
	return out
}

func parseRouteMatch(s *scope, m *routev3.RouteMatch) (RouteMatch, error) {
	out := RouteMatch{CaseFold: !boolOr(m.GetCaseSensitive(), true)}
	var err error
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		out.PathKind, out.Path = PathPrefix, p.Prefix
	case *routev3.RouteMatch_Path:
		out.PathKind, out.Path = PathExact, p.Path
	case *routev3.RouteMatch_SafeRegex:
		out.PathKind, out.CaseFold = PathRegex, false // case_sensitive does not act on patterns
		out.Regex, err = parseRegex(s.at("safe_regex"), p.SafeRegex)
	case *routev3.RouteMatch_PathSeparatedPrefix:
		out.PathKind, out.Path = PathSeparatedPrefix, p.PathSeparatedPrefix
		if v := p.PathSeparatedPrefix; !strings.HasPrefix(v, "/") || len(v) < 2 || strings.HasSuffix(v, "/") || strings.ContainsAny(v, "?#") {
			err = s.at("path_separated_prefix").errorf("%q is not a path without a closing slash", v)
		}
	case *routev3.RouteMatch_ConnectMatcher_:
		out.PathKind = PathConnect
	default:
		err = s.errorf("has no path")
	}
	if err != nil {
		return out, err
	}
	if out.CaseFold {
		out.Path = strings.ToLower(out.Path)
	}
	if f := m.GetRuntimeFraction(); f != nil {
		out.FractionSet = true
		if out.Fraction, err = parseMillionths(s.at("runtime_fraction").at("default_value"), f.GetDefaultValue()); err != nil {
			return out, err
		}
	}
	if out.Headers, err = headerMatches(s, "headers", m.GetHeaders()); err != nil {
		return out, err
	}
	for i, q := range m.GetQueryParameters() {
		qm, err := parseQuery(s.item("query_parameters", i), q)
		if err != nil {
			return out, err
		}
		out.Query = append(out.Query, qm)
	}
	return out, nil
}

func parseQuery(s *scope, m *routev3.QueryParameterMatcher) (QueryMatch, error) {
	out := QueryMatch{Name: m.GetName(), Value: StringMatch{Kind: StringAny}}
	if out.Name == "" {
		return out, s.at("name").errorf("is empty")
	}
	switch v := m.GetQueryParameterMatchSpecifier().(type) {
	case nil:
	case *routev3.QueryParameterMatcher_PresentMatch:
		if !v.PresentMatch {
			return out, s.at("present_match").errorf("false is not supported by this proxy")
		}
	case *routev3.QueryParameterMatcher_StringMatch:
		var err error
		out.Value, err = parseString(s.at("string_match"), v.StringMatch)
		return out, err
	}
	return out, nil
}

func headerMatches(s *scope, field string, list []*routev3.HeaderMatcher) ([]HeaderMatch, error) {
	var out []HeaderMatch
	for i, m := range list {
		h, err := parseHeaderMatch(s.item(field, i), m)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, nil
}

func parseHeaderMatch(s *scope, m *routev3.HeaderMatcher) (HeaderMatch, error) {
	h := HeaderMatch{
		Name: stream.N(m.GetName()), Invert: m.GetInvertMatch(), MissingAsEmpty: m.GetTreatMissingHeaderAsEmpty(),
		Value: StringMatch{Kind: StringAny},
	}
	if m.GetName() == "" {
		return h, s.at("name").errorf("is empty")
	}
	switch h.Name.String() {
	case ":method", ":path", ":authority", ":scheme":
	default:
		if err := checkToken(s.at("name"), m.GetName()); err != nil {
			return h, err
		}
	}
	var err error
	switch v := m.GetHeaderMatchSpecifier().(type) {
	case nil: // any value
	case *routev3.HeaderMatcher_PresentMatch:
		h.Invert = h.Invert == v.PresentMatch // present_match: false means absent
	case *routev3.HeaderMatcher_StringMatch:
		h.Value, err = parseString(s.at("string_match"), v.StringMatch)
	case *routev3.HeaderMatcher_RangeMatch:
		h.RangeSet, h.RangeLo, h.RangeHi = true, v.RangeMatch.GetStart(), v.RangeMatch.GetEnd()
	case *routev3.HeaderMatcher_ExactMatch:
		h.Value = StringMatch{Kind: StringExact, Value: v.ExactMatch}
	case *routev3.HeaderMatcher_PrefixMatch:
		h.Value = StringMatch{Kind: StringPrefix, Value: v.PrefixMatch}
	case *routev3.HeaderMatcher_SuffixMatch:
		h.Value = StringMatch{Kind: StringSuffix, Value: v.SuffixMatch}
	case *routev3.HeaderMatcher_ContainsMatch:
		h.Value = StringMatch{Kind: StringContains, Value: v.ContainsMatch}
	case *routev3.HeaderMatcher_SafeRegexMatch:
		h.Value.Kind = StringRegex
		h.Value.Regex, err = parseRegex(s.at("safe_regex_match"), v.SafeRegexMatch)
	default:
		err = s.unsupported()
	}
	return h, err
}
