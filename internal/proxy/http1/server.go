package http1

import (
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
	t       rawio.Transport
	info    *stream.Conn
	o       *ServerOptions
	codec   serverCodec
	quiet   *stream.Alarm // nothing happens: between exchanges, or in one
	unwatch func()        // set when serving begins

	// of the serving goroutine
	src    source
	*work                // nil between exchanges; others may use its stream while active is set
	slow   *stream.Alarm // the head's or request's time-out; made when it is needed
	now    time.Time     // the last clock reading
	lastID uint64
	linger bool          // unread bytes may be under way: close in steps
	why    stream.Reason // why Serve returns
	torn   bool          // an answer until close was cut: only a reset tells the client
	begun  bool          // the first bytes came
	away   bool          // the connection was parked

	mu       sync.Mutex
	waiting  bool          // guarded by mu: between exchanges
	dozing   bool          // guarded by mu: waiting, and quiet is set to the time to park
	doze     bool          // guarded by mu: it is time to park
	wake     func()        // guarded by mu: nil unless parked
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
	return o.Server().NewConn(t, info)
}

// Server makes the server sides of connections that share their options.
type Server struct{ o ServerOptions }

// Server gives the server of the options.
func (o ServerOptions) Server() *Server {
	o.defaults()
	return &Server{o}
}

// NewConn is NewServerConn with the server's options.
func (v *Server) NewConn(t rawio.Transport, info *stream.Conn) *ServerConn {
	c := &ServerConn{t: t, info: info, o: &v.o}
	c.src.t = t
	c.codec.c = c
	c.now = c.o.Now()
	c.quiet = stream.NewAlarm(c.passed)
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
	r, _ := c.Step(h, other, nil)
	return r
}

// Step is ServeAuto for a caller that lets the connection wait without a goroutine:
// where wake is set, Step may return before the end (ended is false then), once the
// connection has been idle for a while. wake is called when Step is to be called
// again, once and maybe before this call has returned, on any goroutine; it must not
// block.
func (c *ServerConn) Step(h stream.Handler, other func(rawio.Transport) stream.Reason, wake func()) (why stream.Reason, ended bool) {
	if c.unwatch == nil {
		c.unwatch = c.watch()
	}
	mine := true
	defer func() {
		if mine {
			c.end()
		}
	}()
	for {
		switch c.await(wake) {
		case parked: // nothing of c may be touched: the next Step may be running
			mine = false
			return stream.Reason{}, false
		case over:
			return c.why, true
		}
		if !c.begun {
			c.begun = true
			if other != nil && c.prefaced() {
				mine = false
				return c.handOver(other), true
			}
		}
		if !c.serveOne(h) {
			return c.why, true
		}
	}
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
func (c *ServerConn) end() {
	c.unwatch()
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
	if c.work != nil {
		// Its exchange may have been cut short: what worked for it is not trusted to
		// have let go, and it serves no other.
		c.out.drop()
	}
	if c.torn {
		_ = rawio.Abort(c.t)
		return
	}
	// What could be sent was sent; there is nobody left to tell of an error.
	_ = c.t.Close()
}

func (c *ServerConn) closeAlarms() {
	c.quiet.Close()
	if c.slow != nil {
		c.slow.Close()
	}
}

// arrive bounds the time in which what is on its way has to come.
func (c *ServerConn) arrive(within time.Duration) {
	if within <= 0 {
		return
	}
	if c.slow == nil {
		c.slow = stream.NewAlarm(c.expire)
	}
	c.slow.Set(c.now.Add(within))
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

// expire is called by the alarm for a request's arrival.
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
		c.rouse()
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
	c.rouse()
}
