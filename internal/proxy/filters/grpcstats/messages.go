package grpcstats

import (
	"encoding/binary"
	"io"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// counted is a body whose messages are counted, each when its prefix has passed.
type counted struct {
	stream.Body
	n      *atomic.Uint64 // nil: not counted
	prefix [5]byte        // of the message that begins: a flag and its length
	have   int            // bytes of prefix
	left   uint32         // bytes of the message
}

// Next implements stream.Body.
func (c *counted) Next() ([]byte, error) {
	p, err := c.Body.Next()
	if c.n != nil && len(p) > 0 {
		c.scan(p)
	}
	return p, err
}

// scan follows the length-prefixed messages.
func (c *counted) scan(p []byte) {
	for len(p) > 0 {
		if c.left > 0 {
			k := min(uint32(min(len(p), 1<<30)), c.left)
			c.left -= k
			p = p[k:]
			continue
		}
		k := copy(c.prefix[c.have:], p)
		p = p[k:]
		if c.have += k; c.have == len(c.prefix) {
			c.have, c.left = 0, binary.BigEndian.Uint32(c.prefix[1:])
			c.n.Add(1)
		}
	}
}

// answer is the body of an answer, behind which its status comes.
type answer struct {
	counted
	grpc *stream.GRPC
}

// Next implements stream.Body.
func (a *answer) Next() ([]byte, error) {
	p, err := a.counted.Next()
	if err == io.EOF {
		if t := a.Trailers(); t != nil {
			a.grpc.Answer(t.Get(stream.GRPCStatus))
		}
	}
	return p, err
}
