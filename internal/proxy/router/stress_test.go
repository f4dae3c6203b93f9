package router

import (
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// moody answers, breaks, stalls or answers early, by chance.
func moody(p *peer) {
	for {
		switch rand.IntN(8) {
		case 0:
			return
		case 1:
			p.Read(make([]byte, 32))
			p.Reset()
			return
		case 2:
			p.Read(make([]byte, 32))
			p.answer(200, "early")
			io.CopyN(io.Discard, p, 100)
			return
		case 3:
			time.Sleep(30 * time.Millisecond)
		}
		_, body, err := p.request()
		if err != nil {
			return
		}
		if rand.IntN(4) == 0 {
			p.answer(503, "")
			continue
		}
		p.answer(200, body)
	}
}

// TestStress: whatever endpoints and clients do, every exchange ends, and nothing
// is left over. An answer, where there is one, is whole.
func TestStress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, func(netip.AddrPort, int) (endpoint, error) {
			if rand.IntN(10) == 0 {
				return nil, refused
			}
			return moody, nil
		}, addrA, addrB)
		route := w.route(func(f *config.Forward) {
			f.Timeout = 100 * time.Millisecond
			f.Retry = &config.Retry{On: config.On5xx | config.OnConnectFailure, Retries: 3, PerTryTimeout: 25 * time.Millisecond, BackoffBase: time.Millisecond}
		})
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				s := &stream.Stream{}
				for range 80 {
					setRequest(s, []string{"GET", "PUT", "POST"}[rand.IntN(3)], "/", "")
					want := ""
					var f *feed
					if rand.IntN(2) == 0 {
						f, want = newFeed(), "abcdef"
						s.Request.Body, s.Request.Length = f, -1
						go f.send(time.Duration(rand.IntN(3))*time.Millisecond, "ab", "cd", "ef")
					}
					var alarm *time.Timer
					if rand.IntN(5) == 0 {
						why := stream.Reason{Code: stream.DownstreamGone}
						alarm = time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { s.Reset(why) })
					}
					o := w.doThen(s, route, func() {
						if alarm != nil {
							alarm.Stop()
						}
						if f != nil {
							f.Close(stream.Reason{})
						}
					})
					if o.err == nil && o.status == 200 && o.body != want && o.body != "early" {
						t.Errorf("answer %q, want %q", o.body, want)
					}
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		st := w.m.Handle("c").Stats()
		if st.RqActive.Load() != 0 || st.RqPendingActive.Load() != 0 {
			t.Errorf("left over: %d active, %d pending", st.RqActive.Load(), st.RqPendingActive.Load())
		}
		for range 1000 { // no retry is counted as under way
			if !w.m.Handle("c").StartRetry(0) {
				t.Fatal("the retry budget is not given back")
			}
		}
		w.close()
	})
}
