package describe

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/api"
)

// inMesh tells whether a VirtualService acts at sidecars.
func inMesh(v *networking.VirtualService) bool {
	return len(v.GetGateways()) == 0 || slices.Contains(v.GetGateways(), "mesh")
}

// virtualService tells what the routes for a host do with the pod: the share that
// it may get, and the matches that lead to it.
func (m *Mesh) virtualService(b *strings.Builder, o *api.Object, v *networking.VirtualService, host string, labels map[string]string) {
	forHost := slices.ContainsFunc(v.GetHosts(), func(h string) bool { return fullHost(h, o.Meta.Namespace) == host })
	if !forHost {
		return
	}
	fmt.Fprintf(b, "VirtualService: %s\n", m.nameOf(o))
	lines := 0
	for i, r := range v.GetHttp() {
		if share, ok := m.share(r.GetRoute(), o.Meta.Namespace, host, labels); ok {
			fmt.Fprintf(b, "   Route %d: %s, %s\n", i, share, matches(r.GetMatch()))
			lines++
		}
	}
	for i, r := range v.GetTcp() {
		for _, d := range r.GetRoute() {
			if fullHost(d.GetDestination().GetHost(), o.Meta.Namespace) == host && m.subsetOfPod(host, d.GetDestination().GetSubset(), labels) {
				fmt.Fprintf(b, "   TCP route %d: weight %d\n", i, d.GetWeight())
				lines++
			}
		}
	}
	if lines == 0 {
		what := "the service"
		if labels != nil {
			what = "this pod"
		}
		fmt.Fprintf(b, "   WARNING: no route of it leads to %s\n", what)
	}
	m.warn(b, o)
}

// share tells how much of a route goes to the host's subsets that the labels match.
func (m *Mesh) share(routes []*networking.HTTPRouteDestination, namespace, host string, labels map[string]string) (string, bool) {
	var total, ours int32
	found := false
	var subsets []string
	for _, d := range routes {
		total += d.GetWeight()
		if fullHost(d.GetDestination().GetHost(), namespace) != host || !m.subsetOfPod(host, d.GetDestination().GetSubset(), labels) {
			continue
		}
		found = true
		ours += d.GetWeight()
		if s := d.GetDestination().GetSubset(); s != "" {
			subsets = append(subsets, s)
		}
	}
	if !found {
		return "", false
	}
	percent := int32(100)
	if total > 0 {
		percent = ours * 100 / total
	}
	text := fmt.Sprintf("Weight %d%%", percent)
	if len(subsets) > 0 {
		text += " to the subset " + strings.Join(subsets, ", ")
	}
	return text, true
}

// subsetOfPod tells whether a subset of a host includes the labels; no labels are
// in all.
func (m *Mesh) subsetOfPod(host, name string, labels map[string]string) bool {
	if name == "" || labels == nil {
		return true
	}
	for _, o := range m.Objects {
		d, ok := o.Spec.(*networking.DestinationRule)
		if !ok || fullHost(d.GetHost(), o.Meta.Namespace) != host {
			continue
		}
		for _, s := range d.GetSubsets() {
			if s.GetName() == name {
				return subset(s.GetLabels(), labels)
			}
		}
	}
	return false
}

// matches tells the conditions of a route in a few words.
func matches(list []*networking.HTTPMatchRequest) string {
	if len(list) == 0 {
		return "all requests"
	}
	var all []string
	for _, r := range list {
		var parts []string
		if u := r.GetUri(); u != nil {
			parts = append(parts, stringMatch(u))
		}
		var names []string
		for name := range r.GetHeaders() {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			parts = append(parts, name+"="+stringMatch(r.GetHeaders()[name]))
		}
		if x := r.GetMethod(); x != nil {
			parts = append(parts, "method "+stringMatch(x))
		}
		if len(parts) == 0 {
			parts = append(parts, "with further conditions")
		}
		all = append(all, strings.Join(parts, " and "))
	}
	return "requests of " + strings.Join(all, ", or ")
}

func stringMatch(s *networking.StringMatch) string {
	switch x := s.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return x.Exact
	case *networking.StringMatch_Prefix:
		return x.Prefix + "*"
	case *networking.StringMatch_Regex:
		return "~" + x.Regex
	}
	return "*"
}

// exposure tells at which gateways requests come in for services.
func (m *Mesh) exposure(b *strings.Builder, services []*api.Object) {
	for _, o := range m.Objects {
		v, ok := o.Spec.(*networking.VirtualService)
		if !ok || len(v.GetGateways()) == 0 {
			continue
		}
		var paths []string
		for _, r := range v.GetHttp() {
			leads := slices.ContainsFunc(r.GetRoute(), func(d *networking.HTTPRouteDestination) bool {
				return slices.ContainsFunc(services, func(s *api.Object) bool {
					return fullHost(d.GetDestination().GetHost(), o.Meta.Namespace) == hostOf(s)
				})
			})
			if leads {
				paths = append(paths, strings.TrimPrefix(matches(r.GetMatch()), "requests of "))
			}
		}
		if len(paths) == 0 {
			continue
		}
		for _, name := range v.GetGateways() {
			if name != "mesh" {
				m.gateway(b, o, v, name, paths)
			}
		}
	}
}

// gateway tells how a gateway exposes a VirtualService.
func (m *Mesh) gateway(b *strings.Builder, o *api.Object, v *networking.VirtualService, name string, paths []string) {
	namespace, short, ok := strings.Cut(name, "/")
	if !ok {
		namespace, short = o.Meta.Namespace, name
	}
	fmt.Fprint(b, separator)
	for _, x := range m.Objects {
		g, ok := x.Spec.(*networking.Gateway)
		if !ok || x.Meta.Namespace != namespace || x.Meta.Name != short {
			continue
		}
		for _, s := range g.GetServers() {
			fmt.Fprintf(b, "Exposed on Ingress Gateway %s\n", m.url(g, s))
		}
		fmt.Fprintf(b, "   Gateway: %s.%s, hosts %s\nVirtualService: %s\n   %s\n", short, namespace, strings.Join(v.GetHosts(), ", "), m.nameOf(o), strings.Join(paths, ", "))
		m.warn(b, x)
		m.warn(b, o)
		return
	}
	fmt.Fprintf(b, "VirtualService: %s\n   WARNING: the gateway %s does not exist\n", m.nameOf(o), name)
}

// url is where a server of a gateway is reached: the address of the service whose
// pods the gateway selects.
func (m *Mesh) url(g *networking.Gateway, s *networking.Server) string {
	scheme := strings.ToLower(s.GetPort().GetProtocol())
	address := ""
	for _, o := range m.Objects {
		svc, ok := o.Spec.(*corev1.Service)
		if ok && m.Address != nil && address == "" && len(g.GetSelector()) > 0 && subset(g.GetSelector(), svc.Spec.Selector) {
			address = m.Address(o.Meta.Namespace, o.Meta.Name)
		}
	}
	if address == "" {
		return fmt.Sprintf("(no address known) port %d, %s", s.GetPort().GetNumber(), s.GetPort().GetProtocol())
	}
	if port := s.GetPort().GetNumber(); !(scheme == "http" && port == 80) && !(scheme == "https" && port == 443) {
		address = fmt.Sprintf("%s:%d", address, port)
	}
	return scheme + "://" + address
}
