package rawio_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func listen(t testing.TB) *rawio.Listener {
	t.Helper()
	fds, err := rawio.HostSockets{}.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	l, err := rawio.Listen(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// pair makes a connected pair of sockets.
func pair(t testing.TB) (client, server *rawio.Conn) {
	t.Helper()
	l := listen(t)
	client = dialTo(t, l)
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func dialTo(t testing.TB, l *rawio.Listener) *rawio.Conn {
	t.Helper()
	c, err := rawio.Dial(t.Context(), rawio.HostSockets{}, netip.Addr{}, l.Addr(), rawio.DialOptions{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConnCarriesBytes(t *testing.T) {
	client, server := pair(t)
	if client.RemoteAddr() != server.LocalAddr() || client.LocalAddr() != server.RemoteAddr() {
		t.Errorf("addresses: %s→%s and %s→%s", client.LocalAddr(), client.RemoteAddr(), server.LocalAddr(), server.RemoteAddr())
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB: more than any socket buffer
	go func() {
		bufs := [][]byte{[]byte("head"), nil, big[:1<<20], big[1<<20:], {}, []byte("tail")}
		for range 20 {
			bufs = append(bufs, []byte("x")) // more than one gathered write takes
		}
		n, err := client.WriteBuffers(bufs)
		if want := int64(len(big) + 8 + 20); n != want || err != nil {
			t.Errorf("WriteBuffers = %d, %v; want %d", n, err, want)
		}
		if err := client.CloseWrite(); err != nil {
			t.Error(err)
		}
	}()
	got, err := io.ReadAll(server)
	if err != nil {
		t.Fatal(err)
	}
	want := "head" + string(big) + "tailxxxxxxxxxxxxxxxxxxxx"
	if string(got) != want {
		t.Errorf("got %d bytes, want %d, or they differ", len(got), len(want))
	}
	// Half-close: the other direction still works.
	if _, err := server.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	b, n, err := client.ReadLazy(rawio.SmallBuffer)
	if err != nil || string(b.B[:n]) != "answer" {
		t.Errorf("ReadLazy = %d, %v", n, err)
	}
	b.Release()
}

func TestConnDeadlineAndClose(t *testing.T) {
	client, _ := pair(t)
	errs := make(chan error)
	read := func() { _, err := client.Read(make([]byte, 1)); errs <- err }
	go read()
	time.Sleep(5 * time.Millisecond)
	if err := client.SetReadDeadline(rawio.Past); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; !rawio.IsTimeout(err) {
		t.Errorf("read after a past deadline: %v", err)
	}
	if err := client.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go read()
	time.Sleep(5 * time.Millisecond)
	client.Close()
	if err := <-errs; !errors.Is(err, rawio.ErrClosed) {
		t.Errorf("read while closed: %v", err)
	}
	if _, err := client.Write([]byte("x")); !errors.Is(err, rawio.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if err := client.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestConnWriteDeadline(t *testing.T) {
	client, _ := pair(t)
	much := make([]byte, 64<<20)
	if err := client.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := client.Write(much)
	if !rawio.IsTimeout(err) || n == 0 {
		t.Errorf("write to a peer that does not read = %d, %v", n, err)
	}
}

func TestAbortResetsPeer(t *testing.T) {
	client, server := pair(t)
	client.Abort()
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("peer of an aborted connection reads %v", err)
	}
}

func TestDial(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		l := listen(t)
		addr := l.Addr()
		l.Close()
		_, err := rawio.Dial(t.Context(), rawio.HostSockets{}, netip.Addr{}, addr, rawio.DialOptions{})
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("source address", func(t *testing.T) {
		l := listen(t)
		from := netip.MustParseAddr("127.0.0.9")
		c, err := rawio.Dial(t.Context(), rawio.HostSockets{}, from, l.Addr(), rawio.DialOptions{
			KeepAlive: &rawio.KeepAlive{Probes: 3, Time: time.Minute, Interval: time.Second},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if c.LocalAddr().Addr() != from {
			t.Errorf("local address %s, want %s", c.LocalAddr(), from)
		}
	})
	t.Run("bad source address", func(t *testing.T) {
		l := listen(t)
		_, err := rawio.Dial(t.Context(), rawio.HostSockets{}, netip.MustParseAddr("192.0.2.1"), l.Addr(), rawio.DialOptions{})
		if !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("err = %v", err)
		}
	})
	full := fullListener(t)
	t.Run("time-out", func(t *testing.T) {
		_, err := rawio.Dial(t.Context(), rawio.HostSockets{}, netip.Addr{}, full, rawio.DialOptions{Timeout: 20 * time.Millisecond})
		if !rawio.IsTimeout(err) {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		_, err := rawio.Dial(ctx, rawio.HostSockets{}, netip.Addr{}, full, rawio.DialOptions{Timeout: time.Minute})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	})
}

// fullListener returns an address whose backlog is full, so that connecting to it
// takes for ever.
func fullListener(t *testing.T) netip.AddrPort {
	t.Helper()
	fds, err := rawio.HostSockets{Backlog: 1}.Listen(loopback)
	if err != nil {
		t.Fatal(err)
	}
	l, err := rawio.Listen(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for range 8 {
		c, err := rawio.Dial(t.Context(), rawio.HostSockets{}, netip.Addr{}, l.Addr(), rawio.DialOptions{Timeout: 50 * time.Millisecond})
		if err != nil {
			return l.Addr()
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("the kernel takes connections beyond the backlog")
	return netip.AddrPort{}
}

func TestOriginalDstNeedsRedirection(t *testing.T) {
	_, server := pair(t)
	// Without a NAT entry the kernel says so; with one it gives the same address.
	if dst, err := server.OriginalDst(); err == nil && dst != server.LocalAddr() {
		t.Errorf("OriginalDst of a direct connection = %s", dst)
	}
}

func TestListenerClose(t *testing.T) {
	l := listen(t)
	errs := make(chan error)
	go func() { _, err := l.Accept(); errs <- err }()
	time.Sleep(5 * time.Millisecond)
	l.Close()
	if err := <-errs; !errors.Is(err, rawio.ErrClosed) {
		t.Errorf("Accept while closed: %v", err)
	}
}

func TestPrefixed(t *testing.T) {
	client, server := pair(t)
	if _, err := client.Write([]byte("hello world")); err != nil {
		t.Fatal(err)
	}
	client.CloseWrite()
	seen := make([]byte, 5)
	if _, err := io.ReadFull(server, seen); err != nil {
		t.Fatal(err)
	}
	p := rawio.Prefixed(server, seen)
	if rawio.RawConn(p) != server {
		t.Error("RawConn does not find the socket below")
	}
	got, err := io.ReadAll(p)
	if string(got) != "hello world" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestWatch(t *testing.T) {
	w, err := rawio.NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	wait := func(t *testing.T, fired chan struct{}, want bool) {
		t.Helper()
		limit := 2 * time.Second
		if !want {
			limit = 20 * time.Millisecond
		}
		select {
		case <-fired:
			if !want {
				t.Error("fired")
			}
		case <-time.After(limit):
			if want {
				t.Error("did not fire")
			}
		}
	}
	add := func(t *testing.T, c *rawio.Conn) (chan struct{}, func()) {
		t.Helper()
		fired := make(chan struct{}, 8)
		stop, err := w.Add(c, func() { fired <- struct{}{} })
		if err != nil {
			t.Fatal(err)
		}
		return fired, stop
	}
	t.Run("half-close", func(t *testing.T) {
		client, server := pair(t)
		fired, _ := add(t, server)
		client.Write([]byte("data does not fire"))
		wait(t, fired, false)
		client.CloseWrite()
		wait(t, fired, true)
		client.Close()
		wait(t, fired, false) // once only
	})
	t.Run("already closed", func(t *testing.T) {
		client, server := pair(t)
		client.Close()
		time.Sleep(5 * time.Millisecond)
		fired, _ := add(t, server)
		wait(t, fired, true)
	})
	t.Run("reset", func(t *testing.T) {
		client, server := pair(t)
		fired, _ := add(t, server)
		client.Abort()
		wait(t, fired, true)
	})
	t.Run("stopped", func(t *testing.T) {
		client, server := pair(t)
		fired, stop := add(t, server)
		stop()
		other, _ := pair(t)
		again, _ := add(t, other) // takes the slot
		client.Close()
		wait(t, fired, false)
		wait(t, again, false)
	})
	t.Run("added again", func(t *testing.T) {
		client, server := pair(t)
		_, stop := add(t, server)
		stop()
		fired, _ := add(t, server)
		client.Close()
		wait(t, fired, true)
	})
	t.Run("closed by us", func(t *testing.T) {
		client, server := pair(t)
		fired, _ := add(t, server)
		server.Close()
		client.Close()
		wait(t, fired, false)
	})
}

func TestDescriptorsAreClosed(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	before := count()
	for range 20 {
		client, server := pair(t)
		client.Close()
		server.Close()
		_, err := rawio.Dial(t.Context(), rawio.HostSockets{}, netip.MustParseAddr("192.0.2.1"), client.RemoteAddr(), rawio.DialOptions{})
		if err == nil {
			t.Fatal("dial from a foreign address")
		}
	}
	// The 20 listeners are closed with the test.
	if after := count(); after > before+20+3 {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
