package mesh

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Host is a service as the mesh calls it.
type Host struct {
	Name    string // fully qualified
	Service *registry.Service
	Addr    netip.Addr // virtual address; invalid for headless services
	Ports   []*Port    // in the service's order
}

// Port is a port of a host with who serves it.
type Port struct {
	*registry.ServicePort
	Endpoints  []registry.Endpoint
	Identities []string // SPIFFE ids of the endpoints' accounts; sorted
}

// Port finds a port by its number.
func (h *Host) Port(number uint16) *Port {
	for _, p := range h.Ports {
		if p.Number == number {
			return p
		}
	}
	return nil
}

// Ref names the service behind the host.
func (h *Host) Ref() verdict.Ref { return h.Service.Origin.Ref }

func (s *Snapshot) buildHosts(v *verdicts, services []registry.Service, vips map[string]netip.Addr) {
	s.byName = make(map[string]*Host, len(services))
	s.byNamespace = map[string][]*Host{}
	for i := range services {
		svc := &services[i]
		h := &Host{Name: Hostname(svc.Name, svc.Namespace), Service: svc}
		if !svc.Headless() {
			h.Addr = vips[svc.Key()]
			checkAddr(v, h)
		}
		for j := range svc.Ports {
			h.Ports = append(h.Ports, s.buildPort(svc, &svc.Ports[j]))
		}
		if len(svc.Selector) == 0 && len(s.workloads.Members(svc)) == 0 {
			v.say(svc.Origin.At("spec.selector"), verdict.SelectsNothing, "a service without a selector has no endpoints here")
		}
		s.hosts = append(s.hosts, h)
		s.byName[h.Name] = h
	}
	slices.SortFunc(s.hosts, func(a, b *Host) int { return cmp.Compare(a.Name, b.Name) })
	for _, h := range s.hosts {
		s.byNamespace[h.Service.Namespace] = append(s.byNamespace[h.Service.Namespace], h)
	}
}

func (s *Snapshot) buildPort(svc *registry.Service, sp *registry.ServicePort) *Port {
	p := &Port{ServicePort: sp, Endpoints: s.workloads.Endpoints(svc, sp)}
	for _, e := range p.Endpoints {
		if e.Workload.Proxied {
			p.Identities = append(p.Identities, s.SPIFFE(e.Workload.Namespace, cmp.Or(e.Workload.ServiceAccount, "default")))
		}
	}
	slices.Sort(p.Identities)
	p.Identities = slices.Compact(p.Identities)
	return p
}

func checkAddr(v *verdicts, h *Host) {
	asked, err := netip.ParseAddr(h.Service.ClusterIP)
	switch {
	case !h.Addr.IsValid():
		v.say(h.Service.Origin, verdict.Invalid, "the service has no virtual address: the range is exhausted")
	case err == nil && asked.Unmap() != h.Addr:
		v.say(h.Service.Origin.At("spec.clusterIP"), verdict.Differs, "the address %s is another service's; this one has %s", asked, h.Addr)
	}
}

// Host finds a host by its full name.
func (s *Snapshot) Host(name string) (*Host, bool) {
	h, ok := s.byName[name]
	return h, ok
}

// AllHosts lists every host of the mesh, by name.
func (s *Snapshot) AllHosts() []*Host { return s.hosts }

// sees reports whether a host is visible from a namespace.
func (s *Snapshot) sees(namespace string, h *Host) bool {
	return s.seenBy(h, Caller{Namespace: namespace})
}

// seenBy reports whether a client sees a host.
func (s *Snapshot) seenBy(h *Host, c Client) bool {
	return seenBy(exported(h.Service.ExportTo, s.settings.ServiceExportTo), h.Service.Namespace, c)
}

// Hosts lists the hosts that are visible from a namespace, by name.
func (s *Snapshot) Hosts(namespace string) []*Host {
	out := make([]*Host, 0, len(s.hosts))
	for _, h := range s.hosts {
		if s.sees(namespace, h) {
			out = append(out, h)
		}
	}
	return out
}

// Serving lists the hosts whose service selects a workload with the labels, the
// oldest first.
func (s *Snapshot) Serving(namespace string, labels map[string]string) []*Host {
	var out []*Host
	for _, h := range s.byNamespace[namespace] {
		if len(h.Service.Selector) > 0 && registry.Matches(h.Service.Selector, labels) {
			out = append(out, h)
		}
	}
	slices.SortStableFunc(out, func(a, b *Host) int {
		return cmp.Compare(a.Service.Created, b.Service.Created)
	})
	return out
}
