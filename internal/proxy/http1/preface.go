package http1

import (
	"bytes"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// preface is what every HTTP/2 client begins with (RFC 9113 §3.4). No request of
// HTTP/1.1 begins so: the method PRI is reserved for it.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// prefaced reports whether what was read is the preface, and reads on as long as it
// may become one. What goes wrong meanwhile, the head's reader meets again.
func (c *ServerConn) prefaced() bool {
	for {
		p := c.src.buffered()
		n := min(len(p), len(preface))
		switch {
		case string(p[:n]) != preface[:n]:
			return false
		case n == len(preface):
			return true
		}
		c.arrive(earliest(c.o.HeadersTimeout, c.o.RequestTimeout))
		if c.src.more() != nil {
			return false
		}
	}
}

// handOver gives the connection to other, as it was before the first byte.
func (c *ServerConn) handOver(other func(rawio.Transport) stream.Reason) stream.Reason {
	c.unwatch()
	c.closeAlarms()
	read := bytes.Clone(c.src.buffered())
	c.src.drop()
	// A time-out may have passed at the last moment. It fails only on a closed
	// transport, which other finds out.
	_ = c.t.SetReadDeadline(time.Time{})
	return other(rawio.Prefixed(c.t, read))
}
