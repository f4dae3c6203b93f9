package upstream

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// watcher records what an Observer is told.
type watcher struct {
	mu     sync.Mutex
	events []string
}

func (w *watcher) add(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, s)
}

func (w *watcher) ClusterReady(name string) { w.add("ready " + name) }
func (w *watcher) Ejected(_ string, ep netip.AddrPort, out bool, _ string) {
	if out {
		w.add("out " + ep.String())
	} else {
		w.add("in " + ep.String())
	}
}

func (w *watcher) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.events
	w.events = nil
	return e
}

func eds(hash uint64, edit func(*config.Cluster)) *config.Cluster {
	return static(func(c *config.Cluster) {
		c.Type, c.Static, c.EDSName, c.Hash = config.ClusterEDS, nil, "c", hash
		if edit != nil {
			edit(c)
		}
	})
}

func TestWarming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{}
		n := newNet(t, func(o *Options) { o.Observer = w })
		defer n.close()
		before := n.m.Handle("c")
		h := n.apply(t, eds(1, nil))
		if h != before {
			t.Error("the handle changed")
		}
		if _, err := h.Acquire(request(), &Tried{}); code(err) != stream.NoCluster {
			t.Errorf("a warming cluster answers %v", err)
		}
		if diff := cmp.Diff([]string{"c"}, n.m.Warming()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"c"}, n.m.EDSNames()); diff != "" {
			t.Error(diff)
		}
		if err := n.m.ApplyEndpoints([]*config.Endpoints{endpoints(addrA)}, nil); err != nil {
			t.Fatal(err)
		}
		acquire(t, h).Release(Outcome{Status: 200})
		if diff := cmp.Diff([]string{"ready c"}, w.take()); diff != "" {
			t.Error(diff)
		}

		// A version that waits for other endpoints leaves the old one in force.
		n.apply(t, eds(2, func(c *config.Cluster) { c.EDSName = "other" }))
		if h.Config().Hash != 1 || len(n.m.Warming()) != 1 {
			t.Errorf("version %d is in force, warming %v", h.Config().Hash, n.m.Warming())
		}
		other := endpoints(addrB)
		other.Name = "other"
		if err := n.m.ApplyEndpoints([]*config.Endpoints{other}, nil); err != nil {
			t.Fatal(err)
		}
		s := request()
		l, err := h.Acquire(s, &Tried{})
		if err != nil || s.Upstream.Host != addrB {
			t.Errorf("%v to %v", err, s.Upstream.Host)
		}
		l.Release(Outcome{Status: 200})
		// One that finds its endpoints is in force at once.
		n.apply(t, eds(3, func(c *config.Cluster) { c.EDSName = "other" }))
		if h.Config().Hash != 3 {
			t.Errorf("version %d is in force", h.Config().Hash)
		}
	})
}

// TestUpdateKeepsState: connections and counters outlive an update; those of an
// endpoint that left are drained.
func TestUpdateKeepsState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		h := n.apply(t, static(func(c *config.Cluster) { c.Hash = 1 }, addrA))
		s := request()
		l := acquire(t, h)
		l.Release(Outcome{Status: 200, Reusable: use(t, l, s)})
		n.apply(t, static(func(c *config.Cluster) { c.Hash, c.IdleTimeout = 2, time.Hour }, addrA, addrB))
		if h.Stats().CxActive.Load() != 1 {
			t.Error("the update closed a connection")
		}
		busy, err := h.Acquire(request(), &Tried{})
		if err != nil {
			t.Fatal(err)
		}
		for busy.host.addr != addrA { // round robin
			busy.Release(Outcome{Status: 200})
			busy = acquire(t, h)
		}
		n.apply(t, static(func(c *config.Cluster) { c.Hash = 3 }, addrB))
		if i := slices.IndexFunc(h.Hosts(), func(x HostInfo) bool { return x.Endpoint.Addr == addrA && x.Endpoint.Draining }); i < 0 {
			t.Errorf("the endpoint that left is not draining: %+v", h.Hosts())
		}
		if !use(t, busy, request()) {
			t.Error("the request under way did not finish")
		}
		busy.Release(Outcome{Status: 200, Reusable: true})
		for _, x := range h.Hosts() {
			if x.Endpoint.Addr == addrA {
				t.Errorf("the drained endpoint is still there: %+v", x)
			}
		}
		if got := h.Stats().RqTotal.Load(); got < 2 {
			t.Errorf("counters restarted: %d", got)
		}
	})
}

