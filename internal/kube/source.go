package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Source watches what the mesh is made of. It implements push.Objects and
// push.Memory. Its methods are safe for concurrent use.
//
// Order of use: Source, OnWorkloads and OnMeshConfig, then Run in a goroutine;
// Synced tells when all is known. LoadPrior may be called before Run.
type Source struct {
	// immutable
	c     *Client
	log   *slog.Logger
	dirty chan struct{} // one slot: something moved that Run must look at

	namespaces, services, accounts *table[*item]
	pods                           *table[*pod]
	slices                         *table[*slice]
	nodes                          *table[registry.Locality]
	tags                           *table[tag]
	mesh, shared                   *table[*Document] // ConfigMaps; shared is nil where there is none
	custom                         *customKinds
	secrets                        *secrets
	memory                         memory
	good                           lastGood

	// What moved since Run looked last.
	objectsMoved, workloadsMoved atomic.Bool
	named                        []string // only Run uses it: services made of names

	view   atomic.Pointer[view]
	synced atomic.Bool

	mu           sync.Mutex
	watchers     map[chan struct{}]struct{}     // guarded by mu: of objects
	onNamespaces map[chan struct{}]struct{}     // guarded by mu
	onWorkloads  []func([]registry.Workload)    // guarded by mu
	onMesh       []func(*meshconfig.MeshConfig) // guarded by mu
}

// Source makes the source of a client's cluster. It watches when it is run.
func (c *Client) Source() *Source {
	s := &Source{
		c: c, log: c.log, dirty: make(chan struct{}, 1),
		watchers: map[chan struct{}]struct{}{}, onNamespaces: map[chan struct{}]struct{}{},
	}
	s.view.Store(&view{})
	s.memory = memory{c: c, changed: make(chan struct{}, 1), saved: map[string][]byte{}}
	objects := func(string) { s.moved(&s.objectsMoved) }
	workloads := func(string) { s.moved(&s.workloadsMoved) }
	both := func(string) { s.moved(&s.objectsMoved, &s.workloadsMoved) }
	s.namespaces = newTable(c.namespaceKind(), both)
	s.services = newTable(c.serviceKind(), both) // their families choose among slices
	s.accounts = newTable(c.accountKind(), objects)
	s.pods = newTable(c.podKind(), workloads)
	s.slices = newTable(c.sliceKind(), workloads)
	s.nodes = newTable(c.nodeKind(), workloads)
	s.tags = newTable(c.tagKind(), objects)
	s.mesh = newTable(c.configMapKind(c.namespace, "metadata.name="+c.Named(meshMap)), both)
	if c.shared != "" {
		s.shared = newTable(c.configMapKind(c.namespace, "metadata.name="+c.shared), both)
	}
	s.custom = newCustomKinds(c, &s.good, objects)
	s.secrets = newSecrets(c, objects)
	return s
}

// moved notes what moved and wakes Run.
func (s *Source) moved(what ...*atomic.Bool) {
	for _, w := range what {
		w.Store(true)
	}
	poke(s.dirty)
}

// Snapshot returns all objects of the mesh, in the order of their Refs, and a
// revision that counts changes within this process. The slice and the objects are
// shared and must not be changed.
//
// Objects are those of Istio's kinds and the Gateway API's, Services, Namespaces,
// ServiceAccounts, and the Secrets of the namespaces in which gateways need them:
// of the selected namespaces (MeshConfig.discoverySelectors) and the system
// namespace, without those that istio.io/rev gives to another revision.
func (s *Source) Snapshot() ([]*api.Object, int64) {
	v := s.view.Load()
	return slices.Clip(v.objects), v.revision
}

// Watch returns a channel that holds a token whenever objects or the verdicts on
// reading them changed since the last receive, and one at the start. It is closed
// when ctx ends.
func (s *Source) Watch(ctx context.Context) <-chan struct{} { return s.watch(ctx, s.watchers) }

func (s *Source) watch(ctx context.Context, list map[chan struct{}]struct{}) <-chan struct{} {
	ch := make(chan struct{}, 1)
	ch <- struct{}{}
	s.mu.Lock()
	list[ch] = struct{}{}
	s.mu.Unlock()
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(list, ch)
		close(ch)
	})
	return ch
}

// tell wakes watchers.
func (s *Source) tell(list map[chan struct{}]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range list {
		poke(ch)
	}
}

// Statuses returns verdicts of reading: on objects that are not good, on fields
// that this version does not know.
func (s *Source) Statuses() []verdict.Status { return slices.Clip(s.view.Load().statuses) }

