// Package cluster is the control plane of a mesh on Kubernetes: one of several
// equal replicas of a Deployment, which Core makes from what a kube.Source reads.
//
// Everything that a proxy needs, every replica serves; what writes to the cluster
// (statuses, roots, webhooks, memory, gateways), the leader does alone. A replica
// listens at once, and answers when it has read the cluster, has the keys of the
// authority and has built the first configuration; until then /ready says what it
// waits for. One that is asked to end first says that it is not ready, then ends
// its proxies' streams one after the other, and then stops.
//
// # Ports
//
//	15012  xDS and istio.v1.auth.IstioCertificateService over TLS. Callers prove who
//	       they are by a bearer token for the audience istio-ca, or by a certificate
//	       of the mesh; a node may be of the caller's namespace, account and pod only.
//	15010  the same xDS in plain text, without secrets and certificates, if asked for.
//	15017  webhooks over TLS: POST /inject, POST /validate.
//	15014  pages, below.
//	8080   GET /ready, GET /live.
//
// # Pages
//
// /metrics, /version and /ready are anybody's. All others are for callers from
// loopback (a port-forward), and for those with the bearer token of a service
// account: of the system namespace for everything, of another one for what it says
// of that namespace's proxies. A token travels here in plain text, as in Istio;
// prefer a port-forward.
//
//	GET /debug/                      the list
//	GET /debug/{adsz,connections,syncz}          who is connected, and how far
//	GET /debug/config_dump?proxyID=NAME.NS       what a proxy should have
//	GET /debug/{registryz,endpointz,configz}     services, endpoints, objects
//	GET /debug/{mesh,inject}         the configuration of mesh and injector
//	GET /debug/{push_status,status}  the newest build, all verdicts
//	GET /debug/pprof/                Go's profiles
//	GET /v1/{objects,status,wait}    package configapi, for reading
//	GET /v1/{names,proxies}          package meshapi, for reading
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/controlplane"
	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/webhook"
)

// plane is one replica.
type plane struct {
	// immutable
	o      Options
	client *kube.Client
	source *kube.Source
	ports  *ports
	health health

	leads   atomic.Bool
	prior   atomic.Pointer[kube.Document] // what the leader keeps
	serving atomic.Pointer[servers]       // nil before all is known

	mu        sync.Mutex
	ready     bool                   // guarded by mu: start is done
	told      bool                   // guarded by mu: workloads are known
	workloads []registry.Workload    // guarded by mu
	mesh      *meshconfig.MeshConfig // guarded by mu; nil before it is known

	// Set by start, before whoever reads them begins.
	core      *controlplane.Core
	authority *authority
	injection *injection
	repair    *repair
}

// Run runs a replica until ctx ends, and then hands its proxies over.
func Run(ctx context.Context, o Options) (err error) {
	base, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()
	p, err := newPlane(base, o)
	if err != nil {
		return fmt.Errorf("control plane: %w", err)
	}
	defer func() { err = errors.Join(err, p.ports.Close()) }()
	return p.run(ctx)
}

// newPlane opens the ports of a replica; its connections to the API server end
// with ctx.
func newPlane(ctx context.Context, o Options) (*plane, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	client, err := kube.Connect(ctx, kube.Options{
		Kubeconfig: o.Kubeconfig, Context: o.Context, Namespace: o.Namespace, Revision: o.Revision, SharedMeshConfig: o.SharedMeshConfig, Log: ops.Scope(o.Log, "kube"),
	})
	if err != nil {
		return nil, err
	}
	p := &plane{o: o, client: client, source: client.Source()}
	if p.ports, err = open(o); err != nil {
		return nil, err
	}
	p.source.OnWorkloads(p.setWorkloads)
	p.source.OnMeshConfig(p.setMesh)
	return p, nil
}

