package life

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake counts what is asked of it. Its connections end when idle has passed since it
// began to drain.
type fake struct {
	start, eased, drained time.Time
	busy                  time.Duration // after start

	mu sync.Mutex
}

func (f *fake) Ease() { f.mu.Lock(); f.eased = time.Now(); f.mu.Unlock() }

func (f *fake) Drain(ctx context.Context) {
	f.mu.Lock()
	f.drained = time.Now()
	f.mu.Unlock()
	select {
	case <-time.After(time.Until(f.start.Add(f.busy))):
	case <-ctx.Done():
	}
}

func (f *fake) Connections() int {
	if time.Since(f.start) < f.busy {
		return 1
	}
	return 0
}

func TestEnd(t *testing.T) {
	const s = time.Second
	for _, x := range []struct {
		name     string
		o        Options
		announce time.Duration // before the request to end; 0: not
		busy     time.Duration // connections end so long after the start
		drained  time.Duration // when no more are taken, after the request
		ended    time.Duration
	}{
		{"idle", Options{Termination: 5 * s}, 0, 0, 3750 * time.Millisecond, 5 * s},
		{"busy", Options{Termination: 5 * s}, 0, time.Hour, 3750 * time.Millisecond, 5 * s},
		{"long", Options{Termination: 40 * s}, 0, 0, 38 * s, 40 * s},
		{"announced, idle", Options{Termination: 5 * s}, 10 * s, 0, 0, 0},
		{"announced, busy for a while", Options{Termination: 5 * s}, 10 * s, 12 * s, 0, 2 * s},
		{"announced, busy for long", Options{Termination: 5 * s}, 10 * s, time.Hour, 0, 5 * s},
		{"last, busy for a while", Options{Termination: 5 * s, Last: true}, 0, 2 * s, 0, 2 * s},
		{"until idle", Options{Termination: 5 * s, UntilIdle: true, Minimum: 7 * s}, 0, 0, 7 * s, 7 * s},
		{"until idle, busy", Options{Termination: 5 * s, UntilIdle: true, Minimum: 7 * s}, 0, 60 * s, 7 * s, 60 * s},
		{"until idle, announced", Options{Termination: 5 * s, UntilIdle: true, Minimum: 7 * s}, 4 * s, 0, 3 * s, 3 * s},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{start: time.Now(), busy: x.busy}
				l := New(x.o)
				l.Begin(f)
				if l.Draining() || !f.eased.IsZero() {
					t.Error("it ends before it begins")
				}
				if x.announce > 0 {
					l.Announce()
					if !l.Draining() || f.eased != f.start {
						t.Error("the announcement is not heard")
					}
					time.Sleep(x.announce)
				}
				asked := time.Now()
				l.End(t.Context())
				if got := time.Since(asked); got != x.ended {
					t.Errorf("ended after %v, want %v", got, x.ended)
				}
				if got := f.drained.Sub(asked); got != x.drained {
					t.Errorf("took connections for %v, want %v", got, x.drained)
				}
			})
		})
	}
}

// TestEndOfNothing: an end before the beginning does not wait, and an announcement
// before it is remembered.
func TestEndOfNothing(t *testing.T) {
	l := New(Options{Termination: time.Hour})
	l.Announce()
	f := &fake{}
	l.Begin(f)
	if f.eased.IsZero() {
		t.Error("the announcement is forgotten")
	}
	New(Options{Termination: time.Hour}).End(t.Context())
}
