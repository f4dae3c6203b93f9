package relay

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
	"github.com/lateen-mesh/lateen/internal/testkit/cert"
	"github.com/lateen-mesh/lateen/internal/testkit/socket"
)

// bed is a relay between real sockets: the client's and the server's ends.
type bed struct {
	client, server rawio.Transport
	bytes          Counters
	done           chan Flow
}

// newBed makes one; secure has TLS between the client and the relay.
func newBed(t *testing.T, secure bool, change func(*config.TCP)) *bed {
	t.Helper()
	front, back := socket.Listen(t), socket.Listen(t)
	m, cfg := setup(t, cluster(back.Addr()), upstream.Options{Sockets: rawio.HostSockets{}})
	if change != nil {
		change(cfg)
	}
	raw, err := rawio.Dial(t.Context(), rawio.HostSockets{}, netip.Addr{}, front.Addr(), rawio.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	down, err := front.Accept()
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{client: raw, done: make(chan Flow, 1)}
	var tr rawio.Transport = down
	if secure {
		b.client, tr = shake(t, raw, down)
	}
	go func() { b.done <- New(Options{}).Serve(tr, &stream.Conn{}, cfg, Hooks{Bytes: &b.bytes}, nil) }()
	if b.server, err = back.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.client.Close()
		b.server.Close()
		m.Close()
	})
	return b
}

func shake(t *testing.T, a, b rawio.Transport) (client, server rawio.Transport) {
	t.Helper()
	sc, cc := cert.TLS(t)
	return socket.TLS(t, a, b, sc, cc)
}

func both(t *testing.T, f func(t *testing.T, secure bool)) {
	t.Run("plain", func(t *testing.T) { f(t, false) })
	t.Run("TLS", func(t *testing.T) { f(t, true) })
}

// pass sends n bytes and waits until they have arrived.
func pass(t *testing.T, from, to rawio.Transport, n int) {
	t.Helper()
	sent := make(chan error, 1)
	go func() { _, err := from.Write(bytes.Repeat([]byte{'x'}, n)); sent <- err }()
	if err := to.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if k, err := io.CopyN(io.Discard, to, int64(n)); err != nil {
		t.Fatalf("%d of %d bytes arrived: %v", k, n, err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// A side that is reset, and not closed in order, is a reset for the other side too,
// on a flow of copies and on a spliced one.
func TestResetIsPassedOn(t *testing.T) {
	for _, tc := range []struct {
		name string
		size int
	}{{"quiet", 1}, {"chatty", 100}, {"bulk", 8 << 20}} {
		t.Run(tc.name, func(t *testing.T) {
			both(t, func(t *testing.T, secure bool) {
				b := newBed(t, secure, nil)
				pass(t, b.client, b.server, tc.size)
				rawio.Abort(b.server)
				b.ended(t, b.client, stream.UpstreamReset)
				b = newBed(t, secure, nil)
				pass(t, b.client, b.server, tc.size)
				rawio.Abort(b.client)
				b.ended(t, b.server, stream.DownstreamGone)
			})
		})
	}
}

func (b *bed) ended(t *testing.T, left rawio.Transport, why stream.Code) {
	t.Helper()
	left.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := left.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the other side reads %v, want a reset", err)
	}
	if f := <-b.done; f.Reason.Code != why {
		t.Errorf("the flow ended with %+v, want %v", f.Reason, why)
	}
}

func TestHalfCloseOnSockets(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		for _, size := range []int{10, 8 << 20} {
			b := newBed(t, secure, nil)
			halfClose(t, b.client, b.server, size)
			halfClose(t, b.server, b.client, size)
			if f := <-b.done; f.Reason.Code != stream.None || f.BytesReceived != int64(size) || f.BytesSent != int64(size) {
				t.Errorf("%+v", f)
			}
		}
	})
}

func halfClose(t *testing.T, from, to rawio.Transport, size int) {
	t.Helper()
	pass(t, from, to, size)
	if err := from.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := to.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after a half-close the other side reads %v", err)
	}
}

// The counters tell of a flow that is still going on, spliced or not.
func TestCountersOfARunningFlow(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		b := newBed(t, secure, nil)
		want := int64(0)
		for _, size := range []int{100, 8 << 20, 100} {
			pass(t, b.client, b.server, size)
			pass(t, b.server, b.client, 7)
			want += int64(size)
			for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
				if received, _ := b.bytes.Bytes(); received == want {
					break
				} else if time.Now().After(end) {
					t.Fatalf("%d bytes are counted of %d", received, want)
				}
			}
		}
		b.client.Close()
		b.server.Close()
		if f := <-b.done; f.BytesReceived != want || f.BytesSent != 21 {
			t.Errorf("%+v", f)
		}
	})
}

// A flow that is always readable moves the idle time-out all the same.
func TestIdleTimeoutOfABusyFlow(t *testing.T) {
	b := newBed(t, false, func(c *config.TCP) { c.IdleTimeout = time.Second })
	stop := time.Now().Add(2500 * time.Millisecond)
	go func() {
		p := make([]byte, 1<<20)
		for time.Now().Before(stop) {
			if _, err := b.client.Write(p); err != nil {
				t.Errorf("a busy flow was ended: %v", err)
				return
			}
		}
		b.client.CloseWrite()
	}()
	if _, err := io.Copy(io.Discard, b.server); err != nil {
		t.Error(err)
	}
	if f := <-b.done; f.Reason.Code != stream.IdleTimeout { // the other half says nothing
		t.Errorf("%+v", f.Reason)
	}
}

// A reader that stops holds its sender back: what the relay keeps in between is a
// buffer, beside the kernel's own.
func TestSlowReader(t *testing.T) {
	both(t, func(t *testing.T, secure bool) {
		b := newBed(t, secure, nil)
		for _, c := range []rawio.Transport{b.client, b.server} {
			if err := c.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
		}
		n, err := b.client.Write(make([]byte, 256<<20))
		if !rawio.IsTimeout(err) {
			t.Fatalf("wrote %d, %v, though nobody reads", n, err)
		}
		received, _ := b.bytes.Bytes()
		if most := int64(48 << 20); received > most {
			t.Errorf("the relay took %d bytes that nobody read", received)
		}
	})
}
