package rbac

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// naive is a second reading of Envoy's RBAC page: it interprets the messages as
// they are, with strings and without any preparation.
type naive struct{ s *stream.Stream }

// decide gives the verdict and the policy by which it came.
func (n naive) decide(m *rbacv3.RBAC) (allowed bool, policy string) {
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		p := m.GetPolicies()[name]
		if slices.ContainsFunc(p.GetPermissions(), n.permission) && slices.ContainsFunc(p.GetPrincipals(), n.principal) {
			return m.GetAction() != rbacv3.RBAC_DENY, name
		}
	}
	return m.GetAction() != rbacv3.RBAC_ALLOW, ""
}

func every[T any](list []T, f func(T) bool) bool {
	return !slices.ContainsFunc(list, func(v T) bool { return !f(v) })
}

func (n naive) permission(m *rbacv3.Permission) bool {
	switch v := m.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		return every(v.AndRules.GetRules(), n.permission)
	case *rbacv3.Permission_OrRules:
		return slices.ContainsFunc(v.OrRules.GetRules(), n.permission)
	case *rbacv3.Permission_NotRule:
		return !n.permission(v.NotRule)
	case *rbacv3.Permission_Any:
		return true
	case *rbacv3.Permission_Header:
		return n.header(v.Header)
	case *rbacv3.Permission_UrlPath:
		return n.path(v.UrlPath)
	case *rbacv3.Permission_DestinationPort:
		return uint32(n.s.Conn.Local.Port()) == v.DestinationPort
	case *rbacv3.Permission_DestinationPortRange:
		p := int32(n.s.Conn.Local.Port())
		return v.DestinationPortRange.GetStart() <= p && p < v.DestinationPortRange.GetEnd()
	case *rbacv3.Permission_DestinationIp:
		return within(n.s.Conn.Local.Addr(), v.DestinationIp.GetAddressPrefix(), v.DestinationIp.GetPrefixLen().GetValue())
	case *rbacv3.Permission_RequestedServerName:
		return text(v.RequestedServerName, n.s.Conn.ServerName)
	case *rbacv3.Permission_Metadata:
		return n.metadata(v.Metadata)
	}
	panic("not generated")
}

func (n naive) principal(m *rbacv3.Principal) bool {
	switch v := m.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		return every(v.AndIds.GetIds(), n.principal)
	case *rbacv3.Principal_OrIds:
		return slices.ContainsFunc(v.OrIds.GetIds(), n.principal)
	case *rbacv3.Principal_NotId:
		return !n.principal(v.NotId)
	case *rbacv3.Principal_Any:
		return true
	case *rbacv3.Principal_Header:
		return n.header(v.Header)
	case *rbacv3.Principal_UrlPath:
		return n.path(v.UrlPath)
	case *rbacv3.Principal_Metadata:
		return n.metadata(v.Metadata)
	case *rbacv3.Principal_DirectRemoteIp:
		return within(n.s.Conn.Remote.Addr(), v.DirectRemoteIp.GetAddressPrefix(), v.DirectRemoteIp.GetPrefixLen().GetValue())
	case *rbacv3.Principal_RemoteIp:
		return within(n.client(), v.RemoteIp.GetAddressPrefix(), v.RemoteIp.GetPrefixLen().GetValue())
	case *rbacv3.Principal_Authenticated_:
		t := n.s.Conn.TLS
		if t == nil || v.Authenticated.GetPrincipalName() == nil {
			return t != nil
		}
		names := append(append(slices.Clone(t.PeerURIs), t.PeerDNS...), t.PeerSubj)
		return slices.ContainsFunc(names, func(name string) bool { return text(v.Authenticated.GetPrincipalName(), name) })
	}
	panic("not generated")
}

func within(a netip.Addr, prefix string, bits uint32) bool {
	return netip.MustParsePrefix(prefix + "/" + strconv.Itoa(int(bits))).Contains(a)
}

