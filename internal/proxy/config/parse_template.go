package config

import (
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
)

// What a path template's operators stand for.
const (
	templateSegment = `[^/]+`
	templateRest    = `(?s:.*)`
)

// templateCondition reads Envoy's path template matcher, which becomes a pattern.
func templateCondition(s *scope, m *corev3.TypedExtensionConfig) (Condition, error) {
	cfg := &uritemplatev3.UriTemplateMatchConfig{}
	s = s.at("typed_config")
	if err := unpack(s, m.GetTypedConfig(), cfg); err != nil {
		return Condition{}, err
	}
	re, err := parseTemplate(s.at("path_template"), cfg.GetPathTemplate())
	return Condition{Kind: CondPath, Text: &StringMatch{Kind: StringRegex, Regex: re}}, err
}

// parseTemplate compiles "/a/*/b/**": each segment is literal, "*" (one segment),
// "**" (any number of segments, only last), or one of these named as "{name=*}".
// Segments that mix literals and operators are refused.
func parseTemplate(s *scope, t string) (*regexp.Regexp, error) {
	if !strings.HasPrefix(t, "/") {
		return nil, s.errorf("%q does not begin with a slash", t)
	}
	var b strings.Builder
	b.WriteString(`\A`)
	open := false // "**" was there
	for seg := range strings.SplitSeq(t[1:], "/") {
		b.WriteByte('/')
		op := templateOperator(seg)
		switch {
		case op == "":
			if strings.ContainsAny(seg, "*{}") {
				return nil, s.errorf("%q: segment %q mixes text and operators, which is not supported by this proxy", t, seg)
			}
			b.WriteString(regexp.QuoteMeta(seg))
		case open:
			return nil, s.errorf("%q: an operator follows **", t)
		case op == "**":
			open = true
			b.WriteString(templateRest)
		default:
			b.WriteString(templateSegment)
		}
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, s.errorf("%w", err)
	}
	return re, nil
}

// templateOperator gives the operator that a segment stands for, "" for none.
func templateOperator(seg string) string {
	if inner, ok := strings.CutPrefix(seg, "{"); ok {
		if inner, ok = strings.CutSuffix(inner, "}"); !ok {
			return ""
		}
		name, op, named := strings.Cut(inner, "=")
		if !named {
			op = "*"
		}
		if name == "" || strings.ContainsAny(name, "{}*=") {
			return ""
		}
		seg = op
	}
	if seg == "*" || seg == "**" {
		return seg
	}
	return ""
}
