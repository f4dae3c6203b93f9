package build

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

func routeMatch(m *ir.Match) *routev3.RouteMatch {
	out := &routev3.RouteMatch{}
	switch m.Path.Kind {
	case ir.Exact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Path.Value}
	case ir.Regex:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: m.Path.Value}}
	case ir.Segments:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: m.Path.Value}
	default:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: m.Path.Value}
	}
	if !m.Default {
		out.CaseSensitive = wrapperspb.Bool(!m.FoldCase)
	}
	for i := range m.Headers {
		out.Headers = append(out.Headers, headerMatch(&m.Headers[i]))
	}
	for i := range m.Query {
		out.QueryParameters = append(out.QueryParameters, queryMatch(&m.Query[i]))
	}
	return out
}

// headerMatch compares a header. An inverted comparison also holds where the
// header is missing, as Istio's withoutHeaders mean.
func headerMatch(m *ir.NamedMatch) *routev3.HeaderMatcher {
	out := &routev3.HeaderMatcher{Name: m.Name, InvertMatch: m.Invert}
	if m.Kind == ir.Present {
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
		return out
	}
	out.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatch(&m.StringMatch)}
	out.TreatMissingHeaderAsEmpty = m.Invert
	return out
}

func queryMatch(m *ir.NamedMatch) *routev3.QueryParameterMatcher {
	out := &routev3.QueryParameterMatcher{Name: m.Name}
	if m.Kind == ir.Present {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
		return out
	}
	out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: stringMatch(&m.StringMatch)}
	return out
}

func stringMatch(m *ir.StringMatch) *matcherv3.StringMatcher {
	switch m.Kind {
	case ir.Exact:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: m.Value}}
	case ir.Prefix:
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: m.Value}}
	case ir.Regex:
		return regexMatch(m.Value)
	}
	return regexMatch(".*") // present: any value
}

func regexMatch(re string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: re}}}
}
