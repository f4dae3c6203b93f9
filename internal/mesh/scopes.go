package mesh

import (
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// WorkloadEntry is a workload outside the registry of pods that selectors find.
type WorkloadEntry struct {
	Meta
	Workload registry.Workload
}

// SidecarScope bounds what the sidecars of some workloads see, and says which ports they
// take (Istio's Sidecar). Without a selector it holds for its namespace, in the root
// namespace for every namespace that has none of its own.
type SidecarScope struct {
	Meta
	Namespace, Name string
	Selector        map[string]string
	Egress          []Egress // empty: all hosts
	Ingress         []Ingress
	// Outbound replaces the mesh's policy; nil: it stays.
	Outbound *OutboundPolicy
	Pool     *Pool // of all inbound ports
}

// Egress is a set of hosts, for one port or for those that no other names.
type Egress struct {
	Origin  verdict.Origin
	ForPort bool
	Port    uint16
	Hosts   []EgressHost
	Except  []EgressHost // taken out again
}

// EgressHost names hosts of a namespace, or of any ("*"), that a pattern covers.
type EgressHost struct{ Namespace, Host string }

func (e *EgressHost) takes(namespace, host string) bool {
	return (e.Namespace == "*" || e.Namespace == namespace) && hostMatches(e.Host, host)
}

// Ingress is a port that a workload takes connections on.
type Ingress struct {
	Origin   verdict.Origin
	Port     uint16
	Name     string
	Protocol registry.Protocol
	// Target is where the workload listens; invalid: at the port itself.
	Target netip.AddrPort
	Pool   *Pool
}

// SidecarScope finds what bounds the sidecars of a workload: the oldest of its namespace
// that selects it, else that of the namespace, else that of the root namespace. Nil
// bounds nothing.
func (s *Snapshot) SidecarScope(namespace string, labels map[string]string) *SidecarScope {
	for _, c := range s.scopes {
		if c.Namespace == namespace && len(c.Selector) > 0 && registry.Matches(c.Selector, labels) {
			return c
		}
	}
	for _, ns := range []string{namespace, s.rootNamespace} {
		for _, c := range s.scopes {
			if c.Namespace == ns && len(c.Selector) == 0 {
				return c
			}
		}
	}
	return nil
}

// Bounded reports whether the mesh has any Sidecar objects. It is in every revision.
func (s *Snapshot) Bounded() bool { return len(s.scopes) > 0 }

// Outbound says what becomes of calls to hosts that a workload's sidecar does not
// know. A nil scope leaves it to the mesh.
func (s *Snapshot) Outbound(c *SidecarScope) OutboundPolicy {
	if c != nil && c.Outbound != nil {
		return *c.Outbound
	}
	return s.settings.Outbound
}

// at finds the set of hosts for a port: its own, else the one for all others.
func (c *SidecarScope) at(port uint16) *Egress {
	var rest *Egress
	for i := range c.Egress {
		switch e := &c.Egress[i]; {
		case e.ForPort && e.Port == port:
			return e
		case !e.ForPort && rest == nil:
			rest = e
		}
	}
	return rest
}

// Sees reports whether a host is in the scope at a port. A nil scope sees all.
func (c *SidecarScope) Sees(h *Host, port uint16) bool {
	if c == nil || len(c.Egress) == 0 {
		return true
	}
	e := c.at(port)
	if e == nil {
		return false
	}
	return e.takes(h.Service.Namespace, h.Name)
}

func (e *Egress) takes(namespace, host string) bool {
	match := func(x EgressHost) bool { return x.takes(namespace, host) }
	return slices.ContainsFunc(e.Hosts, match) && !slices.ContainsFunc(e.Except, match)
}

// Imports reports whether a rule set's rules for a port act in the scope: one of its
// hosts must be named with the set's own namespace.
func (c *SidecarScope) Imports(r *RouteSet, port uint16) bool {
	if c == nil || len(c.Egress) == 0 {
		return true
	}
	e := c.at(port)
	if e == nil {
		return false
	}
	match := func(x EgressHost) bool {
		if x.Namespace != "*" && x.Namespace != r.Namespace {
			return false
		}
		return slices.ContainsFunc(r.Hosts, func(h string) bool { _, ok := Intersect(x.Host, h); return ok })
	}
	return slices.ContainsFunc(e.Hosts, match)
}

// checkScopes says of each scope whether it acts, and where.
func (s *Snapshot) checkScopes(v *verdicts) {
	for i, c := range s.scopes {
		if len(c.Selector) > 0 {
			if len(s.workloads.Selected(c.Namespace, c.Selector)) == 0 {
				v.say(c.Origin, verdict.SelectsNothing, "the selector matches no workload of the namespace %s", c.Namespace)
			}
			continue
		}
		for _, o := range s.scopes[:i] {
			if o.Namespace == c.Namespace && len(o.Selector) == 0 {
				v.by(c.Origin, verdict.Shadowed, o.Origin.Ref, "%s is older and holds for the namespace", o.Origin.Ref)
				break
			}
		}
	}
	for _, c := range s.scopes {
		for i := range c.Egress {
			s.checkEgress(v, &c.Egress[i], c)
		}
	}
}

// checkEgress names the hosts of a listener that there are none of.
func (s *Snapshot) checkEgress(v *verdicts, e *Egress, c *SidecarScope) {
	for _, x := range e.Hosts {
		if x.Host == "*" && (x.Namespace == "*" || x.Namespace == c.Namespace) {
			continue // nobody has to have services
		}
		if !slices.ContainsFunc(s.hosts, func(h *Host) bool { return x.takes(h.Service.Namespace, h.Name) }) {
			v.say(e.Origin.At("hosts"), verdict.SelectsNothing, "no host of the mesh is %s/%s", x.Namespace, x.Host)
		}
	}
}
