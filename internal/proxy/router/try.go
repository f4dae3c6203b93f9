package router

import (
	"errors"
	"net/http"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
)

// maxSilent bounds the tries that are repeated without a policy, because a kept
// connection turned out to be closed before anything was sent, or its endpoint said
// that it did not act (REFUSED_STREAM, GOAWAY).
const maxSilent = 3

// failure says why a try gave no answer.
type failure struct {
	err      error // *stream.Reply or stream.Reason
	code     stream.Code
	delivery stream.Delivery
	stale    bool // on a connection that had served before
}

// run makes tries until one gives an answer to pass on.
func (c *call) run() (*stream.Response, error) {
	if err := c.prepare(); err != nil {
		return nil, err
	}
	c.countRoute()
	c.s.Enter(c)
	for silent := 0; ; {
		c.s.Upstream.Attempts++
		c.countAttempt()
		resp, f := c.try()
		if f == nil {
			pause := c.afterAnswer(resp)
			if pause == nil {
				return c.deliver(resp)
			}
			c.discard(resp)
			if err := pause(c); err != nil {
				return nil, c.fail(err)
			}
			continue
		}
		if f.stale && f.delivery != stream.Maybe && silent < maxSilent && c.upload.replayable() && !c.given() {
			silent++
			c.s.Upstream.Attempts--
			c.nextTry()
			continue
		}
		pause := c.afterFailure(f)
		if pause == nil {
			return nil, c.fail(f.err)
		}
		if err := pause(c); err != nil {
			return nil, c.fail(err)
		}
	}
}

// afterAnswer says how to wait for another try after an answer; nil passes it on.
func (c *call) afterAnswer(resp *stream.Response) func(*call) error {
	nobody := c.peerFoundNobody(resp)
	if nobody {
		c.undelivered()
	}
	switch {
	case c.retryAnswer(resp):
		return (*call).backOff
	case nobody && c.waits():
		return (*call).wait
	}
	return nil
}

// afterFailure says how to wait for another try after one without an answer; nil
// ends the exchange.
func (c *call) afterFailure(f *failure) func(*call) error {
	gone := c.gone(f)
	if gone {
		c.undelivered()
	}
	switch {
	case c.retryFailure(f):
		return (*call).backOff
	case gone && c.waits():
		return (*call).wait
	}
	return nil
}

// given reports that the exchange was given up as a whole.
func (c *call) given() bool {
	_, _, whole := c.verdict()
	return whole
}

// try makes one try, up to the answer's head.
func (c *call) try() (*stream.Response, *failure) {
	lease, err := c.cluster.Acquire(c.s, &c.tried)
	if err != nil {
		return nil, c.acquireFailure(err)
	}
	ex, err := lease.Open(c.s)
	if err != nil {
		lease.Release(upstream.Outcome{Reason: stream.UpstreamReset})
		return nil, &failure{err: resetReply(err), code: stream.UpstreamReset, delivery: stream.Unsent, stale: true}
	}
	c.lease, c.ex, c.done = lease, ex, false
	c.chosen()
	c.Enter(ex)
	c.armTry()
	sendErr := c.upload.send(&c.s.Request, ex)
	if sendErr == nil || ex.Delivery() != stream.Unsent {
		// After a failed write too: an endpoint may answer and close without reading
		// the body.
		resp, err := c.receive(ex)
		if err == nil {
			err = c.switched(resp)
		}
		if err == nil {
			return resp, nil
		}
		if sendErr == nil {
			sendErr = err
		}
	}
	return nil, c.exchangeFailure(ex, sendErr)
}

// switched holds an answer to an upgrade to what the client's side can say: over
// HTTP/2 a 2xx without a tunnel would pass for one.
func (c *call) switched(resp *stream.Response) error {
	req := &c.s.Request
	if req.Upgrade == "" || req.Proto != stream.HTTP2 || resp.Tunnel != nil || resp.Status >= 300 {
		return nil
	}
	return stream.Reason{Code: stream.UpstreamProtocol, Detail: "the endpoint did not switch to " + req.Upgrade}
}

// armTry starts the try's time-out where the request is sent already; else the end
// of the upload does.
func (c *call) armTry() {
	c.moved()
	c.mu.Lock()
	sent := c.sent
	c.mu.Unlock()
	if sent && c.limits.try > 0 {
		c.tryTimer.Arm(c.limits.try)
	}
}