// client reads x-forwarded-for as one list.
func (n naive) client() netip.Addr {
	var all []string
	for v := range n.s.Request.Values(stream.ForwardedFor) {
		all = append(all, strings.Split(string(v), ",")...)
	}
	if at := len(all) - 1 - int(n.s.TrustedHops); at >= 0 {
		if a, err := netip.ParseAddr(strings.Trim(all[at], " \t")); err == nil {
			return a.WithZone("").Unmap()
		}
	}
	return n.s.Conn.Remote.Addr()
}

func (n naive) path(m *matcherv3.PathMatcher) bool {
	p := string(n.s.Request.Path)
	if p == "" {
		return false
	}
	if i := strings.IndexAny(p, "?#"); i >= 0 {
		p = p[:i]
	}
	return text(m.GetPath(), p)
}

func (n naive) header(m *routev3.HeaderMatcher) bool {
	var values []string
	switch r := &n.s.Request; m.GetName() {
	case ":method":
		values = []string{string(r.Method)}
	case ":path":
		values = []string{string(r.Path)}
	case ":authority":
		values = []string{string(r.Authority)}
	default:
		for v := range r.Values(stream.N(m.GetName())) {
			values = append(values, string(v))
		}
	}
	if p, is := m.GetHeaderMatchSpecifier().(*routev3.HeaderMatcher_PresentMatch); is {
		return (len(values) > 0 == p.PresentMatch) != m.GetInvertMatch()
	}
	if len(values) == 0 {
		if !m.GetTreatMissingHeaderAsEmpty() {
			return false
		}
		values = []string{""}
	}
	return slices.ContainsFunc(values, func(v string) bool {
		if r, is := m.GetHeaderMatchSpecifier().(*routev3.HeaderMatcher_RangeMatch); is {
			i, err := strconv.ParseInt(v, 10, 64)
			return err == nil && r.RangeMatch.GetStart() <= i && i < r.RangeMatch.GetEnd()
		}
		return text(m.GetStringMatch(), v)
	}) != m.GetInvertMatch()
}

func text(m *matcherv3.StringMatcher, v string) bool {
	fold := func(s string) string {
		if m.GetIgnoreCase() {
			return strings.ToLower(s)
		}
		return s
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return fold(v) == fold(p.Exact)
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(fold(v), fold(p.Prefix))
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(fold(v), fold(p.Suffix))
	case *matcherv3.StringMatcher_Contains:
		return strings.Contains(fold(v), fold(p.Contains))
	case *matcherv3.StringMatcher_SafeRegex:
		loc := regexp.MustCompile("^(?:" + p.SafeRegex.GetRegex() + ")$").FindStringIndex(v)
		return loc != nil && loc[0] == 0 && loc[1] == len(v)
	}
	panic("not generated")
}

func (n naive) metadata(m *matcherv3.MetadataMatcher) bool {
	var keys []string
	for _, p := range m.GetPath() {
		keys = append(keys, p.GetKey())
	}
	v, ok := n.s.Metadata.Get(m.GetFilter(), keys...)
	return value(m.GetValue(), v, ok) != m.GetInvert()
}

func value(m *matcherv3.ValueMatcher, v any, ok bool) bool {
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		return ok && v == nil
	case *matcherv3.ValueMatcher_PresentMatch:
		_, isList := v.([]any)
		return ok && p.PresentMatch && !isList
	case *matcherv3.ValueMatcher_BoolMatch:
		return v == any(p.BoolMatch)
	case *matcherv3.ValueMatcher_StringMatch:
		s, is := v.(string)
		return is && text(p.StringMatch, s)
	case *matcherv3.ValueMatcher_DoubleMatch:
		f, is := v.(float64)
		return is && f == p.DoubleMatch.GetExact()
	case *matcherv3.ValueMatcher_ListMatch:
		list, _ := v.([]any)
		return slices.ContainsFunc(list, func(e any) bool { return value(p.ListMatch.GetOneOf(), e, true) })
	case *matcherv3.ValueMatcher_OrMatch:
		return slices.ContainsFunc(p.OrMatch.GetValueMatchers(), func(e *matcherv3.ValueMatcher) bool { return value(e, v, ok) })
	}
	panic("not generated")
}
