package listener

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// quiet is how long a client whose first bytes would decide may be silent before
// the server is opened, which may have to speak first.
const quiet = 3 * time.Millisecond

// opener is a Conn that can be connected to its server before it serves.
type opener interface {
	Conn
	// Open connects to the server. It is called once, before Serve.
	Open(ctx context.Context) (rawio.Transport, error)
	// Resume has Serve relay between t and the server that Open gave, whose first bytes
	// were read already.
	Resume(t rawio.Transport, first []byte)
}

// ahead is a server that is opened while its client is silent. That decides nothing:
// the first byte of either side does. If it is the server's, the connection is one
// whose requests are not read; if it is the client's, the inspectors go on, and what
// was opened serves only if they choose its chain.
type ahead struct {
	client *rawio.Conn
	chain  *config.FilterChain
	conn   opener
	cancel context.CancelFunc
	done   chan struct{}
	spoke  atomic.Bool // the server's bytes were there first

	// of the goroutine until done is closed
	server rawio.Transport // nil: it could not be reached, or has closed
	first  []byte
}

// openAhead opens the server of the chain that the connection would have if its
// client never spoke: plain text that is not HTTP. It is nil where there is none, where
// access filters keep the connection out, or where the destination is declared to be
// HTTP, which never becomes anything else.
func (a *arrival) openAhead() *ahead {
	fc := match.FindChain(a.l, &a.facts, nil)
	if fc == nil || fc.TCP == nil || fc.TLS != nil || a.m.opts.Declared != nil && a.m.opts.Declared(a.l, a.conn.Local) {
		return nil
	}
	c, ok := fc.Runtime.(*Chain)
	if !ok {
		return nil
	}
	a.conn.Listener, a.conn.Chain, a.conn.Dir = a.l.Name, fc.Name, a.l.Dir
	conn, ok := c.server(a.raw, a.conn).(opener)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &ahead{client: a.raw, chain: fc, conn: conn, cancel: cancel, done: make(chan struct{})}
	go h.run(ctx)
	return h
}

// run connects and waits for the server's first bytes, which wake the client's reader.
func (h *ahead) run(ctx context.Context) {
	defer close(h.done)
	server, err := h.conn.Open(ctx)
	if err != nil {
		return // whoever serves the connection in the end says so
	}
	stop := context.AfterFunc(ctx, func() { _ = server.SetReadDeadline(past) })
	b, n, err := rawio.ReadLazy(server, rawio.SmallBuffer)
	if b != nil {
		h.first = append(h.first, b.B[:n]...)
		b.Release()
	}
	stop()
	switch {
	case n > 0:
		h.spoke.Store(true)
		_ = h.client.SetReadDeadline(past) // fails on a closed connection only
	case !rawio.IsTimeout(err):
		_ = server.Close() // it ended without a word
		return
	}
	h.server = server
}

var past = time.Unix(1, 0)

// settle ends the wait for the server. It reports whether there is one that is still
// connected.
func (h *ahead) settle() bool {
	h.cancel()
	<-h.done
	return h.server != nil && h.server.SetReadDeadline(time.Time{}) == nil
}

// drop closes what was opened and is not needed.
func (h *ahead) drop() {
	if h.server != nil {
		_ = h.server.Close()
	}
}
