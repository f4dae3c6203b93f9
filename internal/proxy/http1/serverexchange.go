package http1

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// exchange serves one request. keep tells whether another may follow; if not, r
// says why.
func (c *ServerConn) exchange(h stream.Handler) (r stream.Reason, keep bool) {
	c.now = c.o.Now()
	c.takeUp()
	s := &c.stream
	c.begin(s)
	raw, err := c.readHead()
	if err == nil {
		err = parseRequest(&s.Request, raw, c.o.MaxHeaders, &c.f)
	}
	if err == nil {
		err = c.admit(&s.Request)
	}
	if err != nil {
		return c.refuse(s, err), false
	}
	keep = c.f.keep(s.Request.Proto)
	if !c.activate() {
		return c.leave(s, nil, goneReason), false
	}
	c.armBody()
	resp, err := c.handle(h, s)
	if err != nil || resp == nil {
		if resp, err = stream.Answer(err); err != nil {
			c.linger = true
			c.body.Close(stream.ReasonOf(err))
			return c.leave(s, nil, stream.ReasonOf(err)), false
		}
	}
	return c.answer(s, resp, keep)
}

// begin prepares the stream for the next request.
func (c *ServerConn) begin(s *stream.Stream) {
	s.Conn, s.Start = c.info, c.now
	if c.o.NextID != nil {
		s.ID = c.o.NextID()
	} else {
		c.lastID++
		s.ID = c.lastID
	}
	c.outcome = stream.Outcome{}
	c.abortMu.Lock()
	c.aborted, c.responding = false, false
	c.abortMu.Unlock()
	c.wmu.Lock()
	c.headBegun, c.continued = false, false
	c.wmu.Unlock()
	c.body.start(noBody, 0)
}

// activate lets others reset the stream. It reports false where the client has
// left already.
func (c *ServerConn) activate() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || c.closed {
		return false
	}
	c.active = true
	return true
}

// readHead reads a whole request head. The first read was made by await.
func (c *ServerConn) readHead() ([]byte, error) {
	scanned, skipped := 0, false
	for {
		// One empty line before a request is passed over (RFC 9112 §2.2).
		if p := c.src.buffered(); !skipped && len(p) >= 2 && p[0] == '\r' && p[1] == '\n' {
			c.src.take(2)
			skipped, scanned = true, 0
		}
		raw, err := c.src.head(c.o.MaxHeadBytes, &scanned)
		if raw != nil || err != nil {
			return raw, err
		}
		c.arrive(earliest(c.o.HeadersTimeout, c.o.RequestTimeout))
		if err := c.src.more(); err != nil {
			return nil, c.headError(err)
		}
	}
}

// earliest is the smaller of two time-outs of which those ≤ 0 are off.
func earliest(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

// headError tells a time-out from a client that left.
func (c *ServerConn) headError(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return c.reason
	case c.expired:
		return stream.Reason{Code: stream.RequestTimeout, Detail: "request head not complete", Envoy: "request_header_timeout"}
	}
	return stream.Reason{Code: stream.DownstreamGone, Detail: "in the request head: " + err.Error()}
}

// admit completes the request from its framing.
func (c *ServerConn) admit(r *stream.Request) error {
	f := &c.f
	if r.Proto == stream.HTTP10 {
		if !c.o.HTTP10 {
			return errHTTP10
		}
		if len(r.Authority) == 0 {
			r.Authority = append(r.Authority, c.o.DefaultHost...)
		}
		r.Del(stream.Expect) // is ignored in HTTP/1.0 (RFC 9110 §10.1.1)
	}
	r.Scheme = append(r.Scheme[:0], "http"...)
	if c.info.TLS != nil {
		r.Scheme = append(r.Scheme, 's')
	}
	switch {
	case f.chunked:
		c.body.start(chunkedBody, 0)
		r.Body, r.Length = &c.body, -1
	case f.length > 0:
		c.body.start(lengthBody, f.length)
		r.Body, r.Length = &c.body, f.length
	case f.upgrading && r.Proto == stream.HTTP11:
		for _, u := range c.o.Upgrades {
			if stream.EqualFold(f.upgrade, u) {
				r.Upgrade = u
			}
		}
	}
	r.ExpectContinue = f.expect && r.Body != nil && r.Proto == stream.HTTP11
	return nil
}

