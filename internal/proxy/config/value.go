package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// hash is the identity of a resource, or of a part of it, over updates.
func hash(s *scope, m proto.Message) (uint64, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return 0, s.errorf("%w", err)
	}
	return xxhash.Sum64(b), nil
}

// duration reads an optional duration.
func duration(s *scope, d *durationpb.Duration, unset time.Duration) (time.Duration, error) {
	if d == nil {
		return unset, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, s.errorf("%w", err)
	}
	v := d.AsDuration()
	if v < 0 {
		return 0, s.errorf("duration %s is negative", v)
	}
	return v, nil
}

func uint32Or(v *wrapperspb.UInt32Value, unset uint32) uint32 {
	if v == nil {
		return unset
	}
	return v.GetValue()
}

func uint64Or(v *wrapperspb.UInt64Value, unset uint64) uint64 {
	if v == nil {
		return unset
	}
	return v.GetValue()
}

func boolOr(v *wrapperspb.BoolValue, unset bool) bool {
	if v == nil {
		return unset
	}
	return v.GetValue()
}

// parseMillionths reads a fraction as parts per million.
func parseMillionths(s *scope, f *typev3.FractionalPercent) (uint32, error) {
	const million = 1_000_000
	n := uint64(f.GetNumerator())
	switch f.GetDenominator() {
	case typev3.FractionalPercent_HUNDRED:
		n *= million / 100
	case typev3.FractionalPercent_TEN_THOUSAND:
		n *= million / 10_000
	case typev3.FractionalPercent_MILLION:
	default:
		return 0, s.at("denominator").errorf("value %d is not known", f.GetDenominator())
	}
	return uint32(min(n, million)), nil
}

// parsePort checks a port number.
func parsePort(s *scope, v uint32) (uint16, error) {
	if v > math.MaxUint16 {
		return 0, s.errorf("port %d is not below 65536", v)
	}
	return uint16(v), nil
}

var errNoSocket = errors.New("only socket addresses are supported")

// parseAddr reads an IP address and port.
func parseAddr(s *scope, a *corev3.Address) (netip.AddrPort, error) {
	host, port, err := parseHostPort(s, a)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, s.at("socket_address").at("address").errorf("%w", err)
	}
	return netip.AddrPortFrom(ip.Unmap(), port), nil
}

// parseHostPort reads a name or IP address, and port.
func parseHostPort(s *scope, a *corev3.Address) (string, uint16, error) {
	sa := a.GetSocketAddress()
	if sa == nil {
		return "", 0, s.errorf("%w", errNoSocket)
	}
	s = s.at("socket_address")
	if sa.GetProtocol() != corev3.SocketAddress_TCP {
		return "", 0, s.at("protocol").errorf("%s is not supported by this proxy", sa.GetProtocol())
	}
	port, err := parsePort(s.at("port_value"), sa.GetPortValue())
	return sa.GetAddress(), port, err
}

func parseCIDRs(s *scope, field string, list []*corev3.CidrRange) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, c := range list {
		ip, err := netip.ParseAddr(c.GetAddressPrefix())
		if err != nil {
			return nil, s.item(field, i).errorf("%w", err)
		}
		ip = ip.Unmap()
		bits := c.GetPrefixLen().GetValue()
		if bits > uint32(ip.BitLen()) {
			return nil, s.item(field, i).errorf("prefix length %d is too long for %s", bits, ip)
		}
		out = append(out, netip.PrefixFrom(ip, int(bits)).Masked())
	}
	return out, nil
}

// parseRegex compiles a pattern that must match a whole value.
func parseRegex(s *scope, m *matcherv3.RegexMatcher) (*regexp.Regexp, error) {
	s = s.at("regex")
	if m.GetRegex() == "" {
		return nil, s.errorf("is empty")
	}
	// Compiled alone first, so that "a)(b" is refused.
	if _, err := regexp.Compile(m.GetRegex()); err != nil {
		return nil, s.errorf("%w", err)
	}
	re, err := regexp.Compile(`\A(?:` + m.GetRegex() + `)\z`)
	if err != nil {
		return nil, s.errorf("%w", err)
	}
	return re, nil
}

