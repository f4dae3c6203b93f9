package http1

import (
	"bytes"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

var headEnd = []byte("\r\n\r\n")

// parseRequest parses a whole head, its empty line included, into r and f. It
// sets everything of r but Scheme, Body, Upgrade and ExpectContinue.
func parseRequest(r *stream.Request, raw []byte, maxHeaders int, f *framing) error {
	f.reset()
	eol := bytes.IndexByte(raw, '\n')
	if eol < 1 || raw[eol-1] != '\r' {
		return errBareLF
	}
	target, err := parseRequestLine(r, raw[:eol-1])
	if err != nil {
		return err
	}
	if err := parseFields(&r.Head, raw[eol+1:len(raw)-2], maxHeaders, f); err != nil {
		return err
	}
	if err := f.check(r.Proto); err != nil {
		return err
	}
	if f.hosts > 1 {
		return errManyHosts
	}
	if f.hosts == 1 && !validHost(f.host) {
		return errHost
	}
	if f.hosts == 0 && r.Proto == stream.HTTP11 {
		return errNoHost
	}
	return setTarget(r, target, f)
}

// parseRequestLine parses "METHOD SP target SP HTTP/1.x" and returns the target.
func parseRequestLine(r *stream.Request, line []byte) (target []byte, err error) {
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		return nil, errLeadingSpace
	}
	i := 0
	for i < len(line) && tchar[line[i]] {
		i++
	}
	if i == 0 || i == len(line) {
		return nil, errRequestLine
	}
	if line[i] != ' ' {
		return nil, errMethod
	}
	rest := line[i+1:]
	sp := bytes.IndexByte(rest, ' ')
	if sp <= 0 {
		return nil, errRequestLine
	}
	target = rest[:sp]
	if r.Proto, err = parseVersion(rest[sp+1:]); err != nil {
		if string(line) == "PRI * HTTP/2.0" {
			err = errPreface
		}
		return nil, err
	}
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return nil, errTarget
		}
		if c == '#' {
			return nil, errFragment
		}
	}
	r.Method = append(r.Method[:0], line[:i]...)
	return target, nil
}

func parseVersion(v []byte) (stream.Proto, error) {
	switch string(v) {
	case "HTTP/1.1":
		return stream.HTTP11, nil
	case "HTTP/1.0":
		return stream.HTTP10, nil
	}
	if len(v) == 8 && string(v[:5]) == "HTTP/" && isDigit(v[5]) && v[6] == '.' && isDigit(v[7]) {
		return 0, errVersion
	}
	return 0, errRequestLine
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// setTarget splits the request target into authority and path (RFC 9112 §3.2).
func setTarget(r *stream.Request, target []byte, f *framing) error {
	r.Authority = append(r.Authority[:0], f.host...)
	connect := string(r.Method) == "CONNECT"
	switch {
	case connect:
		if target[0] == '/' || !validHost(target) || !hasPort(target) {
			return errTarget
		}
		if f.chunked || f.length > 0 {
			return errConnectBody
		}
		r.Authority = append(r.Authority[:0], target...)
		r.Path = r.Path[:0]
	case target[0] == '/':
		r.Path = append(r.Path[:0], target...)
	case string(target) == "*" && string(r.Method) == "OPTIONS":
		r.Path = append(r.Path[:0], '*')
	default:
		return setAbsolute(r, target)
	}
	return nil
}

// hasPort reports whether an authority ends with a port that CONNECT can mean (RFC
// 9110 §9.3.6).
func hasPort(authority []byte) bool {
	port := authority[bytes.LastIndexByte(authority, ':')+1:]
	n := parseLength(port)
	return len(port) < len(authority)-1 && 0 < n && n <= 65535
}

// setAbsolute takes the authority of an absolute target, which goes before the
// Host field (RFC 9112 §3.2.2).
func setAbsolute(r *stream.Request, target []byte) error {
	i := bytes.Index(target, []byte("://"))
	if i < 0 || !stream.EqualFold(target[:i], "http") && !stream.EqualFold(target[:i], "https") {
		return errTarget
	}
	rest := target[i+3:]
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if end == 0 || !validHost(rest[:end]) {
		return errTarget
	}
	r.Authority = append(r.Authority[:0], rest[:end]...)
	r.Path = r.Path[:0]
	if end == len(rest) || rest[end] == '?' {
		r.Path = append(r.Path, '/')
	}
	r.Path = append(r.Path, rest[end:]...)
	return nil
}

// validHost holds a Host to the characters of a name, an address and a port:
// user information, lists and paths are none of them.
func validHost(h []byte) bool {
	for _, c := range h {
		if !hostChar[c] {
			return false
		}
	}
	return true
}

var hostChar = func() (t [256]bool) {
	t = tchar
	for _, c := range ":[]();=" {
		t[c] = true
	}
	for _, c := range "#^`|" {
		t[c] = false
	}
	return t
}()
