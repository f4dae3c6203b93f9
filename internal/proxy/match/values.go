package match

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// HeaderMatches reports whether a request agrees with a header match.
func HeaderMatches(h *config.HeaderMatch, req *stream.Request) bool {
	value, ok := fieldValue(h.Name, req)
	return headerMatches(h, value, ok)
}

// ResponseMatches reports whether a response agrees with a header match, for
// retriable_headers.
func ResponseMatches(h *config.HeaderMatch, resp *stream.Response) bool {
	if h.Name.String() == ":status" {
		var few [8]byte
		return headerMatches(h, strconv.AppendInt(few[:0], int64(resp.Status), 10), true)
	}
	value, ok := joined(&resp.Head, h.Name)
	return headerMatches(h, value, ok)
}

// headerMatches: a field that is not there agrees only with its inverted presence,
// unless it counts as empty (HeaderMatcher.treat_missing_header_as_empty).
func headerMatches(h *config.HeaderMatch, value []byte, ok bool) bool {
	if h.Value.Kind == config.StringAny && !h.RangeSet {
		return ok != h.Invert
	}
	if !ok {
		if !h.MissingAsEmpty {
			return false
		}
		value = nil
	}
	if h.RangeSet {
		n, err := strconv.ParseInt(string(value), 10, 64)
		return (err == nil && h.RangeLo <= n && n < h.RangeHi) != h.Invert
	}
	return StringMatches(&h.Value, value) != h.Invert
}

// fieldValue returns a field's value, several of one name joined by ",", and
// pseudo-headers from where the request keeps them.
func fieldValue(n stream.Name, req *stream.Request) (value []byte, ok bool) {
	switch name := n.String(); {
	case name == "host", name == ":authority":
		return req.Authority, true
	case name == "" || name[0] != ':':
		return joined(&req.Head, n)
	case name == ":method":
		return req.Method, true
	case name == ":path":
		return req.Path, true
	case name == ":scheme":
		return req.Scheme, true
	}
	return nil, false
}

// joined returns a field's only value as it is, or several in a new slice.
func joined(h *stream.Head, n stream.Name) ([]byte, bool) {
	var first []byte
	count := 0
	for v := range h.Values(n) {
		if count++; count == 1 {
			first = v
		}
	}
	if count < 2 {
		return first, count == 1
	}
	all := slices.Collect(h.Values(n))
	return bytes.Join(all, []byte(",")), true
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
