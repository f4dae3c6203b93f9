package config

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// permission reads what is asked for: the request and its destination.
func permission(s *scope, m *rbacv3.Permission, depth int) (Condition, error) {
	switch v := m.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		return conditions(s.at("and_rules"), "rules", v.AndRules.GetRules(), CondAll, depth, permission)
	case *rbacv3.Permission_OrRules:
		return conditions(s.at("or_rules"), "rules", v.OrRules.GetRules(), CondAny, depth, permission)
	case *rbacv3.Permission_NotRule:
		return negation(s, "not_rule", v.NotRule, depth, permission)
	case *rbacv3.Permission_Any:
		return always(s, v.Any)
	case *rbacv3.Permission_Header:
		return headerCondition(s.at("header"), v.Header)
	case *rbacv3.Permission_UrlPath:
		return textCondition(s.at("url_path").at("path"), CondPath, v.UrlPath.GetPath())
	case *rbacv3.Permission_UriTemplate:
		return templateCondition(s.at("uri_template"), v.UriTemplate)
	case *rbacv3.Permission_DestinationIp:
		return addressCondition(s, "destination_ip", CondDestIP, v.DestinationIp)
	case *rbacv3.Permission_DestinationPort:
		port, err := parsePort(s.at("destination_port"), v.DestinationPort)
		return Condition{Kind: CondDestPort, PortLo: uint32(port), PortHi: uint32(port) + 1}, err
	case *rbacv3.Permission_DestinationPortRange:
		return portsCondition(s.at("destination_port_range"), v.DestinationPortRange)
	case *rbacv3.Permission_RequestedServerName:
		return textCondition(s.at("requested_server_name"), CondServerName, v.RequestedServerName)
	case *rbacv3.Permission_Metadata:
		return metadataCondition(s.at("metadata"), v.Metadata)
	case *rbacv3.Permission_SourcedMetadata:
		return sourcedCondition(s.at("sourced_metadata"), v.SourcedMetadata)
	case nil:
		return Condition{}, s.errorf("has no rule")
	}
	return Condition{}, s.unsupported()
}

// principal reads who asks.
func principal(s *scope, m *rbacv3.Principal, depth int) (Condition, error) {
	switch v := m.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		return conditions(s.at("and_ids"), "ids", v.AndIds.GetIds(), CondAll, depth, principal)
	case *rbacv3.Principal_OrIds:
		return conditions(s.at("or_ids"), "ids", v.OrIds.GetIds(), CondAny, depth, principal)
	case *rbacv3.Principal_NotId:
		return negation(s, "not_id", v.NotId, depth, principal)
	case *rbacv3.Principal_Any:
		return always(s, v.Any)
	case *rbacv3.Principal_Authenticated_:
		if v.Authenticated.GetPrincipalName() == nil {
			return Condition{Kind: CondPrincipal}, nil
		}
		return textCondition(s.at("authenticated").at("principal_name"), CondPrincipal, v.Authenticated.GetPrincipalName())
	case *rbacv3.Principal_SourceIp:
		return addressCondition(s, "source_ip", CondSourceIP, v.SourceIp)
	case *rbacv3.Principal_DirectRemoteIp:
		return addressCondition(s, "direct_remote_ip", CondDirectIP, v.DirectRemoteIp)
	case *rbacv3.Principal_RemoteIp:
		return addressCondition(s, "remote_ip", CondRemoteIP, v.RemoteIp)
	case *rbacv3.Principal_Header:
		return headerCondition(s.at("header"), v.Header)
	case *rbacv3.Principal_UrlPath:
		return textCondition(s.at("url_path").at("path"), CondPath, v.UrlPath.GetPath())
	case *rbacv3.Principal_Metadata:
		return metadataCondition(s.at("metadata"), v.Metadata)
	case *rbacv3.Principal_SourcedMetadata:
		return sourcedCondition(s.at("sourced_metadata"), v.SourcedMetadata)
	case *rbacv3.Principal_FilterState:
		return stateCondition(s.at("filter_state"), v.FilterState)
	case nil:
		return Condition{}, s.errorf("has no identifier")
	}
	return Condition{}, s.unsupported()
}

func always(s *scope, yes bool) (Condition, error) {
	if !yes {
		return Condition{}, s.at("any").errorf("must be true")
	}
	return Condition{Kind: CondAlways}, nil
}

func headerCondition(s *scope, m *routev3.HeaderMatcher) (Condition, error) {
	h, err := parseHeaderMatch(s, m)
	return Condition{Kind: CondHeader, Header: &h}, err
}

func textCondition(s *scope, kind ConditionKind, m *matcherv3.StringMatcher) (Condition, error) {
	t, err := parseString(s, m)
	return Condition{Kind: kind, Text: &t}, err
}

