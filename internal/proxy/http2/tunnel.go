package http2

import (
	"io"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// tunnel is a stream after its heads: bytes both ways, and each direction ends by
// itself. It implements stream.Duplex.
type tunnel struct {
	st   *strm
	rest []byte
}

// Read implements stream.Duplex.
func (t *tunnel) Read(p []byte) (int, error) {
	if len(t.rest) == 0 {
		b, err := t.st.Next()
		if err != nil {
			return 0, err
		}
		t.rest = b
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

// Write implements stream.Duplex.
func (t *tunnel) Write(p []byte) (int, error) {
	t.st.c.mu.Lock()
	defer t.st.c.mu.Unlock()
	if err := t.st.send(p, false, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite implements stream.Duplex.
func (t *tunnel) CloseWrite() error {
	t.st.c.mu.Lock()
	defer t.st.c.mu.Unlock()
	if t.st.localEnd {
		return nil
	}
	return t.st.finish(nil)
}

// Close implements stream.Duplex: what is open still is reset.
func (t *tunnel) Close() error {
	st := t.st
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if !st.closed {
		st.c.rst(st.id, codeCancel)
		st.fail(stream.Reason{Code: stream.None, Detail: "tunnel was closed"})
		st.c.close(st, closedByUs)
		st.c.wake()
	}
	return nil
}

// relay passes bytes between the client and an accepted tunnel until both
// directions ended, or one failed.
func (st *serverStream) relay(up stream.Duplex) error {
	down := &tunnel{st: &st.strm}
	st.s.Enter(tunnelCanceler{up})
	result := make(chan error, 1)
	go func() { result <- st.pump(up, down, nil) }()
	err := st.pump(down, up, &st.outcome.BytesSent)
	if uerr := <-result; err == nil {
		err = uerr
	}
	st.s.Enter(nil)
	if err == nil {
		return nil
	}
	if r, reset := st.s.ResetReason(); reset {
		return r
	}
	return err
}

// pump copies one direction and passes its end on. An error ends the other too,
// whichever side it waits for.
func (st *serverStream) pump(dst, src stream.Duplex, n *int64) error {
	err := st.copy(dst, src, n)
	if err == nil {
		return dst.CloseWrite()
	}
	_ = src.Close()
	_ = dst.Close()
	return err
}

func (st *serverStream) copy(dst, src stream.Duplex, n *int64) error {
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
			}
			st.touch()
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// touch moves the time-out of silence.
func (st *serverStream) touch() {
	c := st.conn
	var now time.Time
	if c.o.StreamIdleTimeout <= 0 {
		return
	}
	now = c.o.Now()
	c.mu.Lock()
	st.moved = now
	c.mu.Unlock()
}

// tunnelCanceler ends a tunnel whose stream is reset.
type tunnelCanceler struct{ up stream.Duplex }

// Cancel implements stream.Canceler. The error of a close has nobody to go to.
func (t tunnelCanceler) Cancel(stream.Reason) { _ = t.up.Close() }
