package mesh

import (
	"slices"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/sum"
)

// Part is a part of the mesh that changes as one, as far as those are concerned who
// read it. Each has a revision: a hash over everything in it.
type Part uint8

// The parts.
const (
	Shape        Part = iota // of a host: all but who serves it
	Endpoints                // of a host: who serves it
	Rules                    // for a host: the rule sets for its requests and connections
	Policies                 // for a host: its policies, for all clients
	CallPolicies             // for a host: its policies as far as they shape listeners and routes
	Modes                    // of a namespace: the mTLS policies that may hold for its workloads
	TheSettings              // of the mesh, and whether it has Sidecar objects
)

// Rev is the revision of a part of the mesh, also where there is nothing of that name.
// Equal revisions, of this snapshot and another, mean equal parts. The settings of the
// mesh are in all of them: who sees what depends on its defaults.
func (s *Snapshot) Rev(p Part, name string) uint64 {
	var rev uint64
	switch p {
	case Shape:
		rev = s.revOfHosts(name, shapeRev)
		for _, h := range s.aliases[name] {
			rev = sum.Join(rev, shapeRev(h))
		}
	case Endpoints:
		rev = s.revOfHosts(name, endpointsRev)
	case Rules:
		rev = s.routes.rev(name)
	case Policies:
		rev = s.policies.rev(name)
	case CallPolicies:
		if s.ShapesCalls(name) {
			rev = s.policies.rev(name)
		}
	case Modes:
		rev = s.mtls.rev(name)
	case TheSettings:
	}
	return sum.Join(s.settingsRev, rev)
}

// revOfHosts hashes the host of a name, or all that have it.
func (s *Snapshot) revOfHosts(name string, of func(*Host) uint64) uint64 {
	if list := s.rivals[name]; list != nil {
		var rev uint64
		for _, h := range list {
			rev = sum.Join(rev, of(h))
		}
		return rev
	}
	if h := s.byName[name]; h != nil {
		return of(h)
	}
	return 0
}

// shapeRev hashes a host without its endpoints.
func shapeRev(h *Host) uint64 {
	shape := *h
	shape.Ports = make([]*Port, len(h.Ports))
	for i, p := range h.Ports {
		bare := *p
		bare.Endpoints = nil
		shape.Ports[i] = &bare
	}
	return sum.Of(&shape)
}

func endpointsRev(h *Host) uint64 {
	all := make([][]registry.Endpoint, len(h.Ports))
	for i, p := range h.Ports {
		all[i] = p.Endpoints
	}
	return sum.Of(all)
}

func (x *routeIndex) rev(host string) uint64 {
	revs := make([]uint64, 0, 4)
	for _, r := range x.exact[host] {
		revs = append(revs, x.revs[r])
	}
	for _, r := range x.wild {
		if widest(r.Hosts, host) != "" {
			revs = append(revs, x.revs[r])
		}
	}
	return sum.Join(revs...)
}

func (x *policyIndex) rev(host string) uint64 {
	var revs []uint64
	for _, ns := range x.namespaces(host) {
		for _, p := range x.exact[[2]string{ns, host}] {
			revs = append(revs, sum.Of(p))
		}
		for _, p := range x.wild[ns] {
			if hostMatches(p.Host, host) {
				revs = append(revs, sum.Of(p))
			}
		}
	}
	return sum.Join(revs...)
}

func (x *mtlsIndex) rev(namespace string) uint64 {
	return sum.Of(slices.Concat([]*MTLSPolicy{x.root, x.namespace[namespace]}, x.workload[namespace]))
}
