package registry

import (
	"cmp"
	"net/netip"
	"slices"
)

// Resolution is how the endpoints of an Entry are found.
type Resolution string

// The resolutions of ServiceEntry. Static endpoints are addresses; ByDialled sends
// connections where their client wanted to go; Names are asked of DNS by the proxies,
// of which OneName uses whatever address comes first.
const (
	Static    Resolution = ""
	ByDialled Resolution = "dialled"
	Names     Resolution = "names"
	OneName   Resolution = "one_name"
)

// ByDNS reports whether proxies ask DNS for the endpoints.
func (r Resolution) ByDNS() bool { return r == Names || r == OneName }

// Entry is what a service says that is no Service of Kubernetes: one host of a
// ServiceEntry.
type Entry struct {
	Host       string // fully qualified, or a wildcard "*.suffix"
	External   bool   // outside the mesh: no mTLS of its own accord
	Resolution Resolution
	// Addresses are what clients dial; empty: any address, told apart by name.
	Addresses []netip.Prefix
	// AutoAddress asks for a virtual address of the mesh's own range.
	AutoAddress bool
	SANs        []string // names that the endpoints' certificates may have
	Endpoints   []EntryEndpoint
}

// EntryEndpoint is an endpoint that a ServiceEntry lists. Its workload has an
// address, or Name is one that DNS knows.
type EntryEndpoint struct {
	Name     string
	Workload Workload
}

// AutoAddresses is the range of the addresses that entries get: Istio's.
var AutoAddresses = netip.PrefixFrom(netip.AddrFrom4([4]byte{240, 240, 0, 0}), 16)

// AllocateEntries gives every entry that asks for one a stable virtual address in
// cidr, by key: the one that it had (prior), else a free one picked by the hash of
// its key.
func AllocateEntries(prior map[string]netip.Addr, cidr netip.Prefix, services []Service) map[string]netip.Addr {
	var keys []string
	for i := range services {
		if e := services[i].Entry; e != nil && e.AutoAddress {
			keys = append(keys, services[i].Key())
		}
	}
	slices.Sort(keys)
	return assign(prior, cidr.Masked(), slices.Compact(keys), map[string]netip.Addr{})
}

// entryEndpoints lists who serves a port of an entry: what it lists itself, and
// what its selector finds in its namespace, whatever else those workloads serve.
func (x *Index) entryEndpoints(s *Service, p *ServicePort) []Endpoint {
	e := s.Entry
	if e.Resolution == ByDialled {
		return nil
	}
	var out []Endpoint
	for i := range e.Endpoints {
		w := &e.Endpoints[i].Workload
		out = append(out, Endpoint{Addr: netip.AddrPortFrom(w.Addr, entryPort(p, w)), Name: e.Endpoints[i].Name, Workload: w})
	}
	for _, w := range x.Selected(s.Namespace, s.Selector) {
		if (!w.Addr.IsValid() && w.DNSName == "") || !w.Ready {
			continue
		}
		out = append(out, Endpoint{Addr: netip.AddrPortFrom(w.Addr, entryPort(p, w)), Name: w.DNSName, Workload: w})
	}
	if len(out) == 0 && e.Resolution.ByDNS() && len(s.Selector) == 0 {
		w := &Workload{Name: cmp.Or(s.Object, e.Host), Namespace: s.Namespace, Ready: true, Outside: true}
		out = append(out, Endpoint{Addr: netip.AddrPortFrom(netip.Addr{}, entryPort(p, w)), Name: e.Host, Workload: w})
	}
	return out
}

// entryPort is the port of an endpoint: the one that the endpoint gives to the
// port's name, else the entry's targetPort or port.
func entryPort(p *ServicePort, w *Workload) uint16 {
	if w.Outside {
		if n, ok := portNamed(w.Ports, p.Name); ok {
			return n
		}
	}
	return p.TargetNumber
}

// entryMembers lists the workloads that stand behind an entry.
func (x *Index) entryMembers(s *Service) []*Workload {
	var out []*Workload
	for i := range s.Entry.Endpoints {
		out = append(out, &s.Entry.Endpoints[i].Workload)
	}
	return append(out, x.Selected(s.Namespace, s.Selector)...)
}
