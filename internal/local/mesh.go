package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/dns"
	"github.com/lateen-mesh/lateen/internal/local/control"
	"github.com/lateen-mesh/lateen/internal/local/netns"
	"github.com/lateen-mesh/lateen/internal/local/supervise"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/ops/process"
	"github.com/lateen-mesh/lateen/internal/proxy/overload"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// mesh is a running mesh.
type mesh struct {
	o       *Options
	log     *slog.Logger
	runtime *runtime
	sup     *supervise.Supervisor
	config  *configapi.Client
	state   *meshapi.Client
	ports   *netns.HostPorts
	info    control.Info
	console net.Listener
	sources *sources

	changed  chan struct{} // one slot: pods may have changed
	restated chan struct{} // one slot: the control plane is a new one

	mu   sync.Mutex
	wake chan struct{}       // guarded by mu; closed and replaced when pods may have changed
	told []registry.Workload // guarded by mu: what the control plane was told last
}

// Up runs a mesh until ctx ends, or `down` asks for its end, then takes everything
// away. ready is called once, when everything that the configuration wants runs
// and is in force, or when that takes too long; problems then says what is not.
func Up(ctx context.Context, o Options, ready func(i control.Info, problems []string)) (err error) {
	if err := o.complete(); err != nil {
		return err
	}
	if err := o.Dirs.make(); err != nil {
		return fmt.Errorf("the mesh's directories: %w", err)
	}
	lock, err := o.Dirs.lock()
	if err != nil {
		return fmt.Errorf("mesh %q: %w", o.Name, err)
	}
	// Last of all: a lock that is free tells others that the mesh is gone.
	defer lock.Close()
	if err := o.Dirs.clean(); err != nil {
		return fmt.Errorf("cleaning up after an earlier mesh: %w", err)
	}
	defer func() { err = errors.Join(err, o.Dirs.clean()) }()
	levels := ops.NewLevels(slog.LevelInfo)
	if err := levels.Apply(o.LogLevel); err != nil {
		return err
	}
	m := &mesh{
		o: &o, log: ops.NewLogger(o.Log, ops.Text, levels), changed: make(chan struct{}, 1), restated: make(chan struct{}, 1),
		wake: make(chan struct{}), sources: &sources{},
		config: configapi.NewClient(filepath.Join(o.Dirs.Runtime, configapi.SocketName)),
		state:  meshapi.NewClient(filepath.Join(o.Dirs.Runtime, meshapi.SocketName)),
	}
	return m.run(ctx, ready)
}

// run makes the parts in order, and takes them away in the opposite one.
func (m *mesh) run(ctx context.Context, ready func(control.Info, []string)) (err error) {
	network, err := netns.New(m.o.Network, ops.Scope(m.log, "network"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, network.Close()) }()
	m.ports = netns.NewHostPorts()
	defer func() { err = errors.Join(err, m.ports.Close()) }()
	if err := m.reserve(); err != nil {
		return err
	}
	if err := m.listenConsole(); err != nil {
		return err
	}
	defer m.console.Close()
	watch, err := rawio.NewWatch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, watch.Close()) }()
	settings := process.Apply(process.Settings{Getenv: os.Getenv, Log: ops.Scope(m.log, "runtime")})
	defer settings.Close()
	guard := overload.New(overload.Options{Process: settings, Log: ops.Scope(m.log, "overload")})
	watching, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	var watcher sync.WaitGroup
	watcher.Go(func() { guard.Run(watching) })
	defer watcher.Wait()
	defer unwatch()
	issuer, err := grpc.NewClient("unix://"+filepath.Join(m.o.Dirs.Runtime, "xds.sock"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return fmt.Errorf("connection for certificates: %w", err)
	}
	defer issuer.Close()
	m.runtime = &runtime{
		o: m.o, network: network, ports: m.ports, names: dns.NewTable(), resolver: dns.NewHost(""), watch: watch, settings: settings, guard: guard,
		issuer: issuer, users: otherUsers(), log: ops.Scope(m.log, "pods"), outputs: map[string]*output{},
	}
	m.sup = supervise.New(supervise.Options{
		Runtime: m.runtime, Sources: m.sources, Machine: supervise.Machine{OneUser: !m.runtime.users, Exists: isDirectory}, Log: ops.Scope(m.log, "pods"), Changed: func() { poke(m.changed) },
	})
	network.SetServices(m.endpoint)
	return m.serve(ctx, ready)
}

