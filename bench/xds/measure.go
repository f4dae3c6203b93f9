package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"

	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// traffic counts what is sent. It is a stats.Handler.
type traffic struct{ bytes, messages atomic.Int64 }

func (*traffic) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*traffic) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*traffic) HandleConn(context.Context, stats.ConnStats)                       {}

// HandleRPC counts responses.
func (t *traffic) HandleRPC(_ context.Context, s stats.RPCStats) {
	if o, ok := s.(*stats.OutPayload); ok {
		t.bytes.Add(int64(o.WireLength))
		t.messages.Add(1)
	}
}

// bench is one control plane with its world.
type bench struct {
	s       *settings
	world   *world
	engine  *push.Engine
	metrics *prometheus.Registry
	traffic traffic
}

// measure starts a control plane and its proxies and prints what they cost.
func measure(ctx context.Context, s *settings, out io.Writer) error {
	b := &bench{s: s, metrics: prometheus.NewRegistry()}
	var err error
	if b.world, err = newWorld(s.services, s.proxies); err != nil {
		return err
	}
	if b.engine, err = push.New(push.Options{Objects: b.world, Memory: memory{}, Metrics: b.metrics}); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "lateen-bench-xds")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is a socket
	path := filepath.Join(dir, "xds")
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	g := grpc.NewServer(append(server.GRPCOptions(), grpc.StatsHandler(&b.traffic), grpc.MaxRecvMsgSize(64<<20))...)
	server.New(server.Options{
		Owner: b.engine, Auth: trusting{}, PushTypes: push.PushOrder(), FullTypes: push.FullTypes(), Gate: build.ListenerType, Last: wire.DemandType, Aside: []string{build.SecretType},
		Warms: map[string]string{build.ClusterType: build.EndpointType}, Names: map[string]string{build.ListenerType: build.RouteType}, Patience: time.Minute,
	}).Register(g)
	running, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { _ = b.engine.Run(running) }) // ends with running
	all.Go(func() { _ = g.Serve(l) })            // ends with Stop
	defer func() { g.Stop(); cancel(); all.Wait() }()
	b.world.changed <- struct{}{}
	b.engine.SetWorkloads(b.world.workloads)
	for b.engine.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	if err := b.configure(ctx, "unix://"+path, out); err != nil {
		return err
	}
	return b.changes(ctx, out)
}

// configure connects all proxies and waits until they have everything.
func (b *bench) configure(ctx context.Context, target string, out io.Writer) error {
	start, busy := time.Now(), cpu()
	if _, err := startProxies(ctx, b.s, target); err != nil {
		return err
	}
	for b.connected() < b.s.proxies {
		if err := pause(ctx); err != nil {
			return err
		}
	}
	if _, err := b.settled(ctx, 1); err != nil {
		return err
	}
	took, used := time.Since(start), cpu()-busy
	peak := memoryOf("VmHWM")
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	bytes := b.traffic.bytes.Load()
	_, err := fmt.Fprintf(out, "%d services x %d proxies (%s, %s): all configured after %.2f s, %.2f s of CPU, %.0f KB per proxy in %d messages, heap %d MiB, RSS %s (most: %s)\n\n"+
		"| change | compiled: clusters, calls, endpoints | messages | KB | at the last proxy, ms | CPU, ms |\n|---|---|---|---|---|---|\n",
		b.s.services, b.s.proxies, b.s.plane, b.s.form, took.Seconds(), used.Seconds(), float64(bytes)/1024/float64(b.s.proxies), b.traffic.messages.Load(), m.HeapAlloc>>20, memoryOf("VmRSS"), peak)
	return err
}

// settled waits until all proxies have answered for a revision.
func (b *bench) settled(ctx context.Context, revision int64) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	start := time.Now()
	reports, _, err := b.engine.Wait(ctx, revision)
	if err != nil {
		return 0, err
	}
	for _, r := range reports {
		if !r.Reached || len(r.Refusals) > 0 {
			return 0, fmt.Errorf("%s waits for %s, refuses %v", r.Proxy, r.Waiting, r.Refusals)
		}
	}
	return time.Since(start), nil
}

// changes makes one change of each kind and prints its cost.
func (b *bench) changes(ctx context.Context, out io.Writer) error {
	last := b.s.services - 1
	apply := func(text string) func() (int64, error) {
		return func() (int64, error) { return b.world.apply(text) }
	}
	workloads := func(change func()) func() (int64, error) {
		return func() (int64, error) {
			change()
			b.engine.SetWorkloads(b.world.workloads)
			_, revision := b.world.Snapshot()
			return revision, nil
		}
	}
	for _, c := range []struct {
		name string
		make func() (int64, error)
	}{
		{"endpoint", workloads(func() { b.world.workloads[0].Ready = false })},
		{"weight", apply(routeYAML(0, 50))},
		{"new route", apply(strings.NewReplacer(", subset: v1", "", ", subset: v2", "").Replace(routeYAML(1, 50)))},
		{"policy", apply(policyYAML(2, 100))},
		{"label", workloads(func() {
			b.world.workloads[0].Ready, b.world.workloads[1].Labels = true, map[string]string{"app": "svc-0", "version": "v1"}
		})},
		{"new service", apply(serviceYAML(last + 1))},
	} {
		if err := sleep(ctx, 2*time.Second); err != nil { // the debouncer is calm again
			return err
		}
		before, messages, bytes, busy := b.compilations(), b.traffic.messages.Load(), b.traffic.bytes.Load(), cpu()
		revision, err := c.make()
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		took, err := b.settled(ctx, revision)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		used, after := cpu()-busy, b.compilations()
		if _, err := fmt.Fprintf(out, "| %s | %d, %d, %d | %d | %d | %.0f | %.0f |\n", c.name,
			after[0]-before[0], after[1]-before[1], after[2]-before[2], b.traffic.messages.Load()-messages, (b.traffic.bytes.Load()-bytes)>>10,
			took.Seconds()*1000, used.Seconds()*1000); err != nil {
			return err
		}
	}
	return nil
}

// compilations reads how many hosts' clusters, calls and endpoints were compiled.
func (b *bench) compilations() (n [3]int) {
	families, err := b.metrics.Gather()
	if err != nil {
		return n
	}
	for _, f := range families {
		if f.GetName() != "lateen_compilations" {
			continue
		}
		for _, m := range f.GetMetric() {
			n[map[string]int{"clusters": 0, "calls": 1, "endpoints": 2}[m.GetLabel()[0].GetValue()]] = int(m.GetCounter().GetValue())
		}
	}
	return n
}

// connected reads how many proxies are.
func (b *bench) connected() int {
	families, err := b.metrics.Gather()
	if err != nil {
		return 0
	}
	for _, f := range families {
		if f.GetName() == "pilot_xds" {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	return 0
}

// trusting believes what the proxies say of themselves.
type trusting struct{}

// Authenticate implements server.Authenticator.
func (trusting) Authenticate(ctx context.Context) (server.Identity, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	ns := strings.Join(md.Get(namespaceHeader), "")
	if ns == "" {
		return server.Identity{}, errors.New("the proxy does not say its namespace")
	}
	return server.Identity{Namespace: ns, ServiceAccount: "default"}, nil
}

// namespaceHeader is where proxies say their namespace.
const namespaceHeader = "bench-namespace"

// memoryOf reads a line of the process's status.
func memoryOf(name string) string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func pause(ctx context.Context) error { return sleep(ctx, 5*time.Millisecond) }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
