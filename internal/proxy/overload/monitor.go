package overload

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/ops/process"
)

// Step is how far the protection goes; each one includes those before it.
type Step uint8

// The steps.
const (
	Normal Step = iota
	Ease
	Refuse
	Shed
)

// String gives the step's name in logs and on admin pages.
func (s Step) String() string { return [...]string{"normal", "ease", "refuse", "shed"}[s] }

// Options are what a Monitor works with. All have defaults.
type Options struct {
	// Process tells the memory limits of the runtime and of the control group, and is
	// told what others in that group use; nil: there are no limits.
	Process *process.Runtime
	// MaxDescriptors bounds open descriptors; 0: RLIMIT_NOFILE.
	MaxDescriptors int64
	// MaxGoroutines bounds goroutines; 0: 500,000, some 2 GB of stacks.
	MaxGoroutines int64
	// Thresholds are the pressures at which the steps begin; zeros take the defaults.
	Thresholds Thresholds
	Log        *slog.Logger // nil: nothing is logged

	// tests: in place of the process, and of its limit
	read  func(*Usage)
	limit int64
}

// Thresholds are pressures, 1 being the limit. A step that has begun ends when the
// pressure is Hysteresis below its beginning.
type Thresholds struct {
	Ease, Refuse float64
	// Shed is where shedding begins; at 1 every request but those of high priority
	// is shed.
	Shed       float64
	Hysteresis float64
}

// defaultThresholds leave room for what is under way.
var defaultThresholds = Thresholds{Ease: 0.85, Refuse: 0.92, Shed: 0.95, Hysteresis: 0.04}

// Stats count what was done. Safe for concurrent use.
type Stats struct {
	Refused, Shed, Eased, Changes atomic.Uint64
}

// Monitor watches one process. Its methods are safe for concurrent use; a nil
// Monitor never finds anything.
type Monitor struct {
	// immutable
	o       Options
	trimmer process.Trimmer
	log     *slog.Logger
	meter   *meter
	poked   chan struct{} // one slot

	stats    Stats
	step     atomic.Uint32
	share    atomic.Uint32 // of requests to shed, in 1/65536; and
	highs    atomic.Uint32 // of those of high priority
	why      atomic.Pointer[string]
	arrivals atomic.Uint32

	looking sync.Mutex // held while the process is measured; before the others
	since   time.Time  // guarded by looking: when the step began

	mu      sync.Mutex
	last    Usage                             // guarded by mu
	sources map[int]func() (used, most int64) // guarded by mu: who counts connections
	nextID  int                               // guarded by mu

	helping sync.Mutex     // held while helpers run
	helpers map[int]func() // guarded by helping: free what they can
	helped  time.Time      // guarded by helping: when they did last
}

const (
	// tick is how often the process is looked at while it has connections; lull
	// while it has none.
	tick = time.Second
	lull = 5 * time.Second
	// settle is the least time between two looks.
	settle = 5 * time.Millisecond
	// every so many connections the process is looked at.
	every = 64
)

// New makes a monitor; Run lets it watch.
func New(o Options) *Monitor {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Thresholds == (Thresholds{}) {
		o.Thresholds = defaultThresholds
	}
	if o.MaxGoroutines <= 0 {
		o.MaxGoroutines = 500_000
	}
	m := &Monitor{
		o: o, log: o.Log, poked: make(chan struct{}, 1),
		sources: map[int]func() (int64, int64){}, helpers: map[int]func(){},
	}
	if o.read == nil {
		m.meter = newMeter(&m.o)
		m.o.read = m.meter.read
	}
	return m
}

// Run watches until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	defer process.EachGC(m.poke)()
	t := time.NewTimer(m.look())
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-m.poked:
			select { // let what comes in a burst be one look
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
		}
		t.Reset(m.look())
		m.help()
	}
}

func (m *Monitor) poke() {
	select {
	case m.poked <- struct{}{}:
	default:
	}
}

// look measures, acts, and gives the time until the next look. Any goroutine.
func (m *Monitor) look() time.Duration {
	m.looking.Lock()
	defer m.looking.Unlock()
	u := Usage{Goroutines: Resource{Max: m.o.MaxGoroutines}}
	m.mu.Lock()
	for _, count := range m.sources {
		used, most := count()
		u.Connections.Used += used
		if most > 0 {
			u.Connections.Max += most
		}
	}
	m.mu.Unlock()
	m.o.read(&u)
	m.act(&u)
	m.trimmer.Look()
	if u.Connections.Used == 0 && m.Step() == Normal {
		return lull
	}
	return tick
}

