package http2

import (
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// ServerConn is the server side of one HTTP/2 connection. It implements
// stream.ServerConn.
type ServerConn struct {
	conn
	// immutable once it serves
	info    *stream.Conn
	o       ServerOptions
	scheme  string
	handler stream.Handler
	wg      sync.WaitGroup // the crew's goroutines

	// of the reader
	starts []*serverStream // requests that the last read has brought

	resets int       // of the reader: cancelled requests, less those that went well
	since  time.Time // of the reader: the last refill

	serving  bool   // guarded by mu: our settings are sent
	draining bool   // guarded by mu
	hurried  bool   // guarded by mu: the drain has one step
	limit    uint32 // guarded by mu: the last stream that we told we would serve
	ok       int    // guarded by mu: requests completed since the last look
}

var _ stream.ServerConn = (*ServerConn)(nil)

// NewServerConn makes the server side over t, which it takes over: Serve closes
// it. The client begins with the preface (prior knowledge, or ALPN h2). info holds
// the connection's facts for its streams.
func NewServerConn(t rawio.Transport, info *stream.Conn, o ServerOptions) *ServerConn {
	o.defaults()
	c := &ServerConn{info: info, o: o, scheme: "http", limit: maxStreamID}
	if info.TLS != nil {
		c.scheme = "https"
	}
	c.conn.init(t, c, false, &c.o.Limits)
	return c
}

// Serve implements stream.ServerConn. It closes the transport before it returns.
// The reason is None where the client ended a connection without requests.
func (c *ServerConn) Serve(h stream.Handler) stream.Reason {
	c.handler = h
	c.greet(c.settingsPayload())
	c.mu.Lock()
	c.serving = true
	c.restIdle()
	if c.draining { // since before it served
		c.beginDrain()
	}
	c.mu.Unlock()
	c.read()
	c.batch()
	c.mu.Lock()
	dismiss(c.crew.take(c.crew.n)) // none is parked any more: the connection is stopped
	c.mu.Unlock()
	c.wg.Wait()
	c.linger()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining && c.clean {
		// The client closed first, as a drain asks it to: with every answer in hand.
		return stream.Reason{Code: stream.Draining}
	}
	return c.conn.reason
}

func (c *ServerConn) settingsPayload() []byte {
	b := make([]byte, 0, 30)
	b = appendSetting(b, settingMaxStreams, uint32(c.o.MaxStreams))
	b = appendSetting(b, settingInitialWindow, uint32(c.o.StreamWindow))
	b = appendSetting(b, settingMaxHeaderListSize, uint32(c.o.MaxHeadBytes))
	if len(c.o.Upgrades) > 0 {
		b = appendSetting(b, settingConnectProtocol, 1)
	}
	return appendSetting(b, settingNoPriorities, 1)
}

// linger lets the last frames reach the client: a close while bytes of the client
// are unread, or arrive later, would reset the connection and could destroy them.
func (c *ServerConn) linger() {
	<-c.wdone
	c.mu.Lock()
	broken := c.writer.broken
	c.mu.Unlock()
	if !broken && c.t.CloseWrite() == nil && c.t.SetReadDeadline(time.Now().Add(closeTime)) == nil {
		b := rawio.GetBuffer(rawio.MediumBuffer)
		for n := 0; n < 4<<20; {
			k, err := c.t.Read(b.B)
			if err != nil {
				break
			}
			n += k
		}
		b.Release()
	}
	// What could be sent was sent; there is nobody left to tell of an error.
	_ = c.t.Close()
}

// Drain implements stream.ServerConn: a GOAWAY, or two (ServerOptions.DrainTime).
// Requests that come after the last stream that it names are provably not served.
func (c *ServerConn) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining || c.stopped {
		return
	}
	c.draining = true
	if c.serving {
		c.beginDrain()
	}
}

// beginDrain makes the first step of a drain. mu is held.
func (c *ServerConn) beginDrain() {
	if c.o.DrainTime <= 0 || c.hurried {
		c.drained()
		return
	}
	b := appendGoAway(c.reserve(2*frameHeaderLen+16), maxStreamID, codeNo, "")
	c.set(appendPing(b, 0, []byte(drainPing)))
	c.clock.drain = c.l.Now().Add(c.o.DrainTime)
	c.arm(c.clock.drain)
	c.wake()
}

