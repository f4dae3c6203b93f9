package router

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// istioRetry is what routes get by default.
func istioRetry(f *config.Forward) {
	f.Retry = &config.Retry{On: config.OnConnectFailure | config.OnRefusedStream, Retries: 2, AvoidPrevious: true, HostAttempts: 5}
}

// onlyAt serves at one address; others refuse connections.
func onlyAt(at func() netip.AddrPort) func(netip.AddrPort, int) (endpoint, error) {
	return func(a netip.AddrPort, _ int) (endpoint, error) {
		if a != at() {
			return nil, refused
		}
		return always(200, "ok"), nil
	}
}

// move gives the cluster other endpoints, as an update from the control plane does.
func (w *world) move(to ...netip.AddrPort) {
	next := newCluster(to...)
	if err := w.m.Apply([]*config.Cluster{next}, nil); err != nil {
		w.t.Error(err)
	}
}

// TestRollingRestart: the only endpoint stops to listen, and the news comes 300 ms
// later. Nobody gets an error, whatever the method and however many call.
func TestRollingRestart(t *testing.T) {
	for _, empty := range []bool{false, true} {
		t.Run(fmt.Sprint("through an empty cluster: ", empty), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				serves := addrA
				w := newWorld(t, Options{}, onlyAt(func() netip.AddrPort {
					mu.Lock()
					defer mu.Unlock()
					return serves
				}))
				defer w.close()
				mu.Lock()
				serves = addrB
				mu.Unlock()
				time.AfterFunc(200*time.Millisecond, func() {
					if empty {
						w.move()
					}
				})
				time.AfterFunc(300*time.Millisecond, func() { w.move(addrB) })
				route := w.route(istioRetry)
				var wg sync.WaitGroup
				for i := range 60 {
					wg.Go(func() {
						method := []string{"GET", "POST"}[i%2]
						start := time.Now()
						o := w.do(newStream(method, "/", "body"), route)
						if o.status != 200 {
							t.Errorf("%s: %d %v after %v and %d tries", method, o.status, o.err, time.Since(start), o.up.Attempts)
						}
						if d := time.Since(start); d > time.Second {
							t.Errorf("%s took %v", method, d)
						}
					})
				}
				wg.Wait()
				if n := len(w.seen()); n != 60 {
					t.Errorf("the endpoint saw %d requests", n)
				}
			})
		})
	}
}

// TestPatience: how long is tried again, and when not at all.
func TestPatience(t *testing.T) {
	for _, tc := range []struct {
		name     string
		options  Options
		edit     func(*config.Forward)
		least    time.Duration
		most     time.Duration
		tries    int // at most
		wantCode stream.Code
	}{
		{"a second", Options{}, istioRetry, time.Second, 1100 * time.Millisecond, 14, stream.ConnectFailure},
		{"off", Options{Patience: -1}, istioRetry, 0, 200 * time.Millisecond, 3, stream.ConnectFailure},
		{"no retries", Options{}, nil, 0, 0, 1, stream.ConnectFailure},
		{"not wanted", Options{}, func(f *config.Forward) {
			f.Retry = &config.Retry{On: config.OnRetriableStatus, Statuses: []uint32{503}, Retries: 2}
		}, 0, 0, 1, stream.ConnectFailure},
		{"the route's time-out", Options{}, func(f *config.Forward) { istioRetry(f); f.Timeout = 400 * time.Millisecond },
			400 * time.Millisecond, 420 * time.Millisecond, 12, stream.RouteTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, tc.options, func(netip.AddrPort, int) (endpoint, error) { return nil, refused }, addrA, addrB)
				defer w.close()
				start := time.Now()
				o := w.do(newStream("POST", "/", "x"), w.route(tc.edit))
				d := time.Since(start)
				if o.code != tc.wantCode || d < tc.least || d > tc.most || o.up.Attempts > tc.tries {
					t.Errorf("%s after %v and %d tries, want %s within %v to %v and %d tries", o.code, d, o.up.Attempts, tc.wantCode, tc.least, tc.most, tc.tries)
				}
				if tc.least > 0 && o.up.Attempts < 4 {
					t.Errorf("only %d tries", o.up.Attempts)
				}
			})
		})
	}
}

// TestPatienceEnds: what may have been delivered is not tried again, also if earlier
// tries were not delivered; and a client that leaves ends the wait.
func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, func(_ netip.AddrPort, n int) (endpoint, error) {
			if n <= 5 {
				return nil, refused
			}
			return reset, nil
		})
		defer w.close()
		o := w.do(newStream("POST", "/", "x"), w.route(istioRetry))
		if o.code != stream.UpstreamReset || len(w.seen()) != 1 {
			t.Errorf("%s, %d requests seen", o.code, len(w.seen()))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, func(netip.AddrPort, int) (endpoint, error) { return nil, refused })
		defer w.close()
		s := newStream("GET", "/", "")
		start := time.Now()
		time.AfterFunc(500*time.Millisecond, func() { s.Reset(stream.Reason{Code: stream.DownstreamGone}) })
		if o := w.do(s, w.route(istioRetry)); o.code != stream.DownstreamGone || time.Since(start) != 500*time.Millisecond {
			t.Errorf("%s after %v", o.code, time.Since(start))
		}
	})
}

// TestTimeoutWhileConnecting: the route's time-out counts from the end of the
// request, not from the connection.
func TestTimeoutWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, nil)
		defer w.close()
		w.stall = true
		start := time.Now()
		o := w.get(w.route(func(f *config.Forward) { f.Timeout = 300 * time.Millisecond }))
		if o.code != stream.RouteTimeout || o.status != 504 || time.Since(start) > 320*time.Millisecond {
			t.Errorf("%s %d after %v", o.code, o.status, time.Since(start))
		}
	})
}

// stalled is a connection that nobody answers.
func stalled(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}
