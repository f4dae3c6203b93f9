package http1

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// The opening handshake of WebSocket (RFC 6455 §4) belongs to HTTP/1.1: extended
// CONNECT does without (RFC 8441 §5). Where the two meet, the side that speaks
// HTTP/1.1 makes what the other did not send. A key that a peer sent over HTTP/2 all
// the same, as Envoy does for a client of HTTP/1.1 at its other side, is passed on,
// and its answer is for that client to check.

var (
	fieldKey     = stream.N("sec-websocket-key")
	fieldAccept  = stream.N("sec-websocket-accept")
	fieldVersion = stream.N("sec-websocket-version")
)

const (
	webSocket     = "websocket"
	handshakeGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // RFC 6455 §1.3
)

var errAccept = bad("Sec-WebSocket-Accept does not answer the key")

// acceptFor gives the value of Sec-WebSocket-Accept for a key (RFC 6455 §4.2.2).
func acceptFor(key []byte) []byte {
	sum := sha1.Sum(append(key[:len(key):len(key)], handshakeGUID...))
	return base64.StdEncoding.AppendEncode(nil, sum[:])
}

// openWebSocket appends what the handshake needs and the request does not hold, for a
// client of HTTP/2.
func (x *exchange) openWebSocket(b []byte, r *stream.Request) []byte {
	if x.upgrade != webSocket || r.Proto != stream.HTTP2 {
		return b
	}
	if !r.Has(fieldKey) {
		var nonce [16]byte
		_, _ = rand.Read(nonce[:]) // never fails
		x.key = base64.StdEncoding.AppendEncode(x.key, nonce[:])
		b = append(b, "sec-websocket-key: "...)
		b = append(b, x.key...)
		b = append(b, "\r\n"...)
	}
	if !r.Has(fieldVersion) {
		b = append(b, "sec-websocket-version: 13\r\n"...)
	}
	return b
}

// openedWebSocket checks the answer to a key of ours, and takes it out.
func (x *exchange) openedWebSocket(r *stream.Response) error {
	if len(x.key) == 0 {
		return nil
	}
	if string(r.Get(fieldAccept)) != string(acceptFor(x.key)) {
		return errAccept
	}
	r.Del(fieldAccept)
	return nil
}

// acceptWebSocket answers the client's key where an upstream of HTTP/2 accepted the
// upgrade without.
func acceptWebSocket(r *stream.Request, resp *stream.Response) {
	if resp.Proto != stream.HTTP2 || r.Upgrade != webSocket || resp.Has(fieldAccept) {
		return
	}
	if key := r.Get(fieldKey); key != nil {
		resp.Set(fieldAccept, acceptFor(key))
	}
}
