package http2

import (
	"errors"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// ClientConn is the client side of one HTTP/2 connection. It implements
// stream.ClientConn. Its goroutines, a reader and, while there is something to write,
// a writer, end with Close, or when the server ends the connection.
type ClientConn struct {
	conn
	// immutable
	o ClientOptions

	reserved int    // guarded by mu: exchanges opened and not sent
	spent    bool   // guarded by mu: no further exchange
	away     bool   // guarded by mu: the server sent GOAWAY
	told     bool   // guarded by mu: Gone was called, or is not wanted any more
	nextID   uint32 // guarded by mu
}

var _ stream.ClientConn = (*ClientConn)(nil)

// NewClientConn makes the client side over t and sends the preface (prior
// knowledge, or ALPN h2). Whoever owns the connection closes it, with Close.
func NewClientConn(t rawio.Transport, o ClientOptions) *ClientConn {
	o.Limits.defaults()
	c := &ClientConn{o: o, nextID: 1}
	c.conn.init(t, c, true, &c.o.Limits)
	b := make([]byte, 0, 24)
	b = appendSetting(b, settingEnablePush, 0)
	b = appendSetting(b, settingInitialWindow, uint32(o.StreamWindow))
	b = appendSetting(b, settingMaxHeaderListSize, uint32(o.MaxHeadBytes))
	c.greet(appendSetting(b, settingNoPriorities, 1))
	go func() {
		c.read()
		c.gone()
	}()
	return c
}

// gone tells the owner, once, that the connection takes no further exchange.
func (c *ClientConn) gone() {
	c.mu.Lock()
	told := c.told
	c.told, c.spent = true, true
	c.mu.Unlock()
	if !told && c.o.Gone != nil {
		c.o.Gone()
	}
}

var (
	errFull  = errors.New("connection carries as many exchanges as it may")
	errSpent = errors.New("connection takes no further exchange")
)

// Open implements stream.ClientConn.
func (c *ClientConn) Open(*stream.Stream) (stream.Exchange, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stopped:
		return nil, c.conn.reason
	case c.spent:
		return nil, errSpent
	case c.free() <= 0:
		return nil, errFull
	}
	if int64(len(c.streams)+c.reserved) >= c.limit() {
		c.dropLingering()
	}
	c.reserved++
	return c.newExchange(), nil
}

// dropLingering resets the streams whose server owes nothing but their end, because
// their places are wanted. mu is held.
func (c *ClientConn) dropLingering() {
	if c.lingering == 0 {
		return
	}
	for _, st := range c.streams {
		if st.lingers {
			c.rst(st.id, codeCancel)
			c.conn.close(st, closedByUs)
		}
	}
	c.wakeIfQueued()
}

// Free implements stream.ClientConn. Before the server's settings have come it
// counts on a hundred streams.
func (c *ClientConn) Free() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.free()
}

// free is called with mu held.
func (c *ClientConn) free() int {
	if c.stopped || c.spent {
		return 0
	}
	return int(max(0, min(c.limit()-int64(len(c.streams)-c.lingering+c.reserved), int64(maxStreamID-c.nextID)/2)))
}

// limit is how many exchanges there may be at once. It is called with mu held.
func (c *ClientConn) limit() int64 {
	limit := int64(c.peer.maxStreams)
	if c.o.MaxStreams > 0 {
		limit = min(limit, int64(c.o.MaxStreams))
	}
	return limit
}

// settled implements settler.
func (c *ClientConn) settled() {
	if c.o.Room == nil {
		return
	}
	c.mu.Lock()
	limit := c.limit()
	c.mu.Unlock()
	c.o.Room(int(limit))
}

// Reusable implements stream.ClientConn.
func (c *ClientConn) Reusable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.stopped && !c.spent
}

// Drain implements stream.ClientConn: the connection closes after its last
// exchange.
func (c *ClientConn) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spent, c.told = true, true
	c.empty()
}

// Close implements stream.ClientConn. Blocked calls of exchanges return r; their
// streams end with the connection.
func (c *ClientConn) Close(r stream.Reason) {
	c.mu.Lock()
	c.spent, c.told = true, true
	c.mu.Unlock()
	c.stop(codeNo, r, "")
}

// empty implements side.
func (c *ClientConn) empty() {
	if c.spent && len(c.streams) == c.lingering && c.reserved == 0 {
		c.stopLocked(codeNo, stream.Reason{Code: stream.Draining}, "")
	}
}

// goAway implements leaver (RFC 9113 §6.8).
func (c *ClientConn) goAway(last uint32, code errCode, debug string) {
	detail := "the server sent GOAWAY " + code.String()
	if debug != "" {
		detail += ": " + debug
	}
	r := c.reason(false, detail)
	c.mu.Lock()
	c.spent, c.away = true, true
	for id, st := range c.streams {
		if id > last {
			st.refused = true
			st.cut(r)
			c.conn.close(st, closedByUs) // whatever may come still is ignored
		}
	}
	c.empty()
	c.mu.Unlock()
	c.gone()
}

// lost implements side: the exchange's calls have been woken already.
func (c *ClientConn) lost(*strm, uint64, stream.Reason) {}

// reason implements side.
func (c *ClientConn) reason(protocol bool, detail string) stream.Reason {
	if protocol {
		return stream.Reason{Code: stream.UpstreamProtocol, Detail: detail}
	}
	return stream.Reason{Code: stream.UpstreamReset, Detail: detail}
}
