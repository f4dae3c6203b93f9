package rawio

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// shim is the net.Conn below crypto/tls, which by itself reads a record's header
// and body with calls of their own and writes each record apart.
type shim struct {
	t Transport

	// of the reading goroutine
	ahead *Buffer // bytes r to w are read and not yet consumed
	r, w  int
	bulk  bool // the last read filled its buffer: take a larger one

	closing atomic.Bool

	mu        sync.Mutex
	gathering bool    // guarded by mu
	out       *Buffer // guarded by mu: gathered records
	outLen    int     // guarded by mu
}

// Read serves from what was read ahead.
func (s *shim) Read(p []byte) (int, error) {
	if s.ahead == nil {
		size := MediumBuffer
		if s.bulk {
			size = LargeBuffer
		}
		b, n, err := ReadLazy(s.t, size)
		if err != nil {
			return 0, err
		}
		s.ahead, s.r, s.w, s.bulk = b, 0, n, n == len(b.B)
	}
	n := copy(p, s.ahead.B[s.r:s.w])
	if s.r += n; s.r == s.w {
		s.ahead.Release()
		s.ahead = nil
	}
	return n, nil
}

// Write hands a record over, or keeps it until flush while records are gathered.
// It is called with crypto/tls's write lock held.
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
		s.out = GetBuffer(LargeBuffer)
	}
	if s.outLen+len(p) > len(s.out.B) {
		if err := s.flushLocked(); err != nil {
			return 0, err
		}
	}
	if len(p) > len(s.out.B) {
		return s.t.Write(p)
	}
	s.outLen += copy(s.out.B[s.outLen:], p)
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
