package push

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/gatewayapi"
	"github.com/lateen-mesh/lateen/internal/istioapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// builder holds what the next build starts from. Only Run's goroutine uses it.
type builder struct {
	e          *Engine
	memory     memory
	generation int64
	configs    int64 // counts the configurations that were read
	variants   map[string]*variant
	classes    map[string]*class
	trees      map[partKey]*branch       // what hosts contribute
	facts      map[compile.Question]bool // that any of it asks of clients
	askedList  []compile.Question        // facts, in order; nil: to be sorted
	factsRev   int64                     // counts the changes of facts
	fragments  map[fragmentKey]*server.Resource
	names      nameTables

	// The inputs and results of the last build.
	revision int64
	config   mesh.Config
	read     []verdict.Status    // of the front ends
	gateways []gatewayapi.Status // of the Gateway API's objects
	versions objectVersions
	snapshot *mesh.Snapshot
	scopes   map[workloads]*scope // of the workloads whose proxies take it on demand
}

// rebuild makes and offers a new build from the current inputs, or does nothing
// while the workloads are not known.
func (b *builder) rebuild(ctx context.Context) {
	e := b.e
	e.mu.Lock()
	workloads, known, told := e.workloads, e.known, e.told
	e.mu.Unlock()
	if !known || ctx.Err() != nil {
		return
	}
	start := time.Now()
	objects, revision := e.o.Objects.Snapshot()
	first := b.snapshot == nil
	remembers := e.o.Remembers == nil || e.o.Remembers()
	sameConfig := !first && revision == b.revision
	if recalled := e.recall.Swap(false); !remembers && (recalled || !sameConfig) && b.memory.follow(e.o.Memory, e.log) {
		sameConfig = false
	}
	if !sameConfig {
		b.configs++
		b.readObjects(objects)
		b.versions = versionsOf(objects)
	}
	vips := b.memory.allocate(e.o.Services, b.config.Services)
	snap, checked := mesh.Build(b.config, e.o.inputs(workloads, vips))
	if !sameConfig {
		b.memory.learn(snap)
	}
	b.project(snap)
	if remembers {
		if err := b.memory.save(e.o.Memory); err != nil {
			// What was learned still acts; a restart may forget it.
			e.log.Error("the compiler's memory was not saved", "err", err)
		}
	}

	b.generation++
	b.revision, b.snapshot = revision, snap
	b.names.start(snap)
	b.recompile(snap)
	kind := "endpoints"
	if !sameConfig {
		kind = "full"
	}
	b.sweep()
	e.built.Store(&built{
		generation: b.generation, revision: revision, told: told, snapshot: snap, at: e.o.Now(),
		statuses: b.statuses(checked), versions: b.versions, gateways: b.gateways,
		prior: b.memory.routes, vips: vips,
	})
	e.setNames(snap)
	b.offer()
	e.metrics.builds.WithLabelValues(kind).Inc()
	e.log.Debug("mesh compiled", "revision", revision, "kind", kind, "workloads", len(workloads), "variants", len(b.variants), "took", time.Since(start))
}

// readObjects runs the front ends.
func (b *builder) readObjects(objects []*api.Object) {
	b.config, b.gateways, b.read = b.e.o.read(objects)
}

// read runs the front ends over objects.
func (o *Options) read(objects []*api.Object) (mesh.Config, []gatewayapi.Status, []verdict.Status) {
	config, said := istioapi.Read(objects)
	if o.Mesh != nil {
		settings, more := istioapi.Settings(o.Mesh(), o.MeshOrigin)
		config.Settings, said = settings, append(said, more...)
	}
	more, gateways, also := gatewayapi.Read(objects, o.Gateways)
	config.Add(more)
	return config, gateways, append(said, also...)
}

// inputs are what a mesh is built of besides its configuration.
func (o *Options) inputs(workloads []registry.Workload, vips map[string]netip.Addr) mesh.Inputs {
	return mesh.Inputs{Workloads: workloads, VIPs: vips, TrustDomain: o.TrustDomain, RootNamespace: o.RootNamespace, ScopeGateways: o.ScopeGateways}
}

// recompile brings every variant in use up to the snapshot.
func (b *builder) recompile(snap *mesh.Snapshot) {
	used := b.e.variantsInUse()
	maps.DeleteFunc(b.variants, func(key string, _ *variant) bool { return !used[key] })
	list := make([]*variant, 0, len(b.variants))
	for _, key := range slices.Sorted(maps.Keys(b.variants)) {
		list = append(list, b.variants[key])
	}
	before := b.classes
	b.classes = make(map[string]*class, len(before))
	b.bring(snap, list, before)
	for _, v := range list {
		b.addNames(v)
	}
}

// addNames gives a variant its name table, where proxies answer for names.
func (b *builder) addNames(v *variant) {
	if !b.e.o.NameTable {
		return
	}
	list := b.names.of(v.node.Namespace)
	if v.state.Types[wire.NameTableType][wire.NameTableResource] == list[wire.NameTableResource] {
		return
	}
	types := maps.Clone(v.state.Types)
	types[wire.NameTableType] = list
	v.state = &server.State{Revision: v.state.Revision, Types: types}
}

// statuses collects the verdicts of all stages.
func (b *builder) statuses(checked []verdict.Status) statuses {
	s := statuses{global: make([]verdict.Status, 0, len(b.read)+len(checked))}
	s.global = append(append(s.global, b.read...), checked...)
	s.perVariant = make(map[string][]verdict.Status, len(b.variants))
	for key, v := range b.variants {
		s.perVariant[key] = v.statuses
	}
	return s
}

// offer gives every connection its variant's state.
func (b *builder) offer() {
	for _, c := range b.e.clientList() {
		b.give(c)
	}
	b.e.advance()
}

// welcome gives states to connections that have none yet.
func (b *builder) welcome() {
	if b.snapshot == nil {
		return
	}
	for _, c := range b.e.clientList() {
		if c.offered.Load() == nil && !c.node.OnDemand { // those speak first: see listen
			b.give(c)
		}
	}
	b.e.advance()
}

// give offers a connection the newest state, compiled if nobody had it yet.
func (b *builder) give(c *client) {
	if c.asksFirst() {
		return
	}
	v := b.variants[c.variant]
	if v == nil {
		v = &variant{key: c.variant, node: c.node}
		v.node.ID = ""
		b.bring(b.snapshot, []*variant{v}, nil)
		if v.state == nil {
			return // said in the log; the proxy keeps what it has
		}
		b.variants[c.variant] = v
		b.addNames(v)
	}
	c.offered.Store(&offer{generation: v.generation, origins: [2]map[resourceKey][]verdict.Origin{v.class.origins, v.own.origins}, statuses: v.statuses, at: b.e.o.Now()})
	c.conn.Offer(b.answered(v))
}
