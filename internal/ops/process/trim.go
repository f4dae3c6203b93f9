package process

import (
	"runtime"
	"runtime/metrics"
	"sync"
)

// trimStep is how much memory must lie idle before a Trimmer acts.
const trimStep = 16 << 20

// A Trimmer gives memory back that a burst has left behind. The runtime returns what
// is above its goal for the heap, and sets that goal when it collects; a proxy that
// allocates nothing does not collect for minutes, and keeps the stacks of ten thousand
// connections that wait without a goroutine by now. The zero Trimmer is ready; it is
// safe for concurrent use.
type Trimmer struct {
	mu     sync.Mutex
	kept   uint64 // guarded by mu: what was idle after the last collection of ours
	before uint64 // guarded by mu: what was idle at the last look
}

// Look collects if much more lies idle than after the last time, and than is in use
// by half, and if that has stopped growing: a burst that still comes and goes uses its
// memory again. Call it about once a second; it costs microseconds otherwise.
func (t *Trimmer) Look() (collected bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	idle, used := readIdle()
	settled := idle <= t.before+trimStep/16
	t.before = idle
	t.kept = min(t.kept, idle)
	if !settled || idle < t.kept+trimStep || idle < used/2 {
		return false
	}
	runtime.GC()
	t.kept, _ = readIdle()
	t.before = t.kept
	return true
}

// readIdle gives the memory of free pages that the kernel has not got back, and that of
// objects and stacks.
func readIdle() (idle, used uint64) {
	s := [...]metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s[:])
	return s[0].Value.Uint64(), s[1].Value.Uint64() + s[2].Value.Uint64()
}
