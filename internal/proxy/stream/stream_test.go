package stream

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// step counts what cancels it.
type step struct{ n atomic.Int32 }

func (s *step) Cancel(Reason)           { s.n.Add(1) }
func (s *step) Abort(Reason)            { s.n.Add(1) }
func (s *step) Inform(int, *Head) error { return nil }

func TestResetFirstWins(t *testing.T) {
	var s Stream
	var codec, a, b step
	s.Codec = &codec
	s.Enter(&a)
	s.Reset(Reason{Code: RouteTimeout})
	s.Reset(Reason{Code: Draining})
	if r, ok := s.ResetReason(); !ok || r.Code != RouteTimeout {
		t.Errorf("reason %v", r)
	}
	s.Enter(&b) // too late: cancelled at once
	if codec.n.Load() != 1 || a.n.Load() != 1 || b.n.Load() != 1 {
		t.Errorf("codec %d, first step %d, second %d", codec.n.Load(), a.n.Load(), b.n.Load())
	}
	select {
	case <-s.Done():
	default:
		t.Error("Done is open")
	}
	s.Recycle()
	if _, ok := s.ResetReason(); ok {
		t.Error("reset after Recycle")
	}
}

// After Enter(nil) no Cancel runs or follows, whatever resets meanwhile: else a
// connection that went back to its pool would be cancelled under its next user.
func TestEnterNilEndsCancel(t *testing.T) {
	for range 2000 {
		var s Stream
		var st step
		s.Enter(&st)
		var wg sync.WaitGroup
		wg.Go(func() { s.Reset(Reason{Code: DownstreamGone}) })
		wg.Go(func() { <-s.Done() })
		s.Enter(nil)
		before := st.n.Load()
		wg.Wait()
		if after := st.n.Load(); after != before {
			t.Fatalf("cancelled after Enter(nil): %d, then %d", before, after)
		}
	}
}

func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Stream
		start := time.Now()
		if err := s.Sleep(time.Second); err != nil || time.Since(start) != time.Second {
			t.Errorf("Sleep = %v after %v", err, time.Since(start))
		}
		time.AfterFunc(time.Second, func() { s.Reset(Reason{Code: DownstreamGone}) })
		var r Reason
		if err := s.Sleep(time.Hour); !errors.As(err, &r) || r.Code != DownstreamGone || time.Since(start) != 2*time.Second {
			t.Errorf("Sleep = %v after %v", err, time.Since(start))
		}
	})
}

func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var fired []time.Duration
		a := NewAlarm(func() { fired = append(fired, time.Since(start)) })
		at := func(d time.Duration) { a.Set(start.Add(d)) }
		wait := func(d time.Duration) { time.Sleep(time.Until(start.Add(d))); synctest.Wait() }

		at(10 * time.Second)
		wait(5 * time.Second)
		at(20 * time.Second) // later: the timer wakes at 10 and sleeps again
		wait(30 * time.Second)
		at(40 * time.Second)
		at(35 * time.Second) // earlier
		wait(45 * time.Second)
		at(50 * time.Second)
		a.Stop()
		wait(60 * time.Second)
		at(70 * time.Second)
		a.Stop()
		at(80 * time.Second)
		wait(90 * time.Second)
		at(100 * time.Second)
		a.Close()
		wait(110 * time.Second)
		want := []time.Duration{20 * time.Second, 35 * time.Second, 80 * time.Second}
		if len(fired) != len(want) {
			t.Fatalf("fired at %v, want %v", fired, want)
		}
		for i := range want {
			if fired[i] != want[i] {
				t.Errorf("fired at %v, want %v", fired, want)
			}
		}
	})
}

func TestNewBody(t *testing.T) {
	b := NewBody([]byte("abc"))
	if n, complete := b.Buffered(); n != 3 || !complete {
		t.Errorf("Buffered = %d, %v", n, complete)
	}
	if p, err := b.Next(); string(p) != "abc" || err != nil {
		t.Errorf("Next = %q, %v", p, err)
	}
	if _, err := b.Next(); err != io.EOF || b.Trailers() != nil {
		t.Errorf("end: %v", err)
	}
}

func BenchmarkAlarmSet(b *testing.B) {
	a := NewAlarm(func() {})
	at := time.Now().Add(time.Hour)
	a.Set(at)
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(1)
		a.Set(at)
	}
	a.Close()
}
