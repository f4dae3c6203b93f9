package rawio

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// TLSConn is TLS over another transport. crypto/tls reads records from, and
// writes them to, a shim that reads ahead and gathers the records of one Write
// into one system call.
type TLSConn struct {
	// immutable
	tls  *tls.Conn
	shim *shim

	shaken  atomic.Bool // the handshake is over
	pending bool        // of the reading goroutine: crypto/tls may hold decrypted bytes
	end     error       // of the reading goroutine: met behind bytes that were returned

	closeOnce sync.Once
	closeErr  error
}

// recordSize is the payload of a full TLS record.
const recordSize = 16 << 10

// ServerTLS makes the server side of TLS over t. The handshake is made by
// Handshake, or by the first read or write.
func ServerTLS(t Transport, cfg *tls.Config) *TLSConn {
	s := &shim{t: t}
	return &TLSConn{tls: tls.Server(s, fullRecords(cfg)), shim: s}
}

// ClientTLS makes the client side of TLS over t.
func ClientTLS(t Transport, cfg *tls.Config) *TLSConn {
	s := &shim{t: t}
	return &TLSConn{tls: tls.Client(s, fullRecords(cfg)), shim: s}
}

// fullRecords switches off the small first records, which help browsers on slow
// links and cost a mesh system calls. Configurations made per client
// (GetConfigForClient) have to set it themselves, and so does a server's that leaves
// its ticket keys to crypto/tls: each copy would make keys of its own, and no session
// could be resumed.
func fullRecords(cfg *tls.Config) *tls.Config {
	if cfg.DynamicRecordSizingDisabled {
		return cfg
	}
	cfg = cfg.Clone()
	cfg.DynamicRecordSizingDisabled = true
	return cfg
}

// Handshake runs the handshake; when ctx ends first, the connection is closed and
// ctx's error returned.
func (c *TLSConn) Handshake(ctx context.Context) error {
	err := c.tls.HandshakeContext(ctx)
	if err == nil && c.shaken.CompareAndSwap(false, true) {
		c.shim.t = withoutScaffolds(c.shim.t)
	}
	return err
}

// Scaffold is a Transport that serves the beginning of a connection only: once the
// handshake is over, TLSConn goes on with what it names.
type Scaffold interface {
	// Handshaken gives the transport to go on with; itself, if it is still needed.
	Handshaken() Transport
}

func withoutScaffolds(t Transport) Transport {
	for {
		s, ok := t.(Scaffold)
		if !ok {
			return t
		}
		next := s.Handshaken()
		if next == t {
			return t
		}
		t = next
	}
}

// ConnectionState tells what was negotiated.
func (c *TLSConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// Unwrap gives the transport below.
func (c *TLSConn) Unwrap() Transport { return c.shim.t }

// NotifyHangup passes on to a Transport in memory.
func (c *TLSConn) NotifyHangup(f func()) (stop func()) {
	if n, ok := c.shim.t.(HangupNotifier); ok {
		return n.NotifyHangup(f)
	}
	return func() {}
}

// LocalAddr implements Transport.
func (c *TLSConn) LocalAddr() netip.AddrPort { return c.shim.t.LocalAddr() }

// RemoteAddr implements Transport.
func (c *TLSConn) RemoteAddr() netip.AddrPort { return c.shim.t.RemoteAddr() }

// SetDeadline implements Transport. After a write ran into it, the connection is
// broken for good: what is on the wire may be half a record.
func (c *TLSConn) SetDeadline(t time.Time) error { return c.shim.t.SetDeadline(t) }

// SetReadDeadline implements Transport.
func (c *TLSConn) SetReadDeadline(t time.Time) error { return c.shim.t.SetReadDeadline(t) }

// Write encrypts p and hands its records over in few calls.
func (c *TLSConn) Write(p []byte) (int, error) {
	if len(p) <= recordSize {
		return c.tls.Write(p)
	}
	c.shim.gather()
	n, err := c.tls.Write(p)
	if ferr := c.shim.flush(); err == nil {
		err = ferr
	}
	return n, err
}

// WriteBuffers packs small buffers together into full records.
func (c *TLSConn) WriteBuffers(bufs [][]byte) (int64, error) {
	if len(bufs) == 1 {
		n, err := c.Write(bufs[0])
		return int64(n), err
	}
	size := 0
	for _, b := range bufs {
		size += len(b)
	}
	if size <= recordSize {
		return c.pack(bufs)
	}
	c.shim.gather()
	n, err := c.pack(bufs)
	if ferr := c.shim.flush(); err == nil {
		err = ferr
	}
	return n, err
}

// pack writes full records, whatever the sizes of the buffers, and one with the
// rest.
func (c *TLSConn) pack(bufs [][]byte) (total int64, err error) {
	packed := GetBuffer(recordSize)
	defer packed.Release()
	have := 0
	write := func(p []byte) error {
		n, err := c.tls.Write(p)
		total += int64(n)
		return err
	}
	for _, b := range bufs {
		for len(b) > 0 {
			if whole := len(b) &^ (recordSize - 1); have == 0 && whole > 0 {
				if err := write(b[:whole]); err != nil {
					return total, err
				}
				b = b[whole:]
				continue
			}
			n := copy(packed.B[have:recordSize], b)
			b = b[n:]
			if have += n; have == recordSize {
				have = 0
				if err := write(packed.B[:recordSize]); err != nil {
					return total, err
				}
			}
		}
	}
	if have > 0 {
		err = write(packed.B[:have])
	}
	return total, err
}

// CloseWrite sends close_notify and a FIN.
func (c *TLSConn) CloseWrite() error {
	return errors.Join(c.tls.CloseWrite(), c.shim.t.CloseWrite())
}

// Close sends close_notify if the socket takes it at once, and closes.
func (c *TLSConn) Close() error {
	c.closeOnce.Do(func() {
		c.shim.close()
		c.closeErr = c.tls.Close()
	})
	return c.closeErr
}
