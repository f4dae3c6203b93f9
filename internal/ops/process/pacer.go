package process

import (
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// DefaultGrowth is what the heap of a small process may grow by between two
// collections. Measured on a sidecar under load (one core, 30,000 requests/s that
// leave some 600 bytes each): 16 MiB cost 2 MB of RSS more than 8 MiB, and the
// collections that they save are not to be seen in its CPU time.
const DefaultGrowth = 8 << 20

// A Pacer gives the garbage collector a floor: the heap may grow by at least a
// number of bytes before it is collected, however little of it is in use. With the
// runtime's own rule, growth in proportion to what is in use, a proxy that keeps
// 3 MB collects after every 4 MB that its requests leave behind. Once more than
// the floor is in use the proportion of 100 % holds as ever, and a memory limit
// (debug.SetMemoryLimit) holds always.
type Pacer struct {
	floor   int64
	percent atomic.Int64
	stop    func()
}

// StartPacer sets the percentage for what is in use now, and again after each
// collection. Stop ends that.
func StartPacer(floor int64) *Pacer {
	p := &Pacer{floor: floor}
	p.percent.Store(basePercent)
	p.adapt()
	p.stop = EachGC(p.adapt)
	return p
}

// Stop puts the runtime's default back.
func (p *Pacer) Stop() {
	p.stop()
	debug.SetGCPercent(basePercent)
}

// Percent is the percentage in force.
func (p *Pacer) Percent() int { return int(p.percent.Load()) }

const basePercent = 100

func (p *Pacer) adapt() {
	// What the collector's goal is a percentage of: the live heap, and the stacks and
	// globals that it scans ("A Guide to the Go Garbage Collector").
	s := [...]metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	metrics.Read(s[:])
	heap := int64(s[0].Value.Uint64())
	want := int64(growthPercent(p.floor, heap, heap+int64(s[1].Value.Uint64()+s[2].Value.Uint64())))
	if have := p.percent.Load(); want*10 < have*9 || want*10 > have*11 || want == basePercent && have != want {
		p.percent.Store(want)
		debug.SetGCPercent(int(want))
	}
}

// growthPercent gives the percentage by which a heap with live bytes in use grows
// by floor, where the percentage counts of base bytes.
//
// The runtime also keeps a smallest heap, 4 MiB at 100 % and in proportion else:
// the percentage stays so small that this is not above live + floor.
func growthPercent(floor, live, base int64) int {
	byFloor := 100 * floor / max(base, 1)
	bySmallest := 100 * (floor + live) / (4 << 20)
	return int(max(min(byFloor, bySmallest), basePercent))
}