// drained makes the last step of a drain: from now on streams are not served. mu is
// held.
func (c *ServerConn) drained() {
	c.limit = c.lastID
	if len(c.streams) == 0 && c.running == 0 {
		c.rest()
		return
	}
	c.set(appendGoAway(c.reserve(frameHeaderLen+8), c.limit, codeNo, ""))
	c.wake()
}

// EndDrain makes the last step of a drain at once: requests that have not come yet
// are not served. Before Drain it does nothing.
func (c *ServerConn) EndDrain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurried = c.draining
	if c.draining && c.serving && !c.stopped && c.limit == maxStreamID {
		c.clock.drain = time.Time{}
		c.drained()
	}
}

// Close implements stream.ServerConn.
func (c *ServerConn) Close(r stream.Reason) { c.stop(codeNo, r, "") }

// rest is called under mu when nothing is under way: a drain is complete, or the
// idle time begins.
func (c *ServerConn) rest() {
	if len(c.streams) > 0 || c.running > 0 || c.stopped {
		return
	}
	if c.draining && c.limit != maxStreamID {
		c.stopLocked(codeNo, stream.Reason{Code: stream.Draining}, "")
		return
	}
	c.restIdle()
}

func (c *ServerConn) restIdle() {
	if c.o.IdleTimeout > 0 {
		c.clock.idle = c.l.Now().Add(c.o.IdleTimeout)
		c.arm(c.clock.idle)
	}
}

// idle implements ticker.
func (c *ServerConn) idle() {
	if len(c.streams) == 0 && c.running == 0 {
		c.stopLocked(codeNo, stream.Reason{Code: stream.IdleTimeout, Detail: "no request"}, "")
	}
}

// deadline implements ticker.
func (c *ServerConn) deadline(st *strm, now time.Time) (next time.Time, expired stream.Reason) {
	if t := c.o.StreamIdleTimeout; t > 0 {
		if next = st.moved.Add(t); !now.Before(next) {
			st.moved = now // told once; what follows has its own time
			return next, stream.Reason{Code: stream.IdleTimeout}
		}
	}
	if t := c.o.RequestTimeout; t > 0 && !st.remoteEnd && !st.timed {
		at := st.begun.Add(t)
		if !now.Before(at) {
			st.timed = true
			return at, stream.Reason{Code: stream.RequestTimeout}
		}
		next = earlier(next, at)
	}
	return next, stream.Reason{}
}

// empty implements side: the goroutine of the last stream is still at work.
func (c *ServerConn) empty() {}

// lost implements side.
func (c *ServerConn) lost(st *strm, gen uint64, r stream.Reason) {
	if st.server != nil {
		st.server.reset(gen, r)
	}
}

// envoyViolation is what Envoy's logs say of a client that breaks the protocol.
const envoyViolation = "http2.violation.of.messaging.rule"

// reason implements side.
func (c *ServerConn) reason(protocol bool, detail string) stream.Reason {
	if protocol {
		return stream.Reason{Code: stream.DownstreamProtocol, Detail: detail, Envoy: envoyViolation}
	}
	return stream.Reason{Code: stream.DownstreamGone, Detail: detail}
}

// resetTime is how long it takes until MaxResets are allowed again.
const resetTime = 10 * time.Second

// countReset implements resetCounter (CVE-2023-44487 and CVE-2025-8671).
func (c *ServerConn) countReset() error {
	if c.o.MaxResets < 0 {
		return nil
	}
	c.mu.Lock()
	good, now := c.ok, c.now
	c.ok = 0
	c.mu.Unlock()
	if c.since.IsZero() {
		c.since = now
	}
	refill := int(min(now.Sub(c.since), resetTime) * time.Duration(c.o.MaxResets) / resetTime)
	if refill > 0 {
		c.since = now
	}
	if c.resets = max(0, c.resets-good-refill) + 1; c.resets > c.o.MaxResets {
		return fatal(codeEnhanceYourCalm, "too many cancelled requests")
	}
	return nil
}
