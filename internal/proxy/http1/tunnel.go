package http1

import (
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// relay passes bytes between the client and an accepted tunnel until both
// directions ended, or one failed.
func (c *ServerConn) relay(s *stream.Stream, up stream.Duplex) error {
	s.Enter(tunnelCanceler{up})
	down := duplex{src: &c.src}
	result := make(chan error, 1)
	go func() { result <- c.pump(up, down, nil) }()
	err := c.pump(down, up, &c.outcome.BytesSent)
	if err != nil {
		// The other direction has nobody left to talk to.
		_ = c.t.SetDeadline(rawio.Past)
		_ = up.Close()
	}
	if uerr := <-result; err == nil {
		err = uerr
	}
	s.Enter(nil)
	if err != nil {
		return c.writeError(s, err)
	}
	return nil
}

// pump copies one direction and passes its end on.
func (c *ServerConn) pump(dst, src stream.Duplex, n *int64) error {
	err := c.copy(dst, src, n)
	if err != nil {
		// Wake the other direction, whichever side it waits for.
		_ = c.t.SetDeadline(rawio.Past)
		_ = src.Close()
		_ = dst.Close()
		return err
	}
	return dst.CloseWrite()
}

// copy moves one direction's bytes to its end: inside the kernel where both sides
// turn out to be plain sockets.
func (c *ServerConn) copy(dst, src stream.Duplex, n *int64) error {
	p := rawio.Pump{Dst: dst, Src: src, To: socketOf(dst), From: socketOf(src), Moved: func(k int) {
		if n != nil {
			*n += int64(k)
		} else {
			c.body.add(int64(k))
		}
		c.codec.progress()
	}}
	if p.To != nil && p.From != nil {
		p.Spliced = func(k int) {
			src.(rawTunnel).Spliced(k, 0)
			dst.(rawTunnel).Spliced(0, k)
		}
	}
	_, err := p.Run()
	return err
}

// rawTunnel is a Duplex that may be nothing but a socket.
type rawTunnel interface {
	// Socket gives the socket to read from and write to directly; nil if there is
	// none, or if more than bytes read ahead lies between.
	Socket() *rawio.Conn
	// Spliced counts bytes that were read from, or written to, the socket directly.
	Spliced(read, written int)
}

func socketOf(d stream.Duplex) *rawio.Conn {
	if r, ok := d.(rawTunnel); ok {
		return r.Socket()
	}
	return nil
}

// tunnelCanceler ends a tunnel whose stream is reset.
type tunnelCanceler struct{ up stream.Duplex }

// Cancel implements stream.Canceler. The error of a close has nobody to go to.
func (t tunnelCanceler) Cancel(stream.Reason) { _ = t.up.Close() }

// duplex is a connection after its head: what was read ahead comes first.
type duplex struct{ src *source }

func (d duplex) Read(p []byte) (int, error) {
	if b := d.src.buffered(); len(b) > 0 {
		n := copy(p, b)
		d.src.take(n)
		d.src.release()
		return n, nil
	}
	return d.src.t.Read(p)
}

// ReadLazy implements rawio.LazyReader: what was read ahead comes first.
func (d duplex) ReadLazy(size int) (*rawio.Buffer, int, error) {
	if len(d.src.buffered()) == 0 {
		return rawio.ReadLazy(d.src.t, size)
	}
	b := rawio.GetBuffer(size)
	n, err := d.Read(b.B)
	return b, n, err
}

// Socket implements rawTunnel. What was read ahead comes out before it is used: a
// pump splices after several reads only.
func (d duplex) Socket() *rawio.Conn { return rawio.PlainConn(d.src.t) }

// Spliced implements rawTunnel: nobody counts here.
func (d duplex) Spliced(int, int) {}

func (d duplex) Write(p []byte) (int, error) { return d.src.t.Write(p) }
func (d duplex) CloseWrite() error           { return d.src.t.CloseWrite() }
func (d duplex) Close() error                { return d.src.t.Close() }
