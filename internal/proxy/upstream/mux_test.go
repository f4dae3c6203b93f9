package upstream

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// TestMuxBreakers: a burst on a cold cluster shares one connection, and every limit
// is exact.
func TestMuxBreakers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newH2Net(t, 1000, nil)
		defer n.close()
		n.delay, n.hold = time.Second, true
		h := n.apply(t, h2Static(func(c *config.Cluster) {
			c.Breakers[0].MaxConnections, c.Breakers[0].MaxPending, c.Breakers[0].MaxRequests = 1, 900, 700
		}, addrA))
		var served, pending, requests atomic.Int32
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				s := request()
				l, err := h.Acquire(s, &Tried{})
				switch {
				case err == nil:
					served.Add(1)
					ex, _ := l.Open(s)
					if err := ex.Send(&s.Request, nil, true); err != nil {
						t.Error(err)
					}
					finish(t, l, ex)
				case code(err) != stream.UpstreamOverflow:
					t.Error(err)
				case strings.Contains(err.Error(), "max_pending_requests of 900"):
					pending.Add(1)
				case strings.Contains(err.Error(), "max_requests of 700"):
					requests.Add(1)
				}
			})
		}
		synctest.Wait()
		if u := used(h); u.pending != 900 || u.conns != 1 {
			t.Errorf("while the connection is made: %+v", u)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if u := used(h); u.pending != 0 || u.conns != 1 || u.requests != 700 || n.peer(0).streams() != 700 {
			t.Errorf("with the connection: %+v, %d streams", u, n.peer(0).streams())
		}
		n.peer(0).answer(1000)
		wg.Wait()
		if served.Load() != 700 || pending.Load() != 100 || requests.Load() != 200 || n.dialled() != 1 {
			t.Errorf("%d served, %d over max_pending, %d over max_requests, %d connections",
				served.Load(), pending.Load(), requests.Load(), n.dialled())
		}
		if st := h.Stats(); st.CxHTTP2.Load() != 1 || st.RqActive.Load() != 0 || st.RqPendingActive.Load() != 0 {
			t.Error("counters")
		}
	})
}

// TestMuxFull: more requests than a connection carries make further ones, as many
// as are needed; beyond max_connections they wait.
func TestMuxFull(t *testing.T) {
	for name, c := range map[string]struct{ limit, requests, conns, max, want int }{
		"one":   {100, 100, 1, 100, 100},
		"three": {100, 250, 3, 100, 250},
		"wait":  {100, 250, 2, 2, 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newH2Net(t, uint32(c.limit), nil)
				defer n.close()
				n.hold, n.delay = true, time.Second
				h := n.apply(t, h2Static(func(x *config.Cluster) { x.Breakers[0].MaxConnections = uint32(c.max) }, addrA))
				var wg sync.WaitGroup
				for range c.requests {
					wg.Go(func() { finish2(t, h) })
				}
				open := func() (sum int) {
					time.Sleep(2 * time.Second)
					synctest.Wait()
					for i := range n.dialled() {
						sum += n.peer(i).streams()
					}
					return sum
				}
				if got := open(); got != c.want || n.dialled() != c.conns {
					t.Errorf("%d requests on %d connections", got, n.dialled())
				}
				for open() > 0 {
					for i := range n.dialled() {
						n.peer(i).answer(30)
					}
				}
				wg.Wait()
				if n.dialled() != c.conns {
					t.Errorf("%d connections at the end", n.dialled())
				}
			})
		})
	}
}

func finish2(t testing.TB, h *Handle) {
	l, ex := begin(t, h)
	finish(t, l, ex)
}

