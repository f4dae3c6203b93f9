package http1

import (
	"errors"
	"io"
	"sync"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// ClientConn is the client side of one HTTP/1.1 connection: one exchange at a
// time. It implements stream.ClientConn.
type ClientConn struct {
	// immutable
	t    rawio.Transport
	o    ClientOptions
	stop func() // ends the hang-up watch
	once bool   // it could not be watched, and serves one exchange only

	// of the exchange, reused by the next one
	src  source
	out  sink
	f    framing
	resp stream.Response
	body body
	x    exchange

	mu       sync.Mutex
	busy     bool          // guarded by mu
	used     bool          // guarded by mu: it has served an exchange
	spent    bool          // guarded by mu: no further exchange
	closed   bool          // guarded by mu
	reason   stream.Reason // guarded by mu: why the exchange was given up
	canceled bool          // guarded by mu: the exchange was given up
	cut      bool          // guarded by mu: a request was left half sent
}

var _ stream.ClientConn = (*ClientConn)(nil)

// NewClientConn makes the client side over t. Whoever owns the connection closes
// it, with Close.
func NewClientConn(t rawio.Transport, o ClientOptions) *ClientConn {
	o.defaults()
	c := &ClientConn{t: t, o: o}
	c.src.t, c.out.t = t, t
	c.x.c = c
	c.body.owner, c.body.src = &c.x, &c.src
	c.body.maxHead, c.body.maxHeaders = o.MaxHeadBytes, o.MaxHeaders
	stop, err := o.Watch.Add(t, c.hangup)
	if err != nil {
		// An idle one could be stale unseen.
		c.once = true
	}
	c.stop = stop
	return c
}

// hangup is told by the watch that the server closed its direction. An answer may
// still be under way.
func (c *ClientConn) hangup() {
	c.mu.Lock()
	c.spent = true
	c.mu.Unlock()
	if c.o.Gone != nil {
		c.o.Gone()
	}
}

var (
	errBusy  = errors.New("connection has an exchange under way")
	errSpent = errors.New("connection takes no further exchange")
)

// Open implements stream.ClientConn.
func (c *ClientConn) Open(s *stream.Stream) (stream.Exchange, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, c.reason
	case c.busy:
		return nil, errBusy
	case c.spent:
		return nil, errSpent
	case c.used && rawio.Unread(c.t):
		// An answer that comes before its request would be taken for this one's.
		c.spent = true
		return nil, errSpent
	}
	c.used, c.busy, c.canceled = true, true, false
	c.x.begin()
	c.out.n = 0
	return &c.x, nil
}

// Free implements stream.ClientConn.
func (c *ClientConn) Free() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy || c.spent || c.closed {
		return 0
	}
	return 1
}

// Reusable implements stream.ClientConn.
func (c *ClientConn) Reusable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.spent && !c.closed
}

// Drain implements stream.ClientConn: an idle connection is closed, another one
// serves its exchange to the end and is not reusable then.
func (c *ClientConn) Drain() {
	c.mu.Lock()
	c.spent = true
	busy := c.busy
	c.mu.Unlock()
	if !busy {
		c.Close(stream.Reason{Code: stream.Draining})
	}
}

// Close implements stream.ClientConn. A blocked call of the exchange returns r.
func (c *ClientConn) Close(r stream.Reason) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed, c.spent = true, true
	if !c.canceled {
		c.canceled, c.reason = true, r
	}
	cut := c.cut || c.busy && c.x.half()
	c.mu.Unlock()
	c.stop()
	// There is nobody left to tell of an error.
	if raw := rawio.RawConn(c.t); cut && raw != nil {
		// A FIN would wait behind what the server has not read, and might never come.
		_ = raw.Abort()
	}
	_ = c.t.Close()
}

// cancel gives the exchange up, if there is one.
func (c *ClientConn) cancel(r stream.Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.busy || c.canceled {
		return
	}
	c.canceled, c.spent, c.reason = true, true, r
	// It fails only on a closed transport, whose users are awake already.
	_ = c.t.SetDeadline(rawio.Past)
}

// canceledBy returns why the exchange was given up.
func (c *ClientConn) canceledBy() (stream.Reason, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason, c.canceled
}

// fail says why a call failed.
func (c *ClientConn) fail(err error) error {
	if r, canceled := c.canceledBy(); canceled {
		return r
	}
	var p *protoError
	if r, ok := err.(stream.Reason); ok {
		return r
	}
	if errors.As(err, &p) {
		return stream.Reason{Code: stream.UpstreamProtocol, Detail: p.detail}
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return stream.Reason{Code: stream.UpstreamReset, Detail: "connection closed by the endpoint"}
	}
	return stream.Reason{Code: stream.UpstreamReset, Detail: err.Error()}
}

// release ends the exchange.
func (c *ClientConn) release(whole bool) bool {
	c.src.release()
	c.out.drop()
	// Bytes that nobody asked for belong to no answer.
	whole = whole && len(c.src.buffered()) == 0
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	c.cut = c.x.half()
	if !whole || c.once {
		c.spent = true
	}
	return !c.spent && !c.closed
}
