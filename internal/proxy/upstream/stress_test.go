package upstream

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// TestStress: requests, cancellations, failures and updates at once; afterwards
// every count is back at zero.
func TestStress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		n.delay = time.Millisecond
		version := func(hash uint64) *config.Cluster {
			addrs := endpoints(addrA, addrB)
			if hash%3 == 0 {
				addrs = endpoints(addrB, addrC)
			}
			return static(func(c *config.Cluster) {
				c.Hash, c.Static, c.IdleTimeout, c.MaxRequests = hash, addrs, 50*time.Millisecond, 5
				c.Breakers[0].MaxConnections, c.Breakers[0].MaxPending = 4, 8
				c.Outlier = &config.Outlier{Consecutive5xx: 2, Enforce5xx: 100, Interval: 20 * time.Millisecond,
					BaseEjection: 30 * time.Millisecond, MaxEjectionPercent: 100}
			})
		}
		h := n.apply(t, version(1))
		var wg sync.WaitGroup
		for range 24 {
			wg.Go(func() {
				for range 60 {
					s := request()
					var alarm *time.Timer
					if rand.IntN(4) == 0 {
						alarm = time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() {
							s.Reset(stream.Reason{Code: stream.DownstreamGone})
						})
					}
					l, err := h.Acquire(s, &Tried{})
					if alarm != nil {
						alarm.Stop()
					}
					if err == nil {
						if h.Stats().CxActive.Load() > 4 {
							t.Error("more connections than max_connections")
						}
						time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
						l.Release(Outcome{Status: 200 + 300*rand.IntN(2), Reusable: use(t, l, s) && rand.IntN(3) > 0})
					}
					time.Sleep(time.Duration(rand.IntN(1000)) * time.Microsecond)
				}
			})
		}
		wg.Go(func() {
			for i := range uint64(60) {
				time.Sleep(3 * time.Millisecond)
				if i%10 == 9 {
					if err := n.m.Apply(nil, []string{"c"}); err != nil {
						t.Error(err)
					}
				}
				n.apply(t, version(i+2))
			}
		})
		wg.Wait()
		time.Sleep(time.Second) // idle time-outs and sweeps
		synctest.Wait()
		h.mu.Lock()
		defer func() { n.close() }()
		defer h.mu.Unlock()
		if u := h.usage[0]; u != (usage{}) || len(h.waiters) != 0 {
			t.Errorf("left over: %+v, %d waiters", u, len(h.waiters))
		}
		for _, x := range h.hosts {
			if x.active.Load() != 0 || len(x.conns) != 0 || len(x.pools) != 0 || x.removed {
				t.Errorf("left over at %v: %+v", x.addr, x)
			}
		}
		st := h.Stats()
		if st.RqActive.Load() != 0 || st.RqPendingActive.Load() != 0 || st.CxActive.Load() != 0 {
			t.Errorf("gauges: %d %d %d", st.RqActive.Load(), st.RqPendingActive.Load(), st.CxActive.Load())
		}
		if st.RqTotal.Load() < 100 {
			t.Errorf("only %d requests were served", st.RqTotal.Load())
		}
	})
}
