package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/demand"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/alpn"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/cors"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/fault"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/grpcstats"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/rbac"
	"github.com/lateen-mesh/lateen/internal/proxy/listener"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/relay"
	"github.com/lateen-mesh/lateen/internal/proxy/report"
	"github.com/lateen-mesh/lateen/internal/proxy/router"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/tap"
	"github.com/lateen-mesh/lateen/internal/proxy/telemetry"
	"github.com/lateen-mesh/lateen/internal/proxy/timer"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// Proxy is one data plane.
type Proxy struct {
	// immutable
	opts      Options
	log       *slog.Logger
	started   time.Time
	ownWatch  bool
	watch     *rawio.Watch
	timers    *timer.Queue
	secrets   *secrets
	clusters  *upstream.Manager
	listeners *listener.Manager
	relay     *relay.Relay
	exchange  *peermeta.Exchange
	deps      config.Deps
	sinks     *telemetry.Sinks
	registry  *prometheus.Registry
	metrics   *telemetry.Metrics
	reporter  *report.Reporter
	tap       *tap.Tap
	access    *rbac.Stats
	demand    *demand.Table // nil: everything comes unasked
	ready     *ops.Readiness
	kick      chan struct{} // one slot: something may have become ready

	running    atomic.Bool
	draining   atomic.Bool
	failHealth atomic.Bool
	quitOnce   sync.Once

	state state
}

// peerSlot is the metadata exchange's index in the list of filters.
const peerSlot = 0

// New makes a proxy; Run starts it, and gives back what it holds.
func New(o Options) (*Proxy, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	p := &Proxy{
		opts: o, log: o.Log, started: time.Now(), watch: o.Watch, timers: timer.NewQueue(0), access: new(rbac.Stats),
		kick: make(chan struct{}, 1), ready: ops.NewReadiness("clusters", "listeners"),
	}
	p.secrets = newSecrets(o.Secrets)
	p.state.init()
	var err error
	if p.exchange, err = peermeta.New(o.Node); err != nil {
		return nil, err
	}
	p.sinks = telemetry.NewSinks(o.AccessLog, o.ErrorLog, ops.Scope(o.Log, "accesslog"))
	if p.registry, err = telemetry.NewRegistry(o.Version, p.sinks); err != nil {
		return nil, err
	}
	if err = p.registry.Register(guardMetrics{p}); err != nil {
		return nil, err
	}
	if err = p.registry.Register(envoyMetrics{p}); err != nil {
		return nil, err
	}
	if p.metrics, err = telemetry.NewMetrics(p.registry, peermeta.FromNode(o.Node), peerSlot); err != nil {
		return nil, err
	}
	if err = p.newReporter(); err != nil {
		return nil, err
	}
	if p.watch == nil {
		if p.watch, err = rawio.NewWatch(); err != nil {
			return nil, err
		}
		p.ownWatch = true
	}
	p.build()
	return p, nil
}

// build makes the run-time parts; nothing runs yet.
func (p *Proxy) build() {
	o := &p.opts
	resolver := o.Resolver
	if resolver == nil {
		resolver = systemResolver{}
	}
	p.clusters = upstream.New(upstream.Options{
		Sockets: o.Sockets, Watch: p.watch, Secrets: p.secrets, Resolver: resolver, Timer: p.timers,
		Log: ops.Scope(o.Log, "upstream"), Observer: clusterObserver{p},
	})
	p.relay = relay.New(relay.Options{Timer: p.timers, Log: ops.Scope(o.Log, "relay")})
	p.deps = config.Deps{
		Gateway: o.gateway(),
		Cluster: func(name string) any { return p.clusters.Handle(name) },
		Filters: []config.FilterBuilder{
			p.exchange, // peerSlot
			grpcstats.NewBuilder(),
			alpn.NewBuilder(),
			fault.NewBuilder(fault.Options{}),
			rbac.NewBuilder(p.access),
			cors.NewBuilder(),
			router.NewBuilder(router.Options{Clusters: p.clusters, Timer: p.timers, Log: ops.Scope(o.Log, "router")}),
		},
	}
	to := listener.Options{
		Sockets: o.Sockets, Log: ops.Scope(o.Log, "listener"), Handshakes: o.Concurrency,
		MaxConnections: o.MaxConnections, DrainTime: o.DrainTime, Unserved: p.unserved, Gate: o.Overload,
		Declared: declaredHTTP,
	}
	if o.onDemand() {
		p.demand = newDemand(o)
		to.Demand = p.demand.Address
	}
	p.listeners = listener.New(to)
}

