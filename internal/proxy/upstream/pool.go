package upstream

import (
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// How HTTP/2 connections share the load of an endpoint: requests go to the one used
// most, until it carries crowd of them at once. Then another is dialled beside them,
// while requests go on with what there is, up to one connection per processor: a
// connection's reader and writer are one goroutine each, so that more connections
// would not bring more processors to the work. When all are crowded, the one used
// least comes first.
const (
	crowd = 32
	// growPause is for how long no connection is added after one could not be made.
	growPause = time.Second
	// carries is what a connection is expected to carry while its endpoint has never
	// said: requests that come while it is being made wait for it.
	carries = 1024
)

// pool holds the connections to one endpoint that serve requests with equal
// wishes. It exists as long as there are any, or requests that wait for one.
type pool struct {
	// immutable
	host *host
	link *link
	wish wish

	// guarded by host.cluster.mu
	idle    []*conn   // of HTTP/1.1; the last one was used last
	mux     []*conn   // of HTTP/2, that take requests
	conns   int       // all that are not closed yet
	dials   int       // connections being made
	waiting int       // requests in Handle.waiters
	notYet  time.Time // until when none is added for the load
}

// find finds the pool for a wish; nil if there is none. Called with cluster.mu
// held.
func (x *host) find(l *link, w *wish) *pool {
	for _, p := range x.pools {
		if p.link == l && w.meets(&p.wish) {
			return p
		}
	}
	if w.authority != nil {
		w.resolve() // an address has no name to compare with
		return x.find(l, w)
	}
	return nil
}

// pool finds or makes the pool for a wish. Called with cluster.mu held.
func (x *host) pool(l *link, w *wish) *pool {
	p := x.find(l, w)
	if p == nil {
		p = &pool{host: x, link: l, wish: *w}
		x.pools = append(x.pools, p)
	}
	return p
}

// settle forgets a pool that nothing uses, and then its host. Called with mu held.
func (h *Handle) settle(p *pool) {
	if p.conns > 0 || p.dials > 0 || p.waiting > 0 {
		return
	}
	if i := slices.Index(p.host.pools, p); i >= 0 {
		p.host.pools = slices.Delete(p.host.pools, i, i+1)
	}
	h.settleHost(p.host)
}

// shares reports whether requests wait for connections that carry many of them:
// those that are HTTP/2, or may turn out to be.
func (p *pool) shares() bool {
	return p.wish.speak == tlsctx.HTTP2 || p.wish.speak == tlsctx.Negotiated && p.host.single != p.link
}

// promised is how many waiting requests the connections in the making will serve.
func (p *pool) promised() int {
	each := p.host.carries
	if each == 0 {
		each = carries
	}
	n := p.dials * each
	for _, c := range p.mux {
		if !c.told {
			n += max(each-c.active, 0)
		}
	}
	return n
}

// taken is a place on a connection that a request has.
type taken struct {
	conn  *conn
	epoch int // of the connection's limit
	// answers is how many answers the connection had brought.
	answers int
}

// place takes a place on a connection that has one. Called with mu held.
func (h *Handle) place(v *view, p *pool) (got taken, ok bool) {
	if len(p.mux) > 0 {
		if c := busiest(p.mux); c != nil {
			return h.reserve(v, c), true
		}
	}
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.dropIdle(len(p.idle) - 1)
		if c.cc.Reusable() {
			return h.reserve(v, c), true
		}
		h.detach(c)
		closeLater(c, staleIdle)
	}
	return taken{}, false
}

// busiest is the connection with a place that a request goes to.
func busiest(list []*conn) *conn {
	var best *conn
	for _, c := range list {
		switch {
		case c.active >= c.limit:
		case best == nil,
			c.active < crowd && (best.active >= crowd || c.active > best.active),
			best.active >= crowd && c.active < best.active:
			best = c
		}
	}
	return best
}

// reserve takes a place on a connection. Called with mu held.
func (h *Handle) reserve(v *view, c *conn) taken {
	c.active++
	c.served++
	if c.mux && v != nil && v.cfg.MaxRequests > 0 && c.served >= v.cfg.MaxRequests {
		h.stats.CxMaxRequests.Add(1)
		c.leave()
	}
	return taken{conn: c, epoch: c.epoch, answers: c.answers}
}

func (p *pool) dropIdle(i int) {
	p.idle[i].idle = false
	copy(p.idle[i:], p.idle[i+1:])
	p.idle[len(p.idle)-1] = nil
	p.idle = p.idle[:len(p.idle)-1]
}

// unused lists the connections without a request. Called with cluster.mu held.
func (p *pool) unused() []*conn {
	list := slices.Clone(p.idle)
	for _, c := range p.mux {
		if c.active == 0 {
			list = append(list, c)
		}
	}
	return list
}
