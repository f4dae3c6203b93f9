package listener

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// shut is a gate that is closed while set.
type shut struct{ atomic.Bool }

func (s *shut) Admit() (string, bool) { return "memory at 99 % of the limit", !s.Load() }

// blocked is a connection that is served until it is closed; a panicking one has a
// defect.
type blocked struct {
	t     rawio.Transport
	panic bool
}

func (b *blocked) Serve() stream.Reason {
	if b.panic {
		panic("a defect")
	}
	_, _ = b.t.Write([]byte("hello"))
	_, _ = b.t.Read(make([]byte, 1))
	_ = b.t.Close()
	return stream.Reason{}
}
func (b *blocked) Drain()              {}
func (b *blocked) Close(stream.Reason) { _ = b.t.SetReadDeadline(rawio.Past) }

// roomManager makes a manager with one listener, and gives its address.
func roomManager(t *testing.T, o Options, defect *atomic.Bool) (*Manager, string) {
	t.Helper()
	o.Sockets = rawio.HostSockets{}
	m := New(o)
	t.Cleanup(m.Close)
	fc := &config.FilterChain{Name: "c"}
	l := &config.Listener{Name: "l", Addr: netip.MustParseAddrPort("127.0.0.1:0"), Bind: true, Chains: []*config.FilterChain{fc}}
	fc.Runtime = NewChain(l, fc, nil, func(rt rawio.Transport, _ *stream.Conn) Conn { return &blocked{rt, defect.Load()} })
	match.Prepare(l)
	if failed := m.Apply([]*config.Listener{l}); len(failed) > 0 {
		t.Fatal(failed)
	}
	return m, m.Listeners()[0].Bound[0].String()
}

// greeting dials and gives what the connection says.
func greeting(t *testing.T, addr string) (net.Conn, error) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err // a reset may be as early as that
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadFull(c, make([]byte, 5))
	return c, err
}

// TestGate: while the gate is shut, clients are reset at once, and the reason is
// told; those that are connected stay.
func TestGate(t *testing.T) {
	var gate shut
	told := make(chan stream.Reason, 10)
	m, addr := roomManager(t, Options{Gate: &gate, Unserved: func(l *config.Listener, c *stream.Conn, why stream.Reason) {
		if l.Name != "l" || !c.Remote.IsValid() || c.Start.IsZero() {
			t.Errorf("%+v", c)
		}
		told <- why
	}}, new(atomic.Bool))
	stays, err := greeting(t, addr)
	if err != nil {
		t.Fatal(err)
	}
	gate.Store(true)
	if _, err := greeting(t, addr); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("refused with %v, not a reset", err)
	}
	if why := <-told; why.Code != stream.Overload || why.Detail != "memory at 99 % of the limit" {
		t.Errorf("%v", why)
	}
	if s := m.Stats(); s.Overloaded.Load() != 1 || s.Active.Load() != 1 || s.Total.Load() != 2 {
		t.Errorf("overloaded %d, active %d, total %d", s.Overloaded.Load(), s.Active.Load(), s.Total.Load())
	}
	gate.Store(false)
	if _, err := greeting(t, addr); err != nil {
		t.Errorf("after the overload: %v", err)
	}
	if _, err := stays.Write([]byte("x")); err != nil {
		t.Error(err)
	}
}

// TestDefect: a panic at the root of a connection ends that connection alone.
func TestDefect(t *testing.T) {
	var defect atomic.Bool
	m, addr := roomManager(t, Options{}, &defect)
	defect.Store(true)
	if _, err := greeting(t, addr); err == nil {
		t.Error("served all the same")
	}
	defect.Store(false)
	if _, err := greeting(t, addr); err != nil {
		t.Error(err)
	}
	if n := m.Stats().Panics.Load(); n != 1 {
		t.Errorf("%d defects counted", n)
	}
}

// TestOutOfDescriptors: without a free descriptor clients are reset, instead of
// hanging in the kernel's queue; when there are some again, they are served.
func TestOutOfDescriptors(t *testing.T) {
	m, addr := roomManager(t, Options{}, new(atomic.Bool))
	if _, err := greeting(t, addr); err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	// The client's socket is there before the limit falls.
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(client)
	low := unix.Rlimit{Cur: uint64(client) + 1, Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	var fill []int
	for {
		fd, err := unix.Dup(client)
		if err != nil {
			break
		}
		fill = append(fill, fd)
	}
	restore := func() {
		for _, fd := range fill {
			unix.Close(fd)
		}
		fill = nil
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}
	defer restore()
	ap := m.Listeners()[0].Bound[0]
	if err := unix.SetsockoptTimeval(client, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 30}); err != nil {
		t.Fatal(err)
	}
	err = unix.Connect(client, &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()})
	if err == nil {
		_, err = unix.Read(client, make([]byte, 1))
	}
	if !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the client got %v, not a reset", err)
	}
	restore()
	if n := m.Stats().Overloaded.Load(); n != 1 {
		t.Errorf("%d refused", n)
	}
	if _, err := greeting(t, addr); err != nil {
		t.Errorf("with descriptors again: %v", err)
	}
}
