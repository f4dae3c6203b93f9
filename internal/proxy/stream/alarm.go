package stream

import (
	"sync"
	"time"
)

// Alarm calls a function when a time passes that is moved often and reached
// rarely: idle and request time-outs. Moving it later costs a lock and no timer;
// the timer behind it runs on, finds that the time was moved, and sleeps again.
// All methods may be called by any goroutine.
type Alarm struct {
	f func()

	mu    sync.Mutex
	at    time.Time   // guarded by mu; zero: not set
	wakes time.Time   // guarded by mu: when the timer fires; zero: not running
	timer *time.Timer // guarded by mu; made by the first Set
}

// NewAlarm makes an alarm that calls f. f runs with the alarm locked, so that it
// is not running, and will not run, once Stop or Set has returned: it must not
// call the alarm's methods, nor block.
func NewAlarm(f func()) *Alarm { return &Alarm{f: f} }

// Set moves the alarm to a time.
func (a *Alarm) Set(at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = at
	if !a.wakes.IsZero() && !at.Before(a.wakes) {
		return
	}
	a.start(time.Until(at))
}

// Stop unsets the alarm.
func (a *Alarm) Stop() {
	a.mu.Lock()
	a.at = time.Time{}
	a.mu.Unlock()
}

// Close unsets the alarm and frees its timer.
func (a *Alarm) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at, a.wakes = time.Time{}, time.Time{}
	if a.timer != nil {
		a.timer.Stop()
	}
}

// start is called with mu held.
func (a *Alarm) start(d time.Duration) {
	a.wakes = a.at
	if a.timer == nil {
		a.timer = time.AfterFunc(d, a.fire)
		return
	}
	a.timer.Reset(d)
}

func (a *Alarm) fire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wakes = time.Time{}
	if a.at.IsZero() {
		return
	}
	if d := time.Until(a.at); d > 0 {
		a.start(d)
		return
	}
	a.at = time.Time{}
	a.f()
}