func addressCondition(s *scope, field string, kind ConditionKind, m *corev3.CidrRange) (Condition, error) {
	list, err := parseCIDRs(s, field, []*corev3.CidrRange{m})
	if err != nil {
		return Condition{}, err
	}
	return Condition{Kind: kind, Prefix: list[0]}, nil
}

// portsCondition keeps Envoy's bounds, by which the end may be 65536.
func portsCondition(s *scope, m *typev3.Int32Range) (Condition, error) {
	const limit = 1 << 16
	lo, hi := m.GetStart(), m.GetEnd()
	if lo < 0 || hi > limit || lo >= hi {
		return Condition{}, s.errorf("[%d, %d) is not a range of ports", lo, hi)
	}
	return Condition{Kind: CondDestPort, PortLo: uint32(lo), PortHi: uint32(hi)}, nil
}

// stateCondition reads the one filter state that this proxy has.
func stateCondition(s *scope, m *matcherv3.FilterStateMatcher) (Condition, error) {
	if m.GetKey() != PeerPrincipal {
		return Condition{}, s.at("key").errorf("%q is not supported by this proxy, only %q", m.GetKey(), PeerPrincipal)
	}
	return textCondition(s.at("string_match"), CondPeer, m.GetStringMatch())
}

func sourcedCondition(s *scope, m *rbacv3.SourcedMetadata) (Condition, error) {
	if m.GetMetadataSource() != rbacv3.MetadataSource_DYNAMIC {
		return Condition{}, s.at("metadata_source").errorf("%s is not supported by this proxy", m.GetMetadataSource())
	}
	return metadataCondition(s.at("metadata_matcher"), m.GetMetadataMatcher())
}

func metadataCondition(s *scope, m *matcherv3.MetadataMatcher) (Condition, error) {
	out := &MetadataMatch{Filter: m.GetFilter(), Invert: m.GetInvert()}
	if out.Filter == "" {
		return Condition{}, s.at("filter").errorf("is empty")
	}
	for i, p := range m.GetPath() {
		if p.GetKey() == "" {
			return Condition{}, s.item("path", i).at("key").errorf("is empty")
		}
		out.Path = append(out.Path, p.GetKey())
	}
	if len(out.Path) == 0 {
		return Condition{}, s.at("path").errorf("is empty")
	}
	var err error
	out.Value, err = parseValueMatch(s.at("value"), m.GetValue(), 0)
	return Condition{Kind: CondMetadata, Metadata: out}, err
}

func parseValueMatch(s *scope, m *matcherv3.ValueMatcher, depth int) (out ValueMatch, err error) {
	if depth > maxConditionDepth {
		return out, s.errorf("lies more than %d levels deep", maxConditionDepth)
	}
	switch v := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		out.Kind = ValueNull
	case *matcherv3.ValueMatcher_PresentMatch:
		out.Kind, out.Bool = ValuePresent, v.PresentMatch
	case *matcherv3.ValueMatcher_BoolMatch:
		out.Kind, out.Bool = ValueBool, v.BoolMatch
	case *matcherv3.ValueMatcher_StringMatch:
		out.Kind = ValueText
		out.Text, err = parseString(s.at("string_match"), v.StringMatch)
	case *matcherv3.ValueMatcher_DoubleMatch:
		return parseNumberMatch(s.at("double_match"), v.DoubleMatch)
	case *matcherv3.ValueMatcher_ListMatch:
		var one ValueMatch
		one, err = parseValueMatch(s.at("list_match").at("one_of"), v.ListMatch.GetOneOf(), depth+1)
		out.Kind, out.Parts = ValueList, []ValueMatch{one}
	case *matcherv3.ValueMatcher_OrMatch:
		out.Kind = ValueAny
		at := s.at("or_match")
		for i, p := range v.OrMatch.GetValueMatchers() {
			part, err := parseValueMatch(at.item("value_matchers", i), p, depth+1)
			if err != nil {
				return out, err
			}
			out.Parts = append(out.Parts, part)
		}
		if len(out.Parts) == 0 {
			err = at.at("value_matchers").errorf("is empty")
		}
	default:
		err = s.errorf("has no pattern")
	}
	return out, err
}

func parseNumberMatch(s *scope, m *matcherv3.DoubleMatcher) (ValueMatch, error) {
	switch v := m.GetMatchPattern().(type) {
	case *matcherv3.DoubleMatcher_Exact:
		return ValueMatch{Kind: ValueNumber, Lo: v.Exact, Hi: v.Exact}, nil
	case *matcherv3.DoubleMatcher_Range:
		lo, hi := v.Range.GetStart(), v.Range.GetEnd()
		if !(lo < hi) { // an empty range must not turn into one number; NaN compares with nothing
			return ValueMatch{}, s.at("range").errorf("[%v, %v) is empty", lo, hi)
		}
		return ValueMatch{Kind: ValueNumber, Lo: lo, Hi: hi}, nil
	}
	return ValueMatch{}, s.errorf("has no pattern")
}
