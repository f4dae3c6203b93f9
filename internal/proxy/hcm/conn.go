package hcm

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// codecs makes the options of both codecs from the configuration.
func (m *Manager) codecs() {
	cfg, o := m.cfg, &m.opts
	one := http1.ServerOptions{
		MaxHeadBytes: cfg.MaxHeadBytes, MaxHeaders: cfg.MaxHeaders,
		HTTP10: cfg.HTTP10, DefaultHost: cfg.DefaultHost, Upgrades: cfg.Upgrades,
		IdleTimeout: cfg.IdleTimeout, HeadersTimeout: cfg.HeadersTimeout,
		RequestTimeout: cfg.RequestTimeout, StreamIdleTimeout: cfg.StreamIdleTimeout,
		Observers: o.Observers, NextID: o.NextID, Now: o.Now, Watch: o.Watch, Log: o.Log,
	}
	m.one = one.Server()
	m.two = http2.ServerOptions{
		Limits: http2.Limits{
			MaxHeadBytes: cfg.MaxHeadBytes, MaxHeaders: cfg.MaxHeaders,
			StreamWindow: cfg.HTTP2.StreamWindow, ConnWindow: cfg.HTTP2.ConnWindow,
			KeepAlive: cfg.HTTP2.PingAfter, KeepAliveTimeout: cfg.HTTP2.PingTimeout,
			Now: o.Now, Log: o.Log,
		},
		MaxStreams: cfg.HTTP2.MaxStreams, Upgrades: extended(cfg.Upgrades), DrainTime: cfg.DrainTimeout,
		IdleTimeout: cfg.IdleTimeout, RequestTimeout: cfg.RequestTimeout, StreamIdleTimeout: cfg.StreamIdleTimeout,
		Observers: o.Observers, NextID: o.NextID,
	}
}

// extended are the upgrades that extended CONNECT (RFC 8441) is offered for. CONNECT
// itself is no protocol.
func extended(upgrades []string) []string {
	return slices.DeleteFunc(slices.Clone(upgrades), func(u string) bool { return u == "connect" })
}

// codecFor tells which codec serves a connection: the configured one; else by what
// TLS has negotiated, whose names for Istio's peers mean the same; CodecAuto where
// the first bytes decide.
func codecFor(cfg *config.HTTP, tls *stream.TLS) config.Codec {
	if cfg.Codec != config.CodecAuto || tls == nil {
		return cfg.Codec
	}
	switch tls.ALPN {
	case "h2", "istio-h2":
		return config.CodecHTTP2
	case "http/1.1", "http/1.0", "istio-http/1.1", "istio-http/1.0":
		return config.CodecHTTP1
	}
	return config.CodecAuto
}

// Conn is one connection that a Manager serves.
type Conn struct {
	// immutable
	handler handler
	codec   config.Codec // what is known of the protocol at the beginning

	limit *time.Timer // of the serving goroutine: max_connection_duration; nil: none

	soft atomic.Bool // HTTP/1.1: the next answer is the last

	mu      sync.Mutex
	one     *http1.ServerConn // guarded by mu: nil where it is HTTP/2
	two     *http2.ServerConn // guarded by mu: nil where it is HTTP/1.1, or not known yet
	drained bool              // guarded by mu
	ended   bool              // guarded by mu: by EndIdle
	closed  *stream.Reason    // guarded by mu
}

// handler is the Manager at work on one connection, with what is the same for all
// its requests.
type handler struct {
	*Manager
	owner  *Conn
	conn   *stream.Conn
	scheme []byte
	remote []byte // the client's address as text
	xfcc   []byte // our element of x-forwarded-client-cert; nil: none
	tells  bool   // the reason header may go to this client
}

