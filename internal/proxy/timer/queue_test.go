package timer

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(time.Millisecond)
		var fired atomic.Int32
		var a, b Timer
		a.Init(q, func() { fired.Add(1) })
		b.Init(q, func() { fired.Add(100) })
		expect := func(want int32) {
			t.Helper()
			synctest.Wait()
			if got := fired.Swap(0); got != want {
				t.Errorf("fired %d, want %d", got, want)
			}
		}
		a.Arm(time.Second)
		b.Arm(2 * time.Second)
		time.Sleep(990 * time.Millisecond)
		expect(0)
		time.Sleep(20 * time.Millisecond)
		expect(1)
		time.Sleep(time.Second)
		expect(100)

		a.Arm(time.Second) // extended again and again: fires once, late
		for range 5 {
			time.Sleep(900 * time.Millisecond)
			a.Arm(time.Second)
		}
		expect(0)
		time.Sleep(1010 * time.Millisecond)
		expect(1)

		a.Arm(time.Hour) // and brought forward
		a.Arm(time.Second)
		time.Sleep(1010 * time.Millisecond)
		expect(1)

		a.Arm(time.Second)
		a.Stop()
		time.Sleep(time.Hour)
		expect(0)
		a.Arm(time.Second)
		a.Drop()
		if len(q.heap) != 0 || q.wakeAt != 0 {
			t.Error("the queue runs on without timers")
		}
		time.Sleep(time.Hour)
		expect(0)
	})
}

func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(time.Millisecond)
		start := time.Now()
		timers := make([]Timer, 200)
		var bad, fired atomic.Int32
		for i := range timers {
			d := time.Duration((i*7919)%200+1) * 10 * time.Millisecond
			timers[i].Init(q, func() {
				fired.Add(1)
				if late := time.Since(start) - d; late < 0 || late > 2*time.Millisecond {
					bad.Add(1)
				}
			})
			timers[i].Arm(d)
			if i%3 == 0 {
				timers[i].Drop()
			}
		}
		time.Sleep(time.Minute)
		if bad.Load() != 0 || fired.Load() != 133 {
			t.Errorf("%d fired, %d at the wrong time", fired.Load(), bad.Load())
		}
	})
}

// BenchmarkArmStop is what a time-out costs a request.
func BenchmarkArmStop(b *testing.B) {
	q := NewQueue(0)
	var t Timer
	t.Init(q, func() {})
	defer t.Drop()
	b.ReportAllocs()
	for b.Loop() {
		t.Arm(15 * time.Second)
		t.Stop()
	}
}

// BenchmarkArmStopParallel is the same for requests on several cores: each has its
// own timer, which lies in the queue already, so that they do not meet.
func BenchmarkArmStopParallel(b *testing.B) {
	q := NewQueue(0)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		var t Timer
		t.Init(q, func() {})
		defer t.Drop()
		for p.Next() {
			t.Arm(15 * time.Second)
			t.Stop()
		}
	})
}

// BenchmarkChurnParallel is the worst case: every time-out goes into the queue and
// out again, beside 10,000 others.
func BenchmarkChurnParallel(b *testing.B) {
	q := NewQueue(0)
	others := make([]Timer, 10_000)
	for i := range others {
		others[i].Init(q, func() {})
		others[i].Arm(time.Hour + time.Duration(i)*time.Second)
	}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			var t Timer
			t.Init(q, func() {})
			t.Arm(15 * time.Second)
			t.Drop()
		}
	})
}