// parseSubstitution compiles a rewrite: the pattern, which may match anywhere, and
// the replacement with \0 to \9.
func parseSubstitution(s *scope, m *matcherv3.RegexMatchAndSubstitute) (*regexp.Regexp, string, error) {
	pattern := m.GetPattern().GetRegex()
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, "", s.at("pattern").at("regex").errorf("%w", err)
	}
	if err := checkSubstitution(re, m.GetSubstitution()); err != nil {
		return nil, "", s.at("substitution").errorf("%w", err)
	}
	return re, m.GetSubstitution(), nil
}

func checkSubstitution(re *regexp.Regexp, sub string) error {
	for i := 0; i < len(sub); i++ {
		switch {
		case sub[i] == '\n' || sub[i] == '\r' || sub[i] == 0:
			return fmt.Errorf("holds a control character")
		case sub[i] != '\\':
		case i+1 == len(sub):
			return fmt.Errorf("ends in a backslash")
		case sub[i+1] == '\\':
			i++
		case sub[i+1] < '0' || sub[i+1] > '9':
			return fmt.Errorf(`\%c is not a group`, sub[i+1])
		case int(sub[i+1]-'0') > re.NumSubexp():
			return fmt.Errorf(`\%c: the pattern has %d groups`, sub[i+1], re.NumSubexp())
		default:
			i++
		}
	}
	return nil
}

// parseString reads a string matcher.
func parseString(s *scope, m *matcherv3.StringMatcher) (StringMatch, error) {
	out := StringMatch{CaseFold: m.GetIgnoreCase()}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		out.Kind, out.Value = StringExact, p.Exact
	case *matcherv3.StringMatcher_Prefix:
		out.Kind, out.Value = StringPrefix, p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		out.Kind, out.Value = StringSuffix, p.Suffix
	case *matcherv3.StringMatcher_Contains:
		out.Kind, out.Value = StringContains, p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		if out.CaseFold {
			return out, s.at("ignore_case").errorf("has no effect on a regular expression")
		}
		re, err := parseRegex(s.at("safe_regex"), p.SafeRegex)
		if err != nil {
			return out, err
		}
		out.Kind, out.Regex, out.Plain = StringRegex, re, plainPattern(p.SafeRegex.GetRegex())
		return out, nil
	default:
		return out, s.errorf("has no pattern")
	}
	if out.Value == "" && out.Kind != StringExact {
		return out, s.errorf("pattern is empty")
	}
	if out.CaseFold {
		out.Value = strings.ToLower(out.Value)
	}
	return out, nil
}

// plainPattern gives what the patterns "text.*", ".*text" and ".*text.*" mean on
// one line, which Istio writes for namespaces and wildcards; nil for others.
func plainPattern(p string) *StringMatch {
	text, open := strings.CutPrefix(p, ".*")
	text, ends := strings.CutSuffix(text, ".*")
	if text == "" || regexp.QuoteMeta(text) != text {
		return nil
	}
	switch {
	case open && ends:
		return &StringMatch{Kind: StringContains, Value: text}
	case open:
		return &StringMatch{Kind: StringSuffix, Value: text}
	case ends:
		return &StringMatch{Kind: StringPrefix, Value: text}
	}
	return &StringMatch{Kind: StringExact, Value: text}
}

// parseData reads inline data.
func parseData(s *scope, d *corev3.DataSource) ([]byte, error) {
	switch v := d.GetSpecifier().(type) {
	case nil:
		return nil, nil
	case *corev3.DataSource_InlineBytes:
		return v.InlineBytes, nil
	case *corev3.DataSource_InlineString:
		return []byte(v.InlineString), nil
	}
	return nil, s.errorf("only inline data is supported by this proxy")
}
