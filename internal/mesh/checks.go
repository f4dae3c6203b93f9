package mesh

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// check gives the verdicts on references between objects. Rules are judged from
// their own namespace; what another client sees differently, the compiler says.
func (s *Snapshot) check(v *verdicts, cfg *Config) {
	for _, r := range s.routes.all {
		s.checkRoutes(v, r)
	}
	s.checkOrder(v)
	for i := range cfg.Policies {
		s.checkPolicy(v, &cfg.Policies[i])
	}
	for _, g := range s.gateways {
		s.checkGateway(v, g)
	}
	for _, p := range s.mtls.all {
		if len(p.Selector) > 0 && len(s.workloads.Selected(p.Namespace, p.Selector)) == 0 {
			v.say(p.Origin, verdict.SelectsNothing, "the selector matches no workload of the namespace %s", p.Namespace)
		}
	}
}

func (s *Snapshot) checkRoutes(v *verdicts, r *RouteSet) {
	if r.Ranked {
		return // package gatewayapi says in conditions where its routes act
	}
	if len(r.Gateways) == 1 && r.Gateways[0] == MeshGateway {
		s.checkHosts(v, r)
	}
	for i, name := range r.Gateways {
		at := r.Origin.At(fmt.Sprintf("spec.gateways[%d]", i))
		if name != MeshGateway {
			s.checkBinding(v, at, r, name)
		}
	}
	client := Caller{Namespace: r.Namespace}
	for i := range r.HTTP {
		rule := &r.HTTP[i]
		for j := range rule.Destinations {
			s.checkDestination(v, &rule.Destinations[j], client)
		}
		for j := range rule.Mirrors {
			s.checkDestination(v, &rule.Mirrors[j].Destination, client)
		}
	}
	for _, list := range [][]ConnRule{r.TLS, r.TCP} {
		for i := range list {
			for j := range list[i].Destinations {
				s.checkDestination(v, &list[i].Destinations[j], client)
			}
		}
	}
}

// checkHosts names the hosts of a rule set for sidecars that are no services.
func (s *Snapshot) checkHosts(v *verdicts, r *RouteSet) {
	known := 0
	for i, h := range r.Hosts {
		if s.anyHost(h) {
			known++
			continue
		}
		v.by(r.Origin.At(fmt.Sprintf("spec.hosts[%d]", i)), verdict.SelectsNothing, serviceRef(h), "the mesh has no service %s", h)
	}
	if known == 0 {
		v.say(r.Origin, verdict.SelectsNothing, "none of the hosts is a service of the mesh")
	}
}

func (s *Snapshot) anyHost(pattern string) bool {
	if _, ok := s.byName[pattern]; ok {
		return true
	}
	return slices.ContainsFunc(s.hosts, func(h *Host) bool { return hostMatches(pattern, h.Name) })
}

// checkBinding says whether a rule set's gateway exists and has a host in common.
func (s *Snapshot) checkBinding(v *verdicts, at verdict.Origin, r *RouteSet, name string) {
	for _, g := range s.gateways {
		if g.Key() != name {
			continue
		}
		for i := range g.Servers {
			for _, h := range r.Hosts {
				if len(g.Servers[i].Intersect(h, r.Namespace)) > 0 {
					return
				}
			}
		}
		v.by(at, verdict.SelectsNothing, g.Origin.Ref, "no server of the gateway %s has one of the hosts", name)
		return
	}
	ref := verdict.Ref{Kind: "Gateway"}
	ref.Namespace, ref.Name, _ = strings.Cut(name, "/")
	v.by(at, verdict.Waiting, ref, "the gateway %s does not exist", name)
}

// checkDestination says what a destination waits for. A destination without a port
// may mean the port that was called, which is known only where it is called.
func (s *Snapshot) checkDestination(v *verdicts, d *Destination, c Client) {
	if d.Host == "" {
		return // invalid; the front end said so
	}
	called := uint16(0)
	if h := s.byName[d.Host]; h != nil && len(h.Ports) > 0 {
		called = h.Ports[0].Number
	}
	if _, missing := s.Resolve(d, c, called); missing != nil {
		v.by(d.Origin.At("destination"), verdict.Waiting, missing.By, "%s", missing.Message)
	}
}

func (s *Snapshot) checkPolicy(v *verdicts, p *HostPolicy) {
	if !s.anyHost(p.Host) {
		v.by(p.Origin, verdict.SelectsNothing, serviceRef(p.Host), "the mesh has no service %s", p.Host)
		return
	}
	h, ok := s.byName[p.Host]
	if !ok {
		return
	}
	members := s.workloads.Members(h.Service)
	for i := range p.Subsets {
		sub := &p.Subsets[i]
		none := !slices.ContainsFunc(members, func(w *registry.Workload) bool {
			return registry.Matches(sub.Labels, w.Labels)
		})
		if none {
			v.say(sub.Origin, verdict.SelectsNothing, "no workload of %s has the labels of the subset %s", p.Host, sub.Name)
		}
	}
}

func (s *Snapshot) checkGateway(v *verdicts, g *Gateway) {
	var spaces []string
	for ns := range s.workloads.Namespaces() {
		for _, w := range s.workloads.Namespace(ns) {
			if s.selects(g, ns, w.Labels) {
				spaces = append(spaces, ns)
				break
			}
		}
	}
	if len(spaces) == 0 {
		if g.Listener {
			v.say(g.Origin, verdict.Waiting, "no workload of the gateway runs")
			return
		}
		v.say(g.Origin, verdict.SelectsNothing, "the selector matches no workload")
		return
	}
	slices.Sort(spaces)
	for i := range g.Servers {
		srv := &g.Servers[i]
		if srv.TLS == nil || srv.TLS.Namespace != "" {
			continue
		}
		for _, ns := range spaces {
			if _, missing := s.CredentialsOf(srv.TLS, ns); missing != "" {
				v.by(srv.Origin.At("tls.credentialName"), verdict.Waiting, verdict.Ref{Kind: "Secret", Namespace: ns, Name: missing},
					"the namespace %s of the gateway's workload has no usable Secret %s: the server is not opened", ns, missing)
			}
		}
	}
}

// Intersect lists the hosts that a server and a rule set's host have in common,
// for rule sets of a namespace.
func (s *Server) Intersect(host, namespace string) []string {
	var out []string
	for _, sh := range s.Hosts {
		if sh.Namespace != "*" && sh.Namespace != namespace {
			continue
		}
		if h, ok := Intersect(sh.Host, host); ok && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}
