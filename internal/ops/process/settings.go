package process

import (
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"sync/atomic"
)

// Settings say how a process runs.
type Settings struct {
	// Concurrency is the number of cores to use (Istio's ProxyConfig.concurrency);
	// 0: as many as the process may use, by its affinity and its control group's quota.
	Concurrency int
	// Growth is the floor of the heap's growth between collections; 0: DefaultGrowth.
	Growth int64
	// Getenv reads the environment; nil: there is none. GOMAXPROCS, GOGC and
	// GOMEMLIMIT win over what is set here, as the runtime has read them.
	Getenv func(string) string
	// Root is the file system's root; "": "/".
	Root string
	Log  *slog.Logger // nil: nothing is logged
}

// Runtime is what is in force in a process. Close puts the runtime's own settings
// back.
type Runtime struct {
	// Procs is the number of cores in use at once.
	Procs int
	// MemoryFrom says where the soft memory limit comes from: "GOMEMLIMIT", "cgroup",
	// or "" where there is none.
	MemoryFrom string
	// Cgroup is the group whose limit holds; nil where it could not be read.
	Cgroup *Cgroup
	// Pacer is nil where GOGC rules.
	Pacer *Pacer

	oldProcs int
	oldLimit int64
	limit    atomic.Int64 // soft limit in force; 0: none
}

// MemoryLimit is the soft memory limit in bytes, 0 for none.
func (r *Runtime) MemoryLimit() int64 { return r.limit.Load() }

// Yield lowers the limit where others in the control group, the kernel with its
// socket buffers first of all, need more than the part that was left to them, and
// raises it again later. others is what is in use there. It returns the limit in
// force. A limit that GOMEMLIMIT has set stays.
func (r *Runtime) Yield(others int64) int64 {
	hard, ok := r.Cgroup.Limit()
	if !ok || r.MemoryFrom != fromCgroup {
		return r.limit.Load()
	}
	old, next := r.limit.Load(), yielded(hard, others)
	if diff := next - old; diff > hard/100 || diff < -hard/100 {
		debug.SetMemoryLimit(next)
		r.limit.Store(next)
		return next
	}
	return old
}

// yielded is the soft limit beside others: a sixteenth of the hard one stays free.
// It does not go below a quarter: there, collecting more would free no more.
func yielded(hard, others int64) int64 {
	return min(max(hard-hard/16-others, hard/4), softLimit(hard))
}

// Where a limit may come from.
const (
	fromEnvironment = "GOMEMLIMIT"
	fromCgroup      = "cgroup"
)

// DefaultConcurrency is Istio's default of proxies.
const DefaultConcurrency = 2

// Usable gives the default, or fewer where the process may use fewer: by its
// affinity, its control group's quota, or the environment. To be called before
// Apply.
func Usable() int { return min(DefaultConcurrency, runtime.GOMAXPROCS(0)) }

// Apply puts the settings in force. It is for main functions: the settings are the
// process's.
func Apply(s Settings) *Runtime {
	if s.Getenv == nil {
		s.Getenv = func(string) string { return "" }
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.Root == "" {
		s.Root = "/"
	}
	if s.Growth <= 0 {
		s.Growth = DefaultGrowth
	}
	r := &Runtime{oldProcs: runtime.GOMAXPROCS(0), oldLimit: debug.SetMemoryLimit(-1)}
	if s.Concurrency > 0 && s.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(s.Concurrency)
	}
	r.Procs = runtime.GOMAXPROCS(0)

	var err error
	if r.Cgroup, err = FindCgroup(s.Root); err != nil {
		s.Log.Warn("the control group's memory limit is not known", "err", err)
	}
	if limit := r.oldLimit; limit != math.MaxInt64 {
		r.MemoryFrom = fromEnvironment
		r.limit.Store(limit)
	} else if hard, ok := r.Cgroup.Limit(); ok && s.Getenv("GOMEMLIMIT") == "" {
		r.MemoryFrom = fromCgroup
		r.limit.Store(softLimit(hard))
		debug.SetMemoryLimit(softLimit(hard))
	}
	if s.Getenv("GOGC") == "" {
		growth := s.Growth
		if l := r.limit.Load(); l > 0 {
			// Near a small limit, what is in use must be known often.
			growth = min(growth, l/8)
		}
		r.Pacer = StartPacer(growth)
	}
	s.Log.Debug("runtime settings", "procs", r.Procs, "memory_limit", r.MemoryLimit(), "from", r.MemoryFrom, "paced", r.Pacer != nil)
	return r
}

// Close puts back what was in force before Apply.
func (r *Runtime) Close() {
	if r.Pacer != nil {
		r.Pacer.Stop()
	}
	debug.SetMemoryLimit(r.oldLimit)
	runtime.GOMAXPROCS(r.oldProcs)
}

// smallestLimit is what the runtime can work in at all; below, it would do nothing
// but collect.
const smallestLimit = 16 << 20

// softLimit leaves a tenth of the hard limit to what the runtime does not see:
// the binary's pages, the kernel's socket buffers.
func softLimit(hard int64) int64 { return max(hard/10*9, smallestLimit) }
