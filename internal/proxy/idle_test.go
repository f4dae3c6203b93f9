package proxy_test

import (
	"io"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestIdleConnections states what a client's idle connection costs in a whole proxy,
// plain HTTP/1.1 with the listener's and the connection manager's part: heap and
// stack in bytes, first with its goroutine, then parked without one. Afterwards all
// serve again, and the proxy's end finds them.
func TestIdleConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of connections")
	}
	const n = 2000
	app := loopback(t)
	defer app.Close()
	go func() {
		for {
			c, err := app.Accept()
			if err != nil {
				return
			}
			go serveRaw(c)
		}
	}()
	s := newSidecar(t, "productpage", nil, func(s *sidecar) {
		s.set(reviews, static(reviews, netip.MustParseAddrPort(app.Addr().String())))
		s.set("0.0.0.0_9080", outbound(""))
		s.set("9080", routeTable("default", reviews))
	})
	addr := s.addr("0.0.0.0_9080")
	fds := []int{idleClient(t, addr)} // what is made once
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	before, goroutines := settled(), runtime.NumGoroutine()
	logged := len(s.log.String())
	for range n {
		fds = append(fds, idleClient(t, addr))
	}
	check := func(state string, heap, stack int64) {
		m := settled()
		h := (int64(m.HeapAlloc-before.HeapAlloc) - int64(len(s.log.String())-logged)) / n // the test keeps the access log
		k := int64(m.StackInuse-before.StackInuse) / n
		t.Logf("%s: %d bytes of heap and %d of stack per connection", state, h, k)
		if h > 2*heap || k > 2*stack {
			t.Errorf("%s: %d bytes of heap and %d of stack per connection, stated %d and %d", state, h, k, heap, stack)
		}
	}
	check("waiting", 2700, 8<<10)
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutines+n/10 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	check("parked", 2700, 512)
	if got := runtime.NumGoroutine() - goroutines; got > n/10 {
		t.Errorf("%d goroutines for %d idle connections", got, n)
	}
	if s.Connections() != n+1 {
		t.Errorf("%d connections are counted, want %d", s.Connections(), n+1)
	}
	for _, fd := range fds[:100] {
		askIdle(t, fd)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	for _, fd := range fds {
		if k, err := unix.Read(fd, make([]byte, 1)); k > 0 {
			t.Errorf("the proxy's end left %d bytes, %v", k, err)
		}
	}
	for end := time.Now().Add(5 * time.Second); s.Connections() != 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // a parked one ends on a goroutine of its own
	}
	if got := s.Connections(); got != 0 {
		t.Errorf("%d connections are left", got)
	}
}

// idleClient is a connection that has had an answer: a blocking socket, which costs
// this process nothing.
func idleClient(t *testing.T, addr netip.AddrPort) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		t.Fatal(err)
	}
	askIdle(t, fd)
	return fd
}

func askIdle(t *testing.T, fd int) {
	t.Helper()
	if _, err := unix.Write(fd, []byte("GET /reviews/0 HTTP/1.1\r\nHost: reviews:9080\r\nUser-Agent: idle\r\nAccept: */*\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	var got []byte
	p := make([]byte, 4096)
	for !strings.HasSuffix(string(got), "\r\n\r\nok") {
		k, err := unix.Read(fd, p)
		if k <= 0 {
			t.Fatalf("%q, then %v", got, endOr(err))
		}
		got = append(got, p[:k]...)
	}
}

func endOr(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// settled reads the memory in use after pools have given up what they hold.
func settled() (m runtime.MemStats) {
	for range 6 {
		runtime.GC()
	}
	time.Sleep(20 * time.Millisecond)
	runtime.ReadMemStats(&m)
	return m
}
