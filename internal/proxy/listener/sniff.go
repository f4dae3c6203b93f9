package listener

import (
	"bytes"
	"errors"
)

var errNotHTTP = errors.New("not HTTP")

// maxRequestLine is how much of a request line the inspector reads before it
// takes the rest for granted; the codec has limits of its own.
const maxRequestLine = 8 << 10

// preface is the HTTP/2 client connection preface (RFC 9113 §3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// methods are the registered methods (IANA HTTP Method Registry), as Envoy's
// inspector knows them: another word is not taken for HTTP, so that text
// protocols of TCP are decided by their first word.
var methods = [...]string{
	"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "ACL", "BIND", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK",
	"MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "M-SEARCH", "NOTIFY", "PRI", "PROPFIND", "PROPPATCH", "PURGE", "QUERY", "REBIND",
	"REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE",
}

// ParseHTTP decides from the first bytes of a connection whether they begin an
// HTTP message, and gives the name that filter chains match on: "http/1.1",
// "http/1.0" or "h2c". It returns errMore while that is open, and errNotHTTP.
func ParseHTTP(b []byte) (string, error) {
	// One empty line before the request line is allowed (RFC 9112 §2.2).
	b = bytes.TrimPrefix(b, []byte("\r\n"))
	if len(b) == 0 || len(b) == 1 && b[0] == '\r' {
		return "", errMore
	}
	if len(b) < len(preface) && bytes.HasPrefix([]byte(preface), b) {
		return "", errMore
	}
	if bytes.HasPrefix(b, []byte(preface)) {
		return "h2c", nil
	}
	method, rest, ok := bytes.Cut(b, []byte(" "))
	if !ok {
		return "", methodPrefix(b)
	}
	if !isMethod(method) {
		return "", errNotHTTP
	}
	return requestLine(rest)
}

// requestLine reads what follows the method: target, space, version.
func requestLine(b []byte) (string, error) {
	end := bytes.IndexByte(b, '\n')
	line := b
	if end >= 0 {
		line = bytes.TrimSuffix(b[:end], []byte("\r"))
	}
	for i, c := range line {
		if c <= ' ' && c != ' ' && !(c == '\r' && i == len(line)-1) || c == 0x7f {
			return "", errNotHTTP
		}
	}
	if end < 0 {
		if len(b) >= maxRequestLine {
			return "http/1.1", nil
		}
		return "", errMore
	}
	i := bytes.LastIndexByte(line, ' ')
	if i <= 0 {
		return "", errNotHTTP
	}
	switch v := line[i+1:]; {
	case string(v) == "HTTP/1.0":
		return "http/1.0", nil
	case len(v) == 8 && bytes.HasPrefix(v, []byte("HTTP/1.")) && v[7] >= '0' && v[7] <= '9':
		return "http/1.1", nil
	}
	return "", errNotHTTP
}

func methodPrefix(b []byte) error {
	for _, m := range methods {
		if len(b) <= len(m) && m[:len(b)] == string(b) {
			return errMore
		}
	}
	return errNotHTTP
}

func isMethod(b []byte) bool {
	for _, m := range methods {
		if m == string(b) {
			return true
		}
	}
	return false
}