// MeshConfig is the mesh's configuration in force, never nil after Synced: the
// ConfigMap istio (istio-REV), key mesh, over the shared one. It must not be
// changed. rootNamespace and trustDomain are always set.
func (s *Source) MeshConfig() *meshconfig.MeshConfig { return s.view.Load().mesh }

// MeshOrigin is where the mesh's configuration comes from.
func (s *Source) MeshOrigin() verdict.Origin {
	return verdict.Origin{Ref: verdict.Ref{Kind: api.KindConfigMap, Namespace: s.c.namespace, Name: s.c.Named(meshMap)}}
}

// OnMeshConfig has f called with the mesh's configuration, first with the one in
// force when it is known, then whenever it changes. Call it before Run.
func (s *Source) OnMeshConfig(f func(*meshconfig.MeshConfig)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onMesh = append(s.onMesh, f)
}

// OnWorkloads has f called with all workloads, first once everything is known,
// then whenever some change; calls do not overlap. f must not change the slice.
// Call it before Run.
func (s *Source) OnWorkloads(f func([]registry.Workload)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onWorkloads = append(s.onWorkloads, f)
}

// Synced tells what is not known yet: nil once the first list of everything is in.
// An API server that goes away later does not change that.
func (s *Source) Synced() error {
	if s.synced.Load() {
		return nil
	}
	if err := s.settled(); err != nil {
		return fmt.Errorf("reading the cluster: %w", err)
	}
	return errors.New("reading the cluster: the Secrets of gateways are not known yet")
}

// settled tells what is missing apart from Secrets, whose place depends on the rest.
func (s *Source) settled() error {
	for _, err := range []error{
		s.namespaces.settled(false), s.services.settled(false), s.pods.settled(false), s.slices.settled(false), s.mesh.settled(false),
		s.nodes.settled(true), s.accounts.settled(true), s.tags.settled(true), s.custom.settled(),
	} {
		if err != nil {
			return err
		}
	}
	if s.shared != nil {
		return s.shared.settled(true)
	}
	return nil
}

// burst is how long Run waits, after something moved, for more to move.
const burst = 20 * time.Millisecond

// Run watches until ctx ends; it returns nil then.
func (s *Source) Run(ctx context.Context) error {
	s.recallGood()
	var watches sync.WaitGroup
	defer watches.Wait()
	for _, run := range []func(){
		func() { s.namespaces.run(ctx, s.c) },
		func() { s.services.run(ctx, s.c) },
		func() { s.accounts.run(ctx, s.c) },
		func() { s.pods.run(ctx, s.c) },
		func() { s.slices.run(ctx, s.c) },
		func() { s.nodes.run(ctx, s.c) },
		func() { s.tags.run(ctx, s.c) },
		func() { s.mesh.run(ctx, s.c) },
		func() { s.custom.run(ctx) },
	} {
		watches.Go(run)
	}
	if s.shared != nil {
		watches.Go(func() { s.shared.run(ctx, s.c) })
	}
	defer s.secrets.wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.dirty:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(burst):
		}
		s.look(ctx)
	}
}

// look brings what readers see up to date. Only Run calls it.
func (s *Source) look(ctx context.Context) {
	objects, workloads := s.objectsMoved.Swap(false), s.workloadsMoved.Swap(false)
	before := s.view.Load()
	if objects {
		s.rebuild()
	}
	if s.settled() != nil && !s.synced.Load() {
		return
	}
	now := s.view.Load()
	var list []registry.Workload
	if workloads || now.mesh != before.mesh || !s.synced.Load() {
		var named []string
		if list, named = s.join(now); !slices.Equal(named, s.named) {
			s.named = named
			s.rebuild()
		}
	}
	if list != nil || objects {
		s.secrets.want(ctx, gatewayNamespaces(now.objects, s.pods))
	}
	if s.synced.Load() {
		s.give(list)
		return
	}
	if s.secrets.settled() != nil {
		return
	}
	s.rebuild() // with the Secrets
	s.synced.Store(true)
	s.tell(s.onNamespaces)
	s.log.Info("the cluster is known", "objects", len(s.view.Load().objects), "workloads", len(list))
	s.give(list)
}

// join makes the workloads as a view selects them, and lists the services that are
// made of names.
func (s *Source) join(v *view) (list []registry.Workload, named []string) {
	c := cluster{
		pods: s.pods, slices: s.slices, nodes: s.nodes,
		selected: func(ns string) bool { return v.selected == nil || v.selected[ns] },
		ipv6:     s.ipv6,
	}
	return c.join(), c.named
}

// give hands workloads on; nil where they did not move.
func (s *Source) give(list []registry.Workload) {
	if list == nil {
		return
	}
	s.mu.Lock()
	fs := s.onWorkloads
	s.mu.Unlock()
	for _, f := range fs {
		f(list)
	}
}
