package tlsctx

import (
	"context"
	"crypto/tls"
	"runtime"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// Gate bounds how many handshakes compute at once, so that a storm of new
// connections leaves processors for the traffic under way. A handshake that waits
// for its peer holds no place.
type Gate struct{ slots chan struct{} }

// NewGate makes a gate with n places; 0 takes as many as there are processors to
// run on.
func NewGate(n int) *Gate {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	return &Gate{slots: make(chan struct{}, n)}
}

// Client makes the client's handshake over t. When ctx ends first, t is closed and
// ctx's error returned.
func (g *Gate) Client(ctx context.Context, t rawio.Transport, cfg *tls.Config) (*rawio.TLSConn, error) {
	p := &passage{Transport: t, slots: g.slots}
	select {
	case g.slots <- struct{}{}:
		p.inside = true
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c := rawio.ClientTLS(p, cfg)
	err := c.Handshake(ctx)
	p.done()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Server makes the server's handshake over t. When ctx ends first, t is closed and
// ctx's error returned; the wait for a place does not look at ctx. The connection is
// returned with an error too: its owner closes it.
func (g *Gate) Server(ctx context.Context, t rawio.Transport, cfg *tls.Config) (*rawio.TLSConn, error) {
	p := &passage{Transport: t, slots: g.slots}
	p.enter()
	c := rawio.ServerTLS(p, cfg)
	err := c.Handshake(ctx)
	p.done()
	return c, err
}

// passage is one handshake's way through the gate. After it, it lets everything
// pass.
type passage struct {
	rawio.Transport
	slots chan struct{}

	// of the handshake's goroutine
	inside  bool
	through bool // the handshake is over
}

func (p *passage) enter() {
	p.slots <- struct{}{}
	p.inside = true
}

func (p *passage) leave() {
	if p.inside {
		p.inside = false
		<-p.slots
	}
}

// done ends the passage: the handshake is over.
func (p *passage) done() {
	p.leave()
	p.through = true
}

// Read implements rawio.Transport.
func (p *passage) Read(b []byte) (int, error) {
	if p.through {
		return p.Transport.Read(b)
	}
	p.leave()
	n, err := p.Transport.Read(b)
	p.enter()
	return n, err
}

// ReadLazy implements rawio.LazyReader.
func (p *passage) ReadLazy(size int) (*rawio.Buffer, int, error) {
	if p.through {
		return rawio.ReadLazy(p.Transport, size)
	}
	p.leave()
	b, n, err := rawio.ReadLazy(p.Transport, size)
	p.enter()
	return b, n, err
}

// Unwrap gives the transport below.
func (p *passage) Unwrap() rawio.Transport { return p.Transport }

// Handshaken implements rawio.Scaffold.
func (p *passage) Handshaken() rawio.Transport { return p.Transport }
