//go:build !race

package http2_test

import (
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/socket"
)

// TestIdleMemory states what a connection costs that has carried an exchange
// and rests: heap and stack of one end, the mean of a server's and a client's,
// beside the kernel's part. It fails at twice what was measured when it was written.
func TestIdleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("hundreds of connections, and seconds of rest")
	}
	const n, heap, stack = 400, 4200, 7400
	l := socket.Listen(t)
	idlePair(t, l)() // what is made once
	before := memory(0)
	for range n {
		defer idlePair(t, l)()
	}
	if g := runtime.NumGoroutine(); g < 3*n {
		t.Errorf("%d goroutines at work", g)
	}
	after := memory(3 * time.Second)
	if g := runtime.NumGoroutine(); g > 2*n+20 { // a reader an end
		t.Errorf("%d goroutines rest", g)
	}
	h, s := int64(after.HeapAlloc-before.HeapAlloc)/(2*n), int64(after.StackInuse-before.StackInuse)/(2*n)
	t.Logf("%d bytes of heap and %d of stack per end", h, s)
	if h > 2*heap || s > 2*stack {
		t.Errorf("%d bytes of heap and %d of stack per end, stated %d and %d", h, s, heap, stack)
	}
}

func memory(rest time.Duration) (m runtime.MemStats) {
	time.Sleep(rest)
	for range 6 { // pools give up what they hold in two cycles, stacks shrink by half in each
		runtime.GC()
	}
	time.Sleep(20 * time.Millisecond)
	runtime.ReadMemStats(&m)
	return m
}

// idlePair is a connection of ours on both sides that has carried an exchange.
func idlePair(t *testing.T, l *rawio.Listener) (end func()) {
	near, err := rawio.Dial(t.Context(), rawio.HostSockets{}, netip.Addr{}, l.Addr(), rawio.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := http2.NewServerConn(far, &stream.Conn{}, http2.ServerOptions{IdleTimeout: time.Hour})
	var wg sync.WaitGroup
	wg.Go(func() { s.Serve(stream.HandlerFunc(show)) })
	c := http2.NewClientConn(near, http2.ClientOptions{})
	x := sent(t, c)
	r, err := x.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(r.Body); err != nil {
		t.Fatal(err)
	}
	x.Release()
	return func() { c.Close(stream.Reason{}); wg.Wait() }
}
