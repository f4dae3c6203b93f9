package registry

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
)

// Index finds workloads by namespace and labels. It is immutable after NewIndex.
type Index struct {
	byNamespace map[string][]*Workload
}

// NewIndex sorts workloads for lookups. The order of the input does not matter.
func NewIndex(workloads []Workload) *Index {
	x := &Index{byNamespace: map[string][]*Workload{}}
	for i := range workloads {
		w := &workloads[i]
		x.byNamespace[w.Namespace] = append(x.byNamespace[w.Namespace], w)
	}
	for _, list := range x.byNamespace {
		slices.SortFunc(list, func(a, b *Workload) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), a.Addr.Compare(b.Addr))
		})
	}
	return x
}

// Namespace returns a namespace's workloads in the order of their names. The
// caller must not change the slice.
func (x *Index) Namespace(ns string) []*Workload { return x.byNamespace[ns] }

// Selected returns the workloads of a namespace that carry all labels of the
// selector, in the order of their names. An empty selector selects none, as in
// Kubernetes' Services.
func (x *Index) Selected(ns string, selector map[string]string) []*Workload {
	if len(selector) == 0 {
		return nil
	}
	var out []*Workload
	for _, w := range x.byNamespace[ns] {
		if Matches(selector, w.Labels) {
			out = append(out, w)
		}
	}
	return out
}

// Endpoints lists who serves a port of a service: the selected workloads that
// have an address, are ready (or the service publishes those that are not) and
// know the target port. The order is that of the workloads' names.
func (x *Index) Endpoints(s *Service, p *ServicePort) []Endpoint {
	var out []Endpoint
	for _, w := range x.Selected(s.Namespace, s.Selector) {
		if !w.Addr.IsValid() || !w.Ready && !s.PublishNotReady {
			continue
		}
		if port, ok := TargetPort(p, w); ok {
			out = append(out, Endpoint{Addr: netip.AddrPortFrom(w.Addr, port), Workload: w})
		}
	}
	return out
}

// TargetPort is the port of workload w that a service's port leads to. ok is
// false where the port's name is not declared by the workload.
func TargetPort(p *ServicePort, w *Workload) (port uint16, ok bool) {
	if p.TargetName == "" {
		return p.TargetNumber, p.TargetNumber != 0
	}
	for _, cp := range w.Ports {
		if cp.Name == p.TargetName {
			return cp.Number, true
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
