package relay

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

func cluster(addr netip.AddrPort) *config.Cluster {
	no := config.Breakers{MaxConnections: 1 << 30, MaxPending: 1 << 30, MaxRequests: 1 << 30, MaxRetries: 1 << 30}
	return &config.Cluster{Name: "c", Type: config.ClusterStatic, Breakers: [2]config.Breakers{no, no},
		Static: &config.Endpoints{Localities: []config.Locality{{Endpoints: []*config.Endpoint{{Addr: addr, Weight: 1}}}}}}
}

func setup(t testing.TB, c *config.Cluster, o upstream.Options) (*upstream.Manager, *config.TCP) {
	o.Log = slog.New(slog.DiscardHandler)
	m := upstream.New(o)
	if err := m.Apply([]*config.Cluster{c}, nil); err != nil {
		t.Fatal(err)
	}
	return m, &config.TCP{Clusters: []config.WeightedCluster{{Cluster: config.ClusterRef{Name: "c", Handle: m.Handle("c")}}}}
}

// memory relays between two pipes: what the test gets are the client's and the
// server's ends.
func memory(t testing.TB) (m *upstream.Manager, cfg *config.TCP, down, client, server *pipe.End) {
	up, server := pipe.New()
	m, cfg = setup(t, cluster(netip.MustParseAddrPort("10.0.0.1:80")), upstream.Options{
		Dial: func(context.Context, upstream.Dialing) (rawio.Transport, error) { return up, nil }})
	client, down = pipe.New()
	return m, cfg, down, client, server
}

func TestServerFirstAndHalfClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, cfg, down, client, server := memory(t)
		defer m.Close()
		done := make(chan Flow)
		go func() { done <- New(Options{}).Serve(down, &stream.Conn{}, cfg, Hooks{}, nil) }()
		io.WriteString(server, "220 hello\r\n")
		buf := make([]byte, 64)
		n, _ := client.Read(buf)
		if string(buf[:n]) != "220 hello\r\n" {
			t.Errorf("got %q", buf[:n])
		}
		io.WriteString(client, "QUIT")
		client.CloseWrite()
		got, err := io.ReadAll(server)
		if string(got) != "QUIT" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		io.WriteString(server, "bye") // after the client's half-close
		server.Close()
		if got, _ := io.ReadAll(client); string(got) != "bye" {
			t.Errorf("got %q", got)
		}
		f := <-done
		if f.BytesReceived != 4 || f.BytesSent != 14 || f.Reason.Code != stream.None || f.Cluster != "c" || f.Endpoint == nil {
			t.Errorf("%+v", f)
		}
		if n := m.Handle("c").Stats().CxActive.Load(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

func TestEnds(t *testing.T) {
	cases := []struct {
		name string
		cfg  func(*config.TCP)
		act  func(client, server *pipe.End, closing chan stream.Reason)
		want stream.Code
	}{
		{"client breaks", nil, func(c, _ *pipe.End, _ chan stream.Reason) { c.Reset() }, stream.DownstreamGone},
		{"server breaks", nil, func(_, s *pipe.End, _ chan stream.Reason) { s.Reset() }, stream.UpstreamReset},
		{"idle", func(c *config.TCP) { c.IdleTimeout = time.Minute }, func(c, s *pipe.End, _ chan stream.Reason) {
			time.Sleep(50 * time.Second)
			io.WriteString(c, "x")
			time.Sleep(50 * time.Second)
			io.WriteString(s, "y") // moved: the time-out starts again
		}, stream.IdleTimeout},
		{"closed by the proxy", nil, func(_, _ *pipe.End, ch chan stream.Reason) { ch <- stream.Reason{Code: stream.Draining} }, stream.Draining},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, cfg, down, client, server := memory(t)
				defer m.Close()
				if tc.cfg != nil {
					tc.cfg(cfg)
				}
				closing := make(chan stream.Reason, 1)
				done := make(chan Flow)
				go func() { done <- New(Options{}).Serve(down, &stream.Conn{}, cfg, Hooks{}, closing) }()
				synctest.Wait()
				tc.act(client, server, closing)
				if f := <-done; f.Reason.Code != tc.want {
					t.Errorf("ended with %+v", f.Reason)
				}
			})
		})
	}
}

func TestNoUpstream(t *testing.T) {
	client, down := pipe.New()
	m, cfg := setup(t, cluster(netip.MustParseAddrPort("10.0.0.1:80")), upstream.Options{
		Dial: func(context.Context, upstream.Dialing) (rawio.Transport, error) { return nil, io.ErrUnexpectedEOF }})
	defer m.Close()
	f := New(Options{}).Serve(down, &stream.Conn{}, cfg, Hooks{}, nil)
	if f.Reason.Code != stream.ConnectFailure || f.Upstream.FailureError == "" || !f.Upstream.Host.IsValid() {
		t.Errorf("%+v", f)
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the client is not closed: %v", err)
	}
	cfg.Clusters[0].Cluster.Handle = m.Handle("gone")
	_, down = pipe.New()
	if f := New(Options{}).Serve(down, &stream.Conn{}, cfg, Hooks{}, nil); f.Reason.Code != stream.NoCluster {
		t.Errorf("%+v", f)
	}
}

// TestSockets moves enough over real sockets to be spliced, both ways.
func TestSockets(t *testing.T) {
	const size = 8 << 20
	data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	server := listen(t, func(c *net.TCPConn) {
		got, _ := io.ReadAll(c)
		c.Write(got)
	})
	m, cfg := setup(t, cluster(server), upstream.Options{Sockets: rawio.HostSockets{}})
	defer m.Close()
	flows := make(chan Flow, 1)
	front := listen(t, func(c *net.TCPConn) {
		f, err := c.File()
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		fd, err := dup(int(f.Fd()))
		if err != nil {
			t.Error(err)
			return
		}
		down, err := rawio.NewConn(fd)
		if err != nil {
			t.Error(err)
			return
		}
		c.Close()
		f.Close()
		flows <- New(Options{}).Serve(down, &stream.Conn{}, cfg, Hooks{}, nil)
	})
	c, err := net.Dial("tcp", front.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		c.Write(data)
		c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d of %d bytes came back, %v", len(got), len(data), err)
	}
	f := <-flows
	if f.BytesReceived != size || f.BytesSent != size || f.Reason.Code != stream.None {
		t.Errorf("%+v", f)
	}
}

// listen serves one connection on loopback.
func listen(t *testing.T, serve func(*net.TCPConn)) netip.AddrPort {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			serve(c.(*net.TCPConn))
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String())
}

func dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }
