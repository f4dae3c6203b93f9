package upstream

import (
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Lease is a place on a connection for one try. It is opened once, and given back
// once, with Release, after the exchange was released.
type Lease struct {
	conn     *conn
	host     *host
	ex       stream.Exchange
	priority uint8
	answers  int // that the connection had brought before
}

// Outcome is what a try came to.
type Outcome struct {
	// Status of the final answer; 0 if none came.
	Status int
	// Reason is why the try ended where it did not end with a complete answer.
	Reason stream.Code
	// Reusable is what the exchange's Release reported: false for an exchange that was
	// cut short. On a connection that carries many it says nothing of the connection.
	Reusable bool
}

// Open gives the exchange, which Acquire has opened: a connection that takes no
// exchange is not leased.
func (l Lease) Open(*stream.Stream) (stream.Exchange, error) { return l.ex, nil }

// Fresh reports whether the connection had brought no answer before this try, and is
// still in use. On another one a request that was not sent says little of its
// endpoint: the connection was idle for too long, or its endpoint was about to end
// it (GOAWAY).
func (l Lease) Fresh() bool {
	if l.answers > 0 || !l.conn.mux {
		return l.answers == 0
	}
	h := l.host.cluster
	h.mu.Lock()
	defer h.mu.Unlock()
	return !l.conn.spent
}

// Release gives the place back, counts the outcome and lets outlier detection see
// it.
func (l Lease) Release(o Outcome) {
	h, x, c := l.host.cluster, l.host, l.conn
	x.active.Add(^uint32(0))
	h.stats.RqActive.Add(-1)
	h.count(x, o)
	// A connection that carries many tells by itself when it takes no more.
	reusable := c.mux || o.Reusable && c.cc.Reusable()
	h.mu.Lock()
	h.usage[l.priority].requests--
	if o.Status > 0 {
		c.answers++
	} else if c.mux && timedOut(o.Reason) && c.answers == l.answers {
		// No answer to anybody in all that time: the path may be dead, and would take down
		// all that comes after.
		c.leave()
	}
	h.give(c, reusable)
	h.observe(x, o)
}

func timedOut(why stream.Code) bool {
	switch why {
	case stream.RouteTimeout, stream.PerTryTimeout, stream.MaxDuration, stream.IdleTimeout:
		return true
	}
	return false
}

// count adds the outcome to the statistics.
func (h *Handle) count(x *host, o Outcome) {
	if o.Status > 0 {
		h.stats.countStatus(o.Status)
		if o.Status < 500 {
			x.stats.RqSuccess.Add(1)
		} else {
			x.stats.RqError.Add(1)
		}
		return
	}
	switch why := o.Reason; {
	case why == stream.DownstreamGone, why == stream.DownstreamProtocol, why == stream.Draining:
		h.stats.RqCancelled.Add(1)
		h.stats.RqTxReset.Add(1)
	case timedOut(why):
		h.stats.RqTxReset.Add(1)
		x.stats.RqTimeout.Add(1)
		x.stats.RqError.Add(1)
	default:
		h.stats.RqRxReset.Add(1)
		x.stats.RqError.Add(1)
	}
}

// give takes a place on a connection back: for a request that waits, for the next
// one, or to close the connection. It is called with mu held and releases it.
func (h *Handle) give(c *conn, reusable bool) {
	c.active--
	v := h.view.Load()
	why := h.fate(v, c, reusable)
	if why == nil {
		if !c.mux {
			c.idle = true
			c.pool.idle = append(c.pool.idle, c)
		}
		if len(h.waiters) > 0 {
			h.serve(c.pool)
			if (c.mux || c.active == 0) && !c.spent && h.crowdedOut(c) {
				why = &placeTaken
			} else {
				h.grant()
			}
		}
	}
	if why == nil {
		idle := c.active == 0 && !c.spent
		h.mu.Unlock()
		if idle && v.cfg.IdleTimeout > 0 {
			c.idleTimer.Arm(v.cfg.IdleTimeout)
		}
		return
	}
	closing := h.retireConn(c)
	h.grant()
	h.mu.Unlock()
	if closing {
		closeConns([]*conn{c}, *why)
	}
}

// fate says why a connection is not used again; nil if it is. Called with mu held.
func (h *Handle) fate(v *view, c *conn, reusable bool) *stream.Reason {
	switch {
	case v == nil || c.pool.host.removed || h.closed || !v.uses(c.pool):
		return &notServed
	case c.spent || !reusable:
		return &notUsable
	case !c.mux && v.cfg.MaxRequests > 0 && c.served >= v.cfg.MaxRequests:
		h.stats.CxMaxRequests.Add(1)
		return &usedUp
	}
	return nil
}
