// Package controlplane wires the control side of the mesh, and reads as the
// pipeline it is: the store's objects and the workloads go into the push engine,
// which runs the pure stages; the xDS server brings the result to the proxies;
// the certificate authority gives them their identities; and two sockets serve
// people: one the configuration, one the state of the mesh.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// Names of the sockets in the runtime directory.
const (
	XDSSocket    = "xds.sock"
	ConfigSocket = configapi.SocketName
	MeshSocket   = meshapi.SocketName
)

// Config says what a control plane runs on. Store, StateDir and RuntimeDir are
// required.
type Config struct {
	Store       *store.Store
	StateDir    string // holds the certificate authority below ca/
	RuntimeDir  string // holds the sockets
	TrustDomain string // default cluster.local
	// ServiceCIDR is where services without an address get one; default
	// 10.96.0.0/16.
	ServiceCIDR netip.Prefix
	// PlainAddr serves xDS without authentication at a loopback address, for
	// tools and grpc clients ("127.0.0.1:0"); empty: not.
	PlainAddr string
	Log       *slog.Logger
}

// ControlPlane is a running or startable control plane.
type ControlPlane struct {
	cfg       Config
	authority *ca.Authority
	tokens    *ca.Tokens
	engine    *push.Engine
	registry  *prometheus.Registry
	names     *nameTable

	xds, config, mesh net.Listener
	plain             net.Listener // nil without PlainAddr
}

// New opens the certificate authority and the sockets; Run serves them.
func New(cfg Config) (*ControlPlane, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if !cfg.ServiceCIDR.IsValid() {
		cfg.ServiceCIDR = netip.MustParsePrefix("10.96.0.0/16")
	}
	cp := &ControlPlane{cfg: cfg, registry: prometheus.NewRegistry(), names: newNameTable()}
	var err error
	caDir := filepath.Join(cfg.StateDir, "ca")
	if cp.authority, err = ca.Open(ca.Options{Dir: caDir, TrustDomain: cfg.TrustDomain}); err != nil {
		return nil, err
	}
	if cp.tokens, err = ca.OpenTokens(caDir, nil); err != nil {
		return nil, err
	}
	metrics, err := push.NewMetrics(cp.registry)
	if err != nil {
		return nil, err
	}
	cp.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	cp.engine = push.New(push.Options{
		Objects: cfg.Store, History: cfg.Store, TrustDomain: cp.authority.TrustDomain(),
		ServiceCIDR: cfg.ServiceCIDR, Log: cfg.Log.With("scope", "push"), Metrics: metrics,
	})
	if err := cp.listen(); err != nil {
		cp.closeListeners()
		return nil, err
	}
	return cp, nil
}

func (cp *ControlPlane) listen() (err error) {
	for name, l := range map[string]*net.Listener{XDSSocket: &cp.xds, ConfigSocket: &cp.config, MeshSocket: &cp.mesh} {
		if *l, err = configapi.Listen(filepath.Join(cp.cfg.RuntimeDir, name)); err != nil {
			return err
		}
	}
	if cp.cfg.PlainAddr != "" {
		if cp.plain, err = net.Listen("tcp", cp.cfg.PlainAddr); err != nil {
			return fmt.Errorf("plain xDS: %w", err)
		}
	}
	return nil
}

func (cp *ControlPlane) closeListeners() {
	for _, l := range []net.Listener{cp.xds, cp.config, cp.mesh, cp.plain} {
		if l != nil {
			l.Close()
		}
	}
}

// Tokens issues the tokens by which workloads prove who they are.
func (cp *ControlPlane) Tokens() *ca.Tokens { return cp.tokens }

// SetWorkloads tells all workloads that there are; equal lists are no change.
func (cp *ControlPlane) SetWorkloads(list []registry.Workload) { cp.engine.SetWorkloads(list) }

// PlainXDS is the address of unauthenticated xDS; "" where it is not served.
func (cp *ControlPlane) PlainXDS() string {
	if cp.plain == nil {
		return ""
	}
	return cp.plain.Addr().String()
}

// Engine gives the push engine, for what explains and reports.
func (cp *ControlPlane) Engine() *push.Engine { return cp.engine }

// Run serves until ctx ends or a part fails.
func (cp *ControlPlane) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error)
	parts := []func(context.Context) error{
		cp.engine.Run,
		cp.followNames,
		cp.serveGRPC(cp.xds, true),
		serveHTTP(cp.config, configapi.NewHandler(configapi.Deps{
			Store: cp.cfg.Store, Statuses: cp.engine, Progress: progress{cp.engine}, Files: cp.cfg.Store.Files, Log: cp.cfg.Log.With("scope", "configapi"),
		})),
		serveHTTP(cp.mesh, cp.meshHandler()),
	}
	if cp.plain != nil {
		parts = append(parts, cp.serveGRPC(cp.plain, false))
	}
	for _, part := range parts {
		go func() { ended <- part(ctx) }()
	}
	var errs []error
	for range parts {
		if err := <-ended; err != nil {
			errs = append(errs, err)
			cancel(err)
		}
	}
	return errors.Join(errs...)
}

// serveGRPC serves xDS, and to those that must say who they are the certificate
// service too.
func (cp *ControlPlane) serveGRPC(l net.Listener, authenticated bool) func(context.Context) error {
	return func(ctx context.Context) error {
		g := grpc.NewServer(server.GRPCOptions()...)
		o := server.Options{Owner: cp.engine, Log: cp.cfg.Log.With("scope", "xds"), PushTypes: push.Types, FullTypes: push.FullTypes}
		if authenticated {
			o.Auth = tokenAuth{cp.tokens}
			ca.NewService(cp.authority, cp.tokens, cp.cfg.Log.With("scope", "ca")).Register(g)
		}
		server.New(o).Register(g)
		stop := context.AfterFunc(ctx, g.Stop)
		defer stop()
		if err := g.Serve(l); err != nil && ctx.Err() == nil {
			return fmt.Errorf("xDS at %s: %w", l.Addr(), err)
		}
		return nil
	}
}

// tokenAuth lets streams in by the mesh's bearer tokens.
type tokenAuth struct{ tokens *ca.Tokens }

func (a tokenAuth) Authenticate(ctx context.Context) (server.Identity, error) {
	w, err := a.tokens.Authenticate(ctx)
	return server.Identity(w), err
}

func serveHTTP(l net.Listener, h http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
		stop := context.AfterFunc(ctx, func() { srv.Close() })
		defer stop()
		if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("HTTP at %s: %w", l.Addr(), err)
		}
		return nil
	}
}

// progress gives the engine's reports the configuration API's form.
type progress struct{ engine *push.Engine }

func (p progress) Wait(ctx context.Context, revision int64) (configapi.Report, error) {
	r := configapi.Report{Revision: revision, Proxies: []configapi.ProxyReport{}}
	for _, s := range p.engine.Wait(ctx, revision) {
		pr := configapi.ProxyReport{Proxy: s.Proxy, State: configapi.Pending, Reason: s.Reason}
		switch {
		case s.InForce:
			pr.State = configapi.InForce
		case s.Rejected:
			pr.State = configapi.Rejected
		}
		if !s.Object.IsZero() {
			pr.Object = s.Object.Ref.String()
		}
		r.Proxies = append(r.Proxies, pr)
	}
	return r, nil
}
