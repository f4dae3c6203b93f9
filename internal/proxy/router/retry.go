package router

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
)

// mayRepeat reports whether sending the request again can do harm: not if it was
// provably not delivered, nor if it may be repeated by its method.
func (c *call) mayRepeat(d stream.Delivery) bool {
	return d != stream.Maybe || c.r.o.RetryUnsafe || idempotent(c.s.Request.Method)
}

// retryFailure decides on a retry after a try without an answer.
func (c *call) retryFailure(f *failure) bool {
	return c.policy.wantsFailure(f) && c.mayRepeat(f.delivery) && c.another()
}

// retryAnswer decides on a retry after an answer that the policy names.
func (c *call) retryAnswer(resp *stream.Response) bool {
	if c.policy.on == 0 || resp.Tunnel != nil {
		return false
	}
	unsent, d := c.peerSaysUnsent(resp), stream.Maybe
	if !c.policy.wantsAnswer(resp) && (!unsent || c.policy.on&onUnsent == 0) {
		return false
	}
	if unsent || c.namesStatus(resp) {
		d = stream.Refused
	}
	return c.mayRepeat(d) && c.another()
}

// peerSaysUnsent reads the word of the peer's proxy that its application never saw
// the request.
func (c *call) peerSaysUnsent(resp *stream.Response) bool {
	return c.peerDelivery(resp) != nil
}

// peerFoundNobody reads the word of the peer's proxy that its application does not
// listen.
func (c *call) peerFoundNobody(resp *stream.Response) bool {
	return string(c.peerDelivery(resp)) == deliveredNone
}

func (c *call) peerDelivery(resp *stream.Response) []byte {
	if tls := c.s.Upstream.TLS; resp.Status < 500 || tls == nil || !tls.Mutual {
		return nil
	}
	return resp.Get(fieldDelivery)
}

// another takes one retry from the policy and the budget.
func (c *call) another() bool {
	stats := c.cluster.Stats()
	switch {
	case c.given() || !c.upload.replayable():
		return false
	case c.policy.left <= 0:
		if c.policy.total > 0 {
			stats.RqRetryLimit.Add(1)
			c.s.RetriesExhausted = true
		}
		return false
	case !c.requestsRetriable():
		return false
	}
	c.releaseRetry()
	if !c.cluster.StartRetry(c.tried.Priority) {
		return false
	}
	c.retry = true
	c.policy.left--
	return true
}

// requestsRetriable holds retriable_request_headers.
func (c *call) requestsRetriable() bool {
	p := c.policy.retry
	return p == nil || len(p.RetriableReqs) == 0 || anyRequest(p.RetriableReqs, &c.s.Request)
}

// discard ends a try whose answer is not passed on. If the answer is all there, its
// connection is kept.
func (c *call) discard(resp *stream.Response) {
	r := stream.Reason{Detail: "the answer is retried"}
	if !c.upload.complete() || !drained(resp.Body) {
		c.endTry(r, resp.Status, false)
		return
	}
	c.done = true
	c.Enter(nil)
	c.tryTimer.Stop()
	o := upstream.Outcome{Status: resp.Status} // Release gives resp's memory to others
	o.Reusable = c.ex.Release()
	c.lease.Release(o)
}

// drained reads a body that is buffered to its end, and reports whether it was.
func drained(b stream.Body) bool {
	if b == nil {
		return true
	}
	if _, complete := b.Buffered(); !complete {
		return false
	}
	return drain(b) == nil
}

// backOff waits before the next try. An error ends the exchange.
func (c *call) backOff() error {
	n := c.policy.total - c.policy.left
	d := c.policy.backOff(n, c.r.o.Rand())
	c.nextTry()
	return c.sleep(d)
}

// sleep waits. An error is the reason with which the exchange was given up.
func (c *call) sleep(d time.Duration) error {
	w := sleeper{woken: make(chan stream.Reason, 1)}
	c.Enter(w)
	defer c.Enter(nil)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case r := <-w.woken:
		return c.stoppedError(r)
	}
}

// sleeper is a wait that can be given up.
type sleeper struct{ woken chan stream.Reason }

// Cancel implements stream.Canceler.
func (w sleeper) Cancel(r stream.Reason) {
	select {
	case w.woken <- r:
	default:
	}
}