// run runs the parts until ctx ends and the proxies have gone.
func (p *plane) run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	left := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(left)
		p.handOver(work)
		stop()
	})
	page := newHTTP(p.health.handler(), p.o.Log)
	err := together(work,
		serveHTTP(page, p.ports.health, page.Serve),
		p.source.Run,
		func(work context.Context) error { return p.serve(work, ctx) },
	)
	if !cancel() {
		<-left
	}
	return err
}

// handOver sends the proxies to other replicas.
func (p *plane) handOver(work context.Context) {
	p.health.leaving.Store(true)
	s := p.serving.Load()
	if s == nil {
		return // nobody came yet
	}
	p.o.Log.Info("control plane hands its proxies over")
	if rest(work, p.o.Leave.Notice) {
		s.drain(work)
	}
}

// serve waits until the cluster is known, puts everything together and runs it.
func (p *plane) serve(work, asked context.Context) error {
	ctx, cancel := context.WithCancel(work)
	defer cancel()
	defer context.AfterFunc(asked, func() {
		if p.serving.Load() == nil {
			cancel() // it only starts
		}
	})()
	s, err := p.start(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return waitFor(work)
		}
		return err
	}
	p.serving.Store(s.servers)
	p.health.wait(func() error { return errors.Join(p.core.Ready(), p.injection.Ready()) })
	p.o.Log.Info("control plane serves", "xds", p.ports.xds.Addr(), "webhooks", p.ports.webhooks.Addr(), "debug", p.ports.debug.Addr(),
		"revision", p.o.Revision, "trust_domain", p.authority.TrustDomain())
	parts := append(s.servers.parts(), p.core.Engine().Run, p.core.RunHistory, s.serving.Run,
		keep("keys", p.o.Log, func(ctx context.Context) error { return p.authority.run(ctx, p.client, p.o.Namespace) }),
		keep("injector", p.o.Log, p.injection.follow(p.client)),
		keep("memory of the leader", p.o.Log, p.followPrior),
		every("verdicts", statusPeriod, nil, p.o.Log, p.say),
		p.lead(asked),
	)
	return together(work, parts...)
}

// started is what start has put together.
type started struct {
	servers *servers
	serving *ca.Serving
}

// start makes everything that needs the cluster. What fails because the API server
// is away, or because somebody must mend a Secret, is tried again.
func (p *plane) start(ctx context.Context) (s started, err error) {
	p.health.wait(func() error { return errors.Join(errStarting, p.source.Synced()) })
	if err := p.synced(ctx); err != nil {
		return s, err
	}
	mc := p.source.MeshConfig()
	if err := p.makeCore(ctx, mc); err != nil {
		return s, err
	}
	metrics := ca.NewMetrics(p.core.Metrics())
	domain := trustDomain(p.o, mc)
	err = until(ctx, func(ctx context.Context) (err error) {
		p.authority, err = newAuthority(ctx, p.o, p.client, domain, p.source.MeshConfig(), metrics)
		if err == nil {
			s.serving, err = ca.Serve(ctx, p.authority, p.o.serverNames(), ops.Scope(p.o.Log, "ca"))
		}
		return err
	}, p.waits("the authority's keys are not ready"))
	if err != nil {
		return s, err
	}
	p.injection = newInjection(p.o, p.source, p.core.Metrics())
	p.repair = newRepair(p.o, p.client, p.injection, p.core.Metrics())
	p.begin(mc)
	s.servers, err = newServers(p.o, p.deps(s.serving, metrics))
	return s, err
}

// waits notes and logs what a replica that starts waits for.
func (p *plane) waits(what string) func(error) {
	return func(err error) {
		err = fmt.Errorf("%s: %w", what, err)
		p.o.Log.Error("the control plane waits", "err", err)
		p.health.wait(func() error { return err })
	}
}

