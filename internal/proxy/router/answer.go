package router

import (
	"io"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
)

// deliver passes an answer on. It is copied: observers read it after the
// connection, and what the codec parsed into, serve others.
func (c *call) deliver(resp *stream.Response) (*stream.Response, error) {
	if err := c.commit(); err != nil {
		f := c.exchangeFailure(c.ex, err)
		return nil, c.fail(f.err)
	}
	if c.limits.try > 0 {
		c.tryTimer.Stop()
	}
	c.upload.settled()
	head := c.resp.Head
	c.resp = stream.Response{Head: head, Proto: resp.Proto, Status: resp.Status, Length: resp.Length}
	c.resp.Head.CopyFrom(&resp.Head)
	c.body = resp.Body
	if c.s.Upstream.Attempts > 1 && resp.Status < 500 {
		c.cluster.Stats().RqRetrySuccess.Add(1)
	}
	c.responseHeaders()
	switch {
	case resp.Tunnel != nil:
		c.routeTimer.Stop() // a route's time-out does not bound an upgraded connection
		c.limits.route = 0
		c.resp.Tunnel = &tunnel{c: c, d: resp.Tunnel}
	case resp.Body != nil:
		c.resp.Body = (*answer)(c)
	default:
		c.finish(stream.Reason{})
	}
	return &c.resp, nil
}

// commit begins the answer: from now on a time-out resets the stream.
func (c *call) commit() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return c.why
	}
	c.headed = true
	if !c.sentAt.IsZero() {
		c.s.Upstream.ServiceTime = c.r.o.Now().Sub(c.sentAt)
	}
	return nil
}

func (c *call) responseHeaders() {
	h := &c.resp.Head
	if !c.r.set.suppressEnvoyHeaders {
		c.scratch = strconv.AppendInt(c.scratch[:0], c.s.Upstream.ServiceTime.Milliseconds(), 10)
		h.Set(stream.EnvoyServiceTime, c.scratch)
	}
	h.Del(fieldDelivery)
	if c.route.AttemptCountRsp {
		c.scratch = strconv.AppendInt(c.scratch[:0], int64(c.s.Upstream.Attempts), 10)
		h.Set(stream.EnvoyAttemptCount, c.scratch)
	}
	c.src.Response = &c.resp
	if c.dest != nil && !c.route.ClusterOpsLast {
		c.applyOps(&c.dest.ResponseHeaders, h)
	}
	if len(c.route.ResponseHeaders) > 0 {
		match.ApplyHeaders(c.route.ResponseHeaders, h, &c.src)
	}
	if c.dest != nil && c.route.ClusterOpsLast {
		c.applyOps(&c.dest.ResponseHeaders, h)
	}
	for _, ck := range c.cookies {
		h.Add(stream.SetCookie, ck)
	}
}

// attribute tells the peer's proxy, inside the mesh, that a request was not
// delivered, so that it may send it again whatever its method.
func (c *call) attribute(err error) error {
	rep, ok := err.(*stream.Reply)
	if !ok || c.s.Conn == nil || c.s.Conn.Dir != stream.Inbound || c.s.Conn.TLS == nil || !c.s.Conn.TLS.Mutual {
		return err
	}
	switch rep.Reason.Code {
	case stream.ConnectFailure:
		c.tellDelivery(rep, deliveredNone)
	case stream.ConnectTimeout, stream.UpstreamTLS, stream.NoHealthyUpstream, stream.UpstreamOverflow:
		c.tellDelivery(rep, deliveredRefused)
	}
	return err
}

func (c *call) tellDelivery(rep *stream.Reply, word string) {
	if c.s.Upstream.Attempts <= 1 {
		rep.Headers = append(rep.Headers, [2]string{fieldDelivery.String(), word})
	}
}

