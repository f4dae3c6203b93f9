package upstream

import (
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/timer"
)

// conn is one pooled HTTP connection.
type conn struct {
	// immutable once it is in the pool
	host     *host
	link     *link
	wish     wish  // of the request that opened it
	priority uint8 // whose breaker counts it
	cc       stream.ClientConn
	tls      *stream.TLS
	local    netip.AddrPort
	born     time.Time // zero where no maximum duration is set
	took     time.Duration

	idleTimer timer.Timer

	// guarded by host.cluster.mu
	idle     bool
	lost     bool // the peer closed it
	detached bool // no longer counted
	served   int
}

// detach takes the connection off the counts, once. Called with mu held; the
// caller closes it afterwards, without the lock.
func (h *Handle) detach(c *conn) bool {
	if c.detached {
		return false
	}
	c.detached = true
	x := c.host
	delete(x.conns, c)
	h.usage[c.priority].conns--
	h.stats.CxActive.Add(-1)
	h.stats.CxDestroy.Add(1)
	x.stats.CxActive.Add(-1)
	return true
}

// drop detaches c, lets a waiter have its place, and closes it.
func (h *Handle) drop(c *conn, why stream.Reason) {
	h.mu.Lock()
	c.host.forgetIdle(c)
	h.detach(c)
	h.settle(c.host)
	h.grant()
	h.mu.Unlock()
	c.idleTimer.Drop()
	c.cc.Close(why)
}

// settle forgets a host that nothing uses and no view names. Called with mu held.
func (h *Handle) settle(x *host) {
	if x.used() || h.filling {
		return
	}
	v := h.view.Load()
	if x.removed || v == nil || v.cfg.Type == config.ClusterOriginalDst {
		h.forget(x.addr, x)
	}
}

// gone is called when the peer closed the connection.
func (h *Handle) gone(c *conn) {
	h.mu.Lock()
	c.lost = true
	wasIdle := c.idle
	h.mu.Unlock()
	h.stats.CxDestroyRemote.Add(1)
	if wasIdle {
		h.drop(c, stream.Reason{Code: stream.UpstreamReset, Detail: "the endpoint closed the idle connection"})
	}
	// In use: the exchange sees the end by itself, and its lease gives it back as
	// not reusable.
}

// expire is called when the idle time-out passed.
func (h *Handle) expire(c *conn) {
	h.mu.Lock()
	idle := c.host.forgetIdle(c)
	if idle {
		h.detach(c)
		h.settle(c.host)
		h.grant()
	}
	h.mu.Unlock()
	if idle {
		h.stats.CxIdleTimeout.Add(1)
		c.cc.Close(stream.Reason{Code: stream.IdleTimeout, Detail: "idle upstream connection"})
	}
}

// closeLater closes a detached connection off the lock.
func closeLater(c *conn, why stream.Reason) {
	go closeConns([]*conn{c}, why)
}

func closeConns(list []*conn, why stream.Reason) {
	for _, c := range list {
		c.idleTimer.Drop()
		c.cc.Close(why)
	}
}
