package upstream

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

var (
	addrA = netip.MustParseAddrPort("10.0.0.1:80")
	addrB = netip.MustParseAddrPort("10.0.0.2:80")
	addrC = netip.MustParseAddrPort("10.0.0.3:80")
)

// net is a network in memory: every endpoint answers 200 to everything.
type memNet struct {
	m  *Manager
	wg sync.WaitGroup

	mu    sync.Mutex
	dials []netip.AddrPort
	ends  []*pipe.End
	fail  map[netip.AddrPort]error
	delay time.Duration
}

func newNet(t testing.TB, edit func(*Options)) *memNet {
	n := &memNet{fail: map[netip.AddrPort]error{}}
	o := Options{Dial: n.dial, Log: slog.New(slog.DiscardHandler)}
	if edit != nil {
		edit(&o)
	}
	n.m = New(o)
	return n
}

// arrive is a connection on its way: it may take time, and fail.
func (n *memNet) arrive(ctx context.Context, d Dialing) error {
	n.mu.Lock()
	n.dials = append(n.dials, d.Remote)
	err, delay := n.fail[d.Remote], n.delay
	n.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(delay):
	}
	return err
}

func (n *memNet) dial(ctx context.Context, d Dialing) (rawio.Transport, error) {
	if err := n.arrive(ctx, d); err != nil {
		return nil, err
	}
	client, server := pipe.New()
	client.SetAddrs(netip.MustParseAddrPort("10.9.9.9:1000"), d.Remote)
	n.mu.Lock()
	n.ends = append(n.ends, server)
	n.mu.Unlock()
	n.wg.Go(func() {
		defer server.Close()
		r := bufio.NewReader(server)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			io.WriteString(server, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
		}
	})
	return client, nil
}

func (n *memNet) dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.dials)
}

func (n *memNet) close() {
	n.m.Close()
	n.wg.Wait()
}

func static(edit func(*config.Cluster), addrs ...netip.AddrPort) *config.Cluster {
	no := config.Breakers{MaxConnections: 1 << 30, MaxPending: 1 << 30, MaxRequests: 1 << 30, MaxRetries: 1 << 30}
	c := &config.Cluster{Name: "c", Type: config.ClusterStatic, Static: endpoints(addrs...), Breakers: [2]config.Breakers{no, no}}
	if edit != nil {
		edit(c)
	}
	return c
}

func endpoints(addrs ...netip.AddrPort) *config.Endpoints {
	e := &config.Endpoints{Name: "c", Localities: []config.Locality{{}}}
	for _, a := range addrs {
		e.Localities[0].Endpoints = append(e.Localities[0].Endpoints, &config.Endpoint{Addr: a, Weight: 1})
	}
	return e
}

func (n *memNet) apply(t testing.TB, c *config.Cluster) *Handle {
	t.Helper()
	if err := n.m.Apply([]*config.Cluster{c}, nil); err != nil {
		t.Fatal(err)
	}
	return n.m.Handle(c.Name)
}

func request() *stream.Stream {
	s := &stream.Stream{Conn: &stream.Conn{Local: addrC}}
	s.Request.Method, s.Request.Path, s.Request.Authority = []byte("GET"), []byte("/"), []byte("x")
	return s
}

// use makes one exchange on a lease, without giving it back.
func use(t testing.TB, l Lease, s *stream.Stream) bool {
	t.Helper()
	ex, err := l.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := ex.Send(&s.Request, nil, true); err != nil {
		t.Fatal(err)
	}
	resp, err := ex.Receive()
	if err != nil || resp.Status != 200 {
		t.Fatalf("%+v, %v", resp, err)
	}
	return ex.Release()
}

