package relay

import (
	"io"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// bulkReads is how many full reads in a row make a flow a bulk one, worth splicing.
const bulkReads = 4

// direction moves bytes from src to dst until src's half-close, and passes that
// on. A failure ends the flow with the code of the side that failed.
func (f *flow) direction(dst, src rawio.Transport, count *atomic.Int64, srcFailed, dstFailed stream.Code) {
	bulk, writing, err := f.copy(dst, src, count)
	if bulk {
		writing, err = f.splice(plainConn(dst), plainConn(src), count)
	}
	switch {
	case err == io.EOF:
		if err := dst.CloseWrite(); err != nil {
			f.stop(stream.Reason{Code: dstFailed, Detail: "half-close: " + err.Error()})
		}
	case writing:
		f.stop(stream.Reason{Code: dstFailed, Detail: err.Error()})
	default:
		f.stop(stream.Reason{Code: srcFailed, Detail: err.Error()})
	}
}

// copy moves bytes through a buffer that it holds only while there are any. It
// returns with bulk set when the flow should be spliced, else with the error that
// ended it, and whether writing failed.
func (f *flow) copy(dst, src rawio.Transport, count *atomic.Int64) (bulk, writing bool, err error) {
	canSplice := plainConn(dst) != nil && plainConn(src) != nil
	size, full := rawio.MediumBuffer, 0
	for {
		b, n, err := rawio.ReadLazy(src, size)
		if n > 0 {
			f.moved()
			if n == len(b.B) {
				full++
				size = rawio.LargeBuffer
			} else {
				full, size = 0, rawio.MediumBuffer
			}
			_, werr := dst.Write(b.B[:n])
			b.Release()
			if werr != nil {
				return false, true, werr
			}
			count.Add(int64(n))
			if canSplice && full >= bulkReads {
				return true, false, nil
			}
			continue
		}
		b.Release()
		if err == nil {
			err = io.ErrNoProgress
		}
		return false, false, err
	}
}

// splice moves bytes inside the kernel until the end.
func (f *flow) splice(dst, src *rawio.Conn, count *atomic.Int64) (writing bool, err error) {
	s := rawio.NewSplice(dst, src)
	for {
		n, err := s.Move()
		count.Add(n)
		if n > 0 {
			f.moved()
		}
		if err != nil {
			// Move's text names the side; a write error follows bytes that were read.
			return n > 0, err
		}
	}
}

// plainConn finds the socket below t if nothing but bytes given back by an
// inspector lies between: nil for TLS and for pipes in memory. Those bytes were
// read by the time it is used.
func plainConn(t rawio.Transport) *rawio.Conn {
	for {
		switch v := t.(type) {
		case *rawio.Conn:
			return v
		case *rawio.TLSConn:
			return nil
		case interface{ Unwrap() rawio.Transport }:
			t = v.Unwrap()
		default:
			return nil
		}
	}
}
