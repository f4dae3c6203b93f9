package upstream

import (
	"context"
	"slices"
)

// waiter is a request that waits for a connection because max_connections is
// reached.
type waiter struct {
	target   *target
	wish     wish
	priority uint8
	got      chan grant // has room for one
}

// grant ends a wait: with a connection, with the right to make one (which is
// counted already), or with an error.
type grant struct {
	conn *conn
	err  error
}

func (w *waiter) give(g grant) { w.got <- g }

// await waits for a grant.
func (h *Handle) await(ctx context.Context, v *view, w *waiter) (*conn, error) {
	select {
	case g := <-w.got:
		return h.useGrant(ctx, v, w, g)
	case <-ctx.Done():
	}
	h.mu.Lock()
	i := slices.Index(h.waiters, w)
	if i >= 0 {
		h.waiters = slices.Delete(h.waiters, i, i+1)
	}
	h.mu.Unlock()
	if i < 0 {
		h.returnGrant(w, <-w.got) // it came at the same time
	}
	return nil, context.Cause(ctx)
}

func (h *Handle) useGrant(ctx context.Context, v *view, w *waiter, g grant) (*conn, error) {
	if g.conn != nil || g.err != nil {
		return g.conn, g.err
	}
	return h.open(ctx, v, w.target, w.wish, w.priority)
}

// returnGrant gives back what a request that gave up was granted.
func (h *Handle) returnGrant(w *waiter, g grant) {
	switch {
	case g.conn != nil:
		h.give(g.conn, true)
	case g.err == nil:
		h.mu.Lock()
		h.usage[w.priority].conns--
		w.target.host.dialing--
		h.settle(w.target.host)
		h.grant()
		h.mu.Unlock()
	}
}

// grant lets waiters make connections where there is room now. Called with mu
// held.
func (h *Handle) grant() {
	for i := 0; i < len(h.waiters); {
		w := h.waiters[i]
		u := &h.usage[w.priority]
		if u.conns >= h.limits(w.priority).MaxConnections {
			i++
			continue
		}
		h.waiters = slices.Delete(h.waiters, i, i+1)
		u.conns++
		w.target.host.dialing++
		w.give(grant{})
	}
}

// handOver gives a free connection to the first waiter that can use it. Called
// with mu held.
func (h *Handle) handOver(c *conn) bool {
	for i, w := range h.waiters {
		if w.target.host == c.host && w.target.link == c.link && w.priority == c.priority && w.wish.equal(c.wish) {
			h.waiters = slices.Delete(h.waiters, i, i+1)
			w.give(grant{conn: c})
			return true
		}
	}
	return false
}

// waits reports whether a request of the connection's priority waits for a place.
// Called with mu held.
func (h *Handle) waits(c *conn) bool {
	return slices.ContainsFunc(h.waiters, func(w *waiter) bool { return w.priority == c.priority })
}
