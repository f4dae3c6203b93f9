package rawio

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// Transport is a byte stream as codecs and relays use it: a socket (*Conn), TLS
// (*TLSConn), or a pipe in memory.
//
// One goroutine may read while one other writes; deadlines, CloseWrite and Close
// may be called by any. Errors: io.EOF at the peer's half-close; ErrDeadline when
// a deadline passed; ErrClosed after Close; else the system call's.
type Transport interface {
	Read(p []byte) (int, error)
	// Write returns when all of p was handed over, or with an error.
	Write(p []byte) (int, error)
	// WriteBuffers writes the buffers in order, in as few system calls (or TLS
	// records) as possible. It keeps neither bufs nor what they point to.
	WriteBuffers(bufs [][]byte) (int64, error)
	// CloseWrite ends our direction (FIN; with TLS close_notify before it).
	CloseWrite() error
	Close() error
	// SetDeadline bounds reads and writes, SetReadDeadline reads alone. A past
	// time wakes a blocked call at once; the zero time removes the bound. A TLS
	// connection must be given up after a deadline passed in a write.
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	LocalAddr() netip.AddrPort
	RemoteAddr() netip.AddrPort
}

// Errors of transports, to be compared with errors.Is.
var (
	ErrDeadline = os.ErrDeadlineExceeded
	ErrClosed   = net.ErrClosed
)

// Past is a deadline that has passed: it wakes a blocked call.
var Past = time.Unix(1, 0)

// IsTimeout reports whether err comes from a deadline.
func IsTimeout(err error) bool { return errors.Is(err, ErrDeadline) }

// LazyReader is a reader that borrows a buffer only when there is something
// to read, so that idle connections hold none.
type LazyReader interface {
	// ReadLazy waits until bytes can be read, takes a buffer of at least size
	// bytes and reads once. On an error there is no buffer.
	ReadLazy(size int) (*Buffer, int, error)
}

// ReadLazy reads once from r, a Transport or something like it, into a pooled
// buffer of at least size bytes; one that is no LazyReader waits with the buffer in
// its hands. On an error the buffer is nil.
func ReadLazy(r io.Reader, size int) (*Buffer, int, error) {
	if l, ok := r.(LazyReader); ok {
		return l.ReadLazy(size)
	}
	b := GetBuffer(size)
	n, err := r.Read(b.B)
	if n == 0 && err != nil {
		b.Release()
		return nil, 0, err
	}
	return b, n, nil
}

// HangupNotifier is a Transport in memory that tells by itself when its peer has
// closed or half-closed; sockets are told by a Watch.
type HangupNotifier interface {
	// NotifyHangup calls f once, on any goroutine, when the peer has closed its
	// direction; at once if it has already. stop ends the interest.
	NotifyHangup(f func()) (stop func())
}

// wrapper is a Transport over another one.
type wrapper interface{ Unwrap() Transport }

// RawConn finds the socket below t: nil for pipes in memory.
func RawConn(t Transport) *Conn {
	for {
		switch v := t.(type) {
		case *Conn:
			return v
		case wrapper:
			t = v.Unwrap()
		default:
			return nil
		}
	}
}
