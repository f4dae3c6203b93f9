package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/history"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/observe"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Core is what a control plane is wherever it lives: the push engine, what it
// says of the mesh, and the pages that show it. Its methods are safe for
// concurrent use.
type Core struct {
	engine  *push.Engine
	objects push.Objects
	metrics *prometheus.Registry
	version string
	log     *slog.Logger
	now     func() time.Time
	said    atomic.Pointer[[]verdict.Status] // by the supervisor
	names   bool                             // proxies are given their name tables
	started time.Time
	history *history.Store
	hub     *observe.Hub
}

// CoreOptions say what a Core runs on.
type CoreOptions struct {
	// Push are the engine's options; its log, clock and metrics are the Core's.
	Push    push.Options
	Version string           // what /version answers
	Log     *slog.Logger     // nil: silent
	Now     func() time.Time // nil: time.Now
}

// NewCore makes the engine and reads its memory. Whoever makes a Core runs the
// engine and serves it.
func NewCore(o CoreOptions) (*Core, error) {
	c := &Core{objects: o.Push.Objects, version: o.Version, log: o.Log, now: o.Now, names: o.Push.NameTable, metrics: prometheus.NewRegistry()}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.started = c.now()
	c.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	o.Push.Log, o.Push.Metrics, o.Push.Now = c.log.With("scope", "push"), c.metrics, o.Now
	var err error
	if c.engine, err = push.New(o.Push); err != nil {
		return nil, err
	}
	c.history = history.New(history.Options{Now: c.now})
	c.hub = observe.New(c.history, c.log.With("scope", "observe"))
	c.register()
	return c, nil
}

// register adds the metrics of the mesh as a whole, under Istio's names.
func (c *Core) register() {
	gauge := func(name, help string, value func(*mesh.Snapshot) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if snap := c.Snapshot(); snap != nil {
				return float64(value(snap))
			}
			return 0
		})
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "pilot_info", Help: "The version, as a label.", ConstLabels: prometheus.Labels{"version": c.version}})
	info.Set(1)
	c.metrics.MustRegister(info,
		gauge("pilot_services", "Services of the mesh.", func(s *mesh.Snapshot) int { return len(s.AllHosts()) }),
		gauge("pilot_virt_services", "Sets of routes of the mesh.", func(s *mesh.Snapshot) int { return len(s.AllRoutes()) }))
}

// Observe adds the service by which proxies report what they have seen.
func (c *Core) Observe(to grpc.ServiceRegistrar, auth observe.Authenticator) {
	c.hub.Register(to, auth)
}

// RunHistory keeps the history of what proxies report, until ctx ends.
func (c *Core) RunHistory(ctx context.Context) error { return c.history.Run(ctx) }

// Metrics is the registry that /metrics shows.
func (c *Core) Metrics() *prometheus.Registry { return c.metrics }

// Engine gives the push engine, for what explains and reports.
func (c *Core) Engine() *push.Engine { return c.engine }

// Snapshot is the mesh as it was last compiled; nil before that.
func (c *Core) Snapshot() *mesh.Snapshot { return c.engine.Snapshot() }

// Ready tells why the control plane does not serve configuration yet; nil once it
// does.
func (c *Core) Ready() error { return c.engine.Ready() }

// Proxies tells the state of every connected proxy, by name.
func (c *Core) Proxies() []push.ProxyStatus { return c.engine.ProxyStatuses() }

// Names waits until the names of the mesh are newer than the version (0: until
// there are some), or ctx ends; it returns the newest in either case.
func (c *Core) Names(ctx context.Context, version int64) (meshapi.Names, error) {
	for {
		names, changed := c.engine.Names()
		if names.Version > version {
			return names, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return names, ctx.Err()
		}
	}
}

// Statuses returns the verdicts on all objects, and the objects' revision that
// they were made from; -1 before there are any.
func (c *Core) Statuses() ([]verdict.Status, int64) {
	list, revision := c.engine.Statuses()
	if said := c.said.Load(); said != nil && len(*said) > 0 {
		list = verdict.Sort(append(slices.Clone(list), *said...))
	}
	return list, revision
}

// SetVerdicts replaces what others than the compiler say of objects: Deployments
// that cannot run here, pods that run without their proxy.
func (c *Core) SetVerdicts(list []verdict.Status) { c.said.Store(&list) }

// Wait waits until every connected proxy has a revision of the objects in force or
// has refused it, or until ctx ends; see configapi.Progress.
func (c *Core) Wait(ctx context.Context, revision int64) (configapi.Report, error) {
	return progress{c.engine}.Wait(ctx, revision)
}

// RunParts runs the parts of a control plane until ctx ends or one of them fails,
// and returns when all have ended. A part that ends by itself has failed.
func RunParts(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error)
	for _, part := range parts {
		go func() { ended <- part(ctx) }()
	}
	var errs []error
	for range parts {
		err := <-ended
		if err == nil && ctx.Err() == nil {
			err = errors.New("control plane: a part ended by itself")
		}
		if err != nil {
			errs = append(errs, err)
			cancel(err)
		}
	}
	return errors.Join(errs...)
}

// ServeHTTP gives the part of a control plane that serves a handler at a listener.
func ServeHTTP(l net.Listener, h http.Handler) func(context.Context) error {
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
