package balance

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

type load uint32

func (l load) Active() uint32 { return uint32(l) }

// host makes a host on port n of 127.0.0.1.
func host(n uint16, change ...func(*Host)) Host {
	h := Host{Endpoint: &config.Endpoint{Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), n), Weight: 1}}
	for _, c := range change {
		c(&h)
	}
	return h
}

func weight(w uint32) func(*Host)        { return func(h *Host) { h.Weight = w } }
func priority(p uint32) func(*Host)      { return func(h *Host) { h.Priority = p } }
func health(v config.Health) func(*Host) { return func(h *Host) { h.Health = v } }
func busy(n uint32) func(*Host)          { return func(h *Host) { h.Load = load(n) } }
func ejected(h *Host)                    { h.Ejected = true }
func policy(p config.Policy) *config.Cluster {
	return &config.Cluster{Name: "c", Policy: p, ChoiceCount: 2, ActiveBias: 1, PanicThreshold: 50, RingMin: 12, RingMax: 8 << 20, TableSize: 65537}
}

func picker(t testing.TB, c *config.Cluster, hosts ...Host) *Picker {
	t.Helper()
	p, err := New(c, hosts, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// counts picks n times and returns how often each port came; 0 stands for none.
func counts(p *Picker, n int) map[uint16]int {
	out := map[uint16]int{}
	for i := range n {
		h := p.Pick(&Request{Random: uint64(i) * 0x9e3779b9})
		if h == nil {
			out[0]++
			continue
		}
		out[h.Addr.Port()]++
	}
	return out
}

// near reports whether got is within five standard deviations of a share of n.
func near(got, n int, share float64) bool {
	return math.Abs(float64(got)-float64(n)*share) <= 5*math.Sqrt(float64(n)*share*(1-share))
}

func TestRoundRobin(t *testing.T) {
	p := picker(t, policy(config.RoundRobin), host(1), host(2), host(3))
	if got := counts(p, 300); got[1] != 100 || got[2] != 100 || got[3] != 100 {
		t.Errorf("equal weights: %v", got)
	}
	p = picker(t, policy(config.RoundRobin), host(1, weight(50)), host(2, weight(10)), host(3, weight(10)))
	var order []string
	for range 14 {
		order = append(order, fmt.Sprint(p.Pick(&Request{}).Addr.Port()))
	}
	got := strings.Join(order, "")
	if strings.Count(got, "1") != 10 || strings.Count(got, "2") != 2 || strings.Contains(got, "111111") {
		t.Errorf("weights 5:1:1 are not spread evenly: %s", got)
	}
}

func TestRoundRobinFineWeights(t *testing.T) {
	p := picker(t, policy(config.RoundRobin), host(1, weight(1_000_003)), host(2, weight(2_000_003)))
	got := counts(p, 8192)
	if math.Abs(float64(got[1])-8192.0/3) > 3 {
		t.Errorf("got %v", got)
	}
}

func TestRandom(t *testing.T) {
	const n = 9000
	got := counts(picker(t, policy(config.Random), host(1), host(2), host(3)), n)
	for port, c := range got {
		if !near(c, n, 1.0/3) {
			t.Errorf("port %d: %d of %d", port, c, n)
		}
	}
}

func TestLeastRequest(t *testing.T) {
	const n = 10_000
	got := counts(picker(t, policy(config.LeastRequest), host(1, busy(10)), host(2), host(3, busy(10))), n)
	// The idle host wins whenever it is drawn: 1 - (2/3)².
	if !near(got[2], n, 5.0/9) {
		t.Errorf("idle host: %v", got)
	}
	idle := counts(picker(t, policy(config.LeastRequest), host(1, weight(3)), host(2, weight(1))), n)
	if !near(idle[1], n, 0.75) {
		t.Errorf("idle, weights 3:1: %v", idle)
	}
	// weight / (active+1): 3/4 against 1/1.
	loaded := counts(picker(t, policy(config.LeastRequest), host(1, weight(3), busy(3)), host(2, weight(1))), n)
	if share := float64(loaded[1]) / n; share < 0.36 || share > 0.52 {
		t.Errorf("loaded, weights 3:1: %v", loaded)
	}
	unbiased := policy(config.LeastRequest)
	unbiased.ActiveBias = 0
	if got := counts(picker(t, unbiased, host(1, weight(3), busy(30)), host(2, weight(1))), n); !near(got[1], n, 0.75) {
		t.Errorf("without bias: %v", got)
	}
}

func TestShares(t *testing.T) {
	up := func(n int, p uint32, change ...func(*Host)) []Host {
		var out []Host
		for i := range n {
			out = append(out, host(uint16(1000*p+uint32(i)), append(change, priority(p))...))
		}
		return out
	}
	join := func(lists ...[]Host) []Host { return slices.Concat(lists...) }
	down := health(config.Unhealthy)
	tests := []struct {
		name  string
		hosts []Host
		panic float64
		want  string
	}{
		{"one priority", up(4, 0), 50, "100:4"},
		{"none", nil, 50, ""},
		{"enough are healthy", join(up(72, 0), up(28, 0, down), up(1, 1)), 50, "100:72"},
		// The numbers of Envoy's page on priority levels: 71 % healthy, 99 % of load.
		{"spill", join(up(71, 0), up(29, 0, down), up(100, 1)), 50, "99:71 1:100"},
		{"half", join(up(50, 0), up(50, 0, down), up(100, 1)), 50, "70:50 30:100"},
		{"both are short", join(up(25, 0), up(75, 0, down), up(25, 1), up(75, 1, down)), 20, "50:25 50:25"},
		{"no panic while the others can take it", join(up(40, 0), up(60, 0, down), up(100, 1)), 50, "56:40 44:100"},
		{"rounding", join(up(1, 0), up(9, 0, down), up(1, 1), up(9, 1, down), up(1, 2), up(9, 2, down)), 5, "34:1 33:1 33:1"},
		{"first is gone", join(up(3, 0, down), up(2, 1)), 50, "100:2"},
		{"panic", join(up(1, 0), up(3, 0, down)), 50, "100:4!"},
		{"panic is off", join(up(1, 0), up(3, 0, down)), 0, "100:1"},
		{"all down without panic", up(3, 0, down), 0, "100:0"},
		{"all down", up(3, 0, down), 50, "100:3!"},
		{"both panic", join(up(3, 0, down), up(1, 1, down)), 50, "75:3! 25:1!"},
		{"degraded fill up", join(up(2, 0), up(2, 0, health(config.Degraded))), 50, "70:2 30:2"},
		{"draining", join(up(3, 0), up(1, 0, health(config.Draining))), 50, "100:3"},
		{"ejected", join(up(3, 0), up(1, 0, ejected)), 50, "100:3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := policy(config.Random)
			c.PanicThreshold = tt.panic
			var got []string
			for _, s := range picker(t, c, tt.hosts...).Shares() {
				mark := ""
				if s.Panic {
					mark = "!"
				}
				got = append(got, fmt.Sprintf("%d:%d%s", s.Percent, len(s.Hosts), mark))
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("got %q, want %q", g, tt.want)
			}
		})
	}
}

func TestNoHost(t *testing.T) {
	off := policy(config.RoundRobin)
	off.PanicThreshold = 0
	for name, p := range map[string]*Picker{
		"empty": picker(t, off), "all down": picker(t, off, host(1, health(config.Unhealthy))),
	} {
		if h := p.Pick(&Request{Attempts: 3}); h != nil {
			t.Errorf("%s: got %v", name, h.Addr)
		}
	}
}

func TestTried(t *testing.T) {
	for _, pol := range []config.Policy{config.RoundRobin, config.LeastRequest, config.Random, config.RingHash, config.Maglev} {
		a, b := host(1), host(2)
		p := picker(t, policy(pol), a, b)
		missed := 0
		for i := range uint64(200) {
			h := p.Pick(&Request{Random: i * 7919, Hash: i * 7919 * 104729, HasHash: true, Tried: []*config.Endpoint{a.Endpoint}, Attempts: 12})
			if h.Addr == a.Addr {
				missed++
			}
		}
		// A Maglev table's neighbours are no independent draws.
		if missed > 20 {
			t.Errorf("policy %d: the tried host came %d times of 200", pol, missed)
		}
		if h := picker(t, policy(pol), a).Pick(&Request{Tried: []*config.Endpoint{a.Endpoint}, Attempts: 2}); h == nil {
			t.Errorf("policy %d: the only host is taken again", pol)
		}
	}
}

// The ring that Envoy's own unit test expects for six hosts on 127.0.0.1:90 to :95
// with a minimum size of 12.
func TestRing(t *testing.T) {
	var hosts []*Host
	for port := uint16(90); port < 96; port++ {
		h := host(port)
		hosts = append(hosts, &h)
	}
	var got []string
	for _, e := range newRing(hosts, 12, 8<<20) {
		got = append(got, fmt.Sprintf("%d:%d", e.host.Addr.Port(), e.hash))
	}
	want := []string{
		"94:833437586790550860", "92:928266305478181108", "90:1033482794131418490", "95:3551244743356806947",
		"93:3851675632748031481", "91:5583722120771150861", "91:6311230543546372928", "93:7700377290971790572",
		"95:13144177310400110813", "92:13444792449719432967", "94:15516499411664133160", "90:16117243373044804889",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestConsistentHashes(t *testing.T) {
	for _, pol := range []config.Policy{config.RingHash, config.Maglev} {
		c := policy(pol)
		c.RingMin = 1024
		five := []Host{host(1), host(2), host(3), host(4), host(5, weight(2))}
		all, without := picker(t, c, five...), picker(t, c, append([]Host{}, five[1:]...)...)
		const n = 12_000
		moved, onFive := 0, 0
		for i := range uint64(n) {
			r := &Request{Hash: i * 0x9e3779b97f4a7c15, HasHash: true, Random: i}
			before, after := all.Pick(r).Addr.Port(), without.Pick(r).Addr.Port()
			if before != 1 && before != after {
				moved++
			}
			if before == 5 {
				onFive++
			}
		}
		// Some move: fewer hosts fill a ring of the same least size with more entries each.
		if moved > n/10 {
			t.Errorf("policy %d: %d of %d keys moved though their host stayed", pol, moved, n)
		}
		if share := float64(onFive) / n; share < 0.25 || share > 0.42 {
			t.Errorf("policy %d: the host with a third of the weight got %.2f", pol, share)
		}
	}
}

func TestMaglevTable(t *testing.T) {
	var hosts []*Host
	for port := uint16(90); port < 96; port++ {
		h := host(port)
		hosts = append(hosts, &h)
	}
	per := map[uint16]int{}
	for _, h := range newMaglev(hosts, 7) {
		per[h.Addr.Port()]++
	}
	if len(per) != 6 {
		t.Errorf("every host has a place: %v", per)
	}
}

func TestWarmth(t *testing.T) {
	s := &config.SlowStart{Window: 100 * time.Second, Aggression: 1, MinPercent: 10}
	for age, want := range map[time.Duration]float64{0: 0.1, 50 * time.Second: 0.5, 100 * time.Second: 1, time.Hour: 1} {
		if got := Warmth(s, age); math.Abs(got-want) > 1e-9 {
			t.Errorf("age %s: got %v, want %v", age, got, want)
		}
	}
	if Warmth(nil, 0) != 1 {
		t.Error("without slow start a host is warm")
	}
	cold := host(1)
	cold.Warmth = 0.1
	if got := counts(picker(t, policy(config.RoundRobin), cold, host(2)), 1100); got[1] != 100 {
		t.Errorf("a host at a tenth of its weight: %v", got)
	}
}

func TestErrors(t *testing.T) {
	if _, err := New(policy(config.OriginalDst), nil, 0); err == nil || !strings.Contains(err.Error(), `cluster "c"`) {
		t.Errorf("got %v", err)
	}
}

func TestConcurrentPicks(t *testing.T) {
	p := picker(t, policy(config.RoundRobin), host(1), host(2))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				if p.Pick(&Request{Random: uint64(g*i + 1)}) == nil {
					t.Error("no host")
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkPick(b *testing.B) {
	for name, pol := range map[string]config.Policy{"round robin": config.RoundRobin, "least request": config.LeastRequest, "ring": config.RingHash} {
		for _, w := range []uint32{1, 3} {
			b.Run(fmt.Sprintf("%s/weight %d", name, w), func(b *testing.B) {
				c := policy(pol)
				c.RingMin = 1024
				hosts := []Host{host(1, weight(w), busy(1))}
				for i := range uint16(99) {
					hosts = append(hosts, host(i+2, busy(2)))
				}
				p := picker(b, c, hosts...)
				r := &Request{}
				b.ReportAllocs()
				for b.Loop() {
					r.Random++
					if p.Pick(r) == nil {
						b.Fatal("none")
					}
				}
			})
		}
	}
}
