package process

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"testing"
	"time"
)

func TestGrowthPercent(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		live, base int64
		want       int
	}{
		{0, 0, 400},                   // the smallest heap is the floor
		{2 * mib, 3 * mib, 450},       // not 533: the smallest heap would be 21 MiB
		{6 * mib, 8 * mib, 200},       // 16 of 8
		{12 * mib, 16 * mib, 100},     // in use as much as the floor
		{100 * mib, 110 * mib, 100},   // the runtime's own rule
		{15 * mib, 15*mib + 100, 106}, // rounded down
	} {
		if got := growthPercent(16*mib, c.live, c.base); got != c.want {
			t.Errorf("live %d of %d: %d %%, want %d", c.live, c.base, got, c.want)
		}
	}
}

// TestPacer: a small heap that leaves garbage is collected once per floor, where
// the runtime's rule collects after every 4 MB.
func TestPacer(t *testing.T) {
	if testing.Short() {
		t.Skip("allocates 400 MB")
	}
	collections := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/cycles/automatic:gc-cycles"}}
		runtime.GC()
		metrics.Read(s)
		before := s[0].Value.Uint64()
		for range 400 << 20 / (64 << 10) {
			garbage.Store(new([64 << 10]byte))
		}
		metrics.Read(s)
		return s[0].Value.Uint64() - before
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	debug.SetGCPercent(100)
	without := collections()
	p := StartPacer(16 << 20)
	with := collections()
	garbage.Store(nil)
	for deadline := time.Now().Add(5 * time.Second); p.Percent() <= 100; time.Sleep(time.Millisecond) {
		if runtime.GC(); time.Now().After(deadline) {
			t.Fatalf("%d %% for a small heap", p.Percent())
		}
	}
	p.Stop()
	t.Logf("collections: %d, with the floor %d", without, with)
	if with > without/2 {
		t.Errorf("%d collections with the floor, %d without", with, without)
	}
	if got := debug.SetGCPercent(100); got != 100 {
		t.Errorf("Stop leaves %d %%", got)
	}
}

var garbage atomic.Pointer[[64 << 10]byte]

func TestEachGC(t *testing.T) {
	var n atomic.Int32
	ran := make(chan struct{}, 100)
	stop := EachGC(func() { n.Add(1); ran <- struct{}{} })
	for i := range 3 {
		runtime.GC()
		select {
		case <-ran:
		case <-time.After(5 * time.Second):
			t.Fatalf("not called after collection %d", i+1)
		}
	}
	stop()
	before := n.Load()
	for range 3 {
		runtime.GC()
	}
	time.Sleep(20 * time.Millisecond)
	if n.Load() != before {
		t.Error("called after stop")
	}
}

// TestApply: what wins, and that Close puts everything back.
func TestApply(t *testing.T) {
	limited := map[string]string{
		"proc/self/cgroup": "0::/", "proc/self/mountinfo": mountV2, "sys/fs/cgroup/memory.max": "104857600",
	}
	procs := runtime.GOMAXPROCS(0)
	for _, c := range []struct {
		name  string
		s     Settings
		env   map[string]string
		files map[string]string
		procs int
		limit int64
		from  string
		paced bool
	}{
		{"nothing said", Settings{}, nil, map[string]string{"proc/self/cgroup": "", "proc/self/mountinfo": ""}, procs, 0, "", true},
		{"a limited group", Settings{Concurrency: 3}, nil, limited, 3, 94371840, "cgroup", true},
		{"a tiny group", Settings{}, nil, map[string]string{"proc/self/cgroup": "0::/", "proc/self/mountinfo": mountV2, "sys/fs/cgroup/memory.max": "8388608"}, procs, smallestLimit, "cgroup", true},
		{"the environment wins", Settings{Concurrency: 3}, map[string]string{"GOMAXPROCS": "1", "GOGC": "100", "GOMEMLIMIT": "off"}, limited, procs, 0, "", false},
		{"no proc", Settings{}, nil, nil, procs, 0, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.Root = fakeRoot(t, c.files)
			c.s.Getenv = func(k string) string { return c.env[k] }
			r := Apply(c.s)
			defer r.Close()
			if r.Procs != c.procs || runtime.GOMAXPROCS(0) != c.procs {
				t.Errorf("%d procs, want %d", r.Procs, c.procs)
			}
			if r.MemoryLimit() != c.limit || r.MemoryFrom != c.from {
				t.Errorf("limit %d from %q, want %d from %q", r.MemoryLimit(), r.MemoryFrom, c.limit, c.from)
			}
			if in := debug.SetMemoryLimit(-1); c.limit > 0 && in != c.limit || c.limit == 0 && in != math.MaxInt64 {
				t.Errorf("limit in force %d", in)
			}
			if (r.Pacer != nil) != c.paced {
				t.Errorf("paced %t", r.Pacer != nil)
			}
		})
	}
	if debug.SetMemoryLimit(-1) != math.MaxInt64 || runtime.GOMAXPROCS(0) != procs {
		t.Error("Close left something")
	}
	// GOMEMLIMIT, as the runtime has read it.
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(50 << 20))
	r := Apply(Settings{Root: fakeRoot(t, limited)})
	defer r.Close()
	if r.MemoryLimit() != 50<<20 || r.MemoryFrom != "GOMEMLIMIT" {
		t.Errorf("limit %d from %q", r.MemoryLimit(), r.MemoryFrom)
	}
	if r.Yield(90<<20) != 50<<20 {
		t.Error("a limit of the environment was changed")
	}
}

// TestYield: the kernel's part makes ours smaller.
func TestYield(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct{ hard, others, want int64 }{
		{100 * mib, 0, 90*mib - 0}, {100 * mib, 3 * mib, 90 * mib}, {160 * mib, 50 * mib, 100 * mib}, {160 * mib, 150 * mib, 40 * mib},
	} {
		if got := yielded(c.hard, c.others); got/mib != c.want/mib {
			t.Errorf("%d of %d MiB: %d MiB, want %d", c.others/mib, c.hard/mib, got/mib, c.want/mib)
		}
	}
	r := Apply(Settings{Root: fakeRoot(t, map[string]string{"proc/self/cgroup": "0::/", "proc/self/mountinfo": mountV2, "sys/fs/cgroup/memory.max": "167772160"})})
	defer r.Close()
	if got := r.Yield(50 * mib); got != 100*mib || debug.SetMemoryLimit(-1) != got || r.MemoryLimit() != got {
		t.Errorf("%d, in force %d", got, debug.SetMemoryLimit(-1))
	}
	if got := r.Yield(0); got != 150994944 {
		t.Errorf("%d when the others are gone", got)
	}
}
