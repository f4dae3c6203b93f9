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
	Addr    netip.Addr // virtual address; invalid for headless services, and entries that are told by name
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
	s.rivals, s.aliases = map[string][]*Host{}, map[string][]*Host{}
	for i := range services {
		svc := &services[i]
		h := &Host{Name: Hostname(svc.Name, svc.Namespace), Service: svc}
		switch {
		case svc.Entry != nil:
			h.Name = svc.Entry.Host
			h.Addr = entryAddr(svc.Entry, vips[svc.Key()])
		case svc.Alias != "":
			s.aliases[svc.Alias] = append(s.aliases[svc.Alias], h)
		case !svc.Headless():
			h.Addr = vips[svc.Key()]
			checkAddr(v, h)
		}
		for j := range svc.Ports {
			h.Ports = append(h.Ports, s.buildPort(svc, &svc.Ports[j]))
		}
		s.checkServed(v, svc)
		s.hosts = append(s.hosts, h)
	}
	slices.SortFunc(s.hosts, func(a, b *Host) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), rivalry(a, b))
	})
	for i, h := range s.hosts {
		s.byNamespace[h.Service.Namespace] = append(s.byNamespace[h.Service.Namespace], h)
		if i > 0 && s.hosts[i-1].Name == h.Name {
			s.rivals[h.Name] = append(s.rivals[h.Name], h)
			continue
		}
		s.byName[h.Name] = h
	}
	for name, list := range s.rivals {
		s.rivals[name] = append([]*Host{s.byName[name]}, list...)
		checkRivals(v, s.rivals[name])
	}
	for name := range s.aliases {
		slices.SortFunc(s.aliases[name], func(a, b *Host) int { return cmp.Compare(a.Name, b.Name) })
	}
}

// rivalry orders services of one name by who has it where neither is of the client's
// own namespace: one of Kubernetes, then the oldest (Istio).
func rivalry(a, b *Host) int {
	entry := func(h *Host) int {
		if h.Service.Entry != nil {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(entry(a), entry(b)), cmp.Compare(a.Service.Created, b.Service.Created),
		a.Ref().Compare(b.Ref()), cmp.Compare(a.Service.Namespace, b.Service.Namespace))
}

// checkRivals says who has the name: within a namespace one only, and over
// namespaces each where its own clients are.
func checkRivals(v *verdicts, list []*Host) {
	first := list[0]
	for i, h := range list[1:] {
		same := slices.IndexFunc(list[:i+1], func(o *Host) bool { return o.Service.Namespace == h.Service.Namespace })
		if same >= 0 {
			v.by(h.Service.Origin, verdict.Shadowed, list[same].Ref(), "%s has the name %s", list[same].Ref(), h.Name)
			continue
		}
		v.by(h.Service.Origin.At("spec.hosts"), verdict.Shadowed, first.Ref(), "%s has the name %s, but for clients of the namespace %s", first.Ref(), h.Name, h.Service.Namespace)
	}
}

// entryAddr is the one address by which an entry is called; invalid where it has
// none or a range.
func entryAddr(e *registry.Entry, auto netip.Addr) netip.Addr {
	for _, p := range e.Addresses {
		if p.IsSingleIP() {
			return p.Addr()
		}
	}
	if e.AutoAddress {
		return auto
	}
	return netip.Addr{}
}

func (s *Snapshot) checkServed(v *verdicts, svc *registry.Service) {
	switch e := svc.Entry; {
	case svc.Alias != "":
	case e == nil && len(svc.Selector) == 0 && len(s.workloads.Members(svc)) == 0:
		v.say(svc.Origin.At("spec.selector"), verdict.SelectsNothing, "a service without a selector has no endpoints here")
	case e == nil:
	case len(svc.Selector) > 0 && len(s.workloads.Members(svc)) == 0:
		v.say(svc.Origin.At("spec.workloadSelector"), verdict.SelectsNothing, "the selector matches no workload and no WorkloadEntry of the namespace %s", svc.Namespace)
	case e.Resolution == registry.Static && len(svc.Selector) == 0 && len(e.Endpoints) == 0:
		v.say(svc.Origin.At("spec.endpoints"), verdict.SelectsNothing, "an entry with resolution STATIC has no endpoints")
	}
}

// withEntries adds the workloads outside to those of the registry.
func withEntries(workloads []registry.Workload, entries []WorkloadEntry) []registry.Workload {
	out := slices.Clip(workloads)
	for i := range entries {
		out = append(out, entries[i].Workload)
	}
	return out
}

func (s *Snapshot) buildPort(svc *registry.Service, sp *registry.ServicePort) *Port {
	p := &Port{ServicePort: sp}
	if svc.Alias == "" {
		p.Endpoints = s.workloads.Endpoints(svc, sp)
	}
	for _, e := range p.Endpoints {
		if e.Workload.Proxied && (!e.Workload.Outside || e.Workload.ServiceAccount != "") {
			p.Identities = append(p.Identities, s.SPIFFE(e.Workload.Namespace, cmp.Or(e.Workload.ServiceAccount, "default")))
		}
	}
	if svc.Entry != nil {
		p.Identities = append(p.Identities, svc.Entry.SANs...)
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

// Host finds a host by its full name. Of several that have it, it is the one for
// clients of other namespaces.
func (s *Snapshot) Host(name string) (*Host, bool) {
	h, ok := s.byName[name]
	return h, ok
}

// HostFor finds the host that a client means by a full name: of those that it may
// see the one of its own namespace, else one of Kubernetes, else the oldest.
func (s *Snapshot) HostFor(c Client, name string) (*Host, bool) {
	list := s.rivals[name]
	if list == nil {
		h, ok := s.byName[name]
		return h, ok && s.seenBy(h, c)
	}
	for _, own := range []bool{true, false} {
		for _, h := range list {
			if (!own || c.In(h.Service.Namespace)) && s.seenBy(h, c) {
				return h, true
			}
		}
	}
	return nil, false
}

// Aliases lists the services of type ExternalName that are other names of a host, as
// far as a client may see them.
func (s *Snapshot) Aliases(c Client, name string) []*Host {
	var out []*Host
	for _, h := range s.aliases[name] {
		if s.seenBy(h, c) {
			out = append(out, h)
		}
	}
	return out
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

// Hosts lists the hosts that are visible from a namespace, by name: one of each.
func (s *Snapshot) Hosts(namespace string) []*Host {
	out := make([]*Host, 0, len(s.hosts))
	for _, h := range s.hosts {
		if s.rivals[h.Name] != nil {
			if best, ok := s.HostFor(Caller{Namespace: namespace}, h.Name); !ok || best != h {
				continue
			}
		}
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
