package analyze

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// destination is where a VirtualService sends requests.
type destination struct {
	path string
	*networking.Destination
}

func destinationsOf(vs *networking.VirtualService) []destination {
	var out []destination
	add := func(path string, d *networking.Destination) {
		if d != nil {
			out = append(out, destination{path, d})
		}
	}
	for i, r := range vs.Http {
		for j, d := range r.Route {
			add(fmt.Sprintf("spec.http[%d].route[%d].destination", i, j), d.Destination)
		}
		add(fmt.Sprintf("spec.http[%d].mirror", i), r.Mirror)
		for j, m := range r.Mirrors {
			add(fmt.Sprintf("spec.http[%d].mirrors[%d].destination", i, j), m.Destination)
		}
	}
	for i, r := range vs.Tls {
		for j, d := range r.Route {
			add(fmt.Sprintf("spec.tls[%d].route[%d].destination", i, j), d.Destination)
		}
	}
	for i, r := range vs.Tcp {
		for j, d := range r.Route {
			add(fmt.Sprintf("spec.tcp[%d].route[%d].destination", i, j), d.Destination)
		}
	}
	return out
}

// destinations finds destinations that do not say which port is meant, and subsets
// that requests from a gateway do not meet.
func destinations(w *world) {
	subsets := map[string]verdict.Ref{} // of rules for sidecars, by the host that has them
	each(w, func(o *api.Object, vs *networking.VirtualService) {
		at := bound(o, vs)
		for _, d := range destinationsOf(vs) {
			host := qualified(d.Host, o.Meta.Namespace)
			if d.Subset != "" && len(at) == 1 && at[0] == mesh.MeshGateway && slices.ContainsFunc(vs.Hosts, func(h string) bool { return qualified(h, o.Meta.Namespace) == host }) {
				subsets[host] = o.Ref()
			}
			if s := w.service(d.Host, o.Meta.Namespace); s != nil && d.Port == nil && len(s.Spec.Ports) > 1 {
				w.say("IST0112", o, d.path, host, portsOf(s))
			}
		}
	})
	each(w, func(o *api.Object, vs *networking.VirtualService) {
		at := slices.DeleteFunc(bound(o, vs), func(g string) bool { return g == mesh.MeshGateway })
		for _, d := range destinationsOf(vs) {
			host := qualified(d.Host, o.Meta.Namespace)
			if by := subsets[host]; len(at) > 0 && d.Subset == "" && !by.IsZero() && by != o.Ref() {
				w.say("IST0140", o, d.path, at[0], host, by)
			}
		}
	})
}

func portsOf(s *corev1.Service) string {
	var out []string
	for i := range s.Spec.Ports {
		out = append(out, fmt.Sprint(s.Spec.Ports[i].Port))
	}
	return strings.Join(out, ", ")
}

// claimKey begins the names of headers that stand for claims of tokens.
const claimKey = "@request.auth.claims"

// claimRoutes finds routing by claims at gateways that check no tokens.
func claimRoutes(w *world) {
	checked := map[string]bool{} // by gateway
	for _, g := range w.gateways() {
		each(w, func(o *api.Object, r *security.RequestAuthentication) {
			labels := r.GetSelector().GetMatchLabels()
			if len(labels) == 0 || registry.Matches(labels, g.spec.Selector) || registry.Matches(g.spec.Selector, labels) ||
				slices.ContainsFunc(w.selected(o.Meta.Namespace, labels), func(x *workload) bool { return registry.Matches(g.spec.Selector, x.labels) }) {
				checked[g.key()] = true
			}
		})
	}
	each(w, func(o *api.Object, vs *networking.VirtualService) {
		for i, r := range vs.Http {
			for j, m := range r.Match {
				for field, headers := range map[string]map[string]*networking.StringMatch{"headers": m.Headers, "withoutHeaders": m.WithoutHeaders} {
					for _, h := range slices.Sorted(maps.Keys(headers)) {
						for _, g := range bound(o, vs) {
							if strings.HasPrefix(h, claimKey) && g != mesh.MeshGateway && !checked[g] {
								w.say("IST0149", o, fmt.Sprintf("spec.http[%d].match[%d].%s[%s]", i, j, field, h), h, g)
							}
						}
					}
				}
			}
		}
	})
}

// merged finds VirtualServices of one host on sidecars, whose rules are merged.
func merged(w *world) {
	first := map[string]*api.Object{}
	each(w, func(o *api.Object, vs *networking.VirtualService) {
		if !slices.Contains(bound(o, vs), mesh.MeshGateway) {
			return
		}
		for i, h := range vs.Hosts {
			host := qualified(h, o.Meta.Namespace)
			old := first[host]
			switch {
			case old == nil:
				first[host] = o
			case seesBoth(old, o):
				w.say("LTN0008", o, fmt.Sprintf("spec.hosts[%d]", i), host, old.Ref())
			}
		}
	})
}

// seesBoth tells whether some namespace sees both VirtualServices.
func seesBoth(a, b *api.Object) bool {
	private := func(o *api.Object) bool {
		e := o.Spec.(*networking.VirtualService).ExportTo
		return len(e) == 1 && e[0] == "."
	}
	return a.Meta.Namespace == b.Meta.Namespace || !private(a) || !private(b)
}
