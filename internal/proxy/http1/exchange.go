package http1

import (
	"sync/atomic"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// exchange is one request on a ClientConn, and the request side of its codec.
type exchange struct {
	c *ClientConn

	released bool // of the stream's goroutine
	head     bool // the method is HEAD
	connect  bool // the method is CONNECT
	upgrade  string
	key      []byte   // of a WebSocket handshake that we made; empty: none
	framing  bodyKind // of the request
	left     int64    // lengthBody: bytes not written yet
	final    bool     // the final head was received
	keep     bool     // the server keeps the connection

	sent     atomic.Bool   // the whole request was written
	delivery atomic.Uint32 // stream.Delivery
}

var _ stream.Exchange = (*exchange)(nil)

// begin is called with c.mu held.
func (x *exchange) begin() {
	x.released = false
	x.final, x.keep = false, false
	x.sent.Store(false)
	x.delivery.Store(uint32(stream.Unsent))
	x.c.body.start(noBody, 0)
}

// Send implements stream.Exchange.
func (x *exchange) Send(r *stream.Request, first []byte, end bool) error {
	c := x.c
	x.plan(r, len(first), end)
	x.writeHead(r)
	var err error
	if len(first) > 0 || end {
		err = x.put(first, end)
	}
	if err == nil {
		err = x.flush()
	}
	if err != nil {
		return c.fail(err)
	}
	if end {
		x.sent.Store(true)
	}
	return nil
}

// plan notes what the answer depends on, and chooses how the request's body is
// delimited.
func (x *exchange) plan(r *stream.Request, first int, end bool) {
	x.head = string(r.Method) == "HEAD"
	x.connect = string(r.Method) == "CONNECT"
	x.upgrade, x.key = r.Upgrade, x.key[:0]
	x.left = 0
	switch {
	case r.Length < 0, r.Length > 0 && announced(r.Proto, &r.Head):
		x.framing = chunkedBody
	case r.Length > 0:
		x.framing, x.left = lengthBody, r.Length
	case end && first == 0:
		x.framing = noBody
	case end:
		x.framing, x.left = lengthBody, int64(first)
	default:
		x.framing = chunkedBody
	}
	if x.connect || x.upgrade != "" {
		x.framing = noBody
	}
}

// writeHead puts the request head into the sink.
func (x *exchange) writeHead(r *stream.Request) {
	out := &x.c.out
	h := &r.Head
	b := append(out.head(), r.Method...)
	b = append(b, ' ')
	if x.connect {
		b = append(b, r.Authority...)
	} else {
		b = append(b, r.Path...)
	}
	b = append(b, " HTTP/1.1\r\n"...)
	switch host := h.Get(stream.Host); {
	case host == nil:
		b = append(b, "host: "...)
		b = append(b, r.Authority...)
		b = append(b, "\r\n"...)
	case string(host) != string(r.Authority):
		h.Set(stream.Host, r.Authority)
	}
	h.Del(stream.Connection)
	h.Del(stream.TransferEncoding)
	h.Del(stream.Upgrade)
	switch x.framing {
	case lengthBody:
		setLength(h, x.left)
	case chunkedBody:
		h.Del(stream.ContentLength)
	case noBody:
		if h.Has(stream.ContentLength) {
			setLength(h, 0)
		}
	}
	b = h.AppendTo(b)
	if x.framing == chunkedBody {
		b = append(b, "transfer-encoding: chunked\r\n"...)
	}
	if x.upgrade != "" {
		b = append(b, "connection: Upgrade\r\nupgrade: "...)
		b = append(b, x.upgrade...)
		b = append(b, "\r\n"...)
		b = x.openWebSocket(b, r)
	}
	out.set(append(b, "\r\n"...))
}

// put adds body bytes to the sink, which may write.
func (x *exchange) put(p []byte, end bool) error {
	x.delivery.Store(uint32(stream.Maybe)) // flush takes it back where nothing was written
	out := &x.c.out
	switch x.framing {
	case lengthBody:
		if x.left -= int64(len(p)); x.left < 0 || end && x.left > 0 {
			out.drop()
			return stream.Reason{Code: stream.Internal, Detail: "request body differs from its declared length"}
		}
		if len(p) > 0 {
			if err := out.add(p); err != nil {
				return x.failed(err)
			}
		}
	case chunkedBody:
		if len(p) > 0 {
			if err := out.chunk(p); err != nil {
				return x.failed(err)
			}
		}
		if end {
			out.str("0\r\n\r\n")
		}
	case noBody:
		if len(p) > 0 {
			out.drop()
			return stream.Reason{Code: stream.Internal, Detail: "body of a request without one"}
		}
	}
	return nil
}

func (x *exchange) flush() error {
	x.delivery.Store(uint32(stream.Maybe))
	if err := x.c.out.flush(); err != nil {
		return x.failed(err)
	}
	return nil
}

// failed corrects Delivery where the kernel took no byte at all.
func (x *exchange) failed(err error) error {
	if x.c.out.n == 0 {
		x.delivery.Store(uint32(stream.Unsent))
	}
	return err
}

// Write implements stream.Exchange.
func (x *exchange) Write(p []byte, end bool) error {
	err := x.put(p, end)
	if err == nil {
		err = x.flush()
	}
	if err != nil {
		return x.c.fail(err)
	}
	if end {
		x.sent.Store(true)
	}
	return nil
}

// Trailers implements stream.Exchange. A body with a declared length has no place
// for them: they are left out, as RFC 9110 §6.5.1 allows, and the body ends.
func (x *exchange) Trailers(h *stream.Head) error {
	if x.framing != chunkedBody {
		return x.Write(nil, true)
	}
	out := &x.c.out
	out.str("0\r\n")
	if h != nil {
		out.set(h.AppendTo(out.head()))
	}
	out.str("\r\n")
	if err := x.flush(); err != nil {
		return x.c.fail(err)
	}
	x.sent.Store(true)
	return nil
}

// half reports whether a part of the request was sent, and not all of it.
func (x *exchange) half() bool { return !x.sent.Load() && x.Delivery() != stream.Unsent }

// Cancel implements stream.Exchange.
func (x *exchange) Cancel(r stream.Reason) { x.c.cancel(r) }

// Delivery implements stream.Exchange.
func (x *exchange) Delivery() stream.Delivery { return stream.Delivery(x.delivery.Load()) }

// Release implements stream.Exchange. It ends the use of the request side too:
// nobody may write any more. A connection that is not reusable is closed by its
// owner.
func (x *exchange) Release() bool {
	if x.released {
		return false
	}
	x.released = true
	whole := x.final && x.keep && x.sent.Load() && x.c.body.finished() && !x.c.body.woken()
	return x.c.release(whole)
}
