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
func hostsOf(v *View) []*mesh.Host {
	n, scope := &v.node, v.scope()
	return slices.DeleteFunc(v.snap.Hosts(n.Namespace), func(h *mesh.Host) bool {
		if n.OnDemand {
			if _, in := slices.BinarySearch(n.Scope, h.Name); !in {
				return true
			}
		}
		return scope != nil && !seesAny(scope, h)
	})
}

// Leads reports whether rules may lead the proxy to hosts that it does not see: it has
// a scope.
func (v *View) Leads() bool { return v.node.OnDemand || v.scope() != nil }

// led adds the clusters of hosts that are not in the scope and that the rules of
// those in it lead to: they are not called by their names.
func (c *assembler) led() {
	if !c.client.v.Leads() {
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
		if h, ok := c.snap.HostFor(mesh.Caller{Namespace: c.node.Namespace}, n); ok && named[n] {
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
		if h.Addr == addr && addr.IsValid() || endpointAt(h, addr, port) || entryAt(h, addr, port) {
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

// entryAt reports whether an entry may be meant by an address and port: by one of
// its addresses, or where it has none by the name that the client will ask for.
func entryAt(h *mesh.Host, addr netip.Addr, port uint16) bool {
	e := h.Service.Entry
	if e == nil {
		return false
	}
	if len(e.Addresses) > 0 {
		return slices.ContainsFunc(e.Addresses, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	p := h.Port(port)
	return p != nil && !appOf(p.Protocol).HTTPish()
}

// HostsNamed finds the hosts that a client of a namespace calls by an authority, at a
// port of theirs. Full names, sorted.
func HostsNamed(snap *mesh.Snapshot, namespace, authority string, port uint16) []string {
	var out []string
	for _, h := range snap.Hosts(namespace) {
		caller := mesh.Caller{Namespace: namespace}
		if h.Port(port) != nil && slices.ContainsFunc(domains(h, caller, snap.Aliases(caller, h.Name), true), func(d string) bool { return answersTo(d, authority) }) {
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
