package upstream

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/timer"
)

// conn is one pooled HTTP connection.
type conn struct {
	// immutable once it is in the pool
	pool     *pool
	priority uint8 // whose breaker counts it
	mux      bool  // it carries many requests at once: HTTP/2
	cc       stream.ClientConn
	tls      *stream.TLS
	local    netip.AddrPort
	took     time.Duration

	idleTimer timer.Timer
	lifeTimer timer.Timer

	// guarded by pool.host.cluster.mu
	idle     bool // in pool.idle
	spent    bool // takes no further request, and closes with its last one
	detached bool // no longer counted
	told     bool // the endpoint told the limit
	yields   bool // it is leaving for another endpoint's sake
	answers  int  // that it has brought
	active   int  // requests that have it
	limit    int  // how many may have it
	served   int  // requests that had it
	epoch    int  // counts what the endpoint told of the limit
}

var (
	staleIdle  = stream.Reason{Code: stream.UpstreamReset, Detail: "stale idle connection"}
	notServed  = stream.Reason{Code: stream.Draining, Detail: "the endpoint or its TLS context left the cluster"}
	proxyEnds  = stream.Reason{Code: stream.Draining, Detail: "the proxy ends"}
	usedUp     = stream.Reason{Code: stream.None, Detail: "max_requests_per_connection reached"}
	notUsable  = stream.Reason{Code: stream.None, Detail: "the connection is not reusable"}
	placeTaken = stream.Reason{Code: stream.UpstreamOverflow, Detail: "its place was needed for another endpoint"}
)

// leave takes the connection out of the choice; its requests finish. Called with
// cluster.mu held.
func (c *conn) leave() {
	c.spent = true
	p := c.pool
	if i := slices.Index(p.idle, c); c.idle && i >= 0 {
		p.dropIdle(i)
	}
	if i := slices.Index(p.mux, c); c.mux && i >= 0 {
		p.mux = slices.Delete(p.mux, i, i+1)
	}
}

// detach takes the connection off the choice and the counts, once. Called with mu
// held; the caller closes it afterwards, without the lock.
func (h *Handle) detach(c *conn) bool {
	if c.detached {
		return false
	}
	c.leave()
	c.detached = true
	x := c.pool.host
	delete(x.conns, c)
	c.pool.conns--
	h.usage[c.priority].conns--
	if c.yields {
		h.usage[c.priority].yielding--
	}
	h.stats.CxActive.Add(-1)
	h.stats.CxDestroy.Add(1)
	x.stats.CxActive.Add(-1)
	return true
}

// retireConn takes the connection out of use: at once if it has no request, else
// with its last one. It reports whether the caller has to close it. Called with mu
// held.
func (h *Handle) retireConn(c *conn) (closing bool) {
	c.leave()
	if c.active > 0 || !h.detach(c) {
		return false
	}
	h.settle(c.pool)
	return true
}

// settleHost forgets a host that nothing uses and no view names. Called with mu
// held.
func (h *Handle) settleHost(x *host) {
	if x.used() || h.filling {
		return
	}
	if v := h.view.Load(); x.removed || v == nil || v.anyAddr() {
		h.forget(x.addr, x)
	}
}

// gone is called when the peer closed the connection, or takes no further request
// on it. Exchanges under way see for themselves what becomes of them.
func (h *Handle) gone(c *conn) {
	h.stats.CxDestroyRemote.Add(1)
	h.outlive(c, stream.Reason{Code: stream.UpstreamReset, Detail: "the endpoint closed the idle connection"})
}

// outlive ends the use of a connection. One that is not in the pool yet is found to
// be spent when it comes there.
func (h *Handle) outlive(c *conn, why stream.Reason) {
	h.mu.Lock()
	closing := h.retireConn(c)
	h.grant()
	h.mu.Unlock()
	if closing {
		closeLater(c, why)
	}
}

// told is called when the endpoint told how many requests the connection carries.
func (h *Handle) told(c *conn, limit int) {
	h.mu.Lock()
	c.told, c.limit = true, limit
	c.epoch++
	c.pool.host.carries = max(limit, 1)
	h.serve(c.pool)
	if limit > 0 { // else every connection brings another
		h.grant()
	}
	h.mu.Unlock()
}

// expire is called when the idle time-out passed. It does nothing to a connection
// that was taken again meanwhile.
func (h *Handle) expire(c *conn) {
	h.mu.Lock()
	closing := c.active == 0 && h.retireConn(c)
	if closing {
		h.grant()
	}
	h.mu.Unlock()
	if closing {
		h.stats.CxIdleTimeout.Add(1)
		closeLater(c, stream.Reason{Code: stream.IdleTimeout, Detail: "idle upstream connection"})
	}
}

// outdated is called when max_connection_duration passed.
func (h *Handle) outdated(c *conn) {
	h.stats.CxMaxDuration.Add(1)
	h.outlive(c, stream.Reason{Code: stream.MaxDuration, Detail: "max_connection_duration reached"})
}

// closeLater closes a detached connection off the lock, and off the goroutine of
// the timers, which must not stop themselves.
func closeLater(c *conn, why stream.Reason) {
	go closeConns([]*conn{c}, why)
}

func closeConns(list []*conn, why stream.Reason) {
	for _, c := range list {
		c.idleTimer.Drop()
		c.lifeTimer.Drop()
		c.cc.Close(why)
	}
}
