// Package pipe is a TCP connection in memory for tests: 64 KiB of buffer in each
// direction, half-close, resets, deadlines, and a script of faults. It blocks on
// nothing but condition variables and timers, so that it runs in virtual time
// under testing/synctest, where sockets cannot.
package pipe

import (
	"io"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// Size is the buffer of one direction.
const Size = 64 << 10

// End is one end of a pipe. It is a rawio.Transport and tells of hang-ups by
// itself.
type End struct {
	local, remote netip.AddrPort
	in, out       *half

	mu                sync.Mutex
	rTimer, wTimer    *time.Timer // guarded by mu
	short             int         // guarded by mu: largest read; 0: any
	script            []Fault     // guarded by mu
	written           int64       // guarded by mu
	writes, readCalls int         // guarded by mu
}

var (
	_ rawio.Transport      = (*End)(nil)
	_ rawio.HangupNotifier = (*End)(nil)
)

// half is one direction: a buffer with one reader and one writer.
type half struct {
	mu       sync.Mutex
	cond     sync.Cond
	buf      [Size]byte // guarded by mu
	r, w     int        // guarded by mu: buf[r:w] is unread
	fin      bool       // guarded by mu: the writer ended its direction
	reset    bool       // guarded by mu: the connection is gone
	rClosed  bool       // guarded by mu: the reader's end is closed
	wClosed  bool       // guarded by mu: the writer's end is closed
	rExpired bool       // guarded by mu: the reader's deadline passed
	wExpired bool       // guarded by mu: the writer's deadline passed
	hangup   []*func()  // guarded by mu: told when fin or reset
}

// New makes a connected pair.
func New() (client, server *End) {
	a := netip.MustParseAddrPort("127.0.0.1:40000")
	b := netip.MustParseAddrPort("127.0.0.1:80")
	x, y := newHalf(), newHalf()
	client = &End{local: a, remote: b, in: x, out: y}
	server = &End{local: b, remote: a, in: y, out: x}
	return client, server
}

func newHalf() *half {
	h := &half{}
	h.cond.L = &h.mu
	return h
}

// SetAddrs changes the addresses that the end reports.
func (e *End) SetAddrs(local, remote netip.AddrPort) { e.local, e.remote = local, remote }

// LocalAddr implements rawio.Transport.
func (e *End) LocalAddr() netip.AddrPort { return e.local }

// RemoteAddr implements rawio.Transport.
func (e *End) RemoteAddr() netip.AddrPort { return e.remote }

// Read implements rawio.Transport.
func (e *End) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	e.mu.Lock()
	e.readCalls++
	if e.short > 0 && len(p) > e.short {
		p = p[:e.short]
	}
	e.mu.Unlock()
	return e.in.read(p)
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.rClosed:
			return 0, rawio.ErrClosed
		case h.rExpired:
			return 0, rawio.ErrDeadline
		case h.reset:
			return 0, syscall.ECONNRESET
		case h.r < h.w:
			n := copy(p, h.buf[h.r:h.w])
			if h.r += n; h.r == h.w {
				h.r, h.w = 0, 0
			}
			h.cond.Broadcast()
			return n, nil
		case h.fin:
			return 0, io.EOF
		}
		h.cond.Wait()
	}
}

// Unread reports whether Read would not wait, as a socket does for rawio.Unread.
func (e *End) Unread() bool {
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	return e.in.r < e.in.w || e.in.fin || e.in.reset || e.in.rClosed
}

// Write implements rawio.Transport.
func (e *End) Write(p []byte) (int, error) {
	e.mu.Lock()
	e.writes++
	e.mu.Unlock()
	return e.write(p)
}

// WriteBuffers implements rawio.Transport; it counts as one write.
func (e *End) WriteBuffers(bufs [][]byte) (total int64, err error) {
	e.mu.Lock()
	e.writes++
	e.mu.Unlock()
	for _, b := range bufs {
		n, err := e.write(b)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// write passes p on, up to the next fault of the script, which then acts.
func (e *End) write(p []byte) (total int, err error) {
	for {
		part, fault := e.upToFault(p[total:])
		n, err := e.out.write(part)
		total += n
		e.mu.Lock()
		e.written += int64(n)
		e.mu.Unlock()
		if err != nil {
			return total, err
		}
		if fault == nil {
			return total, nil
		}
		if err := e.act(fault); err != nil {
			return total, err
		}
	}
}

func (h *half) write(p []byte) (total int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.wClosed:
			return total, rawio.ErrClosed
		case h.reset:
			return total, syscall.ECONNRESET
		case h.fin || h.rClosed:
			return total, syscall.EPIPE
		case len(p) == 0:
			return total, nil
		case h.wExpired:
			return total, rawio.ErrDeadline
		}
		if h.r > 0 && h.w == len(h.buf) {
			h.w = copy(h.buf[:], h.buf[h.r:h.w])
			h.r = 0
		}
		if n := copy(h.buf[h.w:], p); n > 0 {
			h.w += n
			total += n
			p = p[n:]
			h.cond.Broadcast()
			continue
		}
		h.cond.Wait()
	}
}

// CloseWrite implements rawio.Transport.
func (e *End) CloseWrite() error {
	e.out.end(func(h *half) { h.fin = true })
	return nil
}

// Close implements rawio.Transport: a FIN, and what the peer still sends meets a
// closed socket.
func (e *End) Close() error {
	e.stopTimers()
	e.out.end(func(h *half) { h.fin, h.wClosed = true, true })
	e.in.end(func(h *half) { h.rClosed = true })
	return nil
}

// Reset breaks the connection for both ends: unread bytes are lost.
func (e *End) Reset() {
	e.in.end(func(h *half) { h.reset = true })
	e.out.end(func(h *half) { h.reset = true })
}

// end changes the state and wakes everybody concerned.
func (h *half) end(f func(*half)) {
	h.mu.Lock()
	f(h)
	var told []*func()
	if h.fin || h.reset {
		told, h.hangup = h.hangup, nil
	}
	h.cond.Broadcast()
	h.mu.Unlock()
	for _, f := range told {
		(*f)()
	}
}

// NotifyHangup implements rawio.HangupNotifier.
func (e *End) NotifyHangup(f func()) (stop func()) {
	h := e.in
	h.mu.Lock()
	if h.fin || h.reset {
		h.mu.Unlock()
		f()
		return func() {}
	}
	h.hangup = append(h.hangup, &f)
	h.mu.Unlock()
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		for i, g := range h.hangup {
			if g == &f {
				h.hangup = append(h.hangup[:i:i], h.hangup[i+1:]...)
				return
			}
		}
	}
}
