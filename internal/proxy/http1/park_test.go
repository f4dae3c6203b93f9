package http1_test

import (
	"crypto/tls"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/cert"
	"github.com/lateen-mesh/lateen/internal/testkit/socket"
	"golang.org/x/sys/unix"
)

// rider serves a connection as the listener does: a goroutine per step.
type rider struct {
	c     *http1.ServerConn
	h     stream.Handler
	steps atomic.Int32 // that run
	parks atomic.Int32
	ended chan stream.Reason
}

func ride(c *http1.ServerConn, h stream.Handler) *rider {
	r := &rider{c: c, h: h, ended: make(chan stream.Reason, 1)}
	r.wake()
	return r
}

func (r *rider) wake() {
	r.steps.Add(1)
	go r.step()
}

func (r *rider) step() {
	why, ended := r.c.Step(r.h, nil, r.wake)
	if ended {
		r.ended <- why
	} else {
		r.parks.Add(1)
	}
	r.steps.Add(-1)
}

func (r *rider) wait() { <-r.ended }

// parked waits until the connection has been parked n times, and is.
func (r *rider) parked(t *testing.T, n int32) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); r.parks.Load() < n || r.steps.Load() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not parked: %d times, %d steps run", r.parks.Load(), r.steps.Load())
		}
	}
}

const shortIdle = 3 * time.Second // longer than the time to park

// TestPark ends the waiting of a parked connection in every way there is.
func TestPark(t *testing.T) {
	hangUp := func(fd int, _ *rider) { unix.Shutdown(fd, unix.SHUT_WR) }
	drain := func(_ int, r *rider) { r.c.Drain() }
	for _, tc := range []struct {
		name string
		idle time.Duration
		tls  bool
		do   func(fd int, r *rider)
		want stream.Code
	}{
		{"hang-up", time.Hour, false, hangUp, stream.None},
		{"drain", time.Hour, false, drain, stream.Draining},
		{"close", time.Hour, false, func(_ int, r *rider) { r.c.Close(stream.Reason{Code: stream.Internal}) }, stream.Internal},
		{"idle time-out", shortIdle, false, func(int, *rider) {}, stream.IdleTimeout},
		{"no idle time-out", 0, false, drain, stream.Draining},
		{"twice at once", time.Hour, false, func(_ int, r *rider) { go r.c.Drain(); go r.c.Close(stream.Reason{Code: stream.Draining}) }, stream.Draining},
		{"TLS hang-up", time.Hour, true, hangUp, stream.None},
		{"TLS drain", time.Hour, true, drain, stream.Draining},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := &idleBed{t: t, l: socket.Listen(t), watch: watch(t)}
			fd, near := b.peer()
			defer unix.Close(fd)
			var tr rawio.Transport = near
			ask := func() { b.ask(blocking{fd: fd}) }
			if tc.tls {
				b.server, b.client = cert.TLS(t)
				s, c := rawio.ServerTLS(near, b.server), tls.Client(blocking{fd: fd}, b.client)
				b.shake(s, c)
				tr, ask = s, func() { b.ask(c) }
			}
			r := ride(http1.NewServerConn(tr, &stream.Conn{}, http1.ServerOptions{Watch: b.watch, IdleTimeout: tc.idle}), stream.HandlerFunc(answer))
			ask()
			r.parked(t, 1)
			if tc.idle != shortIdle { // woken by a request it serves on, and parks again
				ask()
				ask()
				r.parked(t, 2)
			}
			tc.do(fd, r)
			select {
			case why := <-r.ended:
				if why.Code != tc.want {
					t.Errorf("ended with %v, want %v", why, tc.want)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("it goes on")
			}
		})
	}
}

// TestParkHoldsNoGoroutine counts them.
func TestParkHoldsNoGoroutine(t *testing.T) {
	const n = 50
	b := &idleBed{t: t, l: socket.Listen(t), watch: watch(t)}
	before := runtime.NumGoroutine()
	var riders []*rider
	for range n {
		fd, near := b.peer()
		defer unix.Close(fd)
		riders = append(riders, ride(http1.NewServerConn(near, &stream.Conn{}, http1.ServerOptions{Watch: b.watch, IdleTimeout: time.Hour}), stream.HandlerFunc(answer)))
		b.ask(blocking{fd: fd})
	}
	for _, r := range riders {
		r.parked(t, 1)
	}
	if got := runtime.NumGoroutine(); got > before+5 {
		t.Errorf("%d goroutines for %d parked connections", got-before, n)
	}
	for _, r := range riders {
		r.c.Close(stream.Reason{Code: stream.Draining})
	}
	for _, r := range riders {
		r.wait()
	}
}

// TestParkNeverInARequest: half a head keeps its time-out, and its goroutine.
func TestParkNeverInARequest(t *testing.T) {
	b := &idleBed{t: t, l: socket.Listen(t), watch: watch(t)}
	fd, near := b.peer()
	r := ride(http1.NewServerConn(near, &stream.Conn{}, http1.ServerOptions{Watch: b.watch, HeadersTimeout: shortIdle}), stream.HandlerFunc(answer))
	if _, err := unix.Write(fd, []byte("GET / HTTP/1.1\r\nHo")); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 512)
	n, err := unix.Read(fd, p)
	if err != nil || !strings.HasPrefix(string(p[:n]), "HTTP/1.1 408 ") {
		t.Errorf("%q, %v", p[:n], err)
	}
	unix.Close(fd)
	r.wait()
	if r.parks.Load() != 0 {
		t.Error("parked in the middle of a head")
	}
}
