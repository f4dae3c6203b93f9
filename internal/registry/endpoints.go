package registry

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// Index finds workloads by namespace, by labels and by what they serve. It is
// immutable after NewIndex, and safe for concurrent use.
type Index struct {
	byNamespace map[string]*space
	members     map[string][]member // by the service's key
}

// space is one namespace.
type space struct {
	all      []*Workload // by name, then address
	selected bool        // some of them are found by selectors (Serves is nil)

	once    sync.Once
	byLabel map[[2]string][]*Workload // after once; in the order of all

	addresses sync.Once
	byAddr    map[netip.Addr]*Workload // after addresses
}

// member is a workload as the endpoint of a service.
type member struct {
	workload *Workload
	as       *Membership
}

// NewIndex sorts workloads for lookups. The order of the input does not matter.
func NewIndex(workloads []Workload) *Index {
	x := &Index{byNamespace: map[string]*space{}, members: map[string][]member{}}
	for i := range workloads {
		w := &workloads[i]
		s := x.byNamespace[w.Namespace]
		if s == nil {
			s = &space{}
			x.byNamespace[w.Namespace] = s
		}
		s.all = append(s.all, w)
		s.selected = s.selected || w.Serves == nil
	}
	for _, ns := range slices.Sorted(maps.Keys(x.byNamespace)) {
		s := x.byNamespace[ns]
		slices.SortFunc(s.all, func(a, b *Workload) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), a.Addr.Compare(b.Addr))
		})
		for _, w := range s.all {
			for j := range w.Serves {
				m := &w.Serves[j]
				x.members[m.Service] = append(x.members[m.Service], member{w, m})
			}
		}
	}
	return x
}

// Namespace returns a namespace's workloads in the order of their names. The
// caller must not change the slice.
func (x *Index) Namespace(ns string) []*Workload {
	if s := x.byNamespace[ns]; s != nil {
		return s.all
	}
	return nil
}

// At returns the workload of a namespace that has an address, or nil. Of several
// that share the address of their host, it is the last by name.
func (x *Index) At(ns string, addr netip.Addr) *Workload {
	s := x.byNamespace[ns]
	if s == nil {
		return nil
	}
	s.addresses.Do(func() {
		s.byAddr = make(map[netip.Addr]*Workload, len(s.all))
		for _, w := range s.all {
			s.byAddr[w.Addr] = w
		}
	})
	return s.byAddr[addr]
}

// Selected returns the workloads of a namespace that carry all labels of the
// selector, in the order of their names. An empty selector selects none, as in
// Kubernetes' Services.
func (x *Index) Selected(ns string, selector map[string]string) []*Workload {
	s := x.byNamespace[ns]
	if s == nil || len(selector) == 0 {
		return nil
	}
	var out []*Workload
	for _, w := range s.candidates(selector) {
		if Matches(selector, w.Labels) {
			out = append(out, w)
		}
	}
	return out
}

// fewWorkloads is the size of a namespace that is searched faster than indexed.
const fewWorkloads = 32

// candidates are the workloads that carry the rarest label of a selector.
func (s *space) candidates(selector map[string]string) []*Workload {
	if len(s.all) <= fewWorkloads {
		return s.all
	}
	s.once.Do(func() {
		s.byLabel = map[[2]string][]*Workload{}
		for _, w := range s.all {
			for k, v := range w.Labels {
				s.byLabel[[2]string{k, v}] = append(s.byLabel[[2]string{k, v}], w)
			}
		}
	})
	best := s.all
	for k, v := range selector {
		if list := s.byLabel[[2]string{k, v}]; len(list) < len(best) {
			best = list
		}
	}
	return best
}

// Members lists the workloads that stand behind a service, whether they are ready
// or not, in the order of their namespaces and names.
func (x *Index) Members(s *Service) []*Workload {
	if s.Entry != nil {
		return x.entryMembers(s)
	}
	var out []*Workload
	for _, m := range x.members[s.Key()] {
		out = append(out, m.workload)
	}
	if space := x.byNamespace[s.Namespace]; space != nil && space.selected {
		for _, w := range x.Selected(s.Namespace, s.Selector) {
			if w.Serves == nil {
				out = append(out, w)
			}
		}
	}
	return slices.Compact(out) // a workload with two addresses stands once
}

// Endpoints lists who serves a port of a service: the workloads that say so
// (Workload.Serves), and of those that do not say the selected ones that have an
// address, are ready (or the service publishes those that are not) and know the
// target port. The order is that of the workloads' names.
func (x *Index) Endpoints(s *Service, p *ServicePort) []Endpoint {
	if s.Entry != nil {
		return x.entryEndpoints(s, p)
	}
	out := x.explicit(s, p)
	space := x.byNamespace[s.Namespace]
	if space == nil || !space.selected {
		return out
	}
	for _, w := range x.Selected(s.Namespace, s.Selector) {
		if w.Serves != nil || !w.Addr.IsValid() || !w.Ready && !s.PublishNotReady {
			continue
		}
		if port, ok := TargetPort(p, w); ok {
			out = append(out, Endpoint{Addr: netip.AddrPortFrom(w.Addr, port), Workload: w})
		}
	}
	return out
}

// explicit lists the members that serve a port: the healthy ones, or where there is
// none those that drain.
func (x *Index) explicit(s *Service, p *ServicePort) []Endpoint {
	members := x.members[s.Key()]
	for _, health := range []Health{Healthy, Draining} {
		var out []Endpoint
		for _, m := range members {
			if m.as.Health != health {
				continue
			}
			if port, ok := portNamed(m.as.Ports, p.Name); ok {
				if out == nil {
					out = make([]Endpoint, 0, len(members))
				}
				out = append(out, Endpoint{Addr: netip.AddrPortFrom(m.as.Addr, port), Workload: m.workload})
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// TargetPort is the port of workload w that a service's port leads to. ok is
// false where the port's name is not declared by the workload.
func TargetPort(p *ServicePort, w *Workload) (port uint16, ok bool) {
	if p.TargetName == "" {
		return p.TargetNumber, p.TargetNumber != 0
	}
	return portNamed(w.Ports, p.TargetName)
}

func portNamed(ports []Port, name string) (uint16, bool) {
	for i := range ports {
		if ports[i].Name == name {
			return ports[i].Number, true
		}
	}
	return 0, false
}

// Matches reports whether labels carry every pair of the selector. An empty
// selector matches everything.
func Matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Namespaces iterates over the namespaces that have workloads, in no fixed order.
func (x *Index) Namespaces() iter.Seq[string] { return maps.Keys(x.byNamespace) }
