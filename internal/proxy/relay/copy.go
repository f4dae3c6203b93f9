package relay

import (
	"sync/atomic"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Counters are the bytes of a flow while it runs. Any goroutine may read them.
type Counters struct{ received, sent atomic.Int64 }

// Bytes gives what was taken from the client and what was handed to it so far.
func (c *Counters) Bytes() (received, sent int64) { return c.received.Load(), c.sent.Load() }

// direction moves bytes from src to dst until src's half-close, and passes that
// on. A failure ends the flow with the code of the side that failed.
func (f *flow) direction(dst, src rawio.Transport, count *atomic.Int64, srcFailed, dstFailed stream.Code) {
	p := rawio.Pump{Dst: dst, Src: src, To: rawio.PlainConn(dst), From: rawio.PlainConn(src), Moved: func(n int) {
		count.Add(int64(n))
		f.moved()
	}}
	writing, err := p.Run()
	switch {
	case err == nil:
		if err := dst.CloseWrite(); err != nil {
			f.stop(stream.Reason{Code: dstFailed, Detail: "half-close: " + err.Error()})
		}
	case writing:
		f.broken(stream.Reason{Code: dstFailed, Detail: err.Error()}, err, src)
	default:
		f.broken(stream.Reason{Code: srcFailed, Detail: err.Error()}, err, dst)
	}
}

// broken ends the flow after a side failed. A reset is passed on as a reset, as
// Envoy does (detect_and_raise_rst_tcp_connection): a FIN would tell the other side
// that all is well.
func (f *flow) broken(why stream.Reason, err error, other rawio.Transport) {
	if rawio.IsReset(err) {
		f.abort(why, other)
		return
	}
	f.stop(why)
}