func acquire(t testing.TB, h *Handle) Lease {
	t.Helper()
	l, err := h.Acquire(request(), &Tried{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func code(err error) stream.Code {
	switch e := err.(type) {
	case *stream.Reply:
		return e.Reason.Code
	case stream.Reason:
		return e.Code
	}
	return stream.None
}

func TestReuseAndIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		h := n.apply(t, static(func(c *config.Cluster) { c.IdleTimeout, c.MaxRequests = time.Minute, 3 }, addrA))
		once := func() {
			s := request()
			l, err := h.Acquire(s, &Tried{})
			if err != nil {
				t.Fatal(err)
			}
			l.Release(Outcome{Status: 200, Reusable: use(t, l, s)})
		}
		once()
		once()
		if n.dialled() != 1 {
			t.Errorf("%d connections", n.dialled())
		}
		time.Sleep(59 * time.Second)
		once() // the third: max_requests_per_connection
		once()
		if n.dialled() != 2 {
			t.Errorf("%d connections, want a new one after three requests", n.dialled())
		}
		time.Sleep(61 * time.Second)
		if got := h.Stats().CxActive.Load(); got != 0 || h.Stats().CxIdleTimeout.Load() != 1 {
			t.Errorf("%d connections after the idle time-out", got)
		}
		for name, want := range map[string]uint64{"upstream_rq_total": 4, "upstream_cx_total": 2, "upstream_rq_active": 0, "upstream_rq_2xx": 4} {
			for k, v := range h.Stats().All() {
				if k == name && v != want {
					t.Errorf("%s = %d, want %d", k, v, want)
				}
			}
		}
	})
}

func TestHangup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		h := n.apply(t, static(nil, addrA))
		s := request()
		l, _ := h.Acquire(s, &Tried{})
		l.Release(Outcome{Status: 200, Reusable: use(t, l, s)})
		n.ends[0].Close()
		synctest.Wait()
		if got := h.Stats().CxActive.Load(); got != 0 {
			t.Errorf("%d connections after the endpoint closed", got)
		}
	})
}

// TestStaleIdle: any number of kept connections may have been given up by the
// endpoint, as servers do that say 408 first, and no request fails for it.
func TestStaleIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		h := n.apply(t, static(nil, addrA))
		type held struct {
			l Lease
			s *stream.Stream
		}
		var all []held
		for range 2 * maxOpens {
			s := request()
			l, err := h.Acquire(s, &Tried{})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, held{l, s})
		}
		for _, x := range all {
			x.l.Release(Outcome{Status: 200, Reusable: use(t, x.l, x.s)})
		}
		for _, end := range n.ends {
			if _, err := io.WriteString(end, "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		s := request()
		l, err := h.Acquire(s, &Tried{})
		if err != nil {
			t.Fatalf("%d stale connections: %v", len(all), err)
		}
		l.Release(Outcome{Status: 200, Reusable: use(t, l, s)})
	})
}

// TestBreakers: each limit is exact, and what is over it is refused at once.
func TestBreakers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		h := n.apply(t, static(func(c *config.Cluster) {
			c.Breakers[0].MaxConnections, c.Breakers[0].MaxPending = 2, 1
		}, addrA, addrB))
		a, b := acquire(t, h), acquire(t, h)
		got := make(chan error, 1)
		go func() { // the third waits
			l, err := h.Acquire(request(), &Tried{})
			if err == nil {
				l.Release(Outcome{Status: 200})
			}
			got <- err
		}()
		synctest.Wait()
		_, err := h.Acquire(request(), &Tried{}) // the fourth is too many
		if code(err) != stream.UpstreamOverflow {
			t.Errorf("fourth: %v", err)
		}
		if rep := err.(*stream.Reply); rep.Status != 503 || rep.Headers[0] != [2]string{"x-envoy-overloaded", "true"} {
			t.Errorf("%+v", rep)
		}
		if len(got) != 0 {
			t.Error("the third did not wait")
		}
		a.Release(Outcome{Status: 200, Reusable: false}) // closing makes room
		if err := <-got; err != nil {
			t.Errorf("third: %v", err)
		}
		b.Release(Outcome{Status: 200, Reusable: true})
		if u := h.usage[0]; u.requests != 0 || u.pending != 0 || u.conns != 1 {
			t.Errorf("left over: %+v", u)
		}
	})
}

