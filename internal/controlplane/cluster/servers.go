package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/controlplane"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// How long a connection lasts before the proxy is asked to make a new one: else
// a replica that came later would never get any. gRPC spreads it by a tenth.
const (
	connectionAge   = 30 * time.Minute
	connectionGrace = 15 * time.Second
)

// ports are the open sockets of a replica; plain is nil where not asked for.
type ports struct{ xds, plain, webhooks, debug, health net.Listener }

// open opens all sockets, or none.
func open(o Options) (_ *ports, err error) {
	p := &ports{}
	for _, l := range []struct {
		what, addr string
		to         *net.Listener
	}{
		{"xDS", o.XDSAddr, &p.xds}, {"plain xDS", o.PlainAddr, &p.plain}, {"webhooks", o.WebhookAddr, &p.webhooks},
		{"debug", o.DebugAddr, &p.debug}, {"health", o.HealthAddr, &p.health},
	} {
		if l.addr == "" {
			continue
		}
		if *l.to, err = net.Listen("tcp", l.addr); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", l.what, err), p.Close())
		}
	}
	return p, nil
}

// Close closes what no server has closed.
func (p *ports) Close() error {
	var errs []error
	for _, l := range []net.Listener{p.xds, p.plain, p.webhooks, p.debug, p.health} {
		if l == nil {
			continue
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// servers serve a mesh: xDS and certificates, webhooks, and the pages for people.
type servers struct {
	ports *ports
	log   *slog.Logger
	leave Leave

	streams  []*server.Server
	rpc      map[net.Listener]*grpc.Server
	webhooks *http.Server
	debug    *http.Server
}

// deps are what servers are made of.
type deps struct {
	ports   *ports
	core    *controlplane.Core
	callers *callers
	signer  ca.Signer
	serving *ca.Serving
	metrics *ca.Metrics
	// webhooks and pages serve the ports 15017 and 15014.
	webhooks, pages http.Handler
}

// newServers puts the servers together; parts run them.
func newServers(o Options, d deps) (*servers, error) {
	template, err := o.tlsTemplate()
	if err != nil {
		return nil, err
	}
	template.NextProtos = []string{"h2"}
	s := &servers{ports: d.ports, log: o.Log, leave: o.Leave, rpc: map[net.Listener]*grpc.Server{}}

	secure := newRPC(grpc.Creds(credentials.NewTLS(d.serving.Config(template, true))))
	s.serveStreams(d.core.XDS(streams{d.callers}), secure)
	d.core.Observe(secure, func(ctx context.Context) (string, error) {
		w, err := d.callers.Authenticate(ctx)
		return w.Namespace, err
	})
	ca.NewService(d.signer, d.callers, d.metrics, ops.Scope(o.Log, "ca")).Register(secure)
	s.rpc[d.ports.xds] = secure
	if d.ports.plain != nil {
		plain := newRPC()
		s.serveStreams(d.core.XDS(nil), plain)
		s.rpc[d.ports.plain] = plain
	}
	template.NextProtos = []string{"h2", "http/1.1"}
	s.webhooks = newHTTP(d.webhooks, o.Log)
	s.webhooks.TLSConfig = d.serving.Config(template, false)
	s.debug = newHTTP(d.pages, o.Log)
	return s, nil
}

func newRPC(more ...grpc.ServerOption) *grpc.Server {
	o := append(server.GRPCOptions(), grpc.KeepaliveParams(keepalive.ServerParameters{
		Time: 30 * time.Second, Timeout: 10 * time.Second, MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: connectionGrace,
	}))
	return grpc.NewServer(append(o, more...)...)
}

func (s *servers) serveStreams(x *server.Server, g *grpc.Server) {
	x.Register(g)
	s.streams = append(s.streams, x)
}

func newHTTP(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // strangers' failed handshakes
	}
}

// parts are the servers as parts of a control plane.
func (s *servers) parts() []func(context.Context) error {
	parts := []func(context.Context) error{
		serveHTTP(s.debug, s.ports.debug, func(l net.Listener) error { return s.debug.Serve(l) }),
		serveHTTP(s.webhooks, s.ports.webhooks, func(l net.Listener) error { return s.webhooks.ServeTLS(l, "", "") }),
	}
	for l, g := range s.rpc {
		parts = append(parts, func(ctx context.Context) error {
			stop := context.AfterFunc(ctx, g.Stop)
			defer stop()
			if err := g.Serve(l); err != nil && ctx.Err() == nil {
				return fmt.Errorf("xDS at %s: %w", l.Addr(), err)
			}
			return waitFor(ctx)
		})
	}
	return parts
}

// serveHTTP is a part that serves until ctx ends, whether or not the server was
// shut down before.
func serveHTTP(srv *http.Server, l net.Listener, serve func(net.Listener) error) func(context.Context) error {
	return func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { srv.Close() })
		defer stop()
		if err := serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			return fmt.Errorf("HTTP at %s: %w", l.Addr(), err)
		}
		return waitFor(ctx)
	}
}

// waitFor ends with ctx, so that a server that was stopped on purpose is no part
// that failed.
func waitFor(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// drain sends the callers elsewhere: the streams end one after the other, and what
// is being answered gets an answer.
func (s *servers) drain(ctx context.Context) {
	streams, done := context.WithTimeout(ctx, s.leave.Spread+time.Second)
	defer done()
	for _, x := range s.streams {
		x.Drain(streams, s.leave.Spread/time.Duration(len(s.streams)))
	}
	rest, end := context.WithTimeout(ctx, s.leave.Rest)
	defer end()
	ended := make(chan struct{})
	n := 0
	for _, g := range s.rpc {
		n++
		go func() { g.GracefulStop(); ended <- struct{}{} }() // ends at the latest with Stop, below
	}
	for _, h := range []*http.Server{s.webhooks, s.debug} {
		if err := h.Shutdown(rest); err != nil {
			s.log.Warn("answers were cut off", "err", err)
		}
	}
	stop := context.AfterFunc(rest, func() {
		for _, g := range s.rpc {
			g.Stop()
		}
	})
	defer stop()
	for range n {
		<-ended
	}
}
