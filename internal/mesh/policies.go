package mesh

import (
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Policy is what the policies of one namespace say together about one host.
type Policy struct {
	Namespace string
	Host      string
	Clients   map[string]string
	Traffic   TrafficPolicy
	Subsets   []*Subset
	ExportTo  []string
	Origins   []verdict.Origin // of the objects it was merged from, the oldest first
}

// Subset finds a subset by its name.
func (p *Policy) Subset(name string) *Subset {
	if p == nil {
		return nil
	}
	for _, s := range p.Subsets {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// policyIndex finds policies by namespace; lists are the most specific first.
type policyIndex struct {
	exact map[[2]string][]*Policy // by namespace and host
	named map[string][]string     // the namespaces in exact, by host
	wild  map[string][]*Policy    // by namespace; the longest host first
}

// newPolicyIndex merges the policies of a namespace for one host and one choice of
// clients, as Istio does: the oldest's traffic policy, and the subsets of all, the
// oldest first where names clash. exportTo is for policies that name no namespaces.
func newPolicyIndex(v *verdicts, list []HostPolicy, exportTo []string) *policyIndex {
	sorted := pointers(list)
	slices.SortFunc(sorted, func(a, b *HostPolicy) int { return older(&a.Meta, &b.Meta) })
	x := &policyIndex{exact: map[[2]string][]*Policy{}, named: map[string][]string{}, wild: map[string][]*Policy{}}
	for _, hp := range sorted {
		x.add(v, hp, exportTo)
	}
	for _, policies := range x.exact {
		selectiveFirst(policies)
	}
	for _, policies := range x.wild {
		selectiveFirst(policies)
		slices.SortStableFunc(policies, func(a, b *Policy) int { return len(b.Host) - len(a.Host) })
	}
	return x
}

// selectiveFirst puts policies for chosen clients before those for all.
func selectiveFirst(list []*Policy) {
	slices.SortStableFunc(list, func(a, b *Policy) int { return min(1, len(b.Clients)) - min(1, len(a.Clients)) })
}

func (x *policyIndex) add(v *verdicts, hp *HostPolicy, exportTo []string) {
	list := x.exact[[2]string{hp.Namespace, hp.Host}]
	wild := strings.HasPrefix(hp.Host, "*")
	if wild {
		list = x.wild[hp.Namespace]
	}
	for _, p := range list {
		if p.Host == hp.Host && equalMaps(p.Clients, hp.Clients) {
			merge(v, p, hp)
			return
		}
	}
	p := &Policy{
		Namespace: hp.Namespace, Host: hp.Host, Clients: hp.Clients, Traffic: hp.Policy,
		Subsets: pointers(hp.Subsets), ExportTo: exported(hp.ExportTo, exportTo), Origins: []verdict.Origin{hp.Origin},
	}
	if wild {
		x.wild[hp.Namespace] = append(list, p)
	} else {
		if len(list) == 0 {
			x.named[hp.Host] = append(x.named[hp.Host], hp.Namespace)
		}
		x.exact[[2]string{hp.Namespace, hp.Host}] = append(list, p)
	}
}

// merge adds a younger policy to an older one.
func merge(v *verdicts, p *Policy, hp *HostPolicy) {
	first := p.Origins[0].Ref
	if !isUnset(&hp.Policy) {
		if isUnset(&p.Traffic) {
			p.Traffic = hp.Policy
		} else {
			v.by(hp.Origin.At("spec.trafficPolicy"), verdict.Shadowed, first, "%s is older and sets the traffic policy of %s", first, hp.Host)
		}
	}
	for i := range hp.Subsets {
		s := &hp.Subsets[i]
		if o := p.Subset(s.Name); o != nil {
			v.by(s.Origin, verdict.Shadowed, o.Origin.Ref, "%s is older and defines the subset %s", o.Origin.Ref, s.Name)
			continue
		}
		p.Subsets = append(p.Subsets, s)
	}
	p.Origins = append(p.Origins, hp.Origin)
}

func isUnset(t *TrafficPolicy) bool {
	return t.Balance == nil && t.Pool == nil && t.Outlier == nil && t.TLS == nil && len(t.Ports) == 0 &&
		t.Budget == nil && t.Proxy == NoProxyProtocol
}

func equalMaps(a, b map[string]string) bool {
	return len(a) == len(b) && registry.Matches(a, b)
}

// Policy finds the policy for a host as a client sees it: of the client's own
// namespace, else of the host's, else of the root namespace (Istio, DestinationRule
// lookup). Within a namespace an exact host wins over a wildcard. Nil if there is none.
func (s *Snapshot) Policy(c Client, h *Host) *Policy {
	home := h.Service.Namespace
	for _, ns := range s.policies.namespaces(h.Name) {
		if ns != home && c.In(ns) { // of the client's own; those of home come first for everybody else
			if p := s.policies.find(ns, c, h.Name); p != nil {
				return p
			}
			break
		}
	}
	if p := s.policies.find(home, c, h.Name); p != nil {
		return p
	}
	return s.policies.find(s.rootNamespace, c, h.Name)
}

// namespaces lists those that have a policy which matches a host, sorted.
func (x *policyIndex) namespaces(host string) []string {
	out := slices.Clone(x.named[host])
	for ns, list := range x.wild {
		if slices.ContainsFunc(list, func(p *Policy) bool { return hostMatches(p.Host, host) }) {
			out = append(out, ns)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (x *policyIndex) find(ns string, c Client, host string) *Policy {
	for _, p := range x.exact[[2]string{ns, host}] {
		if p.takes(c) {
			return p
		}
	}
	for _, p := range x.wild[ns] {
		if hostMatches(p.Host, host) && p.takes(c) {
			return p
		}
	}
	return nil
}

// takes reports whether the policy is for the client. Chosen clients are those of
// the policy's own namespace.
func (p *Policy) takes(c Client) bool {
	if len(p.Clients) > 0 && !(c.In(p.Namespace) && c.Carries(p.Clients)) {
		return false
	}
	return seenBy(p.ExportTo, p.Namespace, c)
}
