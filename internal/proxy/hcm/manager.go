package hcm

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Routes gives the route table in force, nil while there is none. A request takes
// it once and pins its route.
type Routes interface{ Table() *config.RouteTable }

// Options are what a Manager needs besides its configuration.
type Options struct {
	Dir       stream.Direction
	Routes    Routes // nil: the configuration's inline table
	Observers []stream.Observer
	Watch     *rawio.Watch
	Log       *slog.Logger
	Rand      func() uint64    // nil: math/rand/v2
	Now       func() time.Time // nil: time.Now
	NextID    func() uint64    // ids of streams; nil: per connection
}

// Manager serves the HTTP connections of one filter chain. It is immutable but
// for its clock, and safe for concurrent use.
type Manager struct {
	cfg    *config.HTTP
	opts   Options
	codec  http1.ServerOptions
	chain  stream.Chain
	server []byte // value of the server field; nil passes the upstream's
	edge   bool   // clients are strangers
	tells  bool   // the reason header may go to clients of plain connections
	date   atomic.Pointer[dateText]
}

// inline gives the table that a configuration carries itself.
type inline struct{ t *config.RouteTable }

func (i inline) Table() *config.RouteTable { return i.t }

// New builds the manager. An error is the text of a NACK.
func New(cfg *config.HTTP, o Options) (*Manager, error) {
	if cfg.Codec == config.CodecHTTP2 {
		return nil, errors.New("codec_type HTTP2 is not supported by this proxy")
	}
	if o.Routes == nil {
		o.Routes = inline{cfg.Inline}
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &Manager{cfg: cfg, opts: o, edge: cfg.UseRemoteAddress || o.Dir == stream.Gateway, tells: o.Dir == stream.Outbound}
	for _, f := range cfg.Filters {
		filter, err := f.Builder.New(f.Config, f.Slot)
		if err != nil {
			return nil, fmt.Errorf("http filter %s: %w", f.Name, err)
		}
		m.chain = append(m.chain, filter)
	}
	if !cfg.PassServer {
		m.server = []byte(cfg.ServerName)
		if cfg.ServerName == "" {
			m.server = []byte("envoy")
		}
	}
	m.codec = http1.ServerOptions{
		MaxHeadBytes: cfg.MaxHeadBytes, MaxHeaders: cfg.MaxHeaders,
		HTTP10: cfg.HTTP10, DefaultHost: cfg.DefaultHost, Upgrades: cfg.Upgrades,
		IdleTimeout: cfg.IdleTimeout, HeadersTimeout: cfg.HeadersTimeout,
		RequestTimeout: cfg.RequestTimeout, StreamIdleTimeout: cfg.StreamIdleTimeout,
		Observers: o.Observers, NextID: o.NextID, Now: o.Now, Watch: o.Watch, Log: o.Log,
	}
	return m, nil
}

// Conn is one connection that a Manager serves.
type Conn struct {
	codec   *http1.ServerConn
	handler handler
	max     time.Duration
	drained sync.Once
	soft    atomic.Bool // the next answer is the last
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
	out := &Conn{codec: http1.NewServerConn(t, c, m.codec), max: m.cfg.MaxConnDuration}
	out.handler = handler{Manager: m, owner: out, conn: c, scheme: []byte("http"), remote: c.Remote.Addr().AppendTo(nil), tells: m.tells}
	if c.TLS != nil {
		out.handler.scheme = []byte("https")
		out.handler.tells = m.tells || m.opts.Dir == stream.Inbound && c.TLS.Mutual
		out.handler.xfcc = appendClientCert(nil, m.cfg, c.TLS)
	}
	return out
}

// Serve serves requests until the connection ends, and tells why it ended.
func (c *Conn) Serve() stream.Reason {
	if c.max > 0 {
		t := time.AfterFunc(c.max, c.Drain)
		defer t.Stop()
	}
	return c.codec.Serve(&c.handler)
}

// Drain lets the client go: its next answer says "Connection: close". A client
// that is idle may be about to send a request, which closing would break; so an
// idle connection is closed only after the drain time-out.
func (c *Conn) Drain() {
	c.drained.Do(func() {
		c.soft.Store(true)
		time.AfterFunc(c.handler.cfg.DrainTimeout, c.codec.Drain)
	})
}

// EndIdle ends the connection as soon as nothing is under way.
func (c *Conn) EndIdle() { c.codec.Drain() }

// Close ends the connection now.
func (c *Conn) Close(why stream.Reason) { c.codec.Close(why) }

// Handle implements stream.Handler.
func (h *handler) Handle(s *stream.Stream) (*stream.Response, error) {
	resp, err := h.serve(s)
	if err != nil {
		var reply *stream.Reply
		if !errors.As(err, &reply) {
			return nil, err
		}
		resp = h.local(reply)
	}
	h.finish(resp)
	if h.owner.soft.Load() {
		h.owner.codec.Drain()
	}
	return resp, nil
}

func (h *handler) serve(s *stream.Stream) (*stream.Response, error) {
	r := &s.Request
	if err := h.normalise(r); err != nil {
		return nil, err
	}
	h.prepare(r)
	if table := h.opts.Routes.Table(); table != nil {
		if host := match.FindHost(table, r.Authority, nil); host != nil {
			if host.RequireTLS && !stream.EqualFold(h.scheme, "https") {
				return nil, h.redirect("https://", r)
			}
			if route := match.FindRoute(host, r, h.opts.Rand(), nil); route != nil {
				s.Route = route
			}
		}
	}
	return h.chain.Handle(s)
}

// redirect sends the client to the same place under another scheme.
func (h *handler) redirect(scheme string, r *stream.Request) *stream.Reply {
	reply := stream.NewReply(301, stream.Reason{Code: stream.Redirect, Detail: "the host requires TLS"})
	reply.Headers = [][2]string{{"location", scheme + string(r.Authority) + string(r.Path)}}
	return reply
}
