package http1

import (
	"io"

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

func (c *ServerConn) copy(dst, src stream.Duplex, n *int64) error {
	b := rawio.GetBuffer(rawio.MediumBuffer)
	defer b.Release()
	for {
		k, err := src.Read(b.B)
		if k > 0 {
			if _, werr := dst.Write(b.B[:k]); werr != nil {
				return werr
			}
			if n != nil {
				*n += int64(k)
			} else {
				c.body.add(int64(k))
			}
			c.codec.progress()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
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

func (d duplex) Write(p []byte) (int, error) { return d.src.t.Write(p) }
func (d duplex) CloseWrite() error           { return d.src.t.CloseWrite() }
func (d duplex) Close() error                { return d.src.t.Close() }
