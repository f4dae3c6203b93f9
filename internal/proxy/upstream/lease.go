package upstream

import (
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Lease is a connection for one try. It is given back once, with Release.
type Lease struct {
	conn     *conn
	host     *host
	priority uint8
}

// Outcome is what a try came to.
type Outcome struct {
	// Status of the final answer; 0 if none came.
	Status int
	// Reason is why the try ended where it did not end with a complete answer.
	Reason stream.Code
	// Reusable is what the exchange's Release reported: false for an exchange that was
	// cut short.
	Reusable bool
}

// Open starts the exchange on the connection. An error means that nothing was
// sent: another connection may be tried.
func (l Lease) Open(s *stream.Stream) (stream.Exchange, error) { return l.conn.cc.Open(s) }

// Fresh reports whether this is the connection's first exchange. On a connection
// that served before, a reset may only mean that it was idle for too long.
func (l Lease) Fresh() bool { return l.conn.served <= 1 }

// Release gives the connection back, counts the outcome and lets outlier
// detection see it.
func (l Lease) Release(o Outcome) {
	h, x := l.host.cluster, l.host
	x.active.Add(^uint32(0))
	h.stats.RqActive.Add(-1)
	h.count(x, o)
	h.mu.Lock()
	h.usage[l.priority].requests--
	h.mu.Unlock()
	h.give(l.conn, o.Reusable)
	h.observe(x, o)
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
	switch o.Reason {
	case stream.DownstreamGone, stream.DownstreamProtocol, stream.Draining:
		h.stats.RqCancelled.Add(1)
		h.stats.RqTxReset.Add(1)
	case stream.RouteTimeout, stream.PerTryTimeout, stream.MaxDuration, stream.IdleTimeout:
		h.stats.RqTxReset.Add(1)
		x.stats.RqTimeout.Add(1)
		x.stats.RqError.Add(1)
	default:
		h.stats.RqRxReset.Add(1)
		x.stats.RqError.Add(1)
	}
}

// give puts a connection back, hands it to a waiter, or closes it.
func (h *Handle) give(c *conn, reusable bool) {
	v := h.view.Load()
	why := stream.Reason{Code: stream.None, Detail: "the connection is not reusable"}
	if reusable && !c.cc.Reusable() {
		reusable = false
	}
	if reusable && v != nil {
		reusable, why = h.mayReuse(c)
	}
	h.mu.Lock()
	if c.lost {
		reusable = false
	}
	if v == nil || c.host.removed || h.closed || !v.links.has(c.link) {
		reusable = false
		why = stream.Reason{Code: stream.Draining, Detail: "the endpoint or its TLS context left the cluster"}
	}
	if reusable && len(h.waiters) > 0 {
		if h.handOver(c) {
			h.mu.Unlock()
			return
		}
		if h.waits(c) && h.usage[c.priority].conns >= h.limits(c.priority).MaxConnections {
			reusable = false // its place is needed for another endpoint
			why = stream.Reason{Code: stream.UpstreamOverflow, Detail: "its place was needed for another endpoint"}
		}
	}
	if reusable {
		c.idle = true
		c.host.idle = append(c.host.idle, c)
		h.mu.Unlock()
		h.armIdle(c, v)
		return
	}
	h.detach(c)
	h.settle(c.host)
	h.grant()
	h.mu.Unlock()
	c.idleTimer.Drop()
	c.cc.Close(why)
}

// mayReuse applies the limits of a connection's life.
func (h *Handle) mayReuse(c *conn) (bool, stream.Reason) {
	v := h.view.Load()
	if v == nil {
		return false, stream.Reason{Code: stream.Draining, Detail: "the cluster was removed"}
	}
	if n := v.cfg.MaxRequests; n > 0 && c.served >= n {
		h.stats.CxMaxRequests.Add(1)
		return false, stream.Reason{Code: stream.None, Detail: "max_requests_per_connection reached"}
	}
	if d := v.cfg.MaxConnDuration; d > 0 && !c.born.IsZero() && h.m.o.Now().Sub(c.born) >= d {
		h.stats.CxMaxDuration.Add(1)
		return false, stream.Reason{Code: stream.MaxDuration, Detail: "max_connection_duration reached"}
	}
	return true, stream.Reason{}
}

// armIdle starts the idle time-out. If the connection was taken again meanwhile,
// the expiry finds it in use and does nothing.
func (h *Handle) armIdle(c *conn, v *view) {
	if d := v.cfg.IdleTimeout; d > 0 {
		c.idleTimer.Arm(d)
	}
}