// TestRetireIdle: idle connections that no request may use any more are closed at
// once: to an endpoint that left, or by a TLS context that changed.
func TestRetireIdle(t *testing.T) {
	for name, next := range map[string]*config.Cluster{
		"endpoint left":   static(func(c *config.Cluster) { c.Hash = 2 }, addrB),
		"tls switched on": static(func(c *config.Cluster) { c.Hash, c.TLS = 2, &config.UpstreamTLS{SNI: "x"} }, addrA),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNet(t, nil)
				defer n.close()
				h := n.apply(t, static(nil, addrA))
				l := acquire(t, h)
				l.Release(Outcome{Status: 200, Reusable: use(t, l, request())})
				if got := h.Stats().CxActive.Load(); got != 1 {
					t.Fatalf("%d idle connections", got)
				}
				n.apply(t, next)
				if got := h.Stats().CxActive.Load(); got != 0 {
					t.Errorf("%d idle connections are left", got)
				}
			})
		})
	}
}

func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		h := n.apply(t, static(nil, addrA))
		busy := acquire(t, h)
		if err := n.m.Apply(nil, []string{"c"}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Acquire(request(), &Tried{}); code(err) != stream.NoCluster {
			t.Errorf("got %v", err)
		}
		busy.Release(Outcome{Status: 200, Reusable: use(t, busy, request())})
		if len(h.hosts) != 0 || h.Stats().CxActive.Load() != 0 {
			t.Errorf("left over: %v", h.hosts)
		}
		n.apply(t, static(nil, addrA))
		acquire(t, h).Release(Outcome{Status: 200})
	})
}

func TestOutlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watcher{}
		n := newNet(t, func(o *Options) { o.Observer = w })
		defer n.close()
		h := n.apply(t, static(func(c *config.Cluster) {
			c.Outlier = &config.Outlier{Consecutive5xx: 3, Enforce5xx: 100, Interval: time.Second,
				BaseEjection: 10 * time.Second, MaxEjection: 300 * time.Second, MaxEjectionPercent: 50}
		}, addrA, addrB))
		w.take()
		// hit makes k requests; those to bad get a 500.
		hit := func(k int, bad ...netip.AddrPort) (toA int) {
			for range k {
				l := acquire(t, h)
				status := 200
				if slices.Contains(bad, l.host.addr) {
					status = 500
				}
				if l.host.addr == addrA {
					toA++
				}
				l.Release(Outcome{Status: status})
			}
			return toA
		}
		hit(4, addrA)
		if e := w.take(); len(e) != 0 {
			t.Fatalf("too early: %v", e)
		}
		hit(2, addrA)
		if diff := cmp.Diff([]string{"out " + addrA.String()}, w.take()); diff != "" {
			t.Fatal(diff)
		}
		if got := hit(10); got != 0 {
			t.Errorf("%d requests went to the ejected endpoint", got)
		}
		hit(6, addrB) // half of them may be out, not more
		if e := w.take(); len(e) != 0 || h.Stats().EjectionsOverflow.Load() == 0 {
			t.Errorf("max_ejection_percent was passed: %v", e)
		}
		// An update keeps the ejection.
		n.apply(t, static(func(c *config.Cluster) { c.Hash, c.Outlier = 9, h.Config().Outlier }, addrA, addrB))
		if got := hit(10); got != 0 {
			t.Errorf("the update forgot the ejection: %d requests", got)
		}
		w.take()
		back := func() time.Duration { // waits until it is back
			start := time.Now()
			for !slices.Contains(w.take(), "in "+addrA.String()) && time.Since(start) < time.Hour {
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
			}
			return time.Since(start)
		}
		if d := back(); d < 9*time.Second || d > 12*time.Second {
			t.Errorf("the first ejection took %v", d)
		}
		if got := hit(10); got != 5 {
			t.Errorf("%d of 10 requests went to the endpoint that is back", got)
		}
		hit(6, addrA)
		if d := back(); d < 19*time.Second || d > 22*time.Second {
			t.Errorf("the second ejection took %v, want twice the base", d)
		}
		time.Sleep(time.Minute) // the multiplier falls, the sweep stops
		synctest.Wait()
	})
}

