package upstream

import (
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// TestMuxLife: what ends a connection, and that it ends after its requests.
func TestMuxLife(t *testing.T) {
	for name, c := range map[string]struct {
		edit  func(*config.Cluster)
		after time.Duration // until another connection is used
		count func(*ClusterStats) *Counter
	}{
		"idle": {func(c *config.Cluster) { c.IdleTimeout = time.Minute }, 2 * time.Minute,
			func(s *ClusterStats) *Counter { return &s.CxIdleTimeout }},
		"duration": {func(c *config.Cluster) { c.MaxConnDuration = time.Minute }, 2 * time.Minute,
			func(s *ClusterStats) *Counter { return &s.CxMaxDuration }},
		"requests": {func(c *config.Cluster) { c.MaxRequests = 3 }, 0,
			func(s *ClusterStats) *Counter { return &s.CxMaxRequests }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newH2Net(t, 100, nil)
				defer n.close()
				n.hold = true
				h := n.apply(t, h2Static(c.edit, addrA))
				long, longEx := begin(t, h)
				for range 2 {
					l, ex := begin(t, h)
					synctest.Wait()
					p := n.peer(0)
					p.mu.Lock() // the newest is answered
					p.open[0], p.open[len(p.open)-1] = p.open[len(p.open)-1], p.open[0]
					p.mu.Unlock()
					p.answer(1)
					finish(t, l, ex)
				}
				time.Sleep(c.after)
				if got := h.Stats().CxActive.Load(); got != 1 {
					t.Fatalf("%d connections under a request", got)
				}
				if name == "idle" {
					n.peer(0).answer(1)
					finish(t, long, longEx)
					time.Sleep(50 * time.Second)
					if got := h.Stats().CxActive.Load(); got != 1 {
						t.Errorf("%d connections before the time-out", got)
					}
					time.Sleep(15 * time.Second)
				} else {
					l, ex := begin(t, h)
					if n.dialled() != 2 {
						t.Error("the connection is still used")
					}
					synctest.Wait()
					n.peer(0).answer(1)
					n.peer(1).answer(1)
					finish(t, l, ex)
					finish(t, long, longEx)
				}
				synctest.Wait()
				if got, left := c.count(h.Stats()).Load(), h.Stats().CxActive.Load(); got != 1 || left != int64(n.dialled()-1) {
					t.Errorf("counted %d, %d connections of %d left", got, left, n.dialled())
				}
			})
		})
	}
}

// TestMuxGoAway: requests that the endpoint took finish, those beyond are refused,
// further ones use another connection, and the old one closes.
func TestMuxGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newH2Net(t, 100, nil)
		defer n.close()
		n.hold = true
		h := n.apply(t, h2Static(nil, addrA))
		a, aEx := begin(t, h)
		b, bEx := begin(t, h)
		unsent := acquire(t, h)
		synctest.Wait()
		if !unsent.Fresh() {
			t.Error("not fresh")
		}
		n.peer(0).goAway(1)
		synctest.Wait()
		if err := unsent.ex.Send(&request().Request, nil, true); err == nil || unsent.ex.Delivery() != stream.Unsent || unsent.Fresh() {
			t.Errorf("not sent: %v, delivery %v, fresh %v", err, unsent.ex.Delivery(), unsent.Fresh())
		}
		unsent.Release(Outcome{Reason: stream.UpstreamReset, Reusable: unsent.ex.Release()})
		if _, err := bEx.Receive(); code(err) != stream.UpstreamReset || bEx.Delivery() != stream.Refused {
			t.Errorf("beyond the last stream: %v, delivery %v", err, bEx.Delivery())
		}
		b.Release(Outcome{Reason: stream.UpstreamReset, Reusable: bEx.Release()})
		c, cEx := begin(t, h)
		synctest.Wait()
		if n.dialled() != 2 || n.peer(1).answer(10) != 1 {
			t.Error("the drained connection was used")
		}
		finish(t, c, cEx)
		n.peer(0).answer(1)
		finish(t, a, aEx)
		synctest.Wait()
		if got := h.Stats().CxActive.Load(); got != 1 {
			t.Errorf("%d connections, the drained one has to be closed", got)
		}
	})
}

