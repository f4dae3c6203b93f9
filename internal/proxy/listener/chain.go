package listener

import (
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// Conn is one connection that is served.
type Conn interface {
	// Serve serves the connection to its end, closes it and tells why it ended.
	Serve() stream.Reason
	// Drain lets what is under way finish. Any goroutine.
	Drain()
	// Close ends the connection now. Any goroutine.
	Close(stream.Reason)
}

// stepper is a Conn that can wait without a goroutine.
type stepper interface {
	// Step serves as Serve does. It may return before the end, with ended false: then
	// wake is called once, on any goroutine, when Step is to be called again, which may
	// be before this call has returned. wake does not block.
	Step(wake func()) (ended bool)
}

// idler is a Conn that can tell when nothing is under way, and end then.
type idler interface{ EndIdle() }

// Server makes what serves a connection of a chain.
type Server func(t rawio.Transport, c *stream.Conn) Conn

// Chain is a filter chain at work: config.FilterChain.Runtime. It knows its
// connections, so that a chain that disappears drains these and no others.
type Chain struct {
	// immutable
	name      string
	listener  string
	dir       stream.Direction
	tls       *tlsctx.Server // nil: plain text
	handshake time.Duration
	server    Server

	mu       sync.Mutex
	conns    map[Conn]*arrival // guarded by mu: with how each came here
	draining bool              // guarded by mu
	ended    *stream.Reason    // guarded by mu: set by Close
}

// handshakeDefault is Envoy's transport_socket_connect_timeout as Istio sets it.
const handshakeDefault = 15 * time.Second

// NewChain makes the run-time node of a chain of listener l. tls must be set where
// the chain has a TLS configuration.
func NewChain(l *config.Listener, c *config.FilterChain, tls *tlsctx.Server, s Server) *Chain {
	out := &Chain{name: c.Name, listener: l.Name, dir: l.Dir, tls: tls, handshake: c.HandshakeTimeout, server: s, conns: map[Conn]*arrival{}}
	if out.handshake <= 0 {
		out.handshake = handshakeDefault
	}
	return out
}

// lateDrain is how long a connection that arrived while its chain was exchanged
// has before it is drained like the others: its first request is on the way.
const lateDrain = time.Second

// take makes what serves a connection, which is one of the chain's until it leaves.
// late is a timer to be stopped at its end; nil: none.
func (c *Chain) take(a *arrival) (conn Conn, late *time.Timer) {
	if h := a.ahead; h != nil {
		a.ahead = nil
		h.conn.Resume(a.t, h.first)
		conn = h.conn
	} else {
		conn = c.server(a.t, a.conn)
	}
	c.mu.Lock()
	if why := c.ended; why != nil {
		c.mu.Unlock()
		conn.Close(*why)
		return conn, nil
	}
	defer c.mu.Unlock()
	c.conns[conn] = a
	if c.draining {
		late = time.AfterFunc(lateDrain, conn.Drain)
	}
	return conn, late
}

// leave forgets a connection that has ended.
func (c *Chain) leave(conn Conn) {
	c.mu.Lock()
	delete(c.conns, conn)
	c.mu.Unlock()
}

// Active is the number of connections that are served.
func (c *Chain) Active() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

// Drain lets all connections finish what is under way.
func (c *Chain) Drain() {
	for _, conn := range c.all(func() { c.draining = true }) {
		conn.Drain()
	}
}

// endIdle ends connections on which nothing is under way.
func (c *Chain) endIdle() {
	for _, conn := range c.all(func() {}) {
		if i, ok := conn.(idler); ok {
			i.EndIdle()
		}
	}
}

// withdraw ends the connections for which served is false: what they came by is
// no longer allowed, plain text where TLS is required now. What is under way may
// finish; nothing new begins.
func (c *Chain) withdraw(served func(*arrival) bool) {
	c.mu.Lock()
	var gone []Conn
	for conn, a := range c.conns {
		if !served(a) {
			gone = append(gone, conn)
		}
	}
	c.mu.Unlock()
	for _, conn := range gone {
		conn.Drain()
		if i, ok := conn.(idler); ok {
			i.EndIdle()
		}
	}
}

// Close ends all connections, and those that still arrive.
func (c *Chain) Close(why stream.Reason) {
	for _, conn := range c.all(func() { c.draining, c.ended = true, &why }) {
		conn.Close(why)
	}
}

// all lists the connections after a change under the lock: no connection can be
// added between the two.
func (c *Chain) all(change func()) []Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	out := make([]Conn, 0, len(c.conns))
	for conn := range c.conns {
		out = append(out, conn)
	}
	return out
}
