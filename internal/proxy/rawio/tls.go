package rawio

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// TLSConn is TLS over another transport. crypto/tls reads records from, and
// writes them to, a shim that reads ahead and gathers the records of one Write
// into one system call.
type TLSConn struct {
	// immutable
	tls  *tls.Conn
	shim *shim

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
// (GetConfigForClient) have to set it themselves.
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
func (c *TLSConn) Handshake(ctx context.Context) error { return c.tls.HandshakeContext(ctx) }

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

// Read implements Transport.
func (c *TLSConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return c.tls.Read(p)
}

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

func (c *TLSConn) pack(bufs [][]byte) (total int64, err error) {
	var packed *Buffer
	defer func() { packed.Release() }()
	have := 0
	put := func() error {
		n, err := c.tls.Write(packed.B[:have])
		total += int64(n)
		have = 0
		return err
	}
	for _, b := range bufs {
		for len(b) > 0 {
			if have == 0 && len(b) >= recordSize {
				n, err := c.tls.Write(b)
				total += int64(n)
				if err != nil {
					return total, err
				}
				break
			}
			if packed == nil {
				packed = GetBuffer(recordSize)
			}
			n := copy(packed.B[have:], b)
			b = b[n:]
			if have += n; have == recordSize {
				if err := put(); err != nil {
					return total, err
				}
			}
		}
	}
	if have > 0 {
		err = put()
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
