package hcm

import (
	"bytes"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// normalise brings the path into the form that routes and policies are matched
// with: escaped slashes, then dot segments and needless escapes (RFC 3986 §6.2.2),
// then runs of slashes, in Envoy's order. The query stays as it is. It works in
// place, since no step makes a path longer.
func (h *handler) normalise(r *stream.Request) error {
	if len(r.Path) == 0 || r.Path[0] != '/' {
		return nil // CONNECT, OPTIONS *
	}
	path, query := splitQuery(r.Path)
	if !suspicious(path) {
		return nil
	}
	if h.cfg.EscapedSlashes != config.SlashesKeep && hasEscapedSlash(path) {
		if h.cfg.EscapedSlashes == config.SlashesReject {
			return badPath("escaped slash in path")
		}
		path = unescapeSlashes(path)
		if h.cfg.EscapedSlashes == config.SlashesUnescapeRedirect {
			reply := stream.NewReply(307, stream.Reason{Code: stream.Redirect, Detail: "path_normalization"})
			path, ok := h.normalisePath(path)
			if !ok {
				return badPath("path cannot be normalised")
			}
			reply.Headers = [][2]string{{"location", string(path) + string(query)}}
			return reply
		}
	}
	path, ok := h.normalisePath(path)
	if !ok {
		return badPath("path cannot be normalised")
	}
	r.Path = append(r.Path[:len(path)], query...)
	return nil
}

func badPath(detail string) error {
	return stream.NewReply(400, stream.Reason{Code: stream.DownstreamProtocol, Detail: detail})
}

func (h *handler) normalisePath(path []byte) ([]byte, bool) {
	ok := true
	if h.cfg.NormalizePath {
		if path, ok = unescape(path); ok {
			path = removeDots(path)
		}
	}
	if ok && h.cfg.MergeSlashes {
		path = mergeSlashes(path)
	}
	return path, ok
}

func splitQuery(p []byte) (path, query []byte) {
	if i := bytes.IndexByte(p, '?'); i >= 0 {
		return p[:i:i], p[i:]
	}
	return p, nil
}

// suspicious reports whether any step could change the path.
func suspicious(p []byte) bool {
	for i, c := range p {
		switch c {
		case '%', '\\':
			return true
		case '.', '/':
			if i > 0 && p[i-1] == '/' {
				return true
			}
		}
	}
	return false
}

// hasEscapedSlash finds %2F and %5C.
func hasEscapedSlash(p []byte) bool {
	for i := 0; i+2 < len(p); i++ {
		if isEscapedSlash(p[i:]) {
			return true
		}
	}
	return false
}

func isEscapedSlash(p []byte) bool {
	return len(p) >= 3 && p[0] == '%' && (p[1] == '2' && p[2]|0x20 == 'f' || p[1] == '5' && p[2]|0x20 == 'c')
}

func unescapeSlashes(p []byte) []byte {
	out := p[:0]
	for i := 0; i < len(p); i++ {
		if isEscapedSlash(p[i:]) {
			c := byte('/')
			if p[i+1] == '5' {
				c = '\\'
			}
			out = append(out, c)
			i += 2
			continue
		}
		out = append(out, p[i])
	}
	return out
}

// unescape writes unreserved characters plainly, escapes in upper case, and
// backslashes as slashes. It reports false for an escape that is none.
func unescape(p []byte) ([]byte, bool) {
	out := p[:0]
	for i := 0; i < len(p); i++ {
		switch c := p[i]; c {
		case '\\':
			out = append(out, '/')
		case '%':
			if i+2 >= len(p) || !isHex(p[i+1]) || !isHex(p[i+2]) {
				return nil, false
			}
			v := unhex(p[i+1])<<4 | unhex(p[i+2])
			switch {
			case v == 0:
				return nil, false
			case unreserved(v):
				out = append(out, v)
			default:
				out = append(out, '%', upper(p[i+1]), upper(p[i+2]))
			}
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out, true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'f' {
		return c - 0x20
	}
	return c
}

// unreserved characters mean the same escaped or not (RFC 3986 §2.3).
func unreserved(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '-' || c == '.' || c == '_' || c == '~'
}

// removeDots resolves "." and ".." segments (RFC 3986 §5.2.4).
func removeDots(p []byte) []byte {
	out := p[:0]
	for i := 0; i < len(p); {
		// p[i] is the slash that begins a segment.
		end := i + 1
		for end < len(p) && p[end] != '/' {
			end++
		}
		last := end == len(p)
		switch seg := p[i+1 : end]; string(seg) {
		case ".":
			if last {
				out = append(out, '/')
			}
		case "..":
			if j := bytes.LastIndexByte(out, '/'); j >= 0 {
				out = out[:j]
			}
			if last {
				out = append(out, '/')
			}
		default:
			out = append(out, p[i:end]...)
		}
		i = end
	}
	if len(out) == 0 {
		out = append(out, '/')
	}
	return out
}

func mergeSlashes(p []byte) []byte {
	out := p[:0]
	for _, c := range p {
		if c == '/' && len(out) > 0 && out[len(out)-1] == '/' {
			continue
		}
		out = append(out, c)
	}
	return out
}