// synced waits until the source knows the cluster.
func (p *plane) synced(ctx context.Context) error {
	for begin := time.Now(); ; {
		err := p.source.Synced()
		if err == nil {
			return nil
		}
		if time.Since(begin) > 10*time.Second {
			p.o.Log.Info("the control plane waits for the cluster", "err", err)
			begin = time.Now()
		}
		if !rest(ctx, 50*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// makeCore makes the engine, which reads what the replicas remember.
func (p *plane) makeCore(ctx context.Context, mc *meshconfig.MeshConfig) error {
	return until(ctx, func(context.Context) (err error) {
		p.core, err = controlplane.NewCore(controlplane.CoreOptions{
			Push: push.Options{
				Objects: p.source, Memory: p.source, TrustDomain: trustDomain(p.o, mc), RootNamespace: mc.GetRootNamespace(),
				Mesh: p.source.MeshConfig, MeshOrigin: p.source.MeshOrigin(),
				NameTable: true, Remembers: p.leads.Load, Gateways: p.gatewayOptions(),
			},
			Version: p.o.Version, Log: p.o.Log,
		})
		return err
	}, p.waits("what the control plane remembers is not read"))
}

// deps are what the servers are made of.
func (p *plane) deps(serving *ca.Serving, metrics *ca.Metrics) deps {
	hooks := http.NewServeMux()
	inject := p.injection.handler()
	hooks.Handle("/inject", inject)
	hooks.Handle("/inject/", inject)
	if p.o.Validation {
		validate := webhook.NewValidation(webhook.Validation{Log: ops.Scope(p.o.Log, "validate"), Metrics: p.core.Metrics()})
		hooks.Handle("POST /validate", validate)
		hooks.Handle("POST /validate/", validate)
	}
	show := &pages{
		core: p.core, objects: p.source, mesh: p.source.MeshConfig, inject: p.injection, health: &p.health, roots: p.authority.Roots,
		access: access{review: p.client, audiences: p.o.Audiences, system: p.o.Namespace, log: ops.Scope(p.o.Log, "access")},
	}
	return deps{
		ports: p.ports, core: p.core, signer: p.authority, serving: serving, metrics: metrics, webhooks: hooks, pages: show.handler(p.o),
		callers: newCallers(p.client, p.o.Audiences, p.domains, ops.Scope(p.o.Log, "callers"), time.Now),
	}
}

// domains are the trust domains whose certificates callers may show.
func (p *plane) domains() []string {
	return append([]string{p.authority.TrustDomain()}, p.source.MeshConfig().GetTrustDomainAliases()...)
}

// setWorkloads takes all workloads, from the source.
func (p *plane) setWorkloads(list []registry.Workload) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told, p.workloads = true, slices.Clone(list)
	p.handWorkloads()
}

// setMesh takes the mesh's configuration, from the source.
func (p *plane) setMesh(mc *meshconfig.MeshConfig) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mesh = mc
	p.handMesh()
}

// begin hands on what was told before there was anybody to hand it to. mc is what
// start was made of.
func (p *plane) begin(mc *meshconfig.MeshConfig) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = true
	if p.mesh == nil {
		p.mesh = mc
	}
	p.handMesh()
	p.handWorkloads()
}

// handWorkloads hands the workloads on; the caller holds mu.
func (p *plane) handWorkloads() {
	if p.ready && p.told {
		p.core.Engine().SetWorkloads(p.workloads)
		p.repair.setWorkloads(p.workloads)
	}
}

// handMesh hands the mesh's configuration on; the caller holds mu. Names of the
// mesh itself are for good: every certificate carries them.
func (p *plane) handMesh() {
	if !p.ready {
		return
	}
	if d := trustDomain(p.o, p.mesh); d != p.authority.TrustDomain() {
		p.o.Log.Warn("the mesh's trust domain was changed: it acts when the control plane restarts", "now", p.authority.TrustDomain(), "then", d)
	}
	p.injection.setMesh(p.mesh)
	p.authority.follow(p.mesh)
}

// say collects what others than the compiler say of objects.
func (p *plane) say(context.Context) error {
	p.core.SetVerdicts(slices.Concat(p.source.Statuses(), p.repair.verdicts()))
	return nil
}
