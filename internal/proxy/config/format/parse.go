package format

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// parse splits a format into literals and operators.
func parse(text string) ([]part, error) {
	var parts []part
	literal := func(s string) {
		if s == "" {
			return
		}
		if n := len(parts); n > 0 && parts[n-1].op == nil {
			parts[n-1].text += s
			return
		}
		parts = append(parts, part{text: s})
	}
	for rest := text; rest != ""; {
		before, after, found := strings.Cut(rest, "%")
		literal(before)
		if !found {
			break
		}
		if strings.HasPrefix(after, "%") {
			literal("%")
			rest = after[1:]
			continue
		}
		token, tail, err := cutOperator(after)
		if err != nil {
			return nil, err
		}
		p, err := operator(token)
		if err != nil {
			return nil, fmt.Errorf("operator %%%s%%: %w", token, err)
		}
		parts = append(parts, p)
		rest = tail
	}
	return parts, nil
}

// cutOperator returns the text up to the closing percent sign; signs within
// parentheses, as START_TIME has them, do not close.
func cutOperator(s string) (token, rest string, err error) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '(':
			depth++
		case ')':
			depth--
		case '%':
			if depth <= 0 {
				return s[:i], s[i+1:], nil
			}
		}
	}
	return "", "", fmt.Errorf("operator %q is not closed by %%", "%"+s)
}

// operator compiles NAME, NAME(ARGS) or NAME(ARGS):MAX.
func operator(token string) (part, error) {
	name, args, max := token, "", 0
	hasArgs := false
	if open := strings.IndexByte(token, '('); open >= 0 {
		end := strings.LastIndexByte(token, ')')
		if end < open {
			return part{}, fmt.Errorf("parenthesis is not closed")
		}
		name, args, hasArgs = token[:open], token[open+1:end], true
		if tail := token[end+1:]; tail != "" && tail[0] != ':' {
			return part{}, fmt.Errorf("%q follows the arguments", tail)
		}
		token = name + token[end+1:]
	}
	if before, limit, found := strings.Cut(token, ":"); found {
		n, err := strconv.Atoi(limit)
		if err != nil || n <= 0 {
			return part{}, fmt.Errorf("length limit %q is not a positive number", limit)
		}
		name, max = before, n
	}
	o, err := compile(name, args, hasArgs)
	if err != nil {
		return part{}, err
	}
	return part{text: token, op: o, max: max}, nil
}

// compile finds the operator's code.
func compile(name, args string, hasArgs bool) (op, error) {
	if o := withoutArgs(name); o != nil {
		if hasArgs {
			return nil, fmt.Errorf("takes no arguments")
		}
		return o, nil
	}
	switch name {
	case "START_TIME":
		return startTime(args)
	case "HOSTNAME":
		if hasArgs {
			return nil, fmt.Errorf("takes no arguments")
		}
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("host name: %w", err)
		}
		return constant(host), nil
	}
	if args == "" {
		if needsArgs(name) {
			return nil, fmt.Errorf("needs an argument in parentheses")
		}
		return nil, fmt.Errorf("is not known")
	}
	switch name {
	case "REQ", "RESP", "TRAILER", "REQ_WITHOUT_QUERY":
		return header(name, args)
	case "ENVIRONMENT":
		value, ok := os.LookupEnv(args)
		if !ok {
			return missing, nil
		}
		return constant(value), nil
	case "DYNAMIC_METADATA", "FILTER_STATE", "UPSTREAM_FILTER_STATE", "CLUSTER_METADATA", "UPSTREAM_METADATA":
		// Nothing in this proxy sets such values, so Envoy too would log "-".
		return missing, nil
	}
	return nil, fmt.Errorf("is not known")
}

func needsArgs(name string) bool {
	switch name {
	case "REQ", "RESP", "TRAILER", "REQ_WITHOUT_QUERY", "ENVIRONMENT", "DYNAMIC_METADATA", "FILTER_STATE",
		"UPSTREAM_FILTER_STATE", "CLUSTER_METADATA", "UPSTREAM_METADATA":
		return true
	}
	return false
}

func missing(dst []byte, _ *Source) ([]byte, bool) { return dst, false }

func constant(value string) op {
	return func(dst []byte, _ *Source) ([]byte, bool) { return append(dst, value...), true }
}

// header compiles REQ(X?Y) and its relatives: the first of the two that is there.
func header(name, args string) (op, error) {
	main, alt, _ := strings.Cut(args, "?")
	first, err := field(name, main)
	if err != nil {
		return nil, err
	}
	if alt == "" {
		return first, nil
	}
	second, err := field(name, alt)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, src *Source) ([]byte, bool) {
		if out, ok := first(dst, src); ok {
			return out, true
		}
		return second(dst, src)
	}, nil
}

// field compiles one header reference; pseudo-headers have their own place.
func field(name, ref string) (op, error) {
	lower := strings.ToLower(ref)
	if name == "REQ" || name == "REQ_WITHOUT_QUERY" {
		return requestField(lower, name == "REQ_WITHOUT_QUERY")
	}
	if lower == ":status" && name == "RESP" {
		return responseCode, nil
	}
	if strings.HasPrefix(lower, ":") {
		return nil, fmt.Errorf("pseudo-header %q is not known here", ref)
	}
	n := stream.N(lower)
	if name == "RESP" {
		return func(dst []byte, src *Source) ([]byte, bool) {
			if src.Response == nil {
				return dst, false
			}
			return present(dst, src.Response.Get(n))
		}, nil
	}
	return func(dst []byte, src *Source) ([]byte, bool) {
		if src.Response == nil || src.Response.Body == nil {
			return dst, false
		}
		t := src.Response.Body.Trailers()
		if t == nil {
			return dst, false
		}
		return present(dst, t.Get(n))
	}, nil
}

func requestField(lower string, withoutQuery bool) (op, error) {
	var get func(r *stream.Request) []byte
	switch lower {
	case ":method":
		get = func(r *stream.Request) []byte { return r.Method }
	case ":path":
		get = func(r *stream.Request) []byte { return r.Path }
	case ":authority", "host":
		get = func(r *stream.Request) []byte { return r.Authority }
	case ":scheme":
		get = func(r *stream.Request) []byte { return r.Scheme }
	default:
		if strings.HasPrefix(lower, ":") {
			return nil, fmt.Errorf("pseudo-header %q is not known here", lower)
		}
		n := stream.N(lower)
		return func(dst []byte, src *Source) ([]byte, bool) {
			v := src.Stream.Request.Get(n)
			if withoutQuery {
				v = trimQuery(v)
			}
			return present(dst, v)
		}, nil
	}
	return func(dst []byte, src *Source) ([]byte, bool) {
		v := get(&src.Stream.Request)
		if withoutQuery {
			v = trimQuery(v)
		}
		if len(v) == 0 {
			return dst, false
		}
		return append(dst, v...), true
	}, nil
}

func trimQuery(v []byte) []byte {
	for i, c := range v {
		if c == '?' {
			return v[:i]
		}
	}
	return v
}

func present(dst, value []byte) ([]byte, bool) {
	if value == nil {
		return dst, false
	}
	return append(dst, value...), true
}
