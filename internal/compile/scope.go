package compile

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// hostsOf lists the hosts that a proxy serves, by name: all that it may see, or of
// those the ones that its workload calls.
func hostsOf(snap *mesh.Snapshot, n *Node) []*mesh.Host {
	all := snap.Hosts(n.Namespace)
	if !n.OnDemand {
		return all
	}
	return slices.DeleteFunc(all, func(h *mesh.Host) bool {
		_, in := slices.BinarySearch(n.Scope, h.Name)
		return !in
	})
}

// led adds the clusters of hosts that are not in the scope and that the rules of
// those in it lead to: they are not called by their names.
func (c *assembler) led() {
	if !c.node.OnDemand {
		return
	}
	named := map[string]bool{}
	name := func(list []ir.WeightedCluster) {
		for i := range list {
			named[list[i].Cluster.Host] = list[i].Cluster.Direction == ir.OutboundTo
		}
	}
	routes := func(h *ir.VirtualHost) {
		for j := range h.Routes {
			name(h.Routes[j].Clusters)
			for _, m := range h.Routes[j].Mirrors {
				named[m.Cluster.Host] = true
			}
		}
	}
	for _, l := range c.shared.Listeners {
		for j := range l.Chains {
			name(l.Chains[j].To)
		}
	}
	for _, t := range c.shared.Tables {
		for i := range t.Hosts {
			routes(&t.Hosts[i])
		}
	}
	for _, t := range c.shared.Ports {
		for _, h := range t.Hosts {
			routes(h)
		}
	}
	for _, h := range c.hosts {
		delete(named, h.Name)
	}
	for _, n := range slices.Sorted(maps.Keys(named)) {
		if h, ok := c.snap.Host(n); ok && named[n] {
			c.clustersFor(h)
		}
	}
}

// HostsAt finds the hosts that a client of a namespace calls by an address and
// port, as far as it may see them: those with the virtual address, and those with an
// endpoint there that is called directly. Full names, sorted.
func HostsAt(snap *mesh.Snapshot, namespace string, addr netip.Addr, port uint16) []string {
	var out []string
	for _, h := range snap.Hosts(namespace) {
		if h.Addr == addr && addr.IsValid() || endpointAt(h, addr, port) {
			out = append(out, h.Name)
		}
	}
	return out
}

// endpointAt reports whether an endpoint of a headless service has the address:
// clients of others dial the service's own.
func endpointAt(h *mesh.Host, addr netip.Addr, port uint16) bool {
	if !h.Service.Headless() {
		return false
	}
	for _, p := range h.Ports {
		for i := range p.Endpoints {
			if e := p.Endpoints[i].Addr; e.Addr() == addr && (e.Port() == port || p.Number == port) {
				return true
			}
		}
	}
	return false
}

// HostsNamed finds the hosts that a client of a namespace calls by an authority, at a
// port of theirs. Full names, sorted.
func HostsNamed(snap *mesh.Snapshot, namespace, authority string, port uint16) []string {
	var out []string
	for _, h := range snap.Hosts(namespace) {
		if h.Port(port) != nil && slices.ContainsFunc(domains(h, mesh.Caller{Namespace: namespace}), func(d string) bool { return answersTo(d, authority) }) {
			out = append(out, h.Name)
		}
	}
	return out
}

// answersTo reports whether an authority is of a domain, exact or "*.suffix".
func answersTo(domain, authority string) bool {
	if len(domain) > 1 && domain[0] == '*' {
		return len(authority) >= len(domain) && authority[len(authority)-len(domain)+1:] == domain[1:]
	}
	return domain == authority
}
