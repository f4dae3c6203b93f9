package upstream

import (
	"context"
	"errors"
	"runtime"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// errAtOnce is the failure of a connection that ended before its first request.
var errAtOnce = errors.New("the endpoint closed the connection at once")

// open makes a connection for a pool. Its place is counted already (usage.conns,
// pool.dials), and stays so when that fails. What it returns is not in the pool's
// choice yet: its caller has it.
func (h *Handle) open(ctx context.Context, v *view, tg *target, p *pool, priority uint8) (*conn, error) {
	start := h.m.o.Now()
	t, facts, err := h.connect(ctx, v, tg, &p.wish, nil)
	x := p.host
	if err != nil {
		h.countFailure(x, err)
		return nil, err
	}
	c := &conn{pool: p, priority: priority, mux: multiplexes(&p.wish, facts), tls: facts, local: t.LocalAddr(), active: 1, limit: 1}
	c.took = h.m.o.Now().Sub(start)
	c.idleTimer.Init(h.m.o.Timer, func() { h.expire(c) })
	c.lifeTimer.Init(h.m.o.Timer, func() { h.outdated(c) })
	c.cc = h.codec(t, v, c)
	limit := c.cc.Free()
	if d := v.cfg.MaxConnDuration; d > 0 {
		c.lifeTimer.Arm(d)
	}
	h.stats.CxTotal.Add(1)
	h.stats.CxActive.Add(1)
	x.stats.CxTotal.Add(1)
	x.stats.CxActive.Add(1)
	if c.mux {
		h.stats.CxHTTP2.Add(1)
	} else {
		h.stats.CxHTTP1.Add(1)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !c.told {
		c.limit = limit
	}
	p.conns++
	x.conns[c] = struct{}{}
	if p.wish.speak == tlsctx.Negotiated {
		h.learn(p, c.mux)
	}
	return c, nil
}

// learn remembers what the endpoint has negotiated. Called with mu held.
func (h *Handle) learn(p *pool, mux bool) {
	switch x := p.host; {
	case !mux:
		x.single = p.link
	case x.single == p.link:
		x.single = nil
	}
}

// openFor makes a connection for one request, which waits for it itself.
func (h *Handle) openFor(ctx context.Context, v *view, tg *target, p *pool, priority uint8) (taken, error) {
	c, err := h.open(ctx, v, tg, p, priority)
	h.mu.Lock()
	if err != nil {
		h.undial(p, priority)
		h.grant()
		h.mu.Unlock()
		return taken{}, err
	}
	p.dials--
	if h.closed {
		h.give(c, false)
		return taken{}, proxyEnds
	}
	c.active--
	h.choose(c)
	got := h.reserve(v, c)
	h.serve(p) // for others, if it turned out to carry many
	h.mu.Unlock()
	return got, nil
}

// choose lets a connection of HTTP/2 be chosen. Called with mu held.
func (h *Handle) choose(c *conn) {
	if c.mux && !c.spent {
		c.pool.mux = append(c.pool.mux, c)
	}
}

// dialShared begins a connection for all that wait for one. Called with mu held,
// where there is room for it.
func (h *Handle) dialShared(v *view, tg *target, p *pool, priority uint8) {
	if h.closed {
		return // whoever waited was told
	}
	h.usage[priority].conns++
	p.dials++
	h.m.wg.Go(func() { h.openShared(v, tg, p, priority) })
}

// openShared makes a connection for a pool's waiters. It fails them where there is
// no other hope for them.
func (h *Handle) openShared(v *view, tg *target, p *pool, priority uint8) {
	c, err := h.open(h.m.ctx, v, tg, p, priority)
	h.mu.Lock()
	if err == nil {
		p.dials--
		h.choose(c)
		if !c.spent {
			h.give(c, true)
			return
		}
		err = &connectError{stream.ConnectFailure, errAtOnce}
	}
	p.notYet = h.m.o.Now().Add(growPause)
	if p.dials <= 1 && len(p.mux) == 0 {
		h.failWaiters(p, err)
	}
	if c != nil {
		h.give(c, false)
		return
	}
	h.undial(p, priority)
	h.grant()
	h.mu.Unlock()
}

// grow adds a connection where those that there are carry much, if a processor may
// profit. Called with mu held.
func (h *Handle) grow(v *view, tg *target, p *pool, priority uint8) {
	if p.dials > 0 || len(p.mux) >= runtime.GOMAXPROCS(0) || h.usage[priority].conns >= v.cfg.Breakers[priority].MaxConnections {
		return
	}
	if !p.notYet.IsZero() && h.m.o.Now().Before(p.notYet) {
		return
	}
	h.dialShared(v, tg, p, priority)
}
