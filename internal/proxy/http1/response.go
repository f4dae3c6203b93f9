package http1

import (
	"bytes"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// parseResponse parses a whole response head, its empty line included. It sets
// everything of r but Body, Length and Tunnel.
func parseResponse(r *stream.Response, raw []byte, maxHeaders int, f *framing) error {
	f.reset()
	eol := bytes.IndexByte(raw, '\n')
	if eol < 1 || raw[eol-1] != '\r' {
		return errBareLF
	}
	if err := parseStatusLine(r, raw[:eol-1]); err != nil {
		return err
	}
	if err := parseFields(&r.Head, raw[eol+1:len(raw)-2], maxHeaders, f); err != nil {
		return err
	}
	return f.check(r.Proto)
}

// parseStatusLine parses "HTTP/1.x SP 3DIGIT [SP phrase]" (RFC 9112 §4). The
// space after the code may be left out where there is no phrase, as some servers
// do.
func parseStatusLine(r *stream.Response, line []byte) (err error) {
	if len(line) < 12 || line[8] != ' ' {
		return errStatusLine
	}
	if r.Proto, err = parseVersion(line[:8]); err != nil {
		if err == errRequestLine {
			err = errStatusLine
		}
		return err
	}
	if !isDigit(line[9]) || !isDigit(line[10]) || !isDigit(line[11]) {
		return errStatusLine
	}
	r.Status = int(line[9]-'0')*100 + int(line[10]-'0')*10 + int(line[11]-'0')
	if r.Status < 100 {
		return errStatusLine
	}
	if len(line) == 12 {
		return nil
	}
	if line[12] != ' ' {
		return errStatusLine
	}
	for _, c := range line[13:] {
		if c < ' ' && c != '\t' || c == 0x7f {
			return errStatusLine
		}
	}
	return nil
}

// hasBody tells whether a response may have content (RFC 9110 §6.4.1).
func hasBody(method []byte, status int) bool {
	return status >= 200 && status != 204 && status != 304 && string(method) != "HEAD"
}

// statusText gives the registered phrase of a status code, "" for others.
func statusText(code int) string {
	if code < 100 || code-100 >= len(phrases) {
		return ""
	}
	return phrases[code-100]
}

// phrases is indexed by the status code less 100 (RFC 9110 §15 and the IANA
// registry).
var phrases = [500]string{
	0: "Continue", 1: "Switching Protocols", 2: "Processing", 3: "Early Hints",
	100: "OK", 101: "Created", 102: "Accepted", 103: "Non-Authoritative Information", 104: "No Content",
	105: "Reset Content", 106: "Partial Content", 107: "Multi-Status", 108: "Already Reported", 126: "IM Used",
	200: "Multiple Choices", 201: "Moved Permanently", 202: "Found", 203: "See Other", 204: "Not Modified",
	205: "Use Proxy", 207: "Temporary Redirect", 208: "Permanent Redirect",
	300: "Bad Request", 301: "Unauthorized", 302: "Payment Required", 303: "Forbidden", 304: "Not Found",
	305: "Method Not Allowed", 306: "Not Acceptable", 307: "Proxy Authentication Required", 308: "Request Timeout",
	309: "Conflict", 310: "Gone", 311: "Length Required", 312: "Precondition Failed", 313: "Payload Too Large",
	314: "URI Too Long", 315: "Unsupported Media Type", 316: "Range Not Satisfiable", 317: "Expectation Failed",
	318: "I'm a teapot", 321: "Misdirected Request", 322: "Unprocessable Entity", 323: "Locked", 324: "Failed Dependency",
	325: "Too Early", 326: "Upgrade Required", 328: "Precondition Required", 329: "Too Many Requests",
	331: "Request Header Fields Too Large", 351: "Unavailable For Legal Reasons",
	400: "Internal Server Error", 401: "Not Implemented", 402: "Bad Gateway", 403: "Service Unavailable",
	404: "Gateway Timeout", 405: "HTTP Version Not Supported", 406: "Variant Also Negotiates",
	407: "Insufficient Storage", 408: "Loop Detected", 410: "Not Extended", 411: "Network Authentication Required",
}