// TestWaiterCanceled: a request that gives up while it waits leaves nothing behind.
func TestWaiterCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		h := n.apply(t, static(func(c *config.Cluster) { c.Breakers[0].MaxConnections = 1 }, addrA))
		a := acquire(t, h)
		s := request()
		time.AfterFunc(time.Second, func() { s.Reset(stream.Reason{Code: stream.DownstreamGone}) })
		if _, err := h.Acquire(s, &Tried{}); code(err) != stream.DownstreamGone {
			t.Errorf("got %v", err)
		}
		a.Release(Outcome{Status: 200})
		acquire(t, h).Release(Outcome{Status: 200})
		if u := h.usage[0]; u != (usage{}) {
			t.Errorf("left over: %+v", u)
		}
	})
}

// TestIdleMakesRoom: at the limit an idle connection to another endpoint gives way.
func TestIdleMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		h := n.apply(t, static(func(c *config.Cluster) { c.Breakers[0].MaxConnections = 1 }, addrA, addrB))
		for range 4 {
			s := request()
			l, err := h.Acquire(s, &Tried{})
			if err != nil {
				t.Fatal(err)
			}
			l.Release(Outcome{Status: 200, Reusable: use(t, l, s)})
			if got := h.Stats().CxActive.Load(); got > 1 {
				t.Fatalf("%d connections at a limit of 1", got)
			}
		}
	})
}

func TestMaxRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		h := n.apply(t, static(func(c *config.Cluster) { c.Breakers[0].MaxRequests = 2 }, addrA))
		a, b := acquire(t, h), acquire(t, h)
		if _, err := h.Acquire(request(), &Tried{}); code(err) != stream.UpstreamOverflow {
			t.Errorf("got %v", err)
		}
		s := request()
		l, err := h.Acquire(s, &Tried{Priority: 1})
		if err != nil {
			t.Fatalf("high priority: %v", err)
		}
		l.Release(Outcome{Status: 200, Reusable: use(t, l, s)})
		// Not with an idle connection at hand either.
		if _, err := h.Acquire(request(), &Tried{}); code(err) != stream.UpstreamOverflow {
			t.Errorf("got %v", err)
		}
		a.Release(Outcome{Status: 200})
		b.Release(Outcome{Status: 200})
		acquire(t, h).Release(Outcome{Status: 200})
	})
}

func TestConnectErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		n.fail[addrA] = syscall.ECONNREFUSED
		h := n.apply(t, static(func(c *config.Cluster) { c.ConnectTimeout = time.Second }, addrA))
		_, err := h.Acquire(request(), &Tried{})
		if code(err) != stream.ConnectFailure || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
		n.delay = time.Hour
		start := time.Now()
		if _, err = h.Acquire(request(), &Tried{}); code(err) != stream.ConnectTimeout || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if u := h.usage[0]; u != (usage{}) {
			t.Errorf("left over: %+v", u)
		}
		if _, err := n.m.Handle("other").Acquire(request(), &Tried{}); code(err) != stream.NoCluster {
			t.Errorf("got %v", err)
		}
		empty := n.apply(t, static(nil))
		if _, err := empty.Acquire(request(), &Tried{}); code(err) != stream.NoHealthyUpstream {
			t.Errorf("got %v", err)
		}
	})
}

func TestRetryBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, nil)
		defer n.close()
		count := func(edit func(*config.Cluster), most int) int {
			h := n.apply(t, static(edit, addrA))
			got := 0
			for got < most && h.StartRetry(0) {
				got++
			}
			for range got {
				h.EndRetry(0)
			}
			return got
		}
		if got := count(func(c *config.Cluster) { c.Breakers[0].MaxRetries = 3 }, 100); got != 3 {
			t.Errorf("max_retries: %d", got)
		}
		if got := count(func(c *config.Cluster) { c.Breakers[0].MaxRetries = 1<<32 - 1 }, 100); got != budgetFloor {
			t.Errorf("default budget: %d", got)
		}
		if got := count(func(c *config.Cluster) {
			c.Breakers[0].HasBudget, c.Breakers[0].RetryBudget, c.Breakers[0].RetryFloor = true, 25, 4
		}, 100); got != 4 {
			t.Errorf("budget: %d", got)
		}
		if got := count(func(c *config.Cluster) { c.Breakers[0].HasBudget = true }, 100); got != 0 {
			t.Errorf("a budget of nothing: %d", got)
		}
	})
}

type rawTransport = rawio.Transport
