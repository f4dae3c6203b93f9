package router

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

func serving(e endpoint) func(netip.AddrPort, int) (endpoint, error) {
	return func(netip.AddrPort, int) (endpoint, error) { return e, nil }
}

func TestForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(always(200, "hello", "x-a: b")))
		defer w.close()
		route := w.route(nil)
		route.AttemptCount = true
		for range 3 {
			o := w.get(route)
			if o.status != 200 || o.body != "hello" || o.err != nil {
				t.Fatalf("got %+v", o)
			}
			if got := string(o.head.Get(stream.EnvoyServiceTime)); got != "0" {
				t.Errorf("service time %q", got)
			}
			if o.up.Host != addrA || o.up.Attempts != 1 || o.up.Cluster != "c" || o.up.BytesRead != 5 {
				t.Errorf("upstream facts %+v", o.up)
			}
		}
		if w.dials != 1 {
			t.Errorf("%d connections for three requests", w.dials)
		}
		if got := w.last().Header.Get("x-envoy-attempt-count"); got != "1" {
			t.Errorf("attempt count %q", got)
		}
	})
}

func TestRouteActions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(always(200, "")))
		defer w.close()
		if o := w.do(newStream("GET", "/", ""), nil); o.code != stream.NoRoute || o.status != 404 {
			t.Errorf("no route: %+v", o)
		}
		o := w.get(&config.Route{Direct: &config.Direct{Status: 418, Body: "tea"}})
		if o.status != 418 || o.body != "tea" || o.code != stream.DirectResponse {
			t.Errorf("direct: %+v", o)
		}
		o = w.get(w.route(func(f *config.Forward) { f.Clusters[0].Cluster.Handle = w.m.Handle("gone") }))
		if o.status != 503 || o.code != stream.NoCluster {
			t.Errorf("missing cluster: %+v", o)
		}
		name := stream.N("x-cluster")
		byHeader := w.route(func(f *config.Forward) { f.ClusterHeader, f.Clusters = &name, nil })
		s := newStream("GET", "/", "")
		s.Request.AddString(name, "c")
		if o := w.do(s, byHeader); o.status != 200 {
			t.Errorf("cluster_header: %+v", o)
		}
	})
}

var refused = &netError{syscall.ECONNREFUSED}

type netError struct{ error }

func (e *netError) Unwrap() error { return e.error }

func TestRetryConnectFailure(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Options{}, func(a netip.AddrPort, n int) (endpoint, error) {
					if n <= 2 {
						return nil, refused
					}
					return always(200, "ok"), nil
				})
				defer w.close()
				route := w.route(func(f *config.Forward) { f.Retry = &config.Retry{On: config.OnConnectFailure, Retries: 2} })
				o := w.do(newStream(method, "/", "body"), route)
				if o.status != 200 || o.up.Attempts != 3 {
					t.Fatalf("got %+v", o)
				}
				if diff := cmp.Diff([]string{method + " /"}, w.seen()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestConnectFailureAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, func(netip.AddrPort, int) (endpoint, error) { return nil, refused })
		defer w.close()
		o := w.get(w.route(nil))
		if o.status != 503 || o.code != stream.ConnectFailure || !strings.Contains(o.body, "connection failure") {
			t.Errorf("got %+v", o)
		}
		if !errors.Is(o.err, o.err) || !strings.Contains(o.up.FailureError, "refused") {
			t.Errorf("failure error %q", o.up.FailureError)
		}
	})
}

// reset reads the request and breaks the connection without an answer.
func reset(p *peer) {
	if _, _, err := p.request(); err == nil {
		p.Reset()
	}
}

// TestNeverTwice: a request that may have been delivered is repeated only where
// that does no harm.
func TestNeverTwice(t *testing.T) {
	all := config.On5xx | config.OnReset | config.OnGatewayError | config.OnConnectFailure | config.OnResetBeforeRequest
	cases := []struct {
		method string
		unsafe bool
		want   int // requests seen
	}{
		{"GET", false, 2}, {"PUT", false, 2}, {"DELETE", false, 2},
		{"POST", false, 1}, {"PATCH", false, 1}, {"POST", true, 2},
	}
	for _, tc := range cases {
		t.Run(tc.method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Options{RetryUnsafe: tc.unsafe}, func(_ netip.AddrPort, n int) (endpoint, error) {
					if n == 1 {
						return reset, nil
					}
					return always(200, "ok"), nil
				})
				defer w.close()
				route := w.route(func(f *config.Forward) { f.Retry = &config.Retry{On: all, Retries: 2} })
				o := w.do(newStream(tc.method, "/", "x"), route)
				if got := len(w.seen()); got != tc.want {
					t.Errorf("%d requests seen, want %d; %+v", got, tc.want, o)
				}
				if tc.want == 1 && (o.status != 503 || o.code != stream.UpstreamReset) {
					t.Errorf("got %+v", o)
				}
			})
		})
	}
}

