package telemetry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

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

// append writes null for one operator without a value, as Envoy does.
func (n leaf) append(dst []byte, src *format.Source) []byte {
	var room [256]byte
	text, ok := n.prog.AppendValue(room[:0], src)
	switch {
	case !ok:
		return append(dst, "null"...)
	case n.number:
		return append(dst, text...)
	}
	quoted, err := json.Marshal(string(text))
	if err != nil { // cannot be: strings always marshal
		return append(dst, "null"...)
	}
	return append(dst, quoted...)
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
