package http2

import (
	"errors"
	"sync"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// exchange is one request on a ClientConn, reused. Fields are guarded by the
// connection's mu, unless they say otherwise.
type exchange struct {
	strm
	conn     *ClientConn // of the stream's goroutine
	released bool        // of the stream's goroutine

	sent     bool   // HEADERS were queued
	batch    uint32 // in which buffer
	isHead   bool   // the method is HEAD
	tunnels  bool   // CONNECT, or an upgrade
	upgrade  bool
	bodyless bool // the answer is a head alone, by its status or the method
	reserved bool

	interim []*stream.Response // not received yet
	shown   *stream.Response   // the informational one received last
	final   bool               // the final head is in resp
	taken   bool               // and was received
	resp    stream.Response
}

// exchanges holds memory, no state: newExchange clears what it reads.
var exchanges = sync.Pool{New: func() any { return new(exchange) }}

var _ stream.Exchange = (*exchange)(nil)

// maxInterim is how many informational responses may wait to be received.
const maxInterim = 16

// newExchange is called with mu held.
func (c *ClientConn) newExchange() *exchange {
	x := exchanges.Get().(*exchange)
	x.gen++
	x.begin(&c.conn, 0)
	x.client = x
	x.conn, x.released = c, false
	x.sent, x.final, x.taken, x.reserved, x.bodyless = false, false, false, true, false
	x.shown, x.interim = nil, x.interim[:0]
	return x
}

var errTwice = errors.New("the request was sent already")

// Send implements stream.Exchange.
func (x *exchange) Send(r *stream.Request, first []byte, end bool) error {
	c := x.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	x.isHead = string(r.Method) == "HEAD"
	x.upgrade = r.Upgrade != ""
	x.tunnels = x.upgrade || string(r.Method) == "CONNECT"
	switch {
	case x.sent:
		return errTwice
	case x.err != nil:
		return x.err
	case c.stopped:
		return c.conn.reason
	case c.away, c.nextID > maxStreamID:
		return errSpent
	case x.upgrade && c.peerKnown && !c.peer.connect:
		return stream.Reason{Code: stream.UnsupportedProtocol, Detail: "the server does not take extended CONNECT"}
	}
	end = end && !x.tunnels
	c.openLocked(x)
	c.block = appendRequest(c.block[:0], &c.enc, r, end && len(first) == 0)
	c.headers(x.id, c.block, end && len(first) == 0)
	switch {
	case end && len(first) == 0:
		x.ended()
	case len(first) > 0:
		return x.send(first, end, false)
	}
	c.wake()
	return nil
}

// openLocked gives the exchange its id. mu is held.
func (c *ClientConn) openLocked(x *exchange) {
	c.reserved--
	x.reserved, x.sent = false, true
	x.id = c.nextID
	c.lastID = x.id
	c.nextID += 2
	if c.nextID > maxStreamID-2 {
		c.spent = true
	}
	x.sendWin = c.peer.window
	x.batch = c.writer.batch
	c.streams[x.id] = &x.strm
}

// Write implements stream.Exchange.
func (x *exchange) Write(p []byte, end bool) error {
	x.conn.mu.Lock()
	defer x.conn.mu.Unlock()
	if err := x.sendable(); err != nil {
		return err
	}
	return x.send(p, end, false)
}

// Trailers implements stream.Exchange.
func (x *exchange) Trailers(h *stream.Head) error {
	x.conn.mu.Lock()
	defer x.conn.mu.Unlock()
	return x.finish(h)
}

var errReceived = errors.New("the final response was received already")

// Receive implements stream.Exchange.
func (x *exchange) Receive() (*stream.Response, error) {
	x.conn.mu.Lock()
	defer x.conn.mu.Unlock()
	for {
		switch {
		case x.err != nil && !x.soft:
			return nil, x.err
		case len(x.interim) > 0:
			x.shown = x.interim[0]
			x.interim = x.interim[1:]
			return x.shown, nil
		case x.taken:
			return nil, errReceived
		case x.final:
			x.taken = true
			return &x.resp, nil
		case x.err != nil:
			return nil, x.err
		case x.sendOff != nil && x.closed:
			return nil, x.sendOff
		}
		x.rcond.Wait()
	}
}

// Cancel implements stream.Exchange.
func (x *exchange) Cancel(r stream.Reason) {
	c := x.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	x.fail(r)
	x.abandon()
}

// abandon resets the stream if it is still open. One of which only an end without
// content is missing needs no reset: its server sends that behind the head. mu is held.
func (x *exchange) abandon() {
	c := x.conn
	if x.id == 0 || x.closed || x.lingers {
		return
	}
	if x.bodyless && x.taken && x.localEnd && x.err == nil {
		x.lingers, x.given = true, true
		c.lingering++
		c.empty()
		return
	}
	c.rst(x.id, codeCancel)
	c.conn.close(&x.strm, closedByUs)
	c.wakeIfQueued()
}

// Delivery implements stream.Exchange. When the connection has ended it knows
// whether the kernel was given the request's bytes at all.
func (x *exchange) Delivery() stream.Delivery {
	c := x.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case x.refused:
		return stream.Refused
	case !x.sent, c.writer.broken && int32(x.batch-c.writer.tried) >= 0:
		return stream.Unsent
	}
	return stream.Maybe
}

// Release implements stream.Exchange: a stream that is still open is reset.
// Nobody may write any more.
func (x *exchange) Release() bool {
	if x.released {
		return false
	}
	x.released = true
	c := x.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if x.reserved {
		c.reserved--
		c.empty()
	}
	x.abandon()
	x.in.drop()
	x.in.release()
	c.waiters.remove(&x.strm)
	reusable := !c.stopped && !c.spent
	// One that failed may be asked for its Delivery, or be cancelled late.
	if x.taken && !x.lingers && x.err == nil && x.sendOff == nil && x.resp.Size() <= pooledHead && x.trailers.Size() <= pooledHead {
		x.trailers.Reset()
		x.resp = stream.Response{Head: x.resp.Head}
		clear(x.interim)
		x.shown = nil
		exchanges.Put(x)
	}
	return reusable
}
