package overload

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a monitor whose process uses what the test says.
func scripted(u *Usage) *Monitor {
	return New(Options{read: func(out *Usage) {
		c := out.Connections
		*out = *u
		if c.Used > 0 {
			out.Connections = c
		}
	}})
}

func TestSteps(t *testing.T) {
	th := defaultThresholds
	for _, c := range []struct {
		name      string
		now       Step
		all, work float64
		want      Step
	}{
		{"nothing", Normal, 0, 0, Normal},
		{"below", Normal, 0.84, 0.84, Normal},
		{"ease", Normal, 0.85, 0, Ease},
		{"ease stays", Ease, 0.82, 0, Ease},
		{"ease ends", Ease, 0.80, 0, Normal},
		{"refuse", Normal, 0.92, 0, Refuse},
		{"refuse stays", Refuse, 0.89, 0, Refuse},
		{"refuse falls to ease", Refuse, 0.87, 0, Ease},
		{"all connections taken: requests are served", Refuse, 1, 0.5, Refuse},
		{"memory: requests are shed", Ease, 0.96, 0.96, Shed},
		{"shed stays", Shed, 0.92, 0.92, Shed},
		{"shed falls to refuse", Shed, 0.90, 0.90, Refuse},
		{"shed falls to normal", Shed, 0.1, 0.1, Normal},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := th.step(c.now, c.all, c.work); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// TestCrowded: garbage that fills a group to its limit counts before the kernel acts.
func TestCrowded(t *testing.T) {
	th := defaultThresholds
	for _, c := range []struct {
		used int64 // of 3,200
		want Step
	}{{0, Normal}, {2999, Normal}, {3001, Ease}, {3040, Ease}, {3060, Refuse}, {3080, Shed}, {3200, Shed}} {
		p := Resource{Used: crowded(c.used, 3200), Max: 3200}.Pressure()
		if got := th.step(Normal, p, p); got != c.want {
			t.Errorf("%d of 3200: pressure %.3f, %v, want %v", c.used, p, got, c.want)
		}
	}
}

// TestShedShare: the share grows with the pressure, and high priority comes last.
func TestShedShare(t *testing.T) {
	for _, c := range []struct {
		percent      int64
		normal, high float64
	}{{94, 0, 0}, {95, 0, 0}, {97, 0.4, 0}, {99, 0.8, 0}, {100, 1, 0}, {102, 1, 0.4}, {110, 1, 1}} {
		u := Usage{Memory: Resource{c.percent, 100}}
		m := scripted(&u)
		m.look()
		normal, high := m.Shares()
		if diff := normal - c.normal; diff > 0.001 || diff < -0.001 {
			t.Errorf("%d %%: share %v, want %v", c.percent, normal, c.normal)
		}
		if diff := high - c.high; diff > 0.001 || diff < -0.001 {
			t.Errorf("%d %%: share of high priority %v, want %v", c.percent, high, c.high)
		}
		shed := 0
		for r := range uint64(1 << 16) {
			if m.Shed(false, r) {
				shed++
			}
		}
		if got := float64(shed) / (1 << 16); got-c.normal > 0.001 || c.normal-got > 0.001 {
			t.Errorf("%d %%: %v of the requests were shed, want %v", c.percent, got, c.normal)
		}
		if n := m.Stats().Shed.Load(); n != uint64(shed) {
			t.Errorf("counted %d of %d", n, shed)
		}
	}
}

func TestAdmitAndLastRequest(t *testing.T) {
	u := Usage{Descriptors: Resource{50, 100}}
	m := scripted(&u)
	m.look()
	if why, ok := m.Admit(); !ok || m.LastRequest() {
		t.Errorf("refused for %q without need", why)
	}
	u.Descriptors.Used = 86
	m.look()
	if _, ok := m.Admit(); !ok || !m.LastRequest() {
		t.Error("at 86 % connections are served and ended")
	}
	u.Descriptors.Used = 93
	m.look()
	if why, ok := m.Admit(); ok || why != "descriptors at 93 % of the limit" {
		t.Errorf("%q, %t", why, ok)
	}
	if s := m.Stats(); s.Refused.Load() != 1 || s.Eased.Load() != 1 || s.Changes.Load() != 2 {
		t.Errorf("refused %d, eased %d, changes %d", s.Refused.Load(), s.Eased.Load(), s.Changes.Load())
	}
}

func TestNilMonitor(t *testing.T) {
	var m *Monitor
	if _, ok := m.Admit(); !ok || m.LastRequest() || m.Shed(false, 0) || m.Step() != Normal || m.Why() != "" {
		t.Error("a nil monitor finds something")
	}
	m.CountConnections(nil)()
	m.Help(nil)()
	if u := m.Usage(); u.Memory.Used != 0 || m.Stats().Shed.Load() != 0 {
		t.Error("a nil monitor has counted")
	}
}

// TestRun: helpers are called when a step begins and once a second after, nobody is
// once the pressure is gone, and the tick is slow without connections.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var used, looks atomic.Int64
		m := New(Options{read: func(u *Usage) {
			looks.Add(1)
			u.Goroutines = Resource{used.Load(), 100}
		}})
		var helped, conns atomic.Int64
		defer m.Help(func() { helped.Add(1) })()
		defer m.CountConnections(func() (int64, int64) { return conns.Load(), 0 })()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { m.Run(ctx); close(done) }()
		time.Sleep(time.Minute)
		if n := looks.Load(); n > 14 {
			t.Errorf("an idle process was looked at %d times in a minute", n)
		}
		conns.Store(1)
		used.Store(90)
		time.Sleep(lull + 3500*time.Millisecond)
		if n := helped.Load(); n < 3 || n > 10 {
			t.Errorf("helped %d times", n)
		}
		used.Store(10)
		time.Sleep(2 * time.Second)
		before := helped.Load()
		time.Sleep(10 * time.Second)
		if helped.Load() != before || m.Step() != Normal {
			t.Error("the pressure is gone, the help is not")
		}
		// Many connections at once are looked at as they come.
		used.Store(99)
		for range every {
			m.Admit()
		}
		if m.Step() != Shed {
			t.Errorf("step %v after a storm", m.Step())
		}
		cancel()
		<-done
	})
}