// act takes the step for a usage. Called with looking held.
func (m *Monitor) act(u *Usage) {
	all, name := u.worst()
	work := max(u.Memory.Pressure(), u.Group.Pressure(), u.Goroutines.Pressure())
	old := m.Step()
	next := m.o.Thresholds.step(old, all, work)
	now := time.Now()
	if next < old && now.Sub(m.since) < tick {
		next = old // no step lasts less: around a threshold it would come and go
	}
	if next != old {
		m.since = now
	}
	if next == Shed {
		m.share.Store(portion(work, m.o.Thresholds.Shed, 1))
		m.highs.Store(portion(work, 1, 1.05))
	} else {
		m.share.Store(0)
		m.highs.Store(0)
	}
	why := fmt.Sprintf("%s at %.0f %% of the limit", name, all*100)
	m.why.Store(&why)
	m.step.Store(uint32(next))
	m.mu.Lock()
	m.last = *u
	m.mu.Unlock()
	if next != old {
		m.stats.Changes.Add(1)
	}
	switch {
	case next > old:
		m.log.Warn("overload", "step", next, "before", old, "why", why)
	case next < old:
		m.log.Info("overload eases", "step", next, "before", old, "why", why)
	}
	if next > old {
		m.poke() // for the helpers
	}
}

// help lets the helpers free what they can, while the pressure is high. It is
// called by Run alone: helpers may take their time.
func (m *Monitor) help() {
	if m.Step() == Normal {
		return
	}
	m.helping.Lock()
	defer m.helping.Unlock()
	if now := time.Now(); now.Sub(m.helped) >= tick {
		m.helped = now
		for _, f := range m.helpers {
			f()
		}
	}
}

// step gives the step that follows from the pressure of everything, and of what
// requests cause; a step that was taken is left later than it began.
func (t *Thresholds) step(now Step, all, work float64) Step {
	over := func(s Step, pressure, begin float64) bool {
		if now >= s {
			begin -= t.Hysteresis
		}
		return pressure >= begin
	}
	switch {
	case over(Shed, work, t.Shed):
		return Shed
	case over(Refuse, all, t.Refuse):
		return Refuse
	case over(Ease, all, t.Ease):
		return Ease
	}
	return Normal
}

// portion grows from 0 at from to 65536 at to; a step in force sheds a little at
// least.
func portion(p, from, to float64) uint32 {
	return uint32(math.Round(min(max((p-from)/(to-from), 0), 1) * (1 << 16)))
}

// Step is the step in force.
func (m *Monitor) Step() Step {
	if m == nil {
		return Normal
	}
	return Step(m.step.Load())
}

// Why says what is scarce: "memory at 96 % of the limit".
func (m *Monitor) Why() string {
	if m == nil {
		return ""
	}
	if s := m.why.Load(); s != nil {
		return *s
	}
	return ""
}

// Stats are the monitor's counters.
func (m *Monitor) Stats() *Stats {
	if m == nil {
		return &Stats{}
	}
	return &m.stats
}

// Usage is what the last look found.
func (m *Monitor) Usage() Usage {
	if m == nil {
		return Usage{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// Shares are the shares of requests that are shed, of normal and of high priority.
func (m *Monitor) Shares() (normal, high float64) {
	if m == nil {
		return 0, 0
	}
	return float64(m.share.Load()) / (1 << 16), float64(m.highs.Load()) / (1 << 16)
}

// Admit reports whether a new connection may be served, and counts those that may
// not, with the reason.
func (m *Monitor) Admit() (why string, ok bool) {
	if m == nil {
		return "", true
	}
	if m.arrivals.Add(1)%every == 0 {
		m.look() // here: in a storm the monitor's goroutine may get to it too late
	}
	if m.Step() < Refuse {
		return "", true
	}
	m.stats.Refused.Add(1)
	return m.Why(), false
}

// LastRequest reports whether a connection should end with the answer that is
// about to be sent, and counts it.
func (m *Monitor) LastRequest() bool {
	if m == nil || m.Step() < Ease {
		return false
	}
	m.stats.Eased.Add(1)
	return true
}

// Shed decides whether a request is refused, and counts it. random decides within
// the share; requests of high priority come last.
func (m *Monitor) Shed(high bool, random uint64) bool {
	if m == nil {
		return false
	}
	share := m.share.Load()
	if share == 0 {
		return false
	}
	if high {
		share = m.highs.Load()
	}
	if uint32(random&(1<<16-1)) >= share {
		return false
	}
	m.stats.Shed.Add(1)
	return true
}

// CountConnections adds a counter of connections, with the most that there may be
// (0: no bound of its own); remove takes it out.
func (m *Monitor) CountConnections(count func() (used, most int64)) (remove func()) {
	if m == nil {
		return func() {}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	id := m.nextID
	m.nextID++
	m.sources[id] = count
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.sources, id)
	}
}

// Help calls f while the pressure is high, again and again: f frees what can be
// freed. It runs on the monitor's goroutine and must not wait for anybody. When
// remove returns, f does not run and will not.
func (m *Monitor) Help(f func()) (remove func()) {
	if m == nil {
		return func() {}
	}
	m.helping.Lock()
	defer m.helping.Unlock()
	m.mu.Lock()
	id := m.nextID
	m.nextID++
	m.mu.Unlock()
	m.helpers[id] = f
	return func() {
		m.helping.Lock()
		defer m.helping.Unlock()
		delete(m.helpers, id)
	}
}
