package upstream

import (
	"context"
	"slices"
)

// waiter is a request that waits: for a connection that is being made for many, or
// for a place because max_connections is reached.
type waiter struct {
	view     *view
	target   *target
	pool     *pool
	priority uint8
	got      chan grant // has room for one
}

// grant ends a wait: with a place on a connection, with the right to make one
// (which is counted already), or with an error.
type grant struct {
	place taken
	err   error
}

func (w *waiter) give(g grant) { w.got <- g }

// enqueue makes a request wait. Called with mu held.
func (h *Handle) enqueue(w *waiter) {
	w.pool.waiting++
	h.waiters = append(h.waiters, w)
}

// await waits for a grant.
func (h *Handle) await(ctx context.Context, w *waiter) (taken, error) {
	select {
	case g := <-w.got:
		return h.useGrant(ctx, w, g)
	case <-ctx.Done():
	}
	h.mu.Lock()
	i := slices.Index(h.waiters, w)
	if i >= 0 {
		h.waiters = slices.Delete(h.waiters, i, i+1)
		w.pool.waiting--
		h.settle(w.pool)
	}
	h.mu.Unlock()
	if i < 0 {
		h.returnGrant(w, <-w.got) // it came at the same time
	}
	return taken{}, context.Cause(ctx)
}

func (h *Handle) useGrant(ctx context.Context, w *waiter, g grant) (taken, error) {
	if g.place.conn != nil || g.err != nil {
		return g.place, g.err
	}
	return h.openFor(ctx, w.view, w.target, w.pool, w.priority)
}

// returnGrant gives back what a request that gave up was granted.
func (h *Handle) returnGrant(w *waiter, g grant) {
	switch {
	case g.place.conn != nil:
		h.mu.Lock()
		h.give(g.place.conn, true)
	case g.err == nil:
		h.mu.Lock()
		h.undial(w.pool, w.priority)
		h.grant()
		h.mu.Unlock()
	}
}

// undial takes a connection that was to be made off the counts. Called with mu
// held.
func (h *Handle) undial(p *pool, priority uint8) {
	h.usage[priority].conns--
	p.dials--
	h.settle(p)
}

// remaining keeps the waiters for which f returns false, in their order. Called
// with mu held.
func (h *Handle) remaining(f func(*waiter) (done bool)) {
	h.waiters = slices.DeleteFunc(h.waiters, func(w *waiter) bool {
		done := f(w)
		if done {
			w.pool.waiting--
		}
		return done
	})
}

// serve gives free places of the pool's connections to its waiters. Called with mu
// held.
func (h *Handle) serve(p *pool) {
	if p.waiting == 0 {
		return
	}
	v := h.view.Load()
	kept := h.waiters[:0]
	for i, w := range h.waiters {
		if w.pool != p {
			kept = append(kept, w)
			continue
		}
		got, ok := h.place(v, p)
		if !ok {
			kept = append(kept, h.waiters[i:]...)
			break
		}
		p.waiting--
		w.give(grant{place: got})
	}
	clear(h.waiters[len(kept):])
	h.waiters = kept
}

// grant lets connections be made where there is room now and requests wait for
// them. Called with mu held.
func (h *Handle) grant() {
	if len(h.waiters) == 0 || h.full(0) && h.full(1) {
		return
	}
	h.remaining(func(w *waiter) bool {
		if h.full(w.priority) {
			return false
		}
		if w.pool.shares() {
			if w.pool.waiting > w.pool.promised() {
				h.dialShared(w.view, w.target, w.pool, w.priority)
			}
			return false
		}
		h.usage[w.priority].conns++
		w.pool.dials++
		w.give(grant{})
		return true
	})
}

// full reports whether a priority has as many connections as it may. Called with mu
// held.
func (h *Handle) full(priority uint8) bool {
	return h.usage[priority].conns >= h.limits(priority).MaxConnections
}

// failWaiters ends the wait for connections of a pool. Called with mu held.
func (h *Handle) failWaiters(p *pool, err error) {
	h.remaining(func(w *waiter) bool {
		if w.pool != p {
			return false
		}
		w.give(grant{err: err})
		return true
	})
}

// crowdedOut reports whether the place of a connection is needed for another
// endpoint. Under load one that carries many is never unused: it takes no further
// request then, one connection at a time. Called with mu held.
func (h *Handle) crowdedOut(c *conn) bool {
	u := &h.usage[c.priority]
	if len(h.waiters) == c.pool.waiting || !h.full(c.priority) || c.active > 0 && u.yielding > 0 {
		return false
	}
	needed := slices.ContainsFunc(h.waiters, func(w *waiter) bool { return w.priority == c.priority && w.pool != c.pool })
	if needed && c.active > 0 {
		c.yields = true
		u.yielding++
	}
	return needed
}
