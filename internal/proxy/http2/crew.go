package http2

import "time"

// crew is the goroutines of a server connection's streams. One that has served a
// stream waits for the next: its stack has grown to what a request needs, which cost
// a fifth of the request. Those that were not needed since the last look end (see
// conn.spare), so that as many wait as lately were at work at once, and none on a
// connection at rest. It is guarded by conn.mu.
type crew struct {
	parked *hand // the one that came last is the first to go: it is the warmest
	n      int   // how many are parked
	least  int   // the smallest n since the last look
}

// hand is one goroutine.
type hand struct {
	next *hand
	wake chan *serverStream // has room for one; nil ends the goroutine
}

// take unparks up to n hands, as a list.
func (w *crew) take(n int) *hand {
	first := w.parked
	var last *hand
	for ; n > 0 && w.parked != nil; n-- {
		last, w.parked = w.parked, w.parked.next
		w.n--
	}
	if w.least = min(w.least, w.n); last == nil {
		return nil
	}
	last.next = nil
	return first
}

func (w *crew) park(h *hand) {
	h.next, w.parked = w.parked, h
	w.n++
}

// thin ends those that were not needed since the last look: they lie deepest.
func (w *crew) thin() {
	at := &w.parked
	for range w.n - w.least {
		at = &(*at).next
	}
	dismiss(*at)
	*at = nil
	w.n -= w.least
	w.least = w.n
}

// dismiss ends parked hands. It does not block.
func dismiss(h *hand) {
	for h != nil {
		next := h.next
		h.next = nil
		h.wake <- nil
		h = next
	}
}

// batch implements batcher: what one read has brought starts together, and finds
// small bodies complete.
func (c *ServerConn) batch() {
	if len(c.starts) == 0 {
		return
	}
	c.mu.Lock()
	h := c.crew.take(len(c.starts))
	c.mu.Unlock()
	for i, st := range c.starts {
		c.starts[i] = nil
		if h == nil {
			c.wg.Add(1)
			go c.serve(&hand{wake: make(chan *serverStream, 1)}, st)
			continue
		}
		next := h.next
		h.next = nil
		h.wake <- st
		h = next
	}
	c.starts = c.starts[:0]
}

// serve is the goroutine of a hand: one stream after the other.
func (c *ServerConn) serve(h *hand, st *serverStream) {
	defer c.wg.Done()
	for st != nil {
		if !st.run(h) {
			return
		}
		st = <-h.wake
	}
}

// spareTime is after how long without use what a connection keeps for the next
// request is given up: parked goroutines, the writer's too, and buffers.
const spareTime = time.Second

// keep has the connection look, in a while, for what it does not need any more. mu
// is held.
func (c *conn) keep(now time.Time) {
	if c.clock.spare.IsZero() {
		c.clock.spare = now.Add(spareTime)
		c.arm(c.clock.spare)
	}
}

// spare gives up what was not used since the last look. It returns when to look
// again; never, where nothing is left. mu is held.
func (c *conn) spare(now time.Time) time.Time {
	at := &c.clock.spare
	if at.IsZero() || now.Before(*at) {
		return *at
	}
	c.crew.thin()
	w := &c.writer
	if w.running && !w.used {
		w.retire = true
		w.cond.Signal()
	}
	busy := c.crew.n > 0 || w.used || w.awake || len(c.streams) > 0 || c.running > 0
	if w.used = false; busy {
		*at = now.Add(spareTime)
		return *at
	}
	*at = time.Time{}
	c.block = nil
	c.streams = map[uint32]*strm{} // one that was large once stays so
	c.past.shrink()
	return *at
}