// NewConn makes the server side of a connection; Serve runs it.
func (m *Manager) NewConn(t rawio.Transport, c *stream.Conn) *Conn {
	out := &Conn{codec: codecFor(m.cfg, c.TLS)}
	out.handler = handler{Manager: m, owner: out, conn: c, scheme: []byte("http"), remote: c.Remote.Addr().AppendTo(nil), tells: m.tells}
	if c.TLS != nil {
		out.handler.scheme = []byte("https")
		out.handler.tells = m.tells || m.opts.Dir == stream.Inbound && c.TLS.Mutual
		out.handler.xfcc = appendClientCert(nil, m.cfg, c.TLS)
	}
	if out.codec == config.CodecHTTP2 {
		out.two = http2.NewServerConn(t, c, m.two)
	} else {
		out.one = m.one.NewConn(t, c)
	}
	return out
}

// Serve serves requests until the connection ends, and tells why it ended.
func (c *Conn) Serve() stream.Reason {
	why, _ := c.step(nil)
	return why
}

// Step serves as Serve does, but may return before the end, when the connection is
// idle: wake is called then when Step is to be called again (see http1.ServerConn).
func (c *Conn) Step(wake func()) (ended bool) {
	_, ended = c.step(wake)
	return ended
}

func (c *Conn) step(wake func()) (why stream.Reason, ended bool) {
	if d := c.handler.cfg.MaxConnDuration; d > 0 && c.limit == nil {
		c.limit = time.AfterFunc(d, c.Drain)
	}
	ended = true
	defer func() {
		if ended && c.limit != nil { // else c is the next Step's already
			c.limit.Stop()
		}
	}()
	one, two := c.codecs()
	if two != nil {
		return two.Serve(&c.handler), true
	}
	other := c.serveHTTP2
	if c.codec != config.CodecAuto {
		other = nil
	}
	return one.Step(&c.handler, other, wake)
}

func (c *Conn) codecs() (*http1.ServerConn, *http2.ServerConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.one, c.two
}

// serveHTTP2 goes on with a connection that turned out to be HTTP/2, in the state
// that it has been brought into meanwhile.
func (c *Conn) serveHTTP2(t rawio.Transport) stream.Reason {
	two := http2.NewServerConn(t, c.handler.conn, c.handler.two)
	c.mu.Lock()
	c.one, c.two = nil, two
	drained, ended, closed := c.drained, c.ended, c.closed
	c.mu.Unlock()
	if drained {
		two.Drain()
	}
	if ended {
		two.EndDrain()
	}
	if closed != nil {
		two.Close(*closed)
	}
	return two.Serve(&c.handler)
}

// Drain lets the client go: HTTP/2 clients are told by GOAWAY, in two steps, and an
// HTTP/1.1 client's next answer says "Connection: close". A client that is idle may
// be about to send a request, which closing would break; so an idle connection is
// closed only after the drain time-out.
func (c *Conn) Drain() {
	c.mu.Lock()
	again := c.drained
	c.drained = true
	two := c.two
	c.mu.Unlock()
	if again {
		return
	}
	if two != nil {
		two.Drain()
		return
	}
	c.soft.Store(true)
	time.AfterFunc(c.handler.cfg.DrainTimeout, c.EndIdle)
}

// EndIdle ends the connection as soon as nothing is under way.
func (c *Conn) EndIdle() {
	c.mu.Lock()
	c.drained, c.ended = true, true
	one, two := c.one, c.two
	c.mu.Unlock()
	if two != nil {
		two.Drain()
		two.EndDrain()
		return
	}
	one.Drain()
}

// Close ends the connection now.
func (c *Conn) Close(why stream.Reason) {
	c.mu.Lock()
	if c.closed == nil {
		c.closed = &why
	}
	one, two := c.one, c.two
	c.mu.Unlock()
	if two != nil {
		two.Close(why)
		return
	}
	one.Close(why)
}

// answered is called when an answer is about to be written.
func (c *Conn) answered() {
	if !c.soft.Load() {
		return
	}
	if one, _ := c.codecs(); one != nil {
		one.Drain()
	}
}