// serve starts what runs all the time, and returns when the mesh has ended.
func (m *mesh) serve(ctx context.Context, ready func(control.Info, []string)) error {
	// The control plane outlives the pods, whose end it is told about.
	planes, endPlanes := context.WithCancel(context.WithoutCancel(ctx))
	defer endPlanes()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var plane, parts sync.WaitGroup
	defer plane.Wait()
	defer endPlanes()
	// What ends although it should not ends the mesh.
	spawn := func(wg *sync.WaitGroup, in context.Context, what string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(in); err != nil && in.Err() == nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	m.o.Progress("starting the control plane")
	spawn(&plane, planes, "control plane", m.controlPlane)
	if err := m.await(ctx); err != nil {
		return cause(ctx, err)
	}
	tokens, err := ca.OpenTokens(filepath.Join(m.o.Dirs.State, "ca"), nil)
	if err != nil {
		return err
	}
	m.runtime.tokens = tokens
	if err := m.applyBuiltin(ctx); err != nil {
		return cause(ctx, err)
	}
	spawn(&parts, ctx, "workloads", m.tellWorkloads)
	spawn(&parts, ctx, "names", m.followNames)
	spawn(&parts, ctx, "console", m.relayConsole)
	spawn(&parts, ctx, "control socket", func(ctx context.Context) error {
		return m.serveControl(ctx, func() { cancel(nil) })
	})
	first := make(chan struct{})
	spawn(&parts, ctx, "configuration", func(ctx context.Context) error { return m.followObjects(ctx, first) })
	m.o.Progress("starting the gateway, the proxies and the workloads")
	spawn(&parts, ctx, "pods", m.sup.Run)
	select {
	case <-first:
		problems := m.settle(ctx)
		if ctx.Err() == nil {
			ready(m.info, problems)
		}
	case <-ctx.Done():
	}
	<-ctx.Done()
	m.o.Progress("stopping")
	parts.Wait()
	return cause(ctx, nil)
}

// cause gives why ctx ended, if that was a failure, else err.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// reserve takes the gateway's ports on the host and makes the URLs.
func (m *mesh) reserve() error {
	m.info = control.Info{Name: m.o.Name, XDS: m.runtimeURL("xds.sock")}
	for _, p := range []struct {
		port   uint16
		scheme string
		url    *string
	}{{8080, "http", &m.info.Ingress.HTTP}, {8443, "https", &m.info.Ingress.HTTPS}} {
		wanted := p.port
		if m.o.AutoPorts {
			wanted = 0
		}
		addr, err := m.ports.Reserve(p.port, wanted)
		if err != nil {
			return fmt.Errorf("the gateway's port: %w", err)
		}
		if wanted != 0 && addr.Port() != wanted {
			m.o.Progress(fmt.Sprintf("port %d is taken: the gateway's %s is at %d", wanted, strings.ToUpper(p.scheme), addr.Port()))
		}
		*p.url = fmt.Sprintf("%s://localhost:%d", p.scheme, addr.Port())
	}
	return nil
}

func (m *mesh) runtimeURL(socket string) string {
	return "unix://" + filepath.Join(m.o.Dirs.Runtime, socket)
}

// startTime bounds how long `up` waits for a part.
const startTime = 60 * time.Second

// await waits until the control plane answers, and tells it that nothing runs yet:
// it serves no configuration before it knows.
func (m *mesh) await(ctx context.Context) error {
	limit := time.Now().Add(startTime)
	for {
		_, err := m.config.Objects(ctx, configapi.Query{Kind: "Namespace"})
		if err == nil {
			err = m.state.SetWorkloads(ctx, []registry.Workload{})
		}
		if err == nil {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("the control plane does not answer after %s: %w", startTime, err)
		}
		select {
		case <-time.After(readyPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle waits until everything that is wanted runs, and the configuration is in
// force on all proxies; it returns what is not after a while, and what of the
// Deployments cannot act here.
func (m *mesh) settle(ctx context.Context) []string {
	problems := m.settleAll(ctx)
	for _, s := range m.sup.Statuses() {
		if s.Code.Problem() {
			problems = append(problems, s.String())
		}
	}
	return problems
}

func (m *mesh) settleAll(ctx context.Context) []string {
	limit := time.NewTimer(startTime)
	defer limit.Stop()
	for {
		m.mu.Lock()
		wake := m.wake
		m.mu.Unlock()
		left := m.sup.Unsettled()
		if len(left) == 0 && m.isTold() {
			break
		}
		select {
		case <-wake:
		case <-time.After(100 * time.Millisecond): // a proxy's readiness wakes nobody
		case <-limit.C:
			return left
		case <-ctx.Done():
			return left
		}
	}
	list, err := m.config.Objects(ctx, configapi.Query{Kind: "Namespace"})
	if err != nil {
		return []string{"the configuration's revision: " + err.Error()}
	}
	report, err := m.config.Wait(ctx, list.Revision, 20*time.Second)
	if err != nil {
		return []string{"waiting for the proxies: " + err.Error()}
	}
	var problems []string
	for _, p := range report.Proxies {
		if p.State != configapi.InForce {
			problems = append(problems, fmt.Sprintf("proxy %s: %s %s", p.Proxy, p.State, p.Reason))
		}
	}
	return problems
}

// poke puts a token into a channel of one slot.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
