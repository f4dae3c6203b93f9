package kube

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/internal/registry"
)

// cluster is what workloads are made of.
type cluster struct {
	pods   *table[*pod]
	slices *table[*slice]
	nodes  *table[registry.Locality]
	// selected tells which namespaces the mesh sees.
	selected func(namespace string) bool
	// ipv6 tells whether a service of two families asks for IPv6 first.
	ipv6 func(service string) bool

	// named lists, after join, the services whose slices hold names: sorted.
	named []string
}

// join makes the workloads: one for each pod, and one for each address that a
// slice names without a pod. All of them say themselves what they serve. The
// result is in the order of namespaces and names.
func (c *cluster) join() []registry.Workload {
	j := &joiner{c: c, pods: make(map[string]int32, c.pods.len()), loose: map[looseKey]int32{}}
	j.out = make([]registry.Workload, 0, c.pods.len())
	c.pods.each(j.pod)
	chosen := c.families()
	c.slices.each(func(_ string, s *slice) {
		if !s.fqdn && chosen[s.service] == s.ipv6 && c.selected(namespaceOf(s.service)) {
			j.slice(s)
		}
	})
	slices.SortFunc(j.out, func(a, b registry.Workload) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), a.Addr.Compare(b.Addr))
	})
	for i := range j.out {
		slices.SortFunc(j.out[i].Serves, func(a, b registry.Membership) int {
			return cmp.Or(cmp.Compare(a.Service, b.Service), a.Addr.Compare(b.Addr))
		})
	}
	return j.out
}

// families chooses for each service whether its slices of IPv6 count or those of
// IPv4: the mesh calls one address of a pod.
func (c *cluster) families() map[string]bool {
	type found struct{ v4, v6 bool }
	have := map[string]found{}
	c.named = nil
	c.slices.each(func(_ string, s *slice) {
		if s.fqdn {
			if c.selected(namespaceOf(s.service)) {
				c.named = append(c.named, s.service)
			}
			return
		}
		f := have[s.service]
		f.v4, f.v6 = f.v4 || !s.ipv6, f.v6 || s.ipv6
		have[s.service] = f
	})
	slices.Sort(c.named)
	c.named = slices.Compact(c.named)
	out := make(map[string]bool, len(have))
	for service, f := range have {
		out[service] = f.v6 && (!f.v4 || c.ipv6(service))
	}
	return out
}

// joiner collects workloads.
type joiner struct {
	c     *cluster
	out   []registry.Workload
	pods  map[string]int32 // place in out by the pod's key
	byIP  map[netip.Addr]int32
	loose map[looseKey]int32
}

// looseKey names an address without a pod: two services of a namespace may share
// it.
type looseKey struct {
	namespace string
	addr      netip.Addr
}

func (j *joiner) pod(key string, p *pod) {
	if !j.c.selected(p.workload.Namespace) {
		return
	}
	w := p.workload
	w.Serves = []registry.Membership{}
	if w.Locality == (registry.Locality{}) {
		w.Locality, _ = j.c.nodes.get(w.Node)
	}
	j.pods[key] = int32(len(j.out))
	j.out = append(j.out, w)
}

func (j *joiner) slice(s *slice) {
	for i := range s.endpoints {
		e := &s.endpoints[i]
		at, ok := int32(0), false
		if e.pod != "" {
			// A pod that is not known is gone, or is told of in a moment: without it
			// nothing says how to call the address.
			at, ok = j.pods[e.pod]
		} else {
			at, ok = j.address(namespaceOf(s.service), e), true
		}
		if ok {
			j.serve(&j.out[at], s, e)
		}
	}
}

// address finds or makes the workload of an address that a slice names without a
// pod. It may be a pod's all the same: Services without a selector are used so.
func (j *joiner) address(namespace string, e *endpoint) int32 {
	if j.byIP == nil {
		j.indexIPs()
	}
	if at, ok := j.byIP[e.addr]; ok {
		return at
	}
	key := looseKey{namespace, e.addr}
	at, ok := j.loose[key]
	if !ok {
		at = int32(len(j.out))
		j.loose[key] = at
		locality := registry.Locality{Zone: e.zone}
		if l, known := j.c.nodes.get(e.node); known && e.node != "" {
			locality = l
		}
		j.out = append(j.out, registry.Workload{
			Name: e.addr.String(), Namespace: namespace, Owner: e.addr.String(), Addr: e.addr, Node: e.node, Locality: locality,
		})
	}
	if e.health == registry.Healthy {
		j.out[at].Ready = true
	}
	return at
}

// indexIPs finds pods by address; those of the host's network share theirs.
func (j *joiner) indexIPs() {
	j.byIP = map[netip.Addr]int32{}
	j.c.pods.each(func(key string, p *pod) {
		at, ok := j.pods[key]
		if !ok || p.hostNetwork {
			return
		}
		j.byIP[p.workload.Addr] = at
		for _, a := range p.others {
			j.byIP[a] = at
		}
	})
}

// serve notes that a workload is an endpoint. An address may stand in two slices of
// a service while the slices are rearranged: the better health counts.
func (j *joiner) serve(w *registry.Workload, s *slice, e *endpoint) {
	for i := range w.Serves {
		m := &w.Serves[i]
		if m.Service != s.service || m.Addr != e.addr {
			continue
		}
		m.Health = max(m.Health, e.health)
		for _, p := range s.ports {
			if !slices.Contains(m.Ports, p) {
				m.Ports = append(slices.Clip(m.Ports), p) // the slice's list is shared
			}
		}
		return
	}
	w.Serves = append(w.Serves, registry.Membership{Service: s.service, Addr: e.addr, Ports: s.ports, Health: e.health})
}
