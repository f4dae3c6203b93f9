package telemetry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lateen-mesh/lateen/internal/proxy/config/format"
)

// node is one compiled value of a JSON format.
type node interface {
	append(dst []byte, src *format.Source) []byte
}

type (
	literal []byte // JSON text
	leaf    struct {
		prog   *format.Program
		number bool // written without quotes
	}
	object struct {
		keys   []literal // with quotes and colon
		values []node
	}
	array []node
)

// numeric are operators whose values Envoy writes as JSON numbers.
var numeric = map[string]bool{
	"%RESPONSE_CODE%": true, "%BYTES_RECEIVED%": true, "%BYTES_SENT%": true, "%DURATION%": true,
	"%REQUEST_DURATION%": true, "%RESPONSE_DURATION%": true, "%UPSTREAM_REQUEST_ATTEMPT_COUNT%": true, "%CONNECTION_ID%": true,
}

// compileJSON compiles a value of a JSON format; keys are written in order.
func compileJSON(v any) (node, error) {
	switch v := v.(type) {
	case map[string]any:
		var o object
		for _, k := range slices.Sorted(maps.Keys(v)) {
			n, err := compileJSON(v[k])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
			key, err := json.Marshal(k)
			if err != nil {
				return nil, err
			}
			o.keys = append(o.keys, append(key, ':'))
			o.values = append(o.values, n)
		}
		return o, nil
	case []any:
		var a array
		for _, e := range v {
			n, err := compileJSON(e)
			if err != nil {
				return nil, err
			}
			a = append(a, n)
		}
		return a, nil
	case string:
		if strings.Contains(v, "%") {
			p, err := format.Parse(v)
			return leaf{prog: p, number: numeric[v]}, err
		}
	}
	text, err := json.Marshal(v)
	return literal(text), err
}

func (n literal) append(dst []byte, _ *format.Source) []byte { return append(dst, n...) }

// append writes null for one operator without a value, as Envoy does. The value is
// made at the end of dst, and quoted behind itself if it needs escapes.
func (n leaf) append(dst []byte, src *format.Source) []byte {
	start := len(dst)
	if !n.number {
		dst = append(dst, '"')
	}
	body := len(dst)
	dst, ok := n.prog.AppendValue(dst, src)
	switch {
	case !ok:
		return append(dst[:start], "null"...)
	case n.number:
		return dst
	case plain(dst[body:]):
		return append(dst, '"')
	}
	end := len(dst)
	dst = appendQuoted(dst, dst[body:])
	return dst[:start+copy(dst[start:], dst[end:])]
}

// plain reports whether a text stands in JSON as it is.
func plain(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}

// appendQuoted writes a JSON string without garbage. Bytes that are no UTF-8
// become the replacement character, as in encoding/json.
func appendQuoted(dst, text []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRune(text[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		i++
	}
	return append(dst, '"')
}

func (n object) append(dst []byte, src *format.Source) []byte {
	dst = append(dst, '{')
	for i, k := range n.keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = n.values[i].append(append(dst, k...), src)
	}
	return append(dst, '}')
}

func (n array) append(dst []byte, src *format.Source) []byte {
	dst = append(dst, '[')
	for i, e := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = e.append(dst, src)
	}
	return append(dst, ']')
}
