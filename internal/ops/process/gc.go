package process

import (
	"runtime"
	"sync"
)

// EachGC calls f after each collection of garbage, until stop is called. f runs on
// a goroutine of the runtime and must not block. Nothing runs between collections:
// an idle process is not woken.
//
// A cleanup tied to an object that nothing reaches runs once the collection that
// found it is over; it makes the next such object.
func EachGC(f func()) (stop func()) {
	h := &gcHook{f: f}
	h.arm()
	return func() {
		h.mu.Lock()
		h.f = nil
		h.mu.Unlock()
	}
}

type gcHook struct {
	mu sync.Mutex
	f  func() // guarded by mu; nil after stop
}

// sentinel holds a pointer, so that it is not put into a block with others.
type sentinel struct{ hook *gcHook }

func (h *gcHook) arm() { runtime.AddCleanup(&sentinel{h}, (*gcHook).collected, h) }

func (h *gcHook) collected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.f == nil {
		return
	}
	h.arm()
	h.f()
}
