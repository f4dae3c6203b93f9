package rawio

import "golang.org/x/sys/unix"

// Await calls f once, on the watch's goroutine, when the socket below t can be read
// without waiting: at once, where it can be already. f must not block. So a
// connection that is idle needs no goroutine. It reports false, and f is not called,
// where t is not registered by Add. What lies in t's own buffers is not seen: see
// Unread. The kernel tells of every packet from now on, until Rest.
func (w *Watch) Await(t Transport, f func()) bool {
	c, slot, gen := w.registered(t)
	if c == nil || !w.expect(slot, gen, f) {
		return false
	}
	if w.register(c, interest(slot, gen, unix.EPOLLIN)) == nil {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.slots[slot]
	waits := s.gen == gen && s.readable != nil
	if waits {
		s.readable = nil
	}
	return !waits // it was called, or is about to be
}

// Rest ends the interest of Await; hang-ups are told as before.
func (w *Watch) Rest(t Transport) {
	if c, slot, gen := w.registered(t); c != nil && w.expect(slot, gen, nil) {
		// It fails only on a closed socket, of which nothing is told any more.
		_ = w.register(c, interest(slot, gen, 0))
	}
}

// registered finds the socket below t and its registration; nil: there is none.
func (w *Watch) registered(t Transport) (c *Conn, slot, gen uint32) {
	if c = RawConn(t); c == nil || w == nil {
		return nil, 0, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch != w {
		return nil, 0, 0
	}
	return c, c.slot, c.gen
}

// expect notes what Await has to call, and reports whether the registration lives.
func (w *Watch) expect(slot, gen uint32, f func()) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.slots[slot]
	if s.gen != gen {
		return false
	}
	s.readable = f
	return true
}
