package http2

import (
	"strconv"

	"github.com/lateen-mesh/lateen/internal/proxy/http2/hpack"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// The names of pseudo-headers, and values that no head holds.
var (
	pseudoMethod    = []byte(":method")
	pseudoScheme    = []byte(":scheme")
	pseudoAuthority = []byte(":authority")
	pseudoPath      = []byte(":path")
	pseudoProtocol  = []byte(":protocol")
	pseudoStatus    = []byte(":status")
	methodConnect   = []byte("CONNECT")
	lengthName      = []byte("content-length")
)

// appendHead appends a header section to a block that was begun. The connection's
// own fields of HTTP/1.1 are left out, and names are written in lower case.
func appendHead(dst []byte, e *hpack.Encoder, h *stream.Head, kind headKind) []byte {
	var lower [64]byte
	for i := range h.Len() {
		name, value := h.At(i)
		never := false
		if k := stream.KnownName(name); k.ID() != 0 {
			if omitted(k, value, kind) {
				continue
			}
			never = k == stream.Authorization || k == stream.Cookie && len(value) < 20
		}
		dst = e.Append(dst, lowerName(lower[:0], name), value, never)
	}
	return dst
}

// omitted reports whether a known field has no place in HTTP/2 (RFC 9113 §8.2.2),
// or is written elsewhere.
func omitted(k stream.Name, value []byte, kind headKind) bool {
	switch k {
	case stream.Connection, stream.KeepAlive, stream.ProxyConnection, stream.TransferEncoding, stream.Upgrade:
		return true
	case stream.TE:
		return !stream.EqualFold(value, "trailers")
	case stream.Host:
		return kind != headResponse
	case stream.ContentLength:
		return true
	}
	return false
}

// lowerName returns name, or a copy in lower case behind buf.
func lowerName(buf, name []byte) []byte {
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			buf = append(buf, name...)
			for ; i < len(buf); i++ {
				if c := buf[i]; 'A' <= c && c <= 'Z' {
					buf[i] = c | 0x20
				}
			}
			return buf
		}
	}
	return name
}

func appendLength(dst []byte, e *hpack.Encoder, n int64) []byte {
	var digits [20]byte
	return e.Append(dst, lengthName, strconv.AppendInt(digits[:0], n, 10), false)
}

// appendRequest appends a request's block. An upgrade becomes extended CONNECT (RFC
// 8441 §4). end says that the request has no content.
func appendRequest(dst []byte, e *hpack.Encoder, r *stream.Request, end bool) []byte {
	dst = e.Begin(dst)
	tunnel := r.Upgrade != "" || string(r.Method) == "CONNECT"
	method := r.Method
	if tunnel {
		method = methodConnect
	}
	dst = e.Append(dst, pseudoMethod, method, false)
	if r.Upgrade != "" {
		dst = e.Append(dst, pseudoProtocol, []byte(r.Upgrade), false)
	}
	if !tunnel || r.Upgrade != "" {
		scheme := r.Scheme
		if len(scheme) == 0 {
			scheme = []byte("http")
		}
		dst = e.Append(dst, pseudoScheme, scheme, false)
	}
	if len(r.Authority) > 0 || tunnel {
		dst = e.Append(dst, pseudoAuthority, r.Authority, false)
	}
	if !tunnel || r.Upgrade != "" {
		dst = e.Append(dst, pseudoPath, r.Path, false)
	}
	dst = appendHead(dst, e, &r.Head, headRequest)
	if !tunnel && (r.Length > 0 || r.Length == 0 && r.Has(stream.ContentLength)) {
		dst = appendLength(dst, e, r.Length)
	}
	return dst
}

// appendResponse appends a response's block. length < 0 declares none.
func appendResponse(dst []byte, e *hpack.Encoder, status int, h *stream.Head, length int64) []byte {
	dst = e.Begin(dst)
	var digits [20]byte
	dst = e.Append(dst, pseudoStatus, strconv.AppendInt(digits[:0], int64(status), 10), false)
	if h != nil {
		dst = appendHead(dst, e, h, headResponse)
	}
	if length >= 0 {
		dst = appendLength(dst, e, length)
	}
	return dst
}
