package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/gatewayapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// Objects is the source of configuration: a *store.Store.
type Objects interface {
	Snapshot() ([]*api.Object, int64)
	// Watch gives a token whenever something changed, and one at the start.
	Watch(ctx context.Context) <-chan struct{}
}

// Memory keeps what the pure stages must remember over a restart: a *store.Store.
type Memory interface {
	SavePrior(name string, v any) error
	LoadPrior(name string, v any) (found bool, err error)
}

// Options configure an Engine. Objects and Memory are required.
type Options struct {
	Objects Objects
	Memory  Memory
	// TrustDomain is "cluster.local" where empty.
	TrustDomain string
	// Services is the range of the services' virtual addresses; 10.96.0.0/16 where
	// it is not valid.
	Services netip.Prefix
	// RootNamespace holds mesh-wide policies; "istio-system" where empty.
	RootNamespace string
	// Mesh is the mesh's configuration in force, where it is no object among Objects;
	// nil: it is the ConfigMap istio-system/istio, if there is one. A change of it must
	// be a change of Objects' revision too.
	Mesh func() *meshconfig.MeshConfig
	// MeshOrigin is where Mesh comes from.
	MeshOrigin verdict.Origin
	// NameTable gives each proxy the names that it answers its workload for itself,
	// as resources of wire.NameTableType: where nobody else keeps the mesh's names.
	NameTable bool
	// Remembers tells whether this engine's memory is the one that is kept; nil:
	// always. Of several replicas it is the leader's. Others take what is kept before
	// every build, so that equal inputs give equal bytes everywhere.
	Remembers func() bool
	// Gateways says which of the Gateway API's Gateways are ours and where they run;
	// the zero value is the mesh on one machine.
	Gateways gatewayapi.Options
	// ScopeGateways keeps the selectors of Istio's Gateways within their namespaces.
	ScopeGateways bool
	// Quiet is how long changes must pause before a build, Longest how long a build
	// can be put off by it; 0 takes Istio's 100 ms and 1 s. The first change after a
	// pause is built at once.
	Quiet, Longest time.Duration
	Log            *slog.Logger          // nil: silent
	Metrics        prometheus.Registerer // nil: none
	Now            func() time.Time      // nil: time.Now
}

// DefaultServices is Kubernetes' usual range of services' addresses.
var DefaultServices = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 96, 0, 0}), 16)

// Engine builds and offers. Its methods are safe for concurrent use. It
// implements server.Owner.
type Engine struct {
	// immutable
	o       Options
	log     *slog.Logger
	metrics *metrics
	arrived chan struct{} // one slot: connections wait for their first state
	moved   chan struct{} // one slot: workloads changed
	asked   chan struct{} // one slot: a proxy on demand asked for something

	built  atomic.Pointer[built] // nil before the first build
	recall atomic.Bool           // the memory is to be looked at

	mu        sync.Mutex
	workloads []registry.Workload // guarded by mu; nil before the first SetWorkloads
	told      int64               // guarded by mu: counts SetWorkloads
	known     bool                // guarded by mu: SetWorkloads was called
	clients   map[*server.Conn]*client
	names     Names
	renamed   chan struct{} // guarded by mu; closed and replaced when names change
	progress  chan struct{} // guarded by mu; closed and replaced when anything moves on

	// b is owned by Run's goroutine.
	b builder
}

// built is one finished build; immutable.
type built struct {
	generation int64 // counts builds, from 1
	revision   int64 // of the objects
	told       int64 // of the workloads
	snapshot   *mesh.Snapshot
	statuses   statuses
	versions   objectVersions
	gateways   []gatewayapi.Status
	prior      compile.Prior
	vips       map[string]netip.Addr
	at         time.Time
}

