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
