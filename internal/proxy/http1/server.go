package http1

import (
	"io"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// ServerConn is the server side of one HTTP/1.1 connection. It implements
// stream.ServerConn.
//
// Locks, outermost first: an alarm's, mu, the stream's, abortMu.
type ServerConn struct {
	// immutable
	t      rawio.Transport
	info   *stream.Conn
	o      ServerOptions
	codec  serverCodec
	idle   *stream.Alarm // nil where the time-out is off; so are the others
	slow   *stream.Alarm // the head's or request's time-out
	silent *stream.Alarm // nothing moves in an exchange

	// of the serving goroutine, reused by every exchange
	src     source
	out     sink
	stream  stream.Stream
	body    body
	f       framing
	outcome stream.Outcome
	now     time.Time // the last clock reading
	lastID  uint64
	linger  bool          // unread bytes may be under way: close in steps
	why     stream.Reason // why Serve returns
	torn    bool          // an answer until close was cut: only a reset tells the client

	mu       sync.Mutex
	waiting  bool          // guarded by mu: between exchanges
	active   bool          // guarded by mu: a handler or its response is under way
	tunnel   bool          // guarded by mu: half-close is legitimate
	gone     bool          // guarded by mu: the client closed its direction
	draining bool          // guarded by mu
	expired  bool          // guarded by mu: a time-out ended the reading of a head, or the waiting
	closed   bool          // guarded by mu
	reason   stream.Reason // guarded by mu: why closed

	abortMu    sync.Mutex
	aborted    bool // guarded by abortMu: the stream was reset before its response began
	responding bool // guarded by abortMu

	wmu       sync.Mutex
	headBegun bool // guarded by wmu: the final head is being written
	continued bool // guarded by wmu: 100 was sent
}

var _ stream.ServerConn = (*ServerConn)(nil)

// NewServerConn makes the server side over t, which it takes over: Serve closes
// it. info holds the connection's facts for its streams.
func NewServerConn(t rawio.Transport, info *stream.Conn, o ServerOptions) *ServerConn {
	o.defaults()
	c := &ServerConn{t: t, info: info, o: o}
	c.src.t, c.out.t = t, t
	c.codec.c = c
	c.body.owner, c.body.src = &c.codec, &c.src
	c.body.maxHead, c.body.maxHeaders = o.MaxHeadBytes, o.MaxHeaders
	c.stream.Codec = &c.codec
	c.now = o.Now()
	if o.IdleTimeout > 0 {
		c.idle = stream.NewAlarm(c.expire)
	}
	if o.HeadersTimeout > 0 || o.RequestTimeout > 0 {
		c.slow = stream.NewAlarm(c.expire)
	}
	if o.StreamIdleTimeout > 0 {
		c.silent = stream.NewAlarm(func() { c.reset(stream.Reason{Code: stream.IdleTimeout}) })
	}
	return c
}

// Serve implements stream.ServerConn. It closes the transport before it returns.
// The reason is None where the client ended an idle connection, or where the last
// answer announced the end.
func (c *ServerConn) Serve(h stream.Handler) stream.Reason { return c.ServeAuto(h, nil) }

// ServeAuto is Serve for a client of which it is not known which version of HTTP it
// speaks. A connection that begins with the preface of HTTP/2 (prior knowledge, RFC
// 9113 §3.3) is other's: it gets the transport with everything that was read and
// closes it, and its reason is the connection's.
func (c *ServerConn) ServeAuto(h stream.Handler, other func(rawio.Transport) stream.Reason) stream.Reason {
	stop := c.watch()
	mine := true
	defer func() {
		if mine {
			c.end(stop)
		}
	}()
	if !c.await() {
		return c.why
	}
	if other != nil && c.prefaced() {
		mine = false
		return c.handOver(stop, other)
	}
	for c.serveOne(h) && c.await() {
	}
	return c.why
}

// serveOne serves a request and reports whether another may follow; if not, why
// tells the reason.
func (c *ServerConn) serveOne(h stream.Handler) bool {
	r, keep := c.exchange(h)
	if !keep {
		c.why = c.final(r)
	}
	return keep
}

// end closes everything down. A close while bytes of the client are unread, or
// arrive later, would reset the connection and could destroy the answer before the
// client has read it (RFC 9112 §9.6): end our direction, read for a while, close.
func (c *ServerConn) end(stop func()) {
	stop()
	c.closeAlarms()
	c.mu.Lock()
	linger := c.linger && !c.closed && !c.gone
	c.mu.Unlock()
	if linger && c.t.CloseWrite() == nil && c.t.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		for n := 0; n < lingerBytes; n += len(c.src.buffered()) {
			if c.src.fill(lingerBytes) != nil {
				break
			}
		}
	}
	c.src.drop()
	c.out.drop()
	if c.torn {
		_ = rawio.Abort(c.t)
		return
	}
	// What could be sent was sent; there is nobody left to tell of an error.
	_ = c.t.Close()
}

