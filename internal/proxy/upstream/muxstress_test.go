package upstream

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// restless serves HTTP/2 on loopback; each connection says GOAWAY after a while, as
// servers with a maximum connection age do.
func restless(t testing.TB, age time.Duration, limit uint32) netip.AddrPort {
	return onLoopback(t, func(c net.Conn) {
		hs, h2 := &http.Server{}, &xhttp2.Server{MaxConcurrentStreams: limit}
		if err := xhttp2.ConfigureServer(hs, h2); err != nil {
			t.Error(err)
			return
		}
		if age > 0 {
			timer := time.AfterFunc(age+rand.N(age), func() { _ = hs.Shutdown(context.Background()) })
			defer timer.Stop()
		}
		h2.ServeConn(c, &xhttp2.ServeConnOpts{BaseConfig: hs, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(rand.N(2 * time.Millisecond))
			io.WriteString(w, strings.Repeat("x", rand.IntN(3000)))
		})})
	})
}

// deliver makes a request, again where it was provably not delivered. It reports
// the error of one that may have been.
func deliver(h *Handle) error {
	for {
		s := request()
		s.Request.Scheme = []byte("http")
		l, err := h.Acquire(s, &Tried{})
		if err != nil {
			return err
		}
		ex, err := l.Open(s)
		if err != nil {
			return err
		}
		err = exchange(ex, s)
		d := ex.Delivery()
		reusable := ex.Release()
		if err == nil {
			l.Release(Outcome{Status: 200, Reusable: reusable})
			return nil
		}
		l.Release(Outcome{Reason: stream.UpstreamReset, Reusable: reusable})
		if d == stream.Maybe {
			return err
		}
	}
}

