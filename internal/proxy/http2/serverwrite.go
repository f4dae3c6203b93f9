package http2

import (
	"fmt"
	"io"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// respond writes the response. The error says why it was cut short.
func (st *serverStream) respond(resp *stream.Response) error {
	if err := st.startResponse(); err != nil {
		return err
	}
	status := resp.Status
	switch {
	case resp.Tunnel != nil:
		if status == 101 {
			status = 200 // RFC 8441 §5: there is no 101 in HTTP/2
		}
		if err := st.writeHead(status, resp, -1, false, false); err != nil {
			return err
		}
		st.outcome.Status = resp.Status
		return st.relay(resp.Tunnel)
	case status < 200 || status > 999:
		return stream.Reason{Code: stream.Internal, Detail: fmt.Sprintf("final response with status %d", status)}
	}
	method := st.s.Request.Method
	bodyless := string(method) == "HEAD" || status == 204 || status == 304
	length := resp.Length
	switch {
	case status == 204, length < 0 && resp.Body != nil:
		length = -1
	case bodyless && (length < 0 || length == 0 && !resp.Has(stream.ContentLength)):
		length = -1
	}
	empty := bodyless || resp.Body == nil
	st.outcome.Status = status
	if err := st.writeHead(status, resp, length, empty, !empty); err != nil || empty {
		return err
	}
	return st.writeBody(resp)
}

// startResponse ends the time in which a reset lets the handler answer, and begins
// that in which a reset cuts the answer.
func (st *serverStream) startResponse() error {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.aborted {
		st.aborted = false
		if st.err == st.abortedFor {
			st.err = nil
		}
	}
	st.responding = true
	return st.sendable()
}

// writeHead queues the final head. hold says that a body follows at once.
func (st *serverStream) writeHead(status int, resp *stream.Response, length int64, end, hold bool) error {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := st.sendable(); err != nil {
		return err
	}
	c.block = appendResponse(c.block[:0], &c.enc, status, &resp.Head, length)
	c.headers(st.id, c.block, end)
	if end {
		st.ended()
	}
	if !hold {
		c.wake()
	}
	return nil
}

// writeBody passes the body on. The writer is woken when the next piece has to be
// waited for.
func (st *serverStream) writeBody(resp *stream.Response) error {
	c := st.conn
	first := true
	for {
		if n, complete := resp.Body.Buffered(); n == 0 && !complete {
			c.flush()
			if first {
				st.outcome.ResponseDuration = max(1, int64(c.o.Now().Sub(st.s.Start)))
			}
		}
		first = false
		p, err := resp.Body.Next()
		if err == io.EOF {
			return st.endBody(resp)
		}
		if err != nil {
			return err
		}
		if st.outcome.BytesSent += int64(len(p)); resp.Length >= 0 && st.outcome.BytesSent > resp.Length {
			return stream.Reason{Code: stream.Internal, Detail: "body longer than its declared length"}
		}
		if err := st.put(p, false); err != nil {
			return err
		}
	}
}

// put queues content, without waking the writer unless it ends.
func (st *serverStream) put(p []byte, end bool) error {
	c := st.conn
	var now time.Time
	if c.o.StreamIdleTimeout > 0 {
		now = c.o.Now()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st.moved = now
	return st.send(p, end, true)
}

func (st *serverStream) endBody(resp *stream.Response) error {
	if resp.Length >= 0 && st.outcome.BytesSent < resp.Length {
		return stream.Reason{Code: stream.Internal, Detail: "body shorter than its declared length"}
	}
	trailers := resp.Body.Trailers()
	st.conn.mu.Lock()
	defer st.conn.mu.Unlock()
	return st.finish(trailers)
}

// Inform implements stream.Codec. Nothing may follow the final head.
func (st *serverStream) Inform(status int, h *stream.Head) error {
	if status < 100 || status > 199 || status == 101 {
		return fmt.Errorf("status %d is not an informational one", status)
	}
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return st.interim(status, h)
}

// interim queues an informational head. mu is held.
func (st *serverStream) interim(status int, h *stream.Head) error {
	c := st.conn
	if st.responding || status == 100 && st.continued {
		return nil
	}
	if err := st.sendable(); err != nil {
		return err
	}
	if status == 100 {
		st.continued = true
	}
	c.block = appendResponse(c.block[:0], &c.enc, status, h, -1)
	c.headers(st.id, c.block, false)
	c.wake()
	return nil
}

// sendContinue lets a client go on that waits with its content. mu is held.
func (st *serverStream) sendContinue() error { return st.interim(100, nil) }

// Abort implements stream.Codec.
func (st *serverStream) Abort(r stream.Reason) {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if !st.responding && st.err == nil {
		st.aborted, st.abortedFor = true, r
	}
	st.fail(r)
}

// earliest is the smaller of two time-outs of which those ≤ 0 are off.
func earliest(a, b time.Duration) time.Duration {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}
