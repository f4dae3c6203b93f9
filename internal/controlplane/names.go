package controlplane

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// nameTable is what mesh DNS answers: each host's addresses, with a version that
// grows when they change.
type nameTable struct {
	mu      sync.Mutex
	names   meshapi.Names // guarded by mu
	changed chan struct{} // guarded by mu; closed and replaced at a change
}

func newNameTable() *nameTable { return &nameTable{changed: make(chan struct{})} }

func (t *nameTable) set(hosts map[string][]netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if maps.EqualFunc(t.names.Hosts, hosts, slices.Equal[[]netip.Addr]) && t.names.Version > 0 {
		return
	}
	t.names = meshapi.Names{Version: t.names.Version + 1, Hosts: hosts}
	close(t.changed)
	t.changed = make(chan struct{})
}

// newer waits until the table is newer than the version, or ctx ends.
func (t *nameTable) newer(ctx context.Context, version int64) meshapi.Names {
	for {
		t.mu.Lock()
		names, changed := t.names, t.changed
		t.mu.Unlock()
		if names.Version > version {
			return names
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return names
		}
	}
}

// Names waits until the names of the mesh are newer than the version (0: until
// there are some), or ctx ends.
func (cp *ControlPlane) Names(ctx context.Context, version int64) (meshapi.Names, error) {
	return cp.names.newer(ctx, version), ctx.Err()
}

// followNames keeps the table beside the engine's snapshot.
func (cp *ControlPlane) followNames(ctx context.Context) error {
	for {
		changed := cp.engine.Changed()
		if b := cp.engine.Built(); b != nil {
			cp.names.set(hostAddresses(b.Snapshot))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// hostAddresses lists each service's virtual address, and for a headless service
// the addresses of those who serve it.
func hostAddresses(s *mesh.Snapshot) map[string][]netip.Addr {
	hosts := map[string][]netip.Addr{}
	for _, h := range s.AllHosts() {
		if h.Addr.IsValid() {
			hosts[h.Name] = []netip.Addr{h.Addr}
			continue
		}
		var list []netip.Addr
		for _, p := range h.Ports {
			for _, e := range p.Endpoints {
				list = append(list, e.Addr.Addr())
			}
		}
		slices.SortFunc(list, netip.Addr.Compare)
		hosts[h.Name] = slices.Compact(list)
	}
	return hosts
}