func exchange(ex stream.Exchange, s *stream.Stream) error {
	if err := ex.Send(&s.Request, nil, true); err != nil {
		return err
	}
	resp, err := ex.Receive()
	for err == nil && resp.Body != nil {
		_, err = resp.Body.Next()
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// TestGoAwayUnderLoad: endpoints that turn over their connections lose no request.
func TestGoAwayUnderLoad(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("load", func(t *testing.T) {
		addrs := []netip.AddrPort{restless(t, 20*time.Millisecond, 50), restless(t, 30*time.Millisecond, 250)}
		m := New(Options{Sockets: rawio.HostSockets{}})
		defer m.Close()
		if err := m.Apply([]*config.Cluster{h2Static(nil, addrs...)}, nil); err != nil {
			t.Fatal(err)
		}
		h := m.Handle("c")
		var sum atomic.Int64
		var wg sync.WaitGroup
		end := time.Now().Add(time.Second)
		for range 100 {
			wg.Go(func() {
				for time.Now().Before(end) {
					if err := deliver(h); err != nil {
						t.Errorf("lost: %v", err)
						return
					}
					sum.Add(1)
				}
			})
		}
		wg.Wait()
		if st := h.Stats(); sum.Load() < 50 || st.CxDestroyRemote.Load() < 3 || st.RqActive.Load() != 0 {
			t.Errorf("%d requests, %d connections ended by their endpoint, %d requests active", sum.Load(), st.CxDestroyRemote.Load(), st.RqActive.Load())
		}
	})
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// TestMuxStress: everything at once on real sockets, over plain text and TLS;
// afterwards every count is back at zero.
func TestMuxStress(t *testing.T) {
	server, client := selfSigned(t, serverID), selfSigned(t, "spiffe://cluster.local/ns/default/sa/client")
	secure, _ := httpsServer(t, server, "h2", "http/1.1")
	old, _ := httpsServer(t, server, "http/1.1")
	a, b := restless(t, 10*time.Millisecond, 20), restless(t, 0, 100)
	m := New(Options{Sockets: rawio.HostSockets{}, Secrets: &secretMap{m: map[string]*tlsctx.Secret{"default": client, "ROOTCA": server}}})
	version := func(hash uint64) *config.Cluster {
		return static(func(c *config.Cluster) {
			c.Hash, c.Protocol, c.MaxRequests, c.MaxConnDuration, c.IdleTimeout = hash, config.SpeakHTTP2, 200, 50*time.Millisecond, 20*time.Millisecond
			c.Breakers[0].MaxConnections, c.Breakers[0].MaxPending, c.Breakers[0].MaxRequests = 6, 40, 120
			addrs := []netip.AddrPort{a, b}
			if hash%2 == 0 {
				addrs = []netip.AddrPort{secure, old}
				c.Protocol = config.SpeakALPN
				c.TLS = &config.UpstreamTLS{MaxSessions: 1, Common: config.CommonTLS{
					Certificates: []config.SecretRef{{Name: "default"}}, Validation: config.SecretRef{Name: "ROOTCA"}}}
			}
			c.Static = endpoints(addrs...)
		})
	}
	apply := func(hash uint64) {
		if err := m.Apply([]*config.Cluster{version(hash)}, nil); err != nil {
			t.Error(err)
		}
	}
	apply(1)
	h := m.Handle("c")
	var served, refused atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(time.Second)
	for range 60 {
		wg.Go(func() {
			for time.Now().Before(end) {
				s := request()
				s.Request.Scheme = []byte("https")
				if rand.IntN(4) == 0 {
					alarm := time.AfterFunc(rand.N(3*time.Millisecond), func() { s.Reset(stream.Reason{Code: stream.DownstreamGone}) })
					defer alarm.Stop()
				}
				l, err := h.Acquire(s, &Tried{})
				if err != nil {
					refused.Add(1)
					time.Sleep(time.Millisecond)
					continue
				}
				if got := h.Stats().RqActive.Load(); got > 120 {
					t.Errorf("%d requests at a limit of 120", got)
				}
				ex, err := l.Open(s)
				if err != nil {
					t.Error(err)
					return
				}
				s.Enter(ex)
				err = exchange(ex, s)
				s.Enter(nil)
				o := Outcome{Status: 200, Reusable: ex.Release()}
				if err != nil {
					o.Status, o.Reason = 0, stream.UpstreamReset
				} else {
					served.Add(1)
				}
				l.Release(o)
			}
		})
	}
	for hash := uint64(2); time.Now().Before(end); hash++ {
		time.Sleep(15 * time.Millisecond)
		apply(hash)
		h.mu.Lock()
		if n := h.usage[0].conns; n > 6 {
			t.Errorf("%d connections at a limit of 6", n)
		}
		h.mu.Unlock()
		if hash%20 == 0 {
			if err := m.Apply(nil, []string{"c"}); err != nil {
				t.Error(err)
			}
		}
	}
	wg.Wait()
	t.Logf("%d served, %d without a connection, %d and %d connections", served.Load(), refused.Load(), h.Stats().CxHTTP1.Load(), h.Stats().CxHTTP2.Load())
	if served.Load() < 20 {
		t.Errorf("only %d requests were served", served.Load())
	}
	m.Close()
	clean(t, h)
}

// TestLearned: a burst at an endpoint that turns out to know only HTTP/1.1 waits for
// one handshake; later ones do not.
func TestLearned(t *testing.T) {
	server, client := selfSigned(t, serverID), selfSigned(t, "spiffe://cluster.local/ns/default/sa/client")
	addr, _ := httpsServer(t, server, "http/1.1")
	m := New(Options{Sockets: rawio.HostSockets{}, Secrets: &secretMap{m: map[string]*tlsctx.Secret{"default": client, "ROOTCA": server}}})
	defer m.Close()
	c := static(func(c *config.Cluster) {
		c.Protocol = config.SpeakALPN
		c.TLS = &config.UpstreamTLS{Common: config.CommonTLS{Certificates: []config.SecretRef{{Name: "default"}}, Validation: config.SecretRef{Name: "ROOTCA"}}}
	}, addr)
	if err := m.Apply([]*config.Cluster{c}, nil); err != nil {
		t.Fatal(err)
	}
	h := m.Handle("c")
	for range 2 {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := deliver(h); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if st := h.Stats(); st.CxHTTP2.Load() != 0 || st.CxHTTP1.Load() == 0 {
		t.Errorf("%d connections of HTTP/2, %d of HTTP/1.1", st.CxHTTP2.Load(), st.CxHTTP1.Load())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.hosts {
		if x.single == nil || len(x.pools) != 1 || x.pools[0].shares() {
			t.Errorf("not learned: %+v", x)
		}
	}
}