// TestMuxGrows: a connection that carries much gets company, up to one per
// processor; requests do not wait for it, and a quiet cluster uses one.
func TestMuxGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newH2Net(t, 1000, nil)
		defer n.close()
		n.hold = true
		h := n.apply(t, h2Static(nil, addrA))
		var wg sync.WaitGroup
		add := func(k int) {
			for range k {
				wg.Go(func() { finish2(t, h) })
				synctest.Wait()
			}
		}
		add(crowd)
		if n.dialled() != 1 {
			t.Fatalf("%d connections for %d requests", n.dialled(), crowd)
		}
		add(crowd * 20)
		if want := runtime.GOMAXPROCS(0); n.dialled() != want {
			t.Errorf("%d connections, want %d", n.dialled(), want)
		}
		for i := range n.dialled() {
			if got, want := n.peer(i).streams(), crowd*21/n.dialled(); got < want-2 || got > want+2 {
				t.Errorf("connection %d has %d requests of %d", i, got, crowd*21)
			}
			n.peer(i).answer(10000)
		}
		wg.Wait()
		for range 10 {
			add(1)
			used := 0
			for i := range n.dialled() {
				used += min(n.peer(i).answer(100), 1)
			}
			wg.Wait()
			if used != 1 {
				t.Errorf("%d connections used", used)
			}
		}
	})
}

// TestMuxLimitChanges: the endpoint lowers and raises what a connection carries.
func TestMuxLimitChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newH2Net(t, 5, nil)
		defer n.close()
		h := n.apply(t, h2Static(func(c *config.Cluster) { c.Breakers[0].MaxConnections = 1 }, addrA))
		finish2(t, h)
		p := n.peer(0)
		p.hold = true
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { finish2(t, h) })
		}
		at := func(when string, want int) {
			t.Helper()
			synctest.Wait()
			if got := p.streams(); got != want {
				t.Errorf("%s: %d requests, want %d", when, got, want)
			}
		}
		at("limit 5", 5)
		p.limit(2)
		at("limit 2", 5)
		p.answer(3)
		at("three answered", 2)
		p.answer(1)
		at("four answered", 2)
		p.limit(4)
		at("limit 4", 4)
		p.limit(0)
		p.answer(4)
		at("limit 0", 0)
		p.limit(1)
		at("limit 1", 1)
		p.answer(1)
		synctest.Wait()
		p.answer(1)
		wg.Wait()
		if n.dialled() != 1 {
			t.Errorf("%d connections", n.dialled())
		}
	})
}

// TestByDownstream: requests go out in the version in which they came, over one
// pool for each.
func TestByDownstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newH2Net(t, 100, nil)
		defer n.close()
		h := n.apply(t, static(func(c *config.Cluster) { c.Protocol = config.SpeakDownstream }, addrA))
		for i, proto := range []stream.Proto{stream.HTTP2, stream.HTTP2, stream.HTTP11, stream.HTTP10} {
			s := request()
			s.Request.Proto = proto
			l, err := h.Acquire(s, &Tried{})
			if err != nil {
				t.Fatal(err)
			}
			if l.conn.mux != (proto == stream.HTTP2) {
				t.Errorf("request %d in %v: HTTP/2 upstream is %v", i, proto, l.conn.mux)
			}
			l.Release(Outcome{Status: 200, Reusable: l.ex.Release()})
		}
		if st := h.Stats(); st.CxHTTP2.Load() != 1 || st.CxHTTP1.Load() != 2 { // nothing was sent: not reusable
			t.Errorf("%d connections of HTTP/2, %d of HTTP/1.1", st.CxHTTP2.Load(), st.CxHTTP1.Load())
		}
	})
}