// clusterObserver passes on what happens to clusters.
type clusterObserver struct{ p *Proxy }

func (c clusterObserver) ClusterReady(string) { c.p.poke() }

func (p *Proxy) poke() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends or a fatal error, then closes everything. A Proxy runs
// once.
func (p *Proxy) Run(ctx context.Context) error {
	if p.running.Swap(true) {
		return errors.New("proxy: runs already")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer p.close()
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := p.serveAdmin(&wg)
	defer stop()
	defer p.heed()()
	wg.Go(func() { p.settleLoop(ctx) })

	p.opts.Source.Subscribe(config.ClusterURL, client.Wildcard)
	p.opts.Source.Subscribe(config.ListenerURL, client.Wildcard)
	if p.demand != nil {
		p.demand.Start()
	}
	source := make(chan error, 1)
	wg.Go(func() { source <- p.opts.Source.Run(ctx, p) })
	select {
	case <-ctx.Done():
	case err := <-source:
		if err != nil && ctx.Err() == nil {
			cancel()
			return fmt.Errorf("configuration source: %w", err)
		}
		<-ctx.Done() // a source that has told everything
	}
	cancel()
	return nil
}

func (p *Proxy) close() {
	p.listeners.Close()
	p.clusters.Close()
	p.sinks.Close()
	if p.ownWatch {
		if err := p.watch.Close(); err != nil {
			p.log.Warn("hang-up watch not closed", "err", err)
		}
	}
}

// Ease makes the proxy unready and asks inbound connections to go, while new ones are
// still served: their clients may not have heard yet that the workload ends. It does
// not wait; Drain follows.
func (p *Proxy) Ease() {
	p.draining.Store(true)
	p.listeners.Ease(p.staysOpen())
}

// Drain refuses new inbound connections, lets those that are open finish, and
// returns when none is left or ctx ends. Outbound traffic goes on: a workload
// that shuts down may still need it. A gateway has only traffic from outside.
func (p *Proxy) Drain(ctx context.Context) {
	p.draining.Store(true)
	p.listeners.Drain(ctx, p.staysOpen())
}

// staysOpen tells the listeners that go on while the proxy drains; nil: none does.
func (p *Proxy) staysOpen() func(*config.Listener) bool {
	if p.opts.gateway() {
		return nil
	}
	return func(l *config.Listener) bool { return l.Dir == stream.Outbound }
}

// Ready reports whether the first configuration is in force and the proxy takes
// new connections.
func (p *Proxy) Ready() bool { return p.readyErr() == nil }

// NotReady says why the proxy is not ready; nil: it is.
func (p *Proxy) NotReady() error { return p.readyErr() }

// InForce reports whether the first configuration is in force, also while the proxy
// drains.
func (p *Proxy) InForce() bool { return p.ready.Err() == nil }

func (p *Proxy) readyErr() error {
	switch {
	case p.draining.Load():
		return errors.New("not ready: draining")
	case p.failHealth.Load():
		return errors.New("not ready: failed by /healthcheck/fail")
	}
	return p.ready.Err()
}

// Registry holds the proxy's metrics.
func (p *Proxy) Registry() *prometheus.Registry { return p.registry }

// Listeners lists the listeners in force, with the addresses that they are bound
// to.
func (p *Proxy) Listeners() []listener.Info { return p.listeners.Listeners() }

// Clusters gives the proxy's clusters.
func (p *Proxy) Clusters() *upstream.Manager { return p.clusters }

// systemResolver resolves with the host's resolver.
type systemResolver struct{}