// armBody sets the time-outs of the exchange.
func (c *ServerConn) armBody() {
	_, complete := c.body.Buffered()
	if !complete && c.o.RequestTimeout > 0 {
		c.arrive(c.o.RequestTimeout)
	} else if c.slow != nil {
		c.slow.Stop()
	}
	if c.o.StreamIdleTimeout > 0 {
		c.quiet.Set(c.now.Add(c.o.StreamIdleTimeout))
	}
	if complete {
		c.outcome.RequestDuration = 1 // it came with the first byte
	} else {
		c.body.clock = c.o.Now
	}
}

// handle calls h and turns a panic into an answer: it is the root of the stream.
func (c *ServerConn) handle(h stream.Handler, s *stream.Stream) (resp *stream.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.o.Log.Error("panic in a stream", "panic", p, "stack", string(debug.Stack()))
			resp, err = nil, stream.NewReply(500, stream.Reason{Code: stream.Internal, Detail: fmt.Sprint("panic: ", p)})
		}
	}()
	return h.Handle(s)
}

// refuse answers a request that cannot be served, where there is one to answer.
func (c *ServerConn) refuse(s *stream.Stream, err error) stream.Reason {
	var p *protoError
	var resp *stream.Response
	r := stream.ReasonOf(err)
	switch {
	case errors.As(err, &p):
		r = p.reason()
		resp = plainResponse(p.status, r)
	case r.Code == stream.RequestTimeout:
		resp = plainResponse(408, r)
	default:
		return r
	}
	c.linger = true
	if err := c.t.SetReadDeadline(time.Time{}); err != nil {
		return r
	}
	if !c.activate() {
		return c.leave(s, nil, r)
	}
	c.answer(s, resp, false)
	return r
}

func plainResponse(status int, r stream.Reason) *stream.Response {
	return (&stream.Reply{Status: status, Body: statusText(status), Reason: r}).Response()
}

// answer writes the response, ends the exchange, and makes the connection ready
// for the next one.
func (c *ServerConn) answer(s *stream.Stream, resp *stream.Response, keep bool) (stream.Reason, bool) {
	keep, err := c.respond(s, resp, keep)
	var r stream.Reason
	if err != nil {
		r = stream.ReasonOf(err)
	} else if resp.Local != nil {
		r = resp.Local.Reason
	}
	if resp.Body != nil {
		resp.Body.Close(r)
	}
	if resp.Tunnel != nil {
		// Its errors ended the relay, which has reported them.
		_ = resp.Tunnel.Close()
	}
	// Whoever still uploads is woken, so that the body has one reader again.
	c.body.Close(r)
	pending := c.pendingContinue()
	r = c.leave(s, resp, r)
	return r, c.settle(keep && err == nil, pending)
}

// leave ends the exchange: observers, then the stream is clean and whatever worked
// for it has ended.
func (c *ServerConn) leave(s *stream.Stream, resp *stream.Response, r stream.Reason) stream.Reason {
	if c.slow != nil {
		c.slow.Stop()
	}
	c.quiet.Stop()
	c.now = c.o.Now()
	o := &c.outcome
	o.Duration = max(1, int64(c.now.Sub(s.Start)))
	var end time.Time
	if o.BytesReceived, end = c.body.count(); !end.IsZero() {
		o.RequestDuration = max(1, int64(end.Sub(s.Start)))
	}
	o.Reason, o.Response = r, resp
	if resp != nil && o.ResponseDuration == 0 && o.Status != 0 {
		o.ResponseDuration = o.Duration
	}
	for _, ob := range c.o.Observers {
		ob.Done(s, o)
	}
	c.mu.Lock()
	c.active = false
	c.mu.Unlock()
	c.abortMu.Lock()
	aborted := c.aborted
	c.abortMu.Unlock()
	if aborted && r.Code == stream.None {
		r, _ = s.ResetReason()
	}
	s.Recycle()
	return r
}

// settle makes sure that the request was read to its end. pending says that its
// client still waits for a 100.
func (c *ServerConn) settle(keep, pending bool) bool {
	if c.body.finished() {
		return keep && (!c.body.woken() || c.t.SetReadDeadline(time.Time{}) == nil)
	}
	c.linger = true
	if !keep || pending {
		return false
	}
	if c.t.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return false
	}
	if !c.body.discard(maxDiscard) {
		return false
	}
	c.linger = false
	return c.t.SetReadDeadline(time.Time{}) == nil
}
