package http1

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// respond writes the response and tells whether the connection can be kept. The
// error says why the answer was cut short.
func (c *ServerConn) respond(s *stream.Stream, resp *stream.Response, keep bool) (bool, error) {
	if r, ok := c.startResponse(s, resp.Tunnel != nil); !ok {
		return false, r
	}
	p := c.plan(s, resp, keep)
	c.writeHead(s, resp, &p)
	c.outcome.Status = resp.Status
	var err error
	switch {
	case resp.Tunnel != nil:
		if err = c.out.flush(); err == nil {
			return false, c.relay(s, resp.Tunnel)
		}
	case p.framing == noBody || resp.Body == nil:
		err = c.out.flush()
	default:
		var cut error
		if cut, err = c.writeBody(resp, p.framing == chunkedBody); cut != nil {
			c.torn = p.framing == closeBody
			return false, cut
		}
	}
	if err != nil {
		return false, c.writeError(s, err)
	}
	return p.keep, nil
}

// startResponse ends the time in which a reset lets the handler answer, and begins
// that in which a reset cuts the answer. From an accepted tunnel's head on the
// client may close its direction: it can do so before relay begins.
func (c *ServerConn) startResponse(s *stream.Stream, tunnel bool) (stream.Reason, bool) {
	r, _ := s.ResetReason()
	c.mu.Lock()
	dead := c.closed || c.gone
	c.tunnel = tunnel && !dead
	if c.closed {
		r = c.reason
	} else if c.gone {
		r = goneReason
	}
	c.mu.Unlock()
	c.abortMu.Lock()
	c.responding = true
	aborted := c.aborted
	c.abortMu.Unlock()
	if dead {
		return r, false
	}
	if aborted {
		c.linger = true
		if err := c.t.SetDeadline(time.Time{}); err != nil {
			return goneReason, false
		}
	}
	c.wmu.Lock()
	c.headBegun = true
	c.wmu.Unlock()
	return r, true
}

// plan is how a response is sent.
type plan struct {
	framing bodyKind
	keep    bool
}

func (c *ServerConn) plan(s *stream.Stream, resp *stream.Response, keep bool) plan {
	p := plan{framing: noBody}
	c.mu.Lock()
	keep = keep && !c.draining
	c.mu.Unlock()
	c.abortMu.Lock()
	keep = keep && !c.aborted
	c.abortMu.Unlock()
	if v := resp.Get(stream.Connection); v != nil {
		f := framing{}
		f.connection(v)
		keep = keep && !f.close
	}
	if hasBody(s.Request.Method, resp.Status) && resp.Tunnel == nil {
		switch {
		case resp.Body == nil || resp.Length >= 0 && !(announced(resp.Proto, &resp.Head) && s.Request.Proto == stream.HTTP11):
			p.framing = lengthBody
		case s.Request.Proto == stream.HTTP10:
			p.framing, keep = closeBody, false
		default:
			p.framing = chunkedBody
		}
	}
	if string(s.Request.Method) == "CONNECT" {
		// What a client sends ahead is the tunnel's, and no request where there is none.
		keep = false
	}
	p.keep = keep && resp.Tunnel == nil && c.finishable(resp)
	return p
}

// announced reports whether a message of HTTP/2 announces trailers. It may declare a
// length too, which leaves no place for them here: it is sent in chunks then.
func announced(p stream.Proto, h *stream.Head) bool {
	return p == stream.HTTP2 && h.Has(stream.Trailer)
}

// finishable reports whether the request's body has been read to its end, or will
// be: while the response is still being made, someone may read it for that.
func (c *ServerConn) finishable(resp *stream.Response) bool {
	if c.body.finished() {
		return true
	}
	if resp.Body != nil {
		if _, complete := resp.Body.Buffered(); !complete {
			return true // settle decides
		}
	}
	return c.body.finishable() && !c.pendingContinue()
}

// writeHead puts the response head into the sink.
func (c *ServerConn) writeHead(s *stream.Stream, resp *stream.Response, p *plan) {
	h := &resp.Head
	h.Del(stream.Connection)
	h.Del(stream.TransferEncoding)
	h.Del(stream.KeepAlive)
	h.Del(stream.Upgrade)
	if resp.Status == 101 {
		acceptWebSocket(&s.Request, resp)
	}
	b := c.out.head()
	b = appendStatusLine(b, s.Request.Proto, resp.Status)
	switch {
	case p.framing == lengthBody && resp.Body == nil:
		setLength(h, 0)
	case p.framing == lengthBody:
		setLength(h, resp.Length)
	case p.framing == chunkedBody, p.framing == closeBody, resp.Status == 204, resp.Status < 200, resp.Tunnel != nil:
		h.Del(stream.ContentLength)
	case resp.Length > 0 && !h.Has(stream.ContentLength): // an answer to HEAD
		setLength(h, resp.Length)
	}
	b = h.AppendTo(b)
	switch {
	case resp.Status == 101:
		b = append(b, "connection: Upgrade\r\nupgrade: "...)
		b = append(b, s.Request.Upgrade...)
		b = append(b, "\r\n"...)
	case resp.Tunnel != nil:
	case !p.keep:
		b = append(b, "connection: close\r\n"...)
	case s.Request.Proto == stream.HTTP10:
		b = append(b, "connection: keep-alive\r\n"...)
	}
	if p.framing == chunkedBody {
		b = append(b, "transfer-encoding: chunked\r\n"...)
	}
	c.out.set(append(b, "\r\n"...))
}