// TestStatusNotRepeated: a 503 that an endpoint answered to a POST was delivered.
func TestStatusNotRepeated(t *testing.T) {
	for method, want := range map[string]int{"GET": 3, "POST": 1} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Options{}, serving(always(503, "no")))
				defer w.close()
				route := w.route(func(f *config.Forward) {
					f.Retry = &config.Retry{On: config.OnRetriableStatus, Statuses: []uint32{503}, Retries: 2}
				})
				o := w.do(newStream(method, "/", "x"), route)
				if o.status != 503 || o.body != "no" || len(w.seen()) != want {
					t.Errorf("%d requests, want %d: %+v", len(w.seen()), want, o)
				}
				if w.dials != 1 {
					t.Errorf("%d connections: a retried answer cost its own", w.dials)
				}
			})
		})
	}
}

// TestStaleConnection: a kept connection that was closed before anything was sent
// costs nobody an error, and needs no policy.
func TestStaleConnection(t *testing.T) {
	t.Run("noticed", func(t *testing.T) { testStale(t, false) })
	t.Run("not noticed", func(t *testing.T) { testStale(t, true) })
}

func testStale(t *testing.T, deaf bool) {
	synctest.Test(t, func(t *testing.T) {
		once := func(p *peer) {
			if _, _, err := p.request(); err == nil {
				p.answer(200, "ok")
			}
		}
		w := newWorld(t, Options{}, serving(once))
		w.deaf = deaf
		defer w.close()
		for range 4 {
			if o := w.do(newStream("POST", "/", "x"), w.route(nil)); o.status != 200 {
				t.Fatalf("got %+v", o)
			}
			synctest.Wait()
		}
		if got := len(w.seen()); got != 4 {
			t.Errorf("%d requests seen", got)
		}
	})
}

func silent(p *peer) {
	for {
		if _, _, err := p.request(); err != nil {
			return
		}
	}
}

func TestTimeouts(t *testing.T) {
	cases := []struct {
		name     string
		edit     func(*config.Forward)
		code     stream.Code
		status   int
		after    time.Duration
		requests int
	}{
		{"route", func(f *config.Forward) { f.Timeout = 500 * time.Millisecond }, stream.RouteTimeout, 504, 500 * time.Millisecond, 1},
		{"per try", func(f *config.Forward) {
			f.Retry = &config.Retry{On: config.On5xx, Retries: 2, PerTryTimeout: 100 * time.Millisecond, BackoffBase: time.Nanosecond}
		}, stream.PerTryTimeout, 504, 300 * time.Millisecond, 3},
		{"route over tries", func(f *config.Forward) {
			f.Timeout = 250 * time.Millisecond
			f.Retry = &config.Retry{On: config.On5xx, Retries: 9, PerTryTimeout: 100 * time.Millisecond, BackoffBase: time.Nanosecond}
		}, stream.RouteTimeout, 504, 250 * time.Millisecond, 3},
		{"idle", func(f *config.Forward) { f.IdleTimeout = time.Second }, stream.IdleTimeout, 504, time.Second, 1},
		{"max duration", func(f *config.Forward) { f.MaxDuration = time.Second }, stream.MaxDuration, 504, time.Second, 1},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Options{}, serving(silent))
				defer w.close()
				start := time.Now()
				o := w.get(w.route(tc.edit))
				if o.code != tc.code || o.status != tc.status {
					t.Errorf("got %+v", o)
				}
				if d := time.Since(start); d < tc.after || d > tc.after+50*time.Millisecond {
					t.Errorf("after %v, want %v", d, tc.after)
				}
				if got := len(w.seen()); got != tc.requests {
					t.Errorf("%d requests seen, want %d", got, tc.requests)
				}
			})
		})
	}
}

// TestTimeoutInBody: once the head is on its way, a time-out resets the stream.
func TestTimeoutInBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(func(p *peer) {
			if _, _, err := p.request(); err != nil {
				return
			}
			p.Write([]byte("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"))
			p.request()
		}))
		defer w.close()
		o := w.get(w.route(func(f *config.Forward) { f.Timeout = time.Second }))
		if o.status != 200 || o.body != "half" || o.code != stream.RouteTimeout {
			t.Errorf("got %+v", o)
		}
	})
}

func TestTruncatedAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(func(p *peer) {
			p.request()
			p.Write([]byte("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"))
		}))
		defer w.close()
		o := w.get(w.route(nil))
		if o.status != 200 || o.body != "half" || o.code != stream.UpstreamReset {
			t.Errorf("got %+v", o)
		}
	})
}

func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(silent))
		defer w.close()
		s := newStream("GET", "/", "")
		time.AfterFunc(time.Second, func() { s.Reset(stream.Reason{Code: stream.DownstreamGone}) })
		if o := w.do(s, w.route(nil)); o.code != stream.DownstreamGone || o.status != 0 {
			t.Errorf("got %+v", o)
		}
	})
}