// TestMuxReset: a reset is the outcome of its request: the connection goes on.
func TestMuxReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newH2Net(t, 100, nil)
		defer n.close()
		n.hold = true
		h := n.apply(t, h2Static(nil, addrA))
		a, aEx := begin(t, h)
		b, bEx := begin(t, h)
		synctest.Wait()
		p := n.peer(0)
		p.write(func() error {
			p.open = p.open[1:]
			return p.fr.WriteRSTStream(1, 2)
		})
		if _, err := aEx.Receive(); code(err) != stream.UpstreamRemoteReset {
			t.Errorf("got %v", err)
		}
		a.Release(Outcome{Reason: stream.UpstreamReset, Reusable: aEx.Release()})
		bEx.Cancel(stream.Reason{Code: stream.DownstreamGone})
		b.Release(Outcome{Reason: stream.DownstreamGone, Reusable: bEx.Release()})
		c, cEx := begin(t, h)
		synctest.Wait()
		p.answer(10)
		finish(t, c, cEx)
		if st := h.Stats(); n.dialled() != 1 || st.RqRxReset.Load() != 1 || st.RqTxReset.Load() != 1 {
			t.Errorf("%d connections, %d and %d resets", n.dialled(), st.RqRxReset.Load(), st.RqTxReset.Load())
		}
	})
}

// TestMuxLost: the connection breaks under its requests.
func TestMuxLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newH2Net(t, 100, nil)
		n.hold = true
		h := n.apply(t, h2Static(nil, addrA))
		var wg sync.WaitGroup
		for range 50 {
			l, ex := begin(t, h)
			wg.Go(func() {
				_, err := ex.Receive()
				if code(err) != stream.UpstreamReset || ex.Delivery() != stream.Maybe {
					t.Errorf("%v, delivery %v", err, ex.Delivery())
				}
				l.Release(Outcome{Reason: stream.UpstreamReset, Reusable: ex.Release()})
			})
		}
		synctest.Wait()
		for i := range n.dialled() {
			n.peer(i).end.Close()
		}
		wg.Wait()
		synctest.Wait()
		clean(t, h)
		n.hold = false
		finish2(t, h)
		n.close()
		synctest.Wait()
		clean(t, h)
	})
}

// TestMuxWithdrawn: an endpoint or TLS context that leaves takes its connection out
// of use; the requests on it finish.
func TestMuxWithdrawn(t *testing.T) {
	for name, next := range map[string]*config.Cluster{
		"endpoint left":   h2Static(func(c *config.Cluster) { c.Hash = 2 }, addrB),
		"tls switched on": h2Static(func(c *config.Cluster) { c.Hash, c.TLS = 2, &config.UpstreamTLS{SNI: "x"} }, addrA),
		"removed":         nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newH2Net(t, 100, nil)
				defer n.close()
				n.hold = true
				h := n.apply(t, h2Static(nil, addrA))
				l, ex := begin(t, h)
				m, mEx := begin(t, h)
				if next != nil {
					n.apply(t, next)
				} else if err := n.m.Apply(nil, []string{"c"}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				n.peer(0).answer(1)
				finish(t, l, ex)
				if got := h.Stats().CxActive.Load(); got != 1 {
					t.Errorf("%d connections while a request is under way", got)
				}
				n.peer(0).answer(1)
				finish(t, m, mEx)
				if got := h.Stats().CxActive.Load(); got != 0 {
					t.Errorf("%d connections after the last request", got)
				}
			})
		})
	}
}

// TestMuxDialFails: who waits for the one connection that is made shares its
// failure, which counts once.
func TestMuxDialFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newH2Net(t, 100, nil)
		n.delay = time.Second
		n.fail[addrA] = syscall.ECONNREFUSED
		h := n.apply(t, h2Static(nil, addrA))
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := h.Acquire(request(), &Tried{}); code(err) != stream.ConnectFailure || !strings.Contains(err.Error(), "refused") {
					t.Errorf("got %v", err)
				}
			})
		}
		s := request() // this one gives up before
		time.AfterFunc(time.Second/2, func() { s.Reset(stream.Reason{Code: stream.DownstreamGone}) })
		if _, err := h.Acquire(s, &Tried{}); code(err) != stream.DownstreamGone {
			t.Errorf("got %v", err)
		}
		wg.Wait()
		if n.dialled() != 1 || h.Stats().CxConnectFail.Load() != 1 {
			t.Errorf("%d connections, %d failures", n.dialled(), h.Stats().CxConnectFail.Load())
		}
		clean(t, h)
		n.m.Close()
		clean(t, h)
	})
}

