package rbac

import (
	"fmt"
	"net/netip"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// maker makes rules and requests of a fuzzer's bytes, over few words, so that
// they meet.
type maker struct{ data []byte }

func (m *maker) n(limit int) int {
	if len(m.data) == 0 {
		return 0
	}
	v := int(m.data[0]) % limit
	m.data = m.data[1:]
	return v
}

func pick[T any](m *maker, list ...T) T { return list[m.n(len(list))] }

func (m *maker) word() string {
	return pick(m, "/a", "/A", "/a/b", "/ab", "/a%2Fb", "//a", "a", "b", "a,b", "1", "12", "GET", "spiffe://td/ns/a/sa/x", "x.example", "", "a\nb")
}

func (m *maker) text() *matcherv3.StringMatcher {
	w := m.word()
	out := &matcherv3.StringMatcher{IgnoreCase: m.n(4) == 1}
	kind := m.n(5)
	if w == "" && kind != 4 {
		kind = 0 // other patterns must not be empty
	}
	switch kind {
	case 0:
		out.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: w}
	case 1:
		out.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: w}
	case 2:
		out.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: w}
	case 3:
		out.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: w}
	case 4:
		out.IgnoreCase = false
		out.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: pick(m, ".*", ".+", "/a.*", "a|ab", "[0-9]+", ".*/ns/a/.*", "a.*", ".*b", "ab", ".*a.*")}}
	}
	return out
}

func (m *maker) header() *routev3.HeaderMatcher {
	h := &routev3.HeaderMatcher{
		Name: pick(m, ":method", ":path", ":authority", "x-a", "x-b"), InvertMatch: m.n(3) == 1, TreatMissingHeaderAsEmpty: m.n(3) == 1,
	}
	switch m.n(4) {
	case 0:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: m.n(2) == 0}
	case 1:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_RangeMatch{RangeMatch: &typev3.Int64Range{Start: 1, End: int64(2 + m.n(20))}}
	default:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: m.text()}
	}
	return h
}

func (m *maker) cidr() *corev3.CidrRange {
	return &corev3.CidrRange{AddressPrefix: pick(m, "10.0.0.0", "10.1.2.3", "::", "2001:db8::1"), PrefixLen: wrapperspb.UInt32(uint32(m.n(33)))}
}

func (m *maker) metadata() *matcherv3.MetadataMatcher {
	return &matcherv3.MetadataMatcher{
		Filter: pick(m, "jwt", "none"), Invert: m.n(3) == 1, Value: m.value(0),
		Path: []*matcherv3.MetadataMatcher_PathSegment{
			{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: "payload"}},
			{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: pick(m, "iss", "groups", "admin", "age", "nil", "none")}},
		},
	}
}

func (m *maker) value(depth int) *matcherv3.ValueMatcher {
	kind := m.n(7)
	if depth > 2 {
		kind %= 5
	}
	switch kind {
	case 0:
		return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: m.text()}}
	case 1:
		return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_NullMatch_{NullMatch: &matcherv3.ValueMatcher_NullMatch{}}}
	case 2:
		return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: m.n(2) == 0}}
	case 3:
		return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_BoolMatch{BoolMatch: m.n(2) == 0}}
	case 4:
		return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_DoubleMatch{DoubleMatch: &matcherv3.DoubleMatcher{MatchPattern: &matcherv3.DoubleMatcher_Exact{Exact: float64(m.n(40))}}}}
	case 5:
		return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: m.value(depth + 1)}}}}
	}
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_OrMatch{OrMatch: &matcherv3.OrMatcher{ValueMatchers: []*matcherv3.ValueMatcher{m.value(depth + 1), m.value(depth + 1)}}}}
}

func list[T any](m *maker, f func() T) []T {
	var out []T
	for range 1 + m.n(3) {
		out = append(out, f())
	}
	return out
}

func (m *maker) permission(depth int) *rbacv3.Permission {
	inner := func() *rbacv3.Permission { return m.permission(depth + 1) }
	kind := m.n(11)
	if depth > 3 {
		kind = 3 + kind%8
	}
	switch kind {
	case 0:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: list(m, inner)}}}
	case 1:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: list(m, inner)}}}
	case 2:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: inner()}}
	case 3:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}
	case 4:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: m.text()}}}}
	case 5:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPort{DestinationPort: pick(m, uint32(80), 9080, 9081)}}
	case 6:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPortRange{DestinationPortRange: &typev3.Int32Range{Start: 80, End: pick(m, int32(81), 9080, 9081)}}}
	case 7:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_DestinationIp{DestinationIp: m.cidr()}}
	case 8:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_RequestedServerName{RequestedServerName: m.text()}}
	case 9:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Metadata{Metadata: m.metadata()}}
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: m.header()}}
}

