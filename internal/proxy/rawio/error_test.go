package rawio_test

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// TestErrors is what calls return for what the peer, or we, did to a connection.
func TestErrors(t *testing.T) {
	read := func(c rawio.Transport) error { _, err := c.Read(make([]byte, 16)); return err }
	lazy := func(c rawio.Transport) error {
		b, _, err := rawio.ReadLazy(c, rawio.SmallBuffer)
		b.Release()
		return err
	}
	write := func(c rawio.Transport) error {
		var err error
		for range 1000 { // until the kernel knows
			if _, err = c.Write(make([]byte, 64<<10)); err != nil {
				break
			}
		}
		return err
	}
	for _, tc := range []struct {
		name  string
		act   func(us, peer *rawio.Conn)
		op    func(rawio.Transport) error
		want  error
		reset bool
	}{
		{"half-close, read", func(_, p *rawio.Conn) { p.CloseWrite() }, read, io.EOF, false},
		{"half-close, lazy read", func(_, p *rawio.Conn) { p.CloseWrite() }, lazy, io.EOF, false},
		{"reset, read", func(_, p *rawio.Conn) { p.Abort() }, read, syscall.ECONNRESET, true},
		{"reset, lazy read", func(_, p *rawio.Conn) { p.Abort() }, lazy, syscall.ECONNRESET, true},
		{"reset, write", func(u, p *rawio.Conn) { p.Abort(); time.Sleep(time.Millisecond); read(u) }, write, syscall.EPIPE, true},
		{"closed with unread bytes, write", func(u, p *rawio.Conn) { u.Write([]byte("x")); p.Close() }, write, nil, true},
		{"our direction is closed, write", func(u, _ *rawio.Conn) { u.CloseWrite() }, write, syscall.EPIPE, true},
		{"nothing there, read", func(u, _ *rawio.Conn) { u.SetReadDeadline(time.Now().Add(time.Millisecond)) }, read, rawio.ErrDeadline, false},
		{"nothing there, lazy read", func(u, _ *rawio.Conn) { u.SetReadDeadline(time.Now().Add(time.Millisecond)) }, lazy, rawio.ErrDeadline, false},
		{"no room, write", func(u, _ *rawio.Conn) { u.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)) }, write, rawio.ErrDeadline, false},
		{"past deadline, read of what is there", func(u, p *rawio.Conn) { p.Write([]byte("x")); u.SetReadDeadline(rawio.Past) }, read, rawio.ErrDeadline, false},
		{"closed, read", func(u, _ *rawio.Conn) { u.Close() }, read, rawio.ErrClosed, false},
		{"closed, lazy read", func(u, _ *rawio.Conn) { u.Close() }, lazy, rawio.ErrClosed, false},
		{"closed, write", func(u, _ *rawio.Conn) { u.Close() }, write, rawio.ErrClosed, false},
		{"aborted, write", func(u, _ *rawio.Conn) { u.Abort() }, write, rawio.ErrClosed, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			us, peer := pair(t)
			tc.act(us, peer)
			err := tc.op(us)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("err = %v, want %v", err, tc.want)
			}
			if rawio.IsReset(err) != tc.reset {
				t.Errorf("IsReset(%v) = %v", err, !tc.reset)
			}
		})
	}
}

// A small send buffer makes every write a short one.
func TestShortWrites(t *testing.T) {
	us, peer := pair(t)
	if err := setSendBuffer(us, 4<<10); err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	got := make(chan int64, 1)
	go func() {
		n, err := io.Copy(io.Discard, struct{ io.Reader }{slow{peer}})
		if err != nil {
			t.Error(err)
		}
		got <- n
	}()
	bufs := [][]byte{make([]byte, 1000), make([]byte, size-1001), make([]byte, 1)}
	if n, err := us.WriteBuffers(bufs); n != size || err != nil {
		t.Errorf("WriteBuffers = %d, %v", n, err)
	}
	us.CloseWrite()
	if n := <-got; n != size {
		t.Errorf("%d bytes arrived", n)
	}
}

// slow reads little at a time.
type slow struct{ r io.Reader }

func (s slow) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), 1500)]) }

func setSendBuffer(c *rawio.Conn, n int) error {
	var err error
	if cerr := rawio.Control(c, func(fd int) { err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, n) }); cerr != nil {
		return cerr
	}
	return err
}

// TestAbort is how the two ends of a connection see an end in order and one that
// is not, in plain text and over TLS.
func TestAbort(t *testing.T) {
	end := func(t *testing.T, c rawio.Transport) error {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err := c.Read(make([]byte, 1))
		return err
	}
	for _, secure := range []bool{false, true} {
		name := "plain"
		if secure {
			name = "TLS"
		}
		t.Run(name, func(t *testing.T) {
			make := func() (rawio.Transport, rawio.Transport) {
				a, b := pair(t)
				if !secure {
					return a, b
				}
				ta, tb := tlsPair(t, a, b)
				return ta, tb
			}
			us, peer := make()
			us.Close()
			if err := end(t, peer); err != io.EOF {
				t.Errorf("after Close the peer reads %v", err)
			}
			us, peer = make()
			if err := rawio.Abort(us); err != nil {
				t.Error(err)
			}
			if err := end(t, peer); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("after Abort the peer reads %v", err)
			}
			us, _ = make()
			woken := errs(func() error { return end(t, us) })
			time.Sleep(5 * time.Millisecond)
			rawio.Abort(us)
			if err := <-woken; !errors.Is(err, rawio.ErrClosed) {
				t.Errorf("our own reader gets %v", err)
			}
		})
	}
}

func errs(f func() error) <-chan error {
	ch := make(chan error, 1)
	go func() { ch <- f() }()
	return ch
}
