package mesh

import (
	"slices"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// mtlsIndex finds mTLS policies; of two of one scope the oldest wins.
type mtlsIndex struct {
	root      *MTLSPolicy // for the mesh
	namespace map[string]*MTLSPolicy
	workload  map[string][]*MTLSPolicy // by namespace, the oldest first
	all       []*MTLSPolicy
}

func newMTLSIndex(v *verdicts, list []MTLSPolicy, root string) *mtlsIndex {
	x := &mtlsIndex{namespace: map[string]*MTLSPolicy{}, workload: map[string][]*MTLSPolicy{}, all: pointers(list)}
	slices.SortFunc(x.all, func(a, b *MTLSPolicy) int { return older(&a.Meta, &b.Meta) })
	for _, p := range x.all {
		if len(p.Selector) > 0 {
			for _, o := range x.workload[p.Namespace] {
				if equalMaps(o.Selector, p.Selector) {
					v.by(p.Origin, verdict.Shadowed, o.Origin.Ref, "%s is older and selects the same workloads", o.Origin.Ref)
				}
			}
			x.workload[p.Namespace] = append(x.workload[p.Namespace], p)
			continue
		}
		if o := x.namespace[p.Namespace]; o != nil {
			v.by(p.Origin, verdict.Shadowed, o.Origin.Ref, "%s is older and holds for the same scope", o.Origin.Ref)
			continue
		}
		x.namespace[p.Namespace] = p
	}
	x.root = x.namespace[root]
	return x
}

// MTLS is which connections a workload takes: per port where a port has a mode of
// its own, else Mode. Without any policy it is Permissive.
type MTLS struct {
	Mode    MTLSMode
	Ports   map[uint16]MTLSMode
	Origins []verdict.Origin
}

// At is the mode of a port.
func (m *MTLS) At(port uint16) MTLSMode {
	if p := m.Ports[port]; p != Unset {
		return p
	}
	return m.Mode
}

// MTLS resolves the mode of a workload: its own policy's, else its namespace's,
// else the mesh's. An unset mode inherits from the wider scope.
func (s *Snapshot) MTLS(namespace string, labels map[string]string) MTLS {
	out := MTLS{Mode: Permissive}
	scopes := []*MTLSPolicy{s.mtls.root, s.mtls.namespace[namespace]}
	for _, p := range s.mtls.workload[namespace] {
		if registry.Matches(p.Selector, labels) {
			scopes = append(scopes, p)
			out.Ports = p.Ports
			break // the oldest wins
		}
	}
	for _, p := range scopes {
		if p == nil {
			continue
		}
		if p.Mode != Unset {
			out.Mode = p.Mode
		}
		if n := len(out.Origins); n == 0 || out.Origins[n-1].Ref != p.Origin.Ref {
			out.Origins = append(out.Origins, p.Origin)
		}
	}
	return out
}