func (m *maker) principal(depth int) *rbacv3.Principal {
	inner := func() *rbacv3.Principal { return m.principal(depth + 1) }
	kind := m.n(10)
	if depth > 3 {
		kind = 3 + kind%7
	}
	switch kind {
	case 0:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: list(m, inner)}}}
	case 1:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: list(m, inner)}}}
	case 2:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: inner()}}
	case 3:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
	case 4:
		a := &rbacv3.Principal_Authenticated{}
		if m.n(4) > 0 {
			a.PrincipalName = m.text()
		}
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{Authenticated: a}}
	case 5:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: m.cidr()}}
	case 6:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: m.cidr()}}
	case 7:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_UrlPath{UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: m.text()}}}}
	case 8:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Metadata{Metadata: m.metadata()}}
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Header{Header: m.header()}}
}

func (m *maker) rules() *rbacv3.RBAC {
	r := &rbacv3.RBAC{Action: rbacv3.RBAC_Action(m.n(3)), Policies: map[string]*rbacv3.Policy{}}
	for i := range m.n(4) {
		r.Policies[fmt.Sprint("p", (i*7)%5)] = &rbacv3.Policy{
			Permissions: list(m, func() *rbacv3.Permission { return m.permission(0) }), Principals: list(m, func() *rbacv3.Principal { return m.principal(0) }),
		}
	}
	return r
}

func (m *maker) stream() *stream.Stream {
	s := &stream.Stream{TrustedHops: uint16(m.n(3)), Conn: &stream.Conn{
		Remote: netip.AddrPortFrom(pick(m, netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")), 5000),
		Local:  netip.AddrPortFrom(netip.MustParseAddr(pick(m, "10.1.2.3", "::1")), pick(m, uint16(80), 9080, 9081)),
	}}
	s.Conn.ServerName = pick(m, "", "x.example", "a")
	if m.n(2) == 1 {
		s.Conn.TLS = &stream.TLS{PeerSubj: pick(m, "", "CN=a"), PeerURIs: pick(m, nil, []string{"spiffe://td/ns/a/sa/x"}, []string{"a", "b"}), PeerDNS: pick(m, nil, []string{"x.example"})}
	}
	r := &s.Request
	r.Method, r.Path, r.Authority = []byte(pick(m, "GET", "POST", "get")), []byte(m.word()), []byte(m.word())
	if m.n(3) == 1 {
		r.Path = append(r.Path, pick(m, "?a=/b", "#a", "?")...)
	}
	for range m.n(4) {
		r.AddString(stream.N(pick(m, "x-a", "X-A", "x-b")), m.word())
	}
	for range m.n(3) {
		r.AddString(stream.ForwardedFor, pick(m, "10.1.2.3", "10.0.0.1, 2001:db8::1", "nobody", "", "010.1.2.3", " 10.1.2.3\t", "::ffff:10.1.2.3", "10.1.2.256", "10.1.2", "10.1.2.3.4"))
	}
	payload := map[string]any{"iss": m.word(), "groups": []any{m.word(), m.word(), float64(3)}, "admin": m.n(2) == 1, "age": float64(m.n(40)), "nil": nil}
	if m.n(3) > 0 {
		s.Metadata.Set("jwt", "payload", payload)
	}
	return s
}

// FuzzDecide: the prepared rules decide as the naive reading of the messages does.
func FuzzDecide(f *testing.F) {
	for i := range 64 {
		seed := make([]byte, 200)
		for j := range seed {
			seed[j] = byte((j*j*31 + i*i*17 + i*j) % 251)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &maker{data}
		s, rules := m.stream(), m.rules()
		raw, err := proto.Marshal(&httprbacv3.RBAC{Rules: rules})
		if err != nil {
			t.Fatal(err)
		}
		a, err := config.ParseHTTPAccess(raw)
		if err != nil {
			t.Fatalf("%v\n%v", err, rules)
		}
		got := match.DecideAccess(a.Rules, s, nil)
		name := ""
		if got.Policy != nil {
			name = got.Policy.Name
		}
		if allowed, policy := (naive{s}).decide(rules); allowed != got.Allowed || policy != name {
			t.Errorf("allowed %v by %q, want %v by %q\nrules %v\nrequest %q %q %q", got.Allowed, name, allowed, policy, rules, s.Request.Method, s.Request.Path, s.Request.Authority)
		}
		rec := &recorder{}
		if again := match.DecideAccess(a.Rules, s, rec); again != got || len(rec.why) == 0 && len(rules.GetPolicies()) > 0 {
			t.Errorf("with a recorder: %+v, %q", again, rec.why)
		}
	})
}

type recorder struct{ why []string }

func (r *recorder) Candidate(c match.Candidate) {
	r.why = append(r.why, c.Node.(*config.AccessPolicy).Name+": "+c.Why)
}
