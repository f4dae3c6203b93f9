// Package timer gives the data plane cheap time-outs.
//
// A request arms and stops several time-outs that hardly ever pass. A Queue makes
// that two atomic stores and a clock reading: a stopped or extended Timer stays
// where it is in the queue, and is looked at again when its old time comes. Time
// is coarse: deadlines are rounded up to the queue's granularity, so that many of
// them share a wake-up. Nothing runs while the queue is empty.
package timer

import (
	"container/heap"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultGranularity is what time-outs of requests are rounded up to.
const DefaultGranularity = 2 * time.Millisecond

// Queue holds armed timers. Safe for concurrent use.
type Queue struct {
	// immutable
	start       time.Time // deadlines are nanoseconds since then, on the monotonic clock
	granularity int64

	mu     sync.Mutex
	heap   entries     // guarded by mu
	wake   *time.Timer // guarded by mu; nil before first use
	wakeAt int64       // guarded by mu; 0 when nothing is planned
	due    []*Timer    // guarded by mu; memory of expire
}

// Timer is one time-out. Embed it in its owner, Init it once, then Arm and Stop
// it as often as needed. It must not be copied.
type Timer struct {
	queue *Queue
	fire  func()

	mu       sync.Mutex // held while fire runs
	deadline int64      // guarded by mu; 0: stopped

	at    atomic.Int64 // where it lies in the queue; 0: not in it. Written under queue.mu
	index int          // in queue.heap; guarded by queue.mu
}

// NewQueue makes a queue; a granularity of 0 takes DefaultGranularity.
func NewQueue(granularity time.Duration) *Queue {
	if granularity <= 0 {
		granularity = DefaultGranularity
	}
	return &Queue{start: time.Now().Add(-granularity), granularity: int64(granularity)}
}

// Init ties the timer to its queue and to what it calls when it passes. fire runs
// on a goroutine of the queue: it must not block, and not call Stop or Arm of the
// same timer.
func (t *Timer) Init(q *Queue, fire func()) { t.queue, t.fire = q, fire }

// Arm lets the timer fire once, d from now, in place of what it was armed for
// before. A d of 0 or less fires at the next tick.
func (t *Timer) Arm(d time.Duration) {
	q := t.queue
	deadline := q.now() + max(int64(d), 0)
	deadline += q.granularity - deadline%q.granularity
	t.mu.Lock()
	t.deadline = deadline
	if at := t.at.Load(); at == 0 || at > deadline {
		q.place(t, deadline)
	}
	t.mu.Unlock()
}

// Stop disarms the timer. When it returns, fire does not run and will not.
func (t *Timer) Stop() {
	t.mu.Lock()
	t.deadline = 0
	t.mu.Unlock()
}

// Drop is Stop, and takes the timer out of the queue at once, so that the queue
// does not keep its owner alive. For owners that are not reused.
func (t *Timer) Drop() {
	t.Stop()
	if q := t.queue; q != nil && t.at.Load() != 0 {
		q.remove(t)
	}
}

func (q *Queue) now() int64 { return int64(time.Since(q.start)) }

// place puts t into the heap at time at, or moves it there.
func (q *Queue) place(t *Timer, at int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.at.Load() == 0 {
		t.at.Store(at)
		heap.Push(&q.heap, t)
	} else {
		t.at.Store(at)
		heap.Fix(&q.heap, t.index)
	}
	q.plan()
}

func (q *Queue) remove(t *Timer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.at.Load() != 0 {
		heap.Remove(&q.heap, t.index)
		t.at.Store(0)
	}
	q.plan()
}

// plan sets the wake-up for the first timer. Called with mu held.
func (q *Queue) plan() {
	if len(q.heap) == 0 {
		if q.wakeAt != 0 {
			q.wake.Stop()
			q.wakeAt = 0
		}
		return
	}
	at := q.heap[0].at.Load()
	if q.wakeAt == at {
		return
	}
	q.wakeAt = at
	d := time.Duration(at - q.now())
	if q.wake == nil {
		q.wake = time.AfterFunc(d, q.expire)
		return
	}
	q.wake.Reset(d)
}

// expire fires what has passed and puts back what was extended meanwhile.
func (q *Queue) expire() {
	q.mu.Lock()
	now := q.now()
	due := q.due[:0]
	q.due = nil // a second expire that overlaps makes its own
	for len(q.heap) > 0 && q.heap[0].at.Load() <= now {
		t := heap.Pop(&q.heap).(*Timer)
		t.at.Store(0)
		due = append(due, t)
	}
	q.wakeAt = 0
	q.plan()
	q.mu.Unlock()

	for i, t := range due {
		t.check(now)
		due[i] = nil
	}
	q.mu.Lock()
	q.due = due[:0]
	q.mu.Unlock()
}

// check fires the timer if its deadline has passed at now, or puts it back.
func (t *Timer) check(now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.deadline == 0:
	case t.deadline <= now:
		t.deadline = 0
		t.fire()
	case t.at.Load() == 0: // else Arm has put it back
		t.queue.place(t, t.deadline)
	}
}

// entries is a heap by time.
type entries []*Timer

func (e entries) Len() int           { return len(e) }
func (e entries) Less(i, j int) bool { return e[i].at.Load() < e[j].at.Load() }

func (e entries) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].index, e[j].index = i, j
}

// Push implements heap.Interface.
func (e *entries) Push(x any) {
	t := x.(*Timer)
	t.index = len(*e)
	*e = append(*e, t)
}

// Pop implements heap.Interface.
func (e *entries) Pop() any {
	old := *e
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*e = old[:len(old)-1]
	return t
}
