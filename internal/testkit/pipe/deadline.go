package pipe

import "time"

// SetDeadline implements rawio.Transport.
func (e *End) SetDeadline(t time.Time) error {
	e.setDeadline(&e.wTimer, e.out, t, func(h *half, v bool) { h.wExpired = v })
	return e.SetReadDeadline(t)
}

// SetReadDeadline implements rawio.Transport.
func (e *End) SetReadDeadline(t time.Time) error {
	e.setDeadline(&e.rTimer, e.in, t, func(h *half, v bool) { h.rExpired = v })
	return nil
}

func (e *End) setDeadline(timer **time.Timer, h *half, t time.Time, set func(*half, bool)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	d := time.Until(t)
	h.mu.Lock()
	set(h, !t.IsZero() && d <= 0)
	h.cond.Broadcast()
	h.mu.Unlock()
	if t.IsZero() || d <= 0 {
		return
	}
	var self *time.Timer
	self = time.AfterFunc(d, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if *timer != self {
			return // moved meanwhile
		}
		h.mu.Lock()
		set(h, true)
		h.cond.Broadcast()
		h.mu.Unlock()
	})
	*timer = self
}

func (e *End) stopTimers() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range []**time.Timer{&e.rTimer, &e.wTimer} {
		if *t != nil {
			(*t).Stop()
			*t = nil
		}
	}
}
