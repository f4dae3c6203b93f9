package command

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"github.com/lateen-mesh/lateen/internal/agent/pod"
	"github.com/lateen-mesh/lateen/internal/agent/scrape"
	"github.com/lateen-mesh/lateen/internal/agent/sidecar"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/ops/process"
	"github.com/lateen-mesh/lateen/internal/proxy"
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/overload"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/client"
	"github.com/lateen-mesh/lateen/internal/xds/client/cache"
)

// rootVariable names the directory that a pod's files are below; "/" where it is not
// set. Tests and machines that are not pods set it.
const rootVariable = "LATEEN_POD_ROOT"

// cachedTypes lists what is kept for a start without the control plane, in the order
// in which a proxy needs it.
var cachedTypes = []string{config.ClusterURL, config.EndpointsURL, config.ListenerURL, config.RouteURL, proxy.SecretURL, wire.NameTableType, wire.DemandType}

// runPod runs the proxy as the container of a pod, until ctx ends; then it ends as the
// pod's settings say.
func runPod(ctx context.Context, env *Env, b *Bootstrap) error {
	levels := ops.NewLevels(slog.LevelInfo)
	if err := levels.Apply(b.LogLevel); err != nil {
		return usageError{err}
	}
	log := ops.NewLogger(env.Err, ops.ParseForm(b.LogFormat), levels)
	set, err := pod.Read(env.Getenv, podRoot(env))
	if err != nil {
		return err
	}
	if b.Concurrency == nil {
		b.Concurrency = set.Concurrency
	}
	settings := process.Apply(process.Settings{Concurrency: b.concurrency(), Getenv: env.Getenv, Log: ops.Scope(log, "runtime")})
	defer settings.Close()
	guard := overload.New(overload.Options{Process: settings, Log: ops.Scope(log, "overload")})
	quit, quitNow := context.WithCancel(ctx)
	defer quitNow()
	side, err := sidecar.New(sidecar.Options{Settings: set, Environ: env.environ(), Plane: pod.Native, Log: log, Quit: quitNow})
	if err != nil {
		return err
	}
	defer func() { _ = side.Close() }() // the process ends

	o := proxy.Options{
		Node: side.Node(), Sockets: rawio.HostSockets{Transparent: set.Transparent}, Secrets: side.Identity,
		AccessLog: env.Out, ErrorLog: env.Err, Log: log, Levels: levels,
		Concurrency: settings.Procs, MaxConnections: b.MaxConnections, Quit: quitNow, DrainTime: set.ChangeDrain,
		Overload: guard, Runtime: settings, Profiles: set.Profiles,
	}
	p, err := podProxy(side, o)
	if err != nil {
		return err
	}
	if err := side.Listen(sidecar.Behind{Ready: p.NotReady, Metrics: scrape.Gatherer(p.Registry())}); err != nil {
		return err
	}
	return livePod(ctx, quit, side, p, guard, log)
}

func podRoot(env *Env) string {
	if root := env.Getenv(rootVariable); root != "" {
		return root
	}
	return "/"
}

// podProxy makes the proxy with its source of configuration: the control plane, and
// behind it what an earlier start has kept.
func podProxy(side *sidecar.Sidecar, o proxy.Options) (p *proxy.Proxy, err error) {
	set := side.Settings
	ads, err := client.New(client.Options{
		Target: set.Discovery, Conn: side.Conn, Token: side.Token, Node: side.Node(), Log: ops.Scope(o.Log, "xds"),
	})
	if err != nil {
		return nil, err
	}
	side.OnNode(ads.SetNode)
	store := side.Store([]string{proxy.SecretURL}, func() bool { return p.InForce() })
	o.Source = side.WithNames(cache.NewSource(ads, store, set.FromCache, cachedTypes, ops.Scope(o.Log, "cache")))
	if o.AdminListener, err = net.Listen("tcp", set.Admin); err != nil {
		return nil, err
	}
	if p, err = proxy.New(o); err != nil {
		return nil, errors.Join(err, o.AdminListener.Close())
	}
	ads.Beside(p.Observe)
	return p, nil
}

// livePod runs the parts until the proxy has ended: when ctx ends, or quit does, it
// drains first.
func livePod(ctx, quit context.Context, side *sidecar.Sidecar, p *proxy.Proxy, guard *overload.Monitor, log *slog.Logger) error {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	failed, ended := make(chan error, 1), make(chan error, 1)
	wg.Go(func() {
		if err := side.Run(run); err != nil {
			failed <- err
		}
	})
	wg.Go(func() { guard.Run(run) })
	wg.Go(func() { ended <- p.Run(run) })
	side.Life.Begin(p)
	select {
	case err := <-ended:
		return err
	case err := <-failed:
		log.Error("the proxy ends", "err", err)
		cancel()
		return errors.Join(err, <-ended)
	case <-quit.Done():
	}
	side.Life.End(run)
	cancel()
	return <-ended
}
