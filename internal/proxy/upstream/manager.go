package upstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// Manager holds the clusters of one proxy. Safe for concurrent use.
type Manager struct {
	// immutable
	o    Options
	gate *tlsctx.Gate
	ctx  context.Context // of connections that are made for many requests; ends with Close
	stop context.CancelCauseFunc

	wg sync.WaitGroup // refreshes, sweeps, and connections being made for many

	mu        sync.RWMutex
	handles   map[string]*Handle           // guarded by mu: never shrinks, since routes hold them
	endpoints map[string]*config.Endpoints // guarded by mu: by EDS name
	closed    bool                         // guarded by mu
}

// New makes a manager without clusters. Close it when the proxy ends.
func New(o Options) *Manager {
	m := &Manager{
		o:         o.withDefaults(),
		gate:      tlsctx.NewGate(o.Handshakes),
		handles:   make(map[string]*Handle),
		endpoints: make(map[string]*config.Endpoints),
	}
	m.ctx, m.stop = context.WithCancelCause(context.Background())
	return m
}

// Handle returns the handle for a cluster's name. It is the same for every call,
// and exists before the cluster does.
func (m *Manager) Handle(name string) *Handle {
	m.mu.RLock()
	h := m.handles[name]
	m.mu.RUnlock()
	if h != nil {
		return h
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if h = m.handles[name]; h == nil {
		h = &Handle{name: name, m: m, closed: m.closed}
		m.handles[name] = h
	}
	return h
}

// Lookup returns the handle of a cluster that is in force, for names that come
// from requests (cluster_header): they make no handles.
func (m *Manager) Lookup(name []byte) (*Handle, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	h := m.handles[string(name)]
	return h, h != nil && h.view.Load() != nil
}

// Apply adds or replaces clusters and removes others. A cluster that needs
// endpoints which are not there yet warms: what it replaces serves on. An error
// names the clusters that were refused; the rest is applied.
func (m *Manager) Apply(set []*config.Cluster, remove []string) error {
	var errs []error
	for _, c := range set {
		if err := m.Handle(c.Name).apply(c); err != nil {
			errs = append(errs, fmt.Errorf("cluster %q: %w", c.Name, err))
		}
	}
	for _, name := range remove {
		m.mu.RLock()
		h := m.handles[name]
		m.mu.RUnlock()
		if h != nil {
			h.remove()
		}
	}
	return errors.Join(errs...)
}

// ApplyEndpoints replaces the endpoints of EDS clusters, by EDS name. Removing an
// assignment forgets it for clusters to come; those in force keep what they have.
func (m *Manager) ApplyEndpoints(set []*config.Endpoints, remove []string) error {
	m.mu.Lock()
	users := make(map[string][]*Handle)
	for _, e := range set {
		m.endpoints[e.Name] = e
		users[e.Name] = nil
	}
	for _, name := range remove {
		delete(m.endpoints, name)
	}
	handles := slices.Collect(maps.Values(m.handles))
	m.mu.Unlock()

	for _, h := range handles {
		if name, ok := h.edsName(); ok {
			if list, wanted := users[name]; wanted {
				users[name] = append(list, h)
			}
		}
	}
	var errs []error
	for _, e := range set {
		for _, h := range users[e.Name] {
			if err := h.refresh(e); err != nil {
				errs = append(errs, fmt.Errorf("endpoints %q: %w", e.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) endpointsOf(name string) *config.Endpoints {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.endpoints[name]
}

// all lists the handles by name.
func (m *Manager) all() []*Handle {
	m.mu.RLock()
	list := slices.Collect(maps.Values(m.handles))
	m.mu.RUnlock()
	slices.SortFunc(list, func(a, b *Handle) int { return strings.Compare(a.name, b.name) })
	return list
}

// EDSNames lists the names whose endpoints EDS clusters wait for or use, sorted:
// what to subscribe to.
func (m *Manager) EDSNames() []string {
	seen := map[string]bool{}
	for _, h := range m.all() {
		if name, ok := h.edsName(); ok {
			seen[name] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// Warming lists the clusters whose newest version is not in force yet, sorted.
func (m *Manager) Warming() []string {
	var names []string
	for _, h := range m.all() {
		h.build.Lock()
		if h.warming {
			names = append(names, h.name)
		}
		h.build.Unlock()
	}
	return names
}

// Clusters yields the clusters in force, by name.
func (m *Manager) Clusters() iter.Seq[*Handle] {
	return func(yield func(*Handle) bool) {
		for _, h := range m.all() {
			if h.view.Load() != nil && !yield(h) {
				return
			}
		}
	}
}

// Close removes every cluster, closes all connections, and returns when the
// manager's goroutines have ended.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	for _, h := range m.all() {
		h.remove()
		h.closeAll(proxyEnds)
	}
	m.stop(proxyEnds)
	m.wg.Wait()
}

// spawn runs f on a goroutine that Close waits for; not after Close.
func (m *Manager) spawn(f func()) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !m.closed {
		m.wg.Go(f)
	}
}