// TestMuxAbandoned: a connection whose waiters all gave up serves the next request;
// Close ends one that is being made.
func TestMuxAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newH2Net(t, 100, nil)
		n.delay = time.Second
		h := n.apply(t, h2Static(nil, addrA))
		s := request()
		time.AfterFunc(time.Second/2, func() { s.Reset(stream.Reason{Code: stream.DownstreamGone}) })
		if _, err := h.Acquire(s, &Tried{}); code(err) != stream.DownstreamGone {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Second)
		finish2(t, h)
		if n.dialled() != 1 {
			t.Errorf("%d connections", n.dialled())
		}
		n.peer(0).end.Close()
		synctest.Wait()
		got := make(chan error, 1)
		go func() {
			_, err := h.Acquire(request(), &Tried{})
			got <- err
		}()
		synctest.Wait()
		n.close()
		if err := <-got; code(err) != stream.NoCluster {
			t.Errorf("got %v", err)
		}
		clean(t, h)
	})
}

// TestMuxSilent: a connection on which a request timed out, and nobody got an
// answer meanwhile, takes no more; one that answers others stays.
func TestMuxSilent(t *testing.T) {
	for name, answers := range map[string]bool{"silent": false, "answers others": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newH2Net(t, 100, nil)
				defer n.close()
				n.hold = true
				h := n.apply(t, h2Static(nil, addrA))
				a, aEx := begin(t, h)
				b, bEx := begin(t, h)
				synctest.Wait()
				if answers {
					n.peer(0).answer(1)
					finish(t, a, aEx)
				}
				bEx.Cancel(stream.Reason{Code: stream.RouteTimeout})
				b.Release(Outcome{Reason: stream.RouteTimeout, Reusable: bEx.Release()})
				c, cEx := begin(t, h)
				synctest.Wait()
				if got := n.dialled() == 1; got != answers {
					t.Errorf("%d connections", n.dialled())
				}
				for i := range n.dialled() {
					n.peer(i).answer(10)
				}
				finish(t, c, cEx)
				if !answers {
					finish(t, a, aEx)
				}
				synctest.Wait()
				if got := h.Stats().CxActive.Load(); got != 1 {
					t.Errorf("%d connections at the end", got)
				}
			})
		})
	}
}

// TestMuxProtocolChanges: an update that changes what is spoken takes the old
// connections out of use.
func TestMuxProtocolChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newH2Net(t, 100, nil)
		defer n.close()
		h := n.apply(t, h2Static(nil, addrA))
		finish2(t, h)
		if got := h.Stats().CxActive.Load(); got != 1 {
			t.Fatalf("%d connections", got)
		}
		n.apply(t, static(func(c *config.Cluster) { c.Hash = 2 }, addrA))
		if got := h.Stats().CxActive.Load(); got != 0 {
			t.Errorf("%d connections of HTTP/2 are left", got)
		}
	})
}

// TestMovedWaiters: who waits for a connection to an endpoint that leaves is served
// by another.
func TestMovedWaiters(t *testing.T) {
	for _, p := range []config.UpstreamProtocol{config.SpeakHTTP2, config.SpeakDownstream} {
		synctest.Test(t, func(t *testing.T) {
			n := newH2Net(t, 100, nil)
			defer n.close()
			n.delay = time.Second
			version := func(hash uint64, p config.UpstreamProtocol, addr netip.AddrPort) *config.Cluster {
				return static(func(c *config.Cluster) { c.Hash, c.Protocol = hash, p }, addr)
			}
			h := n.apply(t, version(1, p, addrA))
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					s := request()
					s.Request.Proto = stream.HTTP2
					l, err := h.Acquire(s, &Tried{})
					if err != nil {
						t.Error(err)
						return
					}
					if s.Upstream.Host != addrB {
						t.Errorf("served by %v", s.Upstream.Host)
					}
					l.Release(Outcome{Status: 200, Reusable: l.ex.Release()})
				})
			}
			time.Sleep(time.Second / 2)
			n.apply(t, version(2, config.SpeakHTTP2, addrB))
			wg.Wait()
			time.Sleep(time.Second)
			if got := h.Stats().CxActive.Load(); got != 1 {
				t.Errorf("%d connections", got)
			}
		})
	}
}

// TestDuration: a connection of HTTP/1.1 ends at its age too, in use or not.
func TestDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		h := n.apply(t, static(func(c *config.Cluster) { c.MaxConnDuration = time.Minute }, addrA))
		idle := acquire(t, h)
		busy := acquire(t, h)
		idle.Release(Outcome{Status: 200, Reusable: use(t, idle, request())})
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if got := h.Stats().CxActive.Load(); got != 1 {
			t.Errorf("%d connections, one is in use", got)
		}
		busy.Release(Outcome{Status: 200, Reusable: use(t, busy, request())})
		if st := h.Stats(); st.CxActive.Load() != 0 || st.CxMaxDuration.Load() != 2 {
			t.Errorf("%d connections, %d counted", st.CxActive.Load(), st.CxMaxDuration.Load())
		}
	})
}
