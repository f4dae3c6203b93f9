package match

import (
	"bytes"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// HeaderMatches reports whether a request agrees with a header match.
func HeaderMatches(h *config.HeaderMatch, req *stream.Request) bool {
	if value, pseudo := pseudoField(h.Name, req); pseudo {
		return settle(h, true, valueAgrees(h, value))
	}
	return fieldMatches(h, &req.Head)
}

// ResponseMatches reports whether a response agrees with a header match, for
// retriable_headers.
func ResponseMatches(h *config.HeaderMatch, resp *stream.Response) bool {
	if h.Name.String() == ":status" {
		var few [8]byte
		return settle(h, true, valueAgrees(h, strconv.AppendInt(few[:0], int64(resp.Status), 10)))
	}
	return fieldMatches(h, &resp.Head)
}

// fieldMatches looks at each value of a field by itself: one that agrees is
// enough, and an inverted match wants that none does. Joining them would let
// "x-role: user" before "x-role: admin" slip past a rule about admin
// (GHSA-ghc4-35x6-crw5).
func fieldMatches(h *config.HeaderMatch, head *stream.Head) bool {
	there, agrees := false, false
	for v := range head.Values(h.Name) {
		there = true
		if agrees = valueAgrees(h, v); agrees {
			break
		}
	}
	return settle(h, there, agrees)
}

// settle makes the answer of a match: whether the field is there, and whether a
// value agrees. A field that is not there agrees only with its inverted presence,
// unless it counts as empty (HeaderMatcher.treat_missing_header_as_empty).
func settle(h *config.HeaderMatch, there, agrees bool) bool {
	if h.Value.Kind == config.StringAny && !h.RangeSet {
		return there != h.Invert
	}
	if !there {
		if !h.MissingAsEmpty {
			return false
		}
		agrees = valueAgrees(h, nil)
	}
	return agrees != h.Invert
}

// valueAgrees reports whether one value agrees, before inversion.
func valueAgrees(h *config.HeaderMatch, value []byte) bool {
	if h.RangeSet {
		n, err := strconv.ParseInt(string(value), 10, 64)
		return err == nil && h.RangeLo <= n && n < h.RangeHi
	}
	return StringMatches(&h.Value, value)
}

// pseudoField gives a pseudo-header from where the request keeps it; host is one.
func pseudoField(n stream.Name, req *stream.Request) (value []byte, ok bool) {
	switch name := n.String(); {
	case name == "host", name == ":authority":
		return req.Authority, true
	case name == "" || name[0] != ':':
		return nil, false
	case name == ":method":
		return req.Method, true
	case name == ":path":
		return req.Path, true
	case name == ":scheme":
		return req.Scheme, true
	}
	return nil, false
}

// StringMatches reports whether a value agrees with a string match.
func StringMatches(m *config.StringMatch, v []byte) bool {
	switch m.Kind {
	case config.StringAny:
		return true
	case config.StringExact:
		return len(v) == len(m.Value) && hasPrefix(v, m.Value, m.CaseFold)
	case config.StringPrefix:
		return hasPrefix(v, m.Value, m.CaseFold)
	case config.StringSuffix:
		return len(v) >= len(m.Value) && hasPrefix(v[len(v)-len(m.Value):], m.Value, m.CaseFold)
	case config.StringContains:
		return contains(v, m.Value, m.CaseFold)
	case config.StringRegex:
		if m.Plain != nil && bytes.IndexByte(v, '\n') < 0 {
			return StringMatches(m.Plain, v)
		}
		return m.Regex.Match(v)
	}
	return false
}

func contains(v []byte, part string, fold bool) bool {
	for i := 0; i+len(part) <= len(v); i++ {
		if hasPrefix(v[i:], part, fold) {
			return true
		}
	}
	return false
}

// queryMatches looks at the first parameter of that name, as it stands in the
// path: Envoy does not decode here.
func queryMatches(q *config.QueryMatch, path []byte) bool {
	_, query, _ := bytes.Cut(path, []byte("?"))
	query, _, _ = bytes.Cut(query, []byte("#"))
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		key, value, _ := bytes.Cut(pair, []byte("="))
		if string(key) == q.Name {
			return StringMatches(&q.Value, value)
		}
	}
	return false
}