// New makes an engine and reads what the memory holds.
func New(o Options) (*Engine, error) {
	if o.Objects == nil || o.Memory == nil {
		return nil, errors.New("push engine: objects and memory are required")
	}
	if !o.Services.IsValid() {
		o.Services = DefaultServices
	}
	if o.Quiet == 0 {
		o.Quiet = 100 * time.Millisecond
	}
	if o.Longest == 0 {
		o.Longest = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &Engine{
		o: o, log: o.Log, metrics: newMetrics(o.Metrics),
		arrived: make(chan struct{}, 1), moved: make(chan struct{}, 1), asked: make(chan struct{}, 1),
		clients: map[*server.Conn]*client{}, renamed: make(chan struct{}), progress: make(chan struct{}),
	}
	e.b = builder{e: e, variants: map[string]*variant{}, classes: map[string]*class{}, trees: map[partKey]*branch{}, facts: map[compile.Question]bool{}, fragments: map[fragmentKey]*server.Resource{}}
	if err := e.b.memory.load(o.Memory); err != nil {
		return nil, fmt.Errorf("push engine: %w", err)
	}
	return e, nil
}

// PushOrder is the order in which types are sent, make before break.
func PushOrder() []string {
	return []string{build.ClusterType, build.EndpointType, build.SecretType, build.ListenerType, build.RouteType, wire.DemandType}
}

// FullTypes are those whose state-of-the-world responses hold everything.
func FullTypes() []string { return []string{build.ClusterType, build.ListenerType} }

// SetWorkloads replaces the list of all workloads. Nothing is offered to any
// proxy before the first call: a control plane that has just started does not
// know who serves what, and must not tell proxies that nobody does.
func (e *Engine) SetWorkloads(list []registry.Workload) {
	own := make([]registry.Workload, len(list))
	copy(own, list)
	e.mu.Lock()
	e.workloads, e.known = own, true
	e.told++
	e.mu.Unlock()
	poke(e.moved)
}

// Snapshot is the mesh of the newest build; nil before the first.
func (e *Engine) Snapshot() *mesh.Snapshot {
	if b := e.built.Load(); b != nil {
		return b.snapshot
	}
	return nil
}

// GatewayStatuses is what the statuses of the Gateway API's objects should say, as of
// the newest build; nil before the first. The leader writes them (Status.Merge).
func (e *Engine) GatewayStatuses() []gatewayapi.Status {
	if b := e.built.Load(); b != nil {
		return b.gateways
	}
	return nil
}

// Build describes the newest build.
type Build struct {
	Generation int64 // counts builds of this engine, from 1
	Revision   int64 // of the objects
	At         time.Time
}

// Build describes the newest build; ok is false before the first.
func (e *Engine) Build() (b Build, ok bool) {
	if n := e.built.Load(); n != nil {
		return Build{n.generation, n.revision, n.at}, true
	}
	return b, false
}

// Recall makes a build that looks at the memory again: of a replica that has just
// begun to lead, which keeps what it has learned, or of one that does not lead, when
// what is kept has changed.
func (e *Engine) Recall() {
	e.recall.Store(true)
	poke(e.moved)
}

// Ready tells why nothing is served yet; nil once it is.
func (e *Engine) Ready() error {
	if e.built.Load() != nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.known {
		return errors.New("the workloads are not known yet")
	}
	return errors.New("the configuration is not compiled yet")
}

// Run builds until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	changes := e.o.Objects.Watch(ctx)
	d := debounce{quiet: e.o.Quiet, longest: e.o.Longest}
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-changes:
			if !ok {
				return nil // ctx ended
			}
			timer.Reset(d.changed(time.Now()))
		case <-e.moved:
			timer.Reset(d.changed(time.Now()))
		case <-timer.C:
			d.fired()
			e.b.rebuild(ctx)
		case <-e.arrived:
			e.b.welcome()
		case <-e.asked:
			e.b.listen()
		}
	}
}

// poke leaves a token in a channel of one slot.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Moved gives a channel that is closed when a build was offered, or a proxy came,
// went or answered.
func (e *Engine) Moved() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.progress
}

// advance wakes everybody who waits for progress.
func (e *Engine) advance() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.progress)
	e.progress = make(chan struct{})
}