func appendStatusLine(b []byte, p stream.Proto, status int) []byte {
	if p == stream.HTTP10 {
		b = append(b, "HTTP/1.0 "...)
	} else {
		b = append(b, "HTTP/1.1 "...)
	}
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, statusText(status)...)
	return append(b, "\r\n"...)
}

// setLength makes the head declare n, and leaves a line that does so alone.
func setLength(h *stream.Head, n int64) {
	if v := h.Get(stream.ContentLength); v != nil && parseLength(v) == n {
		return
	}
	h.SetInt(stream.ContentLength, n)
}

// writeBody passes the body on. cut is why the body itself ended early; err is the
// client's side.
func (c *ServerConn) writeBody(resp *stream.Response, chunked bool) (cut, err error) {
	first := true
	for {
		if n, complete := resp.Body.Buffered(); n == 0 && !complete {
			if err := c.out.flush(); err != nil {
				return nil, err
			}
			if first {
				c.outcome.ResponseDuration = max(1, int64(c.o.Now().Sub(c.stream.Start)))
			}
		}
		first = false
		p, err := resp.Body.Next()
		if err == io.EOF {
			return c.endBody(resp, chunked)
		}
		if err != nil {
			// What came before goes out; the missing end tells the client.
			return err, c.out.flush()
		}
		if c.outcome.BytesSent += int64(len(p)); !chunked && resp.Length >= 0 && c.outcome.BytesSent > resp.Length {
			c.out.drop()
			return stream.Reason{Code: stream.Internal, Detail: "body longer than its declared length"}, nil
		}
		if chunked {
			err = c.out.chunk(p)
		} else {
			err = c.out.add(p)
		}
		if err != nil {
			return nil, err
		}
		c.codec.progress()
	}
}

func (c *ServerConn) endBody(resp *stream.Response, chunked bool) (cut, err error) {
	if !chunked {
		if resp.Length >= 0 && c.outcome.BytesSent < resp.Length {
			return stream.Reason{Code: stream.Internal, Detail: "body shorter than its declared length"}, c.out.flush()
		}
		return nil, c.out.flush()
	}
	b := append(c.out.head(), "0\r\n"...)
	if t := resp.Body.Trailers(); t != nil {
		b = t.AppendTo(b)
	}
	c.out.set(append(b, "\r\n"...))
	return nil, c.out.flush()
}

// writeError says why a write to the client failed.
func (c *ServerConn) writeError(s *stream.Stream, err error) stream.Reason {
	if r, reset := s.ResetReason(); reset {
		return r
	}
	return stream.Reason{Code: stream.DownstreamGone, Detail: err.Error()}
}

func (c *ServerConn) pendingContinue() bool {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return c.stream.Request.ExpectContinue && !c.continued
}

// serverCodec is the stream's and the body's view of the connection.
type serverCodec struct{ c *ServerConn }

var _ stream.Codec = (*serverCodec)(nil)

// Inform implements stream.Codec. HTTP/1.0 clients do not know 1xx, and nothing
// may follow the final head.
func (k *serverCodec) Inform(status int, h *stream.Head) error {
	if status < 100 || status > 199 || status == 101 {
		return fmt.Errorf("status %d is not an informational one", status)
	}
	c := k.c
	if c.stream.Request.Proto == stream.HTTP10 {
		return nil
	}
	b := rawio.GetBuffer(rawio.SmallBuffer)
	defer b.Release()
	p := appendStatusLine(b.B[:0], stream.HTTP11, status)
	if h != nil {
		p = h.AppendTo(p)
	}
	return k.interim(append(p, "\r\n"...), status)
}

func (k *serverCodec) interim(p []byte, status int) error {
	c := k.c
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.headBegun || status == 100 && c.continued {
		return nil
	}
	if status == 100 {
		c.continued = true
	}
	_, err := c.t.Write(p)
	return err
}

// Abort implements stream.Codec.
func (k *serverCodec) Abort(stream.Reason) {
	c := k.c
	c.abortMu.Lock()
	defer c.abortMu.Unlock()
	if !c.responding {
		c.aborted = true
	}
	// It fails only on a closed transport, whose users are awake already.
	_ = c.t.SetDeadline(rawio.Past)
}

var continueLine = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// beforeRead lets a client go on that waits with its body.
func (k *serverCodec) beforeRead() error {
	if !k.c.stream.Request.ExpectContinue {
		return nil
	}
	if err := k.interim(continueLine, 100); err != nil {
		return k.readError(err)
	}
	return nil
}

// progress moves the time-out of silence.
func (k *serverCodec) progress() {
	if c := k.c; c.o.StreamIdleTimeout > 0 {
		c.quiet.Set(c.o.Now().Add(c.o.StreamIdleTimeout))
	}
}

// readError says why the request's body was cut short.
func (k *serverCodec) readError(err error) error {
	if r, reset := k.c.stream.ResetReason(); reset {
		return r
	}
	if p, ok := err.(*protoError); ok {
		return &stream.Reply{Status: p.status, Body: statusText(p.status), Reason: p.reason()}
	}
	return stream.Reason{Code: stream.DownstreamGone, Detail: "in the request body: " + err.Error()}
}

// giveUp wakes the goroutine that reads the body.
func (k *serverCodec) giveUp() { _ = k.c.t.SetReadDeadline(rawio.Past) }
