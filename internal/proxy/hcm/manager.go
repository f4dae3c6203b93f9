package hcm

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/http2"
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
	Overload  Overload // nil: all requests are served
	// Demand is asked when no host but AnyHost answers to an authority; the table may
	// have another afterwards, and it may take its time. An error, which is a
	// stream.Reason, refuses the request. nil: all hosts are there.
	Demand func(authority []byte) error
	Log    *slog.Logger
	Rand   func() uint64    // nil: math/rand/v2
	Now    func() time.Time // nil: time.Now
	NextID func() uint64    // ids of streams; nil: per connection
}

// Manager serves the HTTP connections of one filter chain. It is immutable but
// for its clock, and safe for concurrent use.
type Manager struct {
	cfg    *config.HTTP
	opts   Options
	one    *http1.Server
	two    http2.ServerOptions
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
	m.codecs()
	return m, nil
}

// Handle implements stream.Handler.
func (h *handler) Handle(s *stream.Stream) (*stream.Response, error) {
	resp, err := h.serve(s)
	if err != nil {
		var reply *stream.Reply
		if !errors.As(err, &reply) {
			return nil, err
		}
		resp = h.local(s, reply)
	}
	h.finish(resp)
	h.owner.ease()
	h.owner.answered()
	return resp, nil
}

func (h *handler) serve(s *stream.Stream) (*stream.Response, error) {
	r := &s.Request
	s.TrustedHops, s.Edge = uint16(h.cfg.XFFTrustedHops), h.cfg.UseRemoteAddress
	if err := h.normalise(r); err != nil {
		return nil, err
	}
	h.prepare(r)
	host, err := h.host(r)
	if err != nil {
		return nil, err
	}
	if host != nil {
		if host.RequireTLS && !stream.EqualFold(h.scheme, "https") {
			return nil, h.redirect("https://", r)
		}
		if route := match.FindRoute(host, r, h.opts.Rand(), nil); route != nil {
			s.Route = route
			if !h.connects(r, route) {
				return nil, stream.NewReply(403, stream.Reason{Code: stream.UnsupportedProtocol, Detail: "CONNECT is not allowed"})
			}
			if err := h.admit(route); err != nil {
				return nil, err
			}
		}
	}
	return h.chain.Handle(s)
}

// AnyHost is Istio's name for the virtual host of everything that the mesh does not
// know.
const AnyHost = "allow_any"

// host finds the virtual host of a request, nil where there is none.
func (h *handler) host(r *stream.Request) (*config.VirtualHost, error) {
	table := h.opts.Routes.Table()
	if table == nil {
		return nil, nil
	}
	host := match.FindHost(table, r.Authority, nil)
	if host == nil || h.opts.Demand == nil || host.Name != AnyHost {
		return host, nil
	}
	if err := h.opts.Demand(r.Authority); err != nil {
		var why stream.Reason
		if !errors.As(err, &why) {
			return nil, err
		}
		return nil, stream.NewReply(0, why)
	}
	if now := h.opts.Routes.Table(); now != nil {
		table = now
	}
	return match.FindHost(table, r.Authority, nil), nil
}

// connects reports whether a CONNECT may pass: as Envoy has it, an upgrade of that
// name has to be allowed. A route's own list is the router's matter.
func (h *handler) connects(r *stream.Request, route *config.Route) bool {
	return string(r.Method) != "CONNECT" || route.Forward == nil || route.Forward.Upgrades != nil || slices.Contains(h.cfg.Upgrades, "connect")
}

// redirect sends the client to the same place under another scheme.
func (h *handler) redirect(scheme string, r *stream.Request) *stream.Reply {
	reply := stream.NewReply(301, stream.Reason{Code: stream.Redirect, Detail: "the host requires TLS"})
	reply.Headers = [][2]string{{"location", scheme + string(r.Authority) + string(r.Path)}}
	return reply
}