// receive waits for the final head, passing on informational ones. A 100 is not
// passed on: the client got its own when its body was first read.
func (c *call) receive(ex stream.Exchange) (*stream.Response, error) {
	for {
		resp, err := ex.Receive()
		if err != nil {
			return nil, err
		}
		c.moved()
		if resp.Status >= 200 || resp.Status == 101 {
			return resp, nil
		}
		if resp.Status == 100 {
			continue
		}
		if err := c.s.Inform(resp.Status, &resp.Head); err != nil {
			return nil, stream.Reason{Code: stream.DownstreamGone, Detail: err.Error()}
		}
	}
}

// acquireFailure is for tries that got no connection: nothing was sent.
func (c *call) acquireFailure(err error) *failure {
	f := &failure{err: err, delivery: stream.Unsent}
	var rep *stream.Reply
	if errors.As(err, &rep) {
		f.code = rep.Reason.Code
		return f
	}
	return c.stoppedFailure(f, err)
}

// stoppedFailure fills in f for a try that was given up.
func (c *call) stoppedFailure(f *failure, err error) *failure {
	r, stopped, _ := c.verdict()
	if !stopped {
		r = reasonOf(err)
	}
	f.code = r.Code
	f.err = c.stoppedError(r)
	return f
}

// stoppedError answers where the client still waits for an answer, and resets the
// stream where it does not.
//
// A time-out before the client has sent its whole request is the client's: 408, as
// Envoy's stream_idle_timeout has it.
func (c *call) stoppedError(r stream.Reason) error {
	status := 0
	switch r.Code {
	case stream.DownstreamGone, stream.DownstreamReset, stream.Draining:
		return r
	case stream.IdleTimeout, stream.MaxDuration:
		c.mu.Lock()
		if c.s.Request.Body != nil && !c.sent {
			status = http.StatusRequestTimeout
		}
		c.mu.Unlock()
	}
	rep := stream.NewReply(status, r)
	if rep.Status == 0 {
		return r
	}
	return rep
}

func reasonOf(err error) stream.Reason {
	var r stream.Reason
	if errors.As(err, &r) {
		return r
	}
	return stream.Reason{Code: stream.UpstreamReset, Detail: err.Error()}
}

func resetReply(err error) *stream.Reply { return stream.NewReply(0, reasonOf(err)) }

// exchangeFailure ends a try whose exchange failed or was given up.
func (c *call) exchangeFailure(ex stream.Exchange, err error) *failure {
	f := &failure{delivery: ex.Delivery(), stale: !c.lease.Fresh()}
	r, stopped, _ := c.verdict()
	if stopped {
		c.stoppedFailure(f, err)
	} else {
		r = reasonOf(err)
		f.code, f.err = r.Code, stream.NewReply(0, r)
		c.s.Upstream.FailureError = r.Detail
	}
	if r.Code == stream.PerTryTimeout {
		c.cluster.Stats().RqPerTryTimeout.Add(1)
	}
	c.endTry(r, 0, f.delivery != stream.Maybe && f.stale)
	return f
}

// endTry cancels the try's exchange and gives its connection up. silent leaves the
// outcome out of the statistics of the endpoint: a kept connection was closed.
func (c *call) endTry(r stream.Reason, status int, silent bool) {
	if c.done {
		return
	}
	c.done = true
	c.Enter(nil)
	if c.limits.try > 0 {
		c.tryTimer.Stop()
	}
	c.ex.Cancel(r)
	c.upload.detach()
	c.ex.Release()
	o := upstream.Outcome{Status: status, Reason: r.Code}
	if silent && status == 0 {
		o.Reason = stream.DownstreamGone
	}
	c.lease.Release(o)
}

// fail ends the exchange without an answer from upstream.
func (c *call) fail(err error) error {
	if r := reasonOfReply(err); r.Code == stream.RouteTimeout {
		c.cluster.Stats().RqTimeout.Add(1)
	} else if r.Code == stream.MaxDuration {
		c.cluster.Stats().RqMaxDuration.Add(1)
	}
	c.finish(reasonOfReply(err))
	if r, reset := c.s.ResetReason(); reset {
		switch r.Code {
		case stream.RequestTimeout, stream.IdleTimeout: // the client is there and waits
			return c.attribute(c.stoppedError(r))
		}
		return r
	}
	return c.attribute(err)
}

func reasonOfReply(err error) stream.Reason {
	var rep *stream.Reply
	if errors.As(err, &rep) {
		return rep.Reason
	}
	return reasonOf(err)
}
