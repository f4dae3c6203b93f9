package match

import (
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// textMatches is StringMatches for a string, without a copy where case counts.
func textMatches(m *config.StringMatch, v string) bool {
	if m.CaseFold {
		return StringMatches(m, []byte(v))
	}
	switch m.Kind {
	case config.StringAny:
		return true
	case config.StringExact:
		return v == m.Value
	case config.StringPrefix:
		return strings.HasPrefix(v, m.Value)
	case config.StringSuffix:
		return strings.HasSuffix(v, m.Value)
	case config.StringContains:
		return strings.Contains(v, m.Value)
	case config.StringRegex:
		if m.Plain != nil && strings.IndexByte(v, '\n') < 0 {
			return textMatches(m.Plain, v)
		}
		return m.Regex.MatchString(v)
	}
	return false
}

// MetadataMatches reports whether a value of the dynamic metadata agrees with a
// match. One that is not there agrees with an inverted match alone.
func MetadataMatches(m *config.MetadataMatch, md *stream.Metadata) bool {
	v, ok := md.Get(m.Filter, m.Path...)
	return valueMatches(&m.Value, v, ok) != m.Invert
}

func valueMatches(m *config.ValueMatch, v any, ok bool) bool {
	switch m.Kind {
	case config.ValuePresent:
		return m.Bool && ok && primitive(v)
	case config.ValueAny:
		for i := range m.Parts {
			if valueMatches(&m.Parts[i], v, ok) {
				return true
			}
		}
		return false
	case config.ValueNull:
		return ok && v == nil
	}
	switch v := v.(type) {
	case string:
		return m.Kind == config.ValueText && textMatches(&m.Text, v)
	case bool:
		return m.Kind == config.ValueBool && v == m.Bool
	case float64:
		return m.Kind == config.ValueNumber && (v == m.Lo || m.Lo < v && v < m.Hi)
	case []any:
		if m.Kind != config.ValueList {
			return false
		}
		for _, e := range v {
			if valueMatches(&m.Parts[0], e, true) {
				return true
			}
		}
	}
	return false
}

// primitive excludes lists and objects, which are never "present" in Envoy.
func primitive(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return false
	}
	return true
}