// TestMuxYields: at max_connections a connection under load makes room for another
// endpoint, so that none waits for ever.
func TestMuxYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newH2Net(t, 100, nil)
		defer n.close()
		n.hold = true
		h := n.apply(t, h2Static(func(c *config.Cluster) {
			c.Type, c.Static, c.Policy, c.Breakers[0].MaxConnections = config.ClusterOriginalDst, nil, config.OriginalDst, 1
		}))
		var wg sync.WaitGroup
		to := func(addr netip.AddrPort) <-chan struct{} {
			done := make(chan struct{})
			wg.Go(func() {
				defer close(done)
				s := request()
				s.Conn.Local, s.Request.Scheme = addr, []byte("http")
				l, err := h.Acquire(s, &Tried{})
				if err != nil {
					t.Error(err)
					return
				}
				if err := l.ex.Send(&s.Request, nil, true); err != nil {
					t.Error(err)
				}
				finish(t, l, l.ex)
			})
			synctest.Wait()
			return done
		}
		a1 := to(addrA)
		b := to(addrB)
		a2 := to(addrA)
		n.peer(0).answer(1)
		<-a1
		a3 := to(addrA) // has to wait now
		if n.peer(0).streams() != 1 {
			t.Fatal("the connection under load goes on")
		}
		n.peer(0).answer(1)
		<-a2
		synctest.Wait()
		if n.dialled() != 2 || n.peer(1).answer(1) != 1 {
			t.Fatal("the other endpoint is not served")
		}
		<-b
		synctest.Wait()
		n.peer(2).answer(1)
		<-a3
		wg.Wait()
		if u := used(h); u.yielding != 0 || u.conns != 1 {
			t.Errorf("left over: %+v", u)
		}
	})
}

// fullConn refuses exchanges as a connection does whose endpoint has just lowered
// its limit.
type fullConn struct {
	stream.ClientConn
	full atomic.Bool
}

func (c *fullConn) Open(s *stream.Stream) (stream.Exchange, error) {
	if c.full.Load() {
		return nil, errors.New("full")
	}
	return c.ClientConn.Open(s)
}

// TestMuxRefuses: a request that a connection has no place for after all waits until
// the endpoint's word is known here.
func TestMuxRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newH2Net(t, 100, nil)
		defer n.close()
		h := n.apply(t, h2Static(func(c *config.Cluster) { c.Breakers[0].MaxConnections = 1 }, addrA))
		l := acquire(t, h)
		c := &fullConn{ClientConn: l.conn.cc}
		l.conn.cc = c
		c.full.Store(true)
		done := make(chan struct{})
		go func() {
			defer close(done)
			finish2(t, h)
		}()
		synctest.Wait()
		if u := used(h); u.pending != 1 || u.requests != 1 {
			t.Errorf("%+v, the request does not wait", u)
		}
		c.full.Store(false)
		h.told(l.conn, 5)
		<-done
		l.Release(Outcome{Status: 200, Reusable: l.ex.Release()})
		if u := used(h); u.pending != 0 || u.requests != 0 {
			t.Errorf("left over: %+v", u)
		}
	})
}

// TestAutoSNI: pools are per name; a request whose pool is there makes no string.
func TestAutoSNI(t *testing.T) {
	l := &link{cfg: &config.UpstreamTLS{AutoSNI: true}, tls: new(tlsctx.Client)}
	cfg := &config.Cluster{}
	x := &host{}
	s := request()
	pools := map[*pool]bool{}
	for _, a := range []string{"a.example", "A.EXAMPLE:443", "b.example", "10.0.0.1:80", "[fd00::1]:80", "10.0.0.1"} {
		s.Request.Authority = []byte(a)
		w := wishOf(cfg, s, l)
		p := x.pool(l, &w)
		pools[p] = true
		if again := wishOf(cfg, s, l); x.find(l, &again) != p {
			t.Errorf("%s: another pool the second time", a)
		}
	}
	if len(pools) != 3 || x.pools[0].wish.sni != "a.example" || x.pools[1].wish.sni != "b.example" || x.pools[2].wish.sni != "" {
		t.Errorf("%d pools", len(pools))
	}
	s.Request.Authority = []byte("A.example:443")
	if n := testing.AllocsPerRun(100, func() {
		w := wishOf(cfg, s, l)
		if x.find(l, &w) == nil {
			t.Error("no pool")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
