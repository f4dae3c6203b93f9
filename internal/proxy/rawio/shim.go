package rawio

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// recordHeader is the length of a TLS record's header: type, version, length.
const recordHeader = 5

// shim is the net.Conn below crypto/tls, which by itself reads a record's header
// and body with calls of their own and writes each record apart.
//
// It reads ahead, and feeds crypto/tls one record at a time: so whatever is left
// over lies here, where it can be seen, and a connection that waits for its peer
// holds no buffer.
type shim struct {
	t Transport

	// of the reading goroutine
	ahead *Buffer // bytes r to w are read and not yet consumed
	r, w  int
	pace  Pace
	rerr  error // met while nobody asked: crypto/tls gets it next
	try   bool  // do not wait: errNothing
	head  [recordHeader]byte
	have  int // bytes of head that crypto/tls has
	left  int // bytes of the record's body that it has not

	closing atomic.Bool

	mu        sync.Mutex
	gathering bool    // guarded by mu
	out       *Buffer // guarded by mu: gathered records
	outLen    int     // guarded by mu
}

// nothing is what a shim that does not wait returns when it has no byte. It is
// temporary, or crypto/tls would end the connection.
type nothing struct{}

func (nothing) Error() string   { return "nothing was read ahead" }
func (nothing) Timeout() bool   { return false }
func (nothing) Temporary() bool { return true }

var (
	errNothing net.Error = nothing{}
	_          net.Conn  = (*shim)(nil)
)

// Read serves from what was read ahead, at most to the end of the record.
func (s *shim) Read(p []byte) (int, error) {
	if s.ahead == nil && s.rerr == nil {
		if s.try {
			return 0, errNothing
		}
		s.wait()
	}
	if err := s.rerr; err != nil {
		s.rerr = nil
		return 0, err
	}
	n := copy(p, s.ahead.B[s.r:s.w])
	n = s.pass(p[:n])
	if s.r += n; s.r == s.w {
		s.ahead.Release()
		s.ahead = nil
	}
	return n, nil
}

// pass follows the records as they go by and returns how much of p belongs to the
// one under way.
func (s *shim) pass(p []byte) int {
	n := 0
	if s.have < recordHeader {
		n = copy(s.head[s.have:], p)
		if s.have += n; s.have < recordHeader {
			return n
		}
		s.left = int(s.head[3])<<8 | int(s.head[4])
	}
	body := min(s.left, len(p)-n)
	if s.left -= body; s.left == 0 {
		s.have = 0
	}
	return n + body
}

// wait reads from the transport, into a buffer that it borrows when there is
// something. What it meets besides bytes is in rerr.
func (s *shim) wait() {
	b, n, err := ReadLazy(s.t, s.pace.Size())
	if err != nil {
		s.rerr = err
		return
	}
	s.ahead, s.r, s.w = b, 0, n
	s.pace.Read(n)
}

// Write hands a record over, or keeps it until flush while records are gathered.
// It is called with crypto/tls's write lock held, also by the reading goroutine
// (an alert, an answer to a key update).
func (s *shim) Write(p []byte) (int, error) {
	if s.closing.Load() {
		return s.last(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gathering {
		return s.t.Write(p)
	}
	if s.out == nil {
		s.out = GetBuffer(gatherBuffer)
	}
	if s.outLen+len(p) > len(s.out.B) {
		if err := s.flushLocked(); err != nil {
			return 0, err
		}
	}
	s.outLen += copy(s.out.B[s.outLen:], p) // a record is always smaller than the buffer
	return len(p), nil
}

// last writes the close_notify alert. A peer that does not read must not hold up
// the close.
func (s *shim) last(p []byte) (int, error) {
	if c := RawConn(s.t); c != nil {
		return c.writeNow(p)
	}
	if err := s.t.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return 0, err
	}
	return s.t.Write(p)
}

// gather keeps records back until flush.
func (s *shim) gather() {
	s.mu.Lock()
	s.gathering = true
	s.mu.Unlock()
}

// flush hands over what was gathered and ends gathering.
func (s *shim) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gathering = false
	err := s.flushLocked()
	s.out.Release()
	s.out = nil
	return err
}

func (s *shim) flushLocked() error {
	if s.outLen == 0 {
		return nil
	}
	n := s.outLen
	s.outLen = 0
	_, err := s.t.Write(s.out.B[:n])
	return err
}

// close says that the connection is about to be closed.
func (s *shim) close() { s.closing.Store(true) }

// Close closes the transport below.
func (s *shim) Close() error { return s.t.Close() }

// LocalAddr implements net.Conn.
func (s *shim) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(s.t.LocalAddr()) }

// RemoteAddr implements net.Conn.
func (s *shim) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.t.RemoteAddr()) }

// SetDeadline implements net.Conn.
func (s *shim) SetDeadline(t time.Time) error { return s.t.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (s *shim) SetReadDeadline(t time.Time) error { return s.t.SetReadDeadline(t) }

// SetWriteDeadline is called by crypto/tls only around its close_notify, which
// last bounds in its own way.
func (s *shim) SetWriteDeadline(time.Time) error { return nil }