func TestOriginalDst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var local netip.Addr
		n := newNet(t, nil)
		dial := n.m.o.Dial
		n.m.o.Dial = func(ctx context.Context, d Dialing) (r rawTransport, err error) {
			local = d.Local
			return dial(ctx, d)
		}
		defer n.close()
		h := n.apply(t, static(func(c *config.Cluster) {
			c.Type, c.Static, c.Policy = config.ClusterOriginalDst, nil, config.OriginalDst
			c.SourceAddr = netip.MustParseAddr("127.0.0.6")
		}))
		s := request()
		l, err := h.Acquire(s, &Tried{})
		if err != nil || s.Upstream.Host != addrC || local != netip.MustParseAddr("127.0.0.6") {
			t.Fatalf("%v to %v from %v", err, s.Upstream.Host, local)
		}
		l.Release(Outcome{Status: 200, Reusable: use(t, l, s)})
		n.ends[0].Close()
		synctest.Wait()
		if len(h.hosts) != 0 {
			t.Errorf("%d addresses are remembered without a connection", len(h.hosts))
		}
		if _, err := h.Acquire(&stream.Stream{}, &Tried{}); code(err) != stream.NoHealthyUpstream {
			t.Errorf("without a destination: %v", err)
		}
	})
}

// names is a Resolver over a map.
type names struct {
	mu sync.Mutex
	m  map[string][]netip.Addr
}

func (r *names) Lookup(_ context.Context, host string) ([]netip.Addr, time.Duration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.m[host]; len(a) > 0 {
		return a, 0, nil
	}
	return nil, 0, errors.New("no such host")
}

func (r *names) set(host string, addrs ...netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.m[host] = addrs
}

func TestDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &names{m: map[string][]netip.Addr{}}
		r.set("a.test", addrA.Addr(), addrB.Addr())
		n := newNet(t, func(o *Options) { o.Resolver = r })
		defer n.close()
		h := n.apply(t, static(func(c *config.Cluster) {
			c.Type, c.Static, c.DNS = config.ClusterStrictDNS, nil, []config.DNSHost{{Host: "a.test", Port: 80}}
		}))
		addrs := func() (list []netip.AddrPort) {
			synctest.Wait()
			for _, x := range h.Hosts() {
				list = append(list, x.Endpoint.Addr)
			}
			return list
		}
		if got := addrs(); !slices.Equal(got, []netip.AddrPort{addrA, addrB}) {
			t.Errorf("got %v", got)
		}
		r.set("a.test", addrC.Addr())
		time.Sleep(dnsRefreshDefault + time.Second)
		if got := addrs(); !slices.Equal(got, []netip.AddrPort{addrC}) {
			t.Errorf("after a change: %v", got)
		}
		r.set("a.test")
		time.Sleep(dnsRefreshDefault + time.Second)
		if got := addrs(); !slices.Equal(got, []netip.AddrPort{addrC}) {
			t.Errorf("after a failure: %v", got)
		}
	})
}
