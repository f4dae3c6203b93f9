package overload

import (
	"iter"
	"log/slog"
	"os"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/ops/process"
)

// Resource is something limited.
type Resource struct {
	Used, Max int64 // Max 0: no limit
}

// Pressure is the used part of the limit, 0 without one.
func (r Resource) Pressure() float64 {
	if r.Max <= 0 {
		return 0
	}
	return float64(r.Used) / float64(r.Max)
}

// Usage is what a process uses.
type Usage struct {
	// Memory is what the Go runtime cannot give up: the heap that the last collection
	// found in use, stacks, and its own tables. Garbage does not count: with a soft
	// limit the runtime fills the limit with it before it collects.
	Memory Resource
	// Group is the control group's working set, of which the kernel's socket buffers
	// are part, without what the runtime can give up.
	Group       Resource
	Descriptors Resource
	Connections Resource // downstream
	Goroutines  Resource
}

// All yields the resources by name.
func (u Usage) All() iter.Seq2[string, Resource] {
	return func(yield func(string, Resource) bool) {
		_ = yield("memory", u.Memory) && yield("cgroup_memory", u.Group) && yield("descriptors", u.Descriptors) &&
			yield("connections", u.Connections) && yield("goroutines", u.Goroutines)
	}
}

// worst gives the highest pressure and its resource.
func (u *Usage) worst() (float64, string) {
	p, name := 0.0, "nothing"
	for n, r := range u.All() {
		if x := r.Pressure(); x > p {
			p, name = x, n
		}
	}
	return p, name
}

// meter reads what the process uses.
type meter struct {
	// immutable
	process *process.Runtime // nil: its limits are not known
	limit   int64            // then
	files   int64
	log     *slog.Logger

	mu      sync.Mutex
	samples []metrics.Sample // guarded by mu
	cycles  uint64           // guarded by mu: collections so far
	conns   int64            // guarded by mu: connections at the last one
	counted time.Time        // guarded by mu: when descriptors were counted by hand
	open    int64            // guarded by mu: and how many there were
	failed  bool             // guarded by mu: a failure was logged
}

// The metrics that meter reads, in this order.
const (
	liveHeap = iota
	stacks
	osStacks
	mspan
	mcache
	other
	profiling
	total
	released
	collections
	numMetrics
)

func newMeter(o *Options) *meter {
	m := &meter{process: o.Process, limit: o.limit, files: o.MaxDescriptors, log: o.Log, samples: make([]metrics.Sample, numMetrics)}
	for i, name := range map[int]string{
		liveHeap: "/gc/heap/live:bytes", stacks: "/memory/classes/heap/stacks:bytes", osStacks: "/memory/classes/os-stacks:bytes",
		mspan: "/memory/classes/metadata/mspan/inuse:bytes", mcache: "/memory/classes/metadata/mcache/inuse:bytes",
		other: "/memory/classes/metadata/other:bytes", profiling: "/memory/classes/profiling/buckets:bytes",
		total: "/memory/classes/total:bytes", released: "/memory/classes/heap/released:bytes",
		collections: "/gc/cycles/total:gc-cycles",
	} {
		m.samples[i].Name = name
	}
	if m.files <= 0 {
		var lim unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
			m.log.Warn("the limit of descriptors is not known", "err", err)
		} else if lim.Cur < 1<<40 { // else there is none
			m.files = int64(lim.Cur)
		}
	}
	return m
}

// read fills what it can measure into u.
func (m *meter) read(u *Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u.Goroutines.Used = int64(runtime.NumGoroutine())
	runtime, keeps, all := m.memory()
	coming := m.coming(u.Connections.Used)
	runtime.Used += coming
	u.Memory = runtime
	u.Descriptors = Resource{Used: m.descriptors(u.Connections.Used), Max: m.files}
	if m.process == nil {
		return
	}
	limit, ok := m.process.Cgroup.Limit()
	if !ok {
		return
	}
	g, err := m.process.Cgroup.Memory()
	if err != nil {
		m.once("the control group's memory is not known", err)
		return
	}
	// What the runtime has reserved and not touched is not in use.
	all = min(all, max(g.Anonymous, keeps))
	used := max(g.Used-max(all-keeps, 0), 0) + coming
	u.Group = Resource{Used: max(used, crowded(g.Used, limit)), Max: limit}
	m.process.Yield(max(g.Used-all, 0))
}

// crowded gives what a group counts as using in which garbage fills what the runtime's
// limit leaves free, a sixteenth: the collector does not keep up, on a machine with
// too much to do first of all, and the kernel kills at the limit whatever was garbage.
// A use of 15/16 counts as 0.85, and one of 31/32 as the whole limit; below, garbage
// does not count at all.
func crowded(used, limit int64) int64 {
	const atSpare, span = 0.85, 32 * (1 - 0.85)
	over := float64(used)/float64(limit) - 15.0/16
	if over <= 0 {
		return 0
	}
	return int64((atSpare + over*span) * float64(limit))
}

// memory gives the pressure on the runtime's limit, what the runtime cannot give up,
// and all that it has. Called with mu held.
func (m *meter) memory() (r Resource, keeps, all int64) {
	metrics.Read(m.samples)
	var v [numMetrics]int64
	for i := range v {
		v[i] = int64(m.samples[i].Value.Uint64())
	}
	limit := m.limit
	if m.process != nil {
		limit = m.process.MemoryLimit()
	}
	keeps = v[liveHeap] + v[stacks] + v[osStacks] + v[mspan] + v[mcache] + v[other] + v[profiling]
	all = v[total] - v[released]
	// A total that stays above the limit says that the collector does not keep up,
	// whatever the last collection found.
	return Resource{Used: max(keeps, all-limit/overshoot), Max: limit}, keeps, all
}

// coming is what the connections will need that are more than at the last
// collection, which has not seen them; in a storm many are admitted before the
// first of them has got a buffer. Called with mu held, after memory.
func (m *meter) coming(conns int64) int64 {
	if n := m.samples[collections].Value.Uint64(); n != m.cycles {
		m.cycles, m.conns = n, conns
	}
	return perConnection * max(conns-m.conns, 0)
}

// perConnection is what a connection with a request under way needs, with its
// upstream connection.
const perConnection = 24 << 10

// overshoot is the part of the limit by which garbage may pass it for a moment:
// at a total of the limit itself the pressure is 0.8.
const overshoot = 5

// descriptors counts open descriptors. Called with mu held.
//
// Since Linux 6.2 the size of /proc/self/fd is their number. Before, they are
// counted, which takes long where there are many: at most every five seconds, and
// only when the connections alone, with one upstream each, take half of the limit.
func (m *meter) descriptors(conns int64) int64 {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/fd", &st); err != nil {
		m.once("open descriptors are not known", err)
		return 0
	}
	if st.Size > 0 {
		return st.Size
	}
	if 4*conns < m.files {
		return 2 * conns
	}
	if now := time.Now(); now.Sub(m.counted) > 5*time.Second {
		d, err := os.Open("/proc/self/fd")
		if err != nil {
			m.once("open descriptors are not known", err)
			return m.open
		}
		names, err := d.Readdirnames(-1)
		_ = d.Close() // read only
		if err != nil {
			m.once("open descriptors are not known", err)
		}
		m.open, m.counted = int64(len(names)), now
	}
	return m.open
}

// once logs the first failure. Called with mu held.
func (m *meter) once(what string, err error) {
	if !m.failed {
		m.failed = true
		m.log.Warn(what, "err", err)
	}
}