func TestLogsChangesOnly(t *testing.T) {
	var out bytes.Buffer
	u := Usage{Memory: Resource{90, 100}}
	m := scripted(&u)
	m.log = slog.New(slog.NewTextHandler(&out, nil))
	m.look()
	m.look()
	u.Memory.Used = 1
	m.look()
	if m.Step() != Ease {
		t.Error("the step ended at once")
	}
	m.since = m.since.Add(-tick)
	m.look()
	if n := strings.Count(out.String(), "\n"); n != 2 || !strings.Contains(out.String(), "memory at 90 % of the limit") {
		t.Errorf("%s", out.String())
	}
}

// TestMeter reads this process.
func TestMeter(t *testing.T) {
	m := New(Options{limit: 1 << 30})
	m.look()
	u := m.Usage()
	if u.Memory.Used < 100<<10 || u.Memory.Used > 1<<30 || u.Memory.Max != 1<<30 {
		t.Errorf("memory %+v", u.Memory)
	}
	if u.Goroutines.Used < 1 || u.Descriptors.Max < 3 {
		t.Errorf("%+v", u)
	}
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	if d := u.Descriptors.Used - int64(len(names)); d < -3 || d > 3 {
		t.Errorf("%d descriptors, there are %d", u.Descriptors.Used, len(names))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m.look()
	if now := m.Usage().Descriptors.Used; now <= u.Descriptors.Used {
		t.Errorf("%d descriptors after %d, with one more", now, u.Descriptors.Used)
	}
}

// TestGarbageIsNoPressure: what the collector would free does not count, what is
// held does.
func TestGarbageIsNoPressure(t *testing.T) {
	const size = 64 << 20
	m := New(Options{limit: 1 << 30})
	held := make([][]byte, 0, 64)
	for range 64 {
		held = append(held, make([]byte, size/64))
	}
	runtime.GC()
	m.look()
	with := m.Usage().Memory.Used
	clear(held)
	runtime.GC()
	m.look()
	without := m.Usage().Memory.Used
	if with-without < size*9/10 {
		t.Errorf("%d MiB held were seen as %d", size>>20, (with-without)>>20)
	}
}

func BenchmarkGate(b *testing.B) {
	u := Usage{Memory: Resource{50, 100}}
	m := scripted(&u)
	m.look()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if m.LastRequest() || m.Shed(false, 7) {
				b.Error("shed")
			}
		}
	})
}

func BenchmarkLook(b *testing.B) {
	m := New(Options{limit: 1 << 30})
	b.ReportAllocs()
	for b.Loop() {
		m.look()
	}
}