func (c *ServerConn) closeAlarms() {
	for _, a := range []*stream.Alarm{c.idle, c.slow, c.silent} {
		if a != nil {
			a.Close()
		}
	}
}

const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
	// maxDiscard is how much of a request body that nobody wanted is read, to keep
	// the connection.
	maxDiscard = 64 << 10
)

// watch asks to be told when the client leaves.
func (c *ServerConn) watch() (stop func()) {
	stop, err := c.o.Watch.Add(c.t, c.hangup)
	if err != nil {
		c.o.Log.Warn("hang-ups of a client are not watched", "err", err, "remote", c.t.RemoteAddr())
	}
	return stop
}

// await waits for the first byte of the next request. It reports false where the
// connection is to end; why tells the reason. Its frame, and those above it, are
// what an idle connection's stack holds: little enough, with TLS too, that the
// collector halves a stack that requests made grow.
func (c *ServerConn) await() bool {
	if len(c.src.buffered()) > 0 {
		return true
	}
	c.src.drop()
	return c.beginWait() && c.endWait(c.src.fill(0))
}

func (c *ServerConn) beginWait() bool {
	c.mu.Lock()
	c.waiting = !c.closed && !c.draining
	wait := c.waiting
	if !wait {
		c.why = c.endReason()
	}
	c.mu.Unlock()
	if wait && c.idle != nil {
		c.idle.Set(c.now.Add(c.o.IdleTimeout))
	}
	return wait
}

func (c *ServerConn) endWait(err error) bool {
	if c.idle != nil {
		c.idle.Stop()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
	if err == nil && c.draining && !c.closed {
		// The request was faster than Drain, which has set a past deadline.
		err = c.t.SetReadDeadline(time.Time{})
	}
	switch {
	case err == nil:
		return true
	case c.closed || c.draining:
		c.why = c.endReason()
	case c.expired:
		c.why = stream.Reason{Code: stream.IdleTimeout, Detail: "no request"}
	case err != io.EOF:
		c.why = stream.Reason{Code: stream.DownstreamGone, Detail: err.Error()}
	}
	return false
}

// final is the reason of a connection whose last exchange ended with r.
func (c *ServerConn) final(r stream.Reason) stream.Reason {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || r.Code == stream.None && c.draining {
		return c.endReason()
	}
	return r
}

// endReason is called with mu held.
func (c *ServerConn) endReason() stream.Reason {
	if c.closed {
		return c.reason
	}
	return stream.Reason{Code: stream.Draining}
}

// expire is called by the alarms for waiting and for a request's arrival.
func (c *ServerConn) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active {
		c.stream.Reset(stream.Reason{Code: stream.RequestTimeout})
		return
	}
	c.expired = true
	// It fails only on a closed transport, whose reader is awake already.
	_ = c.t.SetReadDeadline(rawio.Past)
}

// reset resets the exchange that is under way, if any.
func (c *ServerConn) reset(r stream.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active {
		c.stream.Reset(r)
	}
}

// hangup is told by the watch that the client closed its direction. As in Envoy,
// that cancels an exchange that has no answer yet; a tunnel is half-closed by it.
func (c *ServerConn) hangup() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	if c.active && !c.tunnel {
		c.stream.Reset(goneReason)
	}
}

var goneReason = stream.Reason{Code: stream.DownstreamGone, Detail: "client closed"}

// Drain implements stream.ServerConn.
func (c *ServerConn) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return
	}
	c.draining = true
	if c.waiting {
		_ = c.t.SetReadDeadline(rawio.Past) // as in expire
	}
}

// Close implements stream.ServerConn.
func (c *ServerConn) Close(r stream.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed, c.reason = true, r
	if c.active {
		c.stream.Reset(r)
	}
	_ = c.t.SetDeadline(rawio.Past) // as in expire
}
