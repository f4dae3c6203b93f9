package push

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// moves is the difference that a change of workloads makes to a mesh whose
// configuration stays.
type moves struct {
	// hosts are those whose endpoints differ; the value tells whether only
	// endpoints do.
	hosts map[string]bool
	// remade are addresses whose workload came, went or changed in more than its
	// readiness: the proxy there is compiled anew.
	remade map[netip.Addr]bool
}

// movesBetween compares two snapshots of the same configuration.
func movesBetween(old, now *mesh.Snapshot, before, after []registry.Workload) *moves {
	m := &moves{hosts: map[string]bool{}, remade: map[netip.Addr]bool{}}
	for _, h := range now.AllHosts() {
		o, ok := old.Host(h.Name)
		if !ok || len(o.Ports) != len(h.Ports) {
			m.hosts[h.Name] = false
			continue
		}
		for i, p := range h.Ports {
			if slices.EqualFunc(o.Ports[i].Endpoints, p.Endpoints, sameEndpoint) {
				continue
			}
			// Clusters name the accounts behind a port: another account is another cluster.
			calm := slices.Equal(o.Ports[i].Identities, p.Identities)
			if was, seen := m.hosts[h.Name]; seen {
				calm = calm && was
			}
			m.hosts[h.Name] = calm
		}
	}
	was := make(map[netip.Addr]*registry.Workload, len(before))
	for i := range before {
		was[before[i].Addr] = &before[i]
	}
	for i := range after {
		w := &after[i]
		o := was[w.Addr]
		delete(was, w.Addr)
		if o == nil || !sameWorkload(o, w) {
			m.remade[w.Addr] = true
		}
	}
	for addr := range was {
		m.remade[addr] = true
	}
	return m
}

func sameEndpoint(a, b registry.Endpoint) bool {
	return a.Addr == b.Addr && reflect.DeepEqual(a.Workload, b.Workload)
}

// sameWorkload compares everything but readiness and what the workload serves:
// that shows in the hosts' endpoints.
func sameWorkload(a, b *registry.Workload) bool {
	x, y := *a, *b
	x.Ready, y.Ready = false, false
	x.Serves, y.Serves = nil, nil
	return reflect.DeepEqual(x, y)
}

// endpointsOnly reports whether the variant's endpoints are all that moves. Hosts
// that are called by address (headless ones, PASSTHROUGH) have no endpoints of
// their own: who serves them shapes their clusters and listeners.
func (m *moves) endpointsOnly(v *variant) bool {
	for host, calm := range m.hosts {
		if !calm || v.direct[host] {
			return false
		}
	}
	for _, ip := range v.node.IPs {
		if m.remade[ip] {
			return false
		}
	}
	return true
}

// moveEndpoints replaces the endpoints of the hosts that moved, and nothing else.
func (b *builder) moveEndpoints(v *variant, snap *mesh.Snapshot, m *moves) error {
	endpoints := v.state.Types[build.EndpointType]
	copied := false
	for host := range m.hosts {
		for _, key := range v.assigned[host] {
			a, ok := compile.Endpoints(snap, v.node, key)
			if !ok {
				continue
			}
			r, err := build.Endpoints(a)
			if err != nil {
				return err
			}
			if f := b.fragment(&r); endpoints[f.Name] != f {
				if !copied {
					endpoints, copied = maps.Clone(endpoints), true
				}
				endpoints[f.Name] = f
			}
		}
	}
	types := v.state.Types
	if copied {
		types = maps.Clone(types)
		types[build.EndpointType] = endpoints
	}
	v.state = &server.State{Revision: b.generation, Types: types}
	v.generation = b.generation
	return nil
}