// finish ends the last try and gives everything back but memory. It is called by
// the stream's goroutine, and does something once.
func (c *call) finish(r stream.Reason) {
	if c.s == nil {
		return
	}
	c.s.Enter(nil)
	c.stopTimers()
	if !c.done {
		c.endExchange(r)
	}
	c.upload.halt(r)
	c.s.Upstream.BytesSent = c.upload.bytes
	c.releaseRetry()
}

// endExchange gives the connection back after an answer that was passed on.
func (c *call) endExchange(r stream.Reason) {
	c.done = true
	c.Enter(nil)
	complete := r == stream.Reason{}
	c.upload.settle()
	if !complete || !c.upload.complete() {
		c.ex.Cancel(r)
		c.upload.detach()
	}
	o := upstream.Outcome{Status: c.resp.Status, Reason: r.Code, Reusable: c.ex.Release()}
	switch r.Code {
	case stream.UpstreamReset, stream.UpstreamRemoteReset, stream.UpstreamProtocol:
		o.Status = 0 // the answer was cut short
	}
	c.lease.Release(o)
}

// answer is the answer's body as the client's side reads it.
type answer call

// Next implements stream.Body.
func (a *answer) Next() ([]byte, error) {
	c := (*call)(a)
	if c.cut != nil {
		return nil, *c.cut
	}
	if c.done {
		return nil, io.EOF
	}
	p, err := c.body.Next()
	if err == nil {
		c.s.Upstream.BytesRead += int64(len(p))
		c.moved()
		return p, nil
	}
	if err == io.EOF {
		if tr := c.body.Trailers(); tr != nil {
			c.trailers.CopyFrom(tr)
		}
		c.finish(stream.Reason{})
		return nil, io.EOF
	}
	r, stopped, _ := c.verdict()
	if !stopped {
		r = reasonOf(err).AfterResponse()
		c.s.Upstream.FailureError = r.Detail
		r = r.AfterResponse()
	}
	c.finish(r)
	c.cut = &r
	return nil, r
}

// Buffered implements stream.Body.
func (a *answer) Buffered() (int, bool) {
	if a.done {
		return 0, true
	}
	return a.body.Buffered()
}

// Trailers implements stream.Body.
func (a *answer) Trailers() *stream.Head {
	if a.trailers.Len() == 0 {
		return nil
	}
	return &a.trailers
}

// Close implements stream.Body. The connection is given up at the latest when the
// stream is recycled; a read that waits returns at once.
func (a *answer) Close(r stream.Reason) { (*call)(a).stop(r, true) }

// tunnel is an upgraded connection.
type tunnel struct {
	c *call
	d stream.Duplex
}

// Read implements stream.Duplex.
func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.d.Read(p)
	t.c.s.Upstream.BytesRead += int64(n)
	t.c.moved()
	return n, err
}

// ReadLazy implements rawio.LazyReader: an idle tunnel holds no buffer.
func (t *tunnel) ReadLazy(size int) (*rawio.Buffer, int, error) {
	b, n, err := rawio.ReadLazy(t.d, size)
	t.c.s.Upstream.BytesRead += int64(n)
	t.c.moved()
	return b, n, err
}

// Socket gives the plain socket below, if that is all that there is: codecs may
// then move bytes without Read and Write, and tell Spliced.
func (t *tunnel) Socket() *rawio.Conn {
	if d, ok := t.d.(interface{ Socket() *rawio.Conn }); ok {
		return d.Socket()
	}
	return nil
}

// Spliced counts bytes that were read or written beside Read and Write.
func (t *tunnel) Spliced(read, _ int) {
	if read > 0 { // the other direction's goroutine must not touch it
		t.c.s.Upstream.BytesRead += int64(read)
	}
	t.c.moved()
}

// Write implements stream.Duplex.
func (t *tunnel) Write(p []byte) (int, error) {
	n, err := t.d.Write(p)
	t.c.moved()
	return n, err
}

// CloseWrite implements stream.Duplex.
func (t *tunnel) CloseWrite() error { return t.d.CloseWrite() }

// Close implements stream.Duplex.
func (t *tunnel) Close() error { return t.d.Close() }
