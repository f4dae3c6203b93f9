package analyze

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// gateway is a Gateway of Istio's API.
type gateway struct {
	o    *api.Object
	spec *networking.Gateway
}

func (w *world) gateways() []gateway {
	var out []gateway
	each(w, func(o *api.Object, g *networking.Gateway) { out = append(out, gateway{o, g}) })
	return out
}

// together tells whether two gateways are served by the same workloads, as far as
// their selectors tell.
func (w *world) together(a, b map[string]string) bool {
	if registry.Matches(a, b) || registry.Matches(b, a) {
		return true
	}
	return slices.ContainsFunc(w.workloads, func(x workload) bool {
		return registry.Matches(a, x.labels) && registry.Matches(b, x.labels)
	})
}

// gatewayConflicts finds servers of two gateways for the same host and port.
func gatewayConflicts(w *world) {
	all := w.gateways()
	for i, young := range all {
		for j, s := range young.spec.Servers {
			for _, old := range all[:i] {
				if hosts := w.clash(old, young, s); hosts != "" {
					path := fmt.Sprintf("spec.servers[%d]", j)
					w.say("IST0145", young.o, path, fmt.Sprintf("%s is older and serves the hosts %s on port %d at the same workloads", old.o.Ref(), hosts, s.GetPort().GetNumber()))
				}
			}
		}
	}
}

// clash lists the hosts of a server that an older gateway serves on the same port.
func (w *world) clash(old, young gateway, s *networking.Server) string {
	if !w.together(old.spec.Selector, young.spec.Selector) {
		return ""
	}
	var hosts []string
	for _, o := range old.spec.Servers {
		if o.GetPort().GetNumber() != s.GetPort().GetNumber() || o.Bind != s.Bind {
			continue
		}
		for _, a := range o.Hosts {
			for _, b := range s.Hosts {
				if name(a) == name(b) {
					hosts = append(hosts, name(b))
				}
			}
		}
	}
	return list(hosts)
}

// name is a server's host without the namespace before it.
func name(host string) string {
	if _, h, ok := strings.Cut(host, "/"); ok {
		return h
	}
	return host
}

// gatewayCertificates finds credentials that cannot serve, and those of several
// gateways.
func gatewayCertificates(w *world) {
	users := map[string][]gateway{}
	for _, g := range w.gateways() {
		for i, s := range g.spec.Servers {
			t := s.GetTls()
			key := t.GetCredentialName()
			if key == "" {
				key = t.GetServerCertificate()
			}
			if key == "" {
				continue
			}
			path := fmt.Sprintf("spec.servers[%d].tls.credentialName", i)
			if problem := w.secretProblem(g.o.Meta.Namespace, t.CredentialName); problem != "" {
				w.say("IST0161", g.o, path, g.o.Meta.Namespace+"/"+t.CredentialName, problem)
			}
			for _, other := range users[key] {
				if other.o != g.o && w.together(other.spec.Selector, g.spec.Selector) {
					w.say("IST0138", g.o, path, key, other.o.Ref())
					break
				}
			}
			users[key] = append(users[key], g)
		}
	}
}

// secretProblem says why a Secret cannot serve; "" where it can or is not known.
func (w *world) secretProblem(namespace, name string) string {
	o := w.byRef[verdict.Ref{Kind: api.KindSecret, Namespace: namespace, Name: name}]
	if o == nil || name == "" {
		return ""
	}
	s := o.Spec.(*corev1.Secret)
	field := func(keys ...string) []byte {
		for _, k := range keys {
			if v := s.StringData[k]; v != "" {
				return []byte(v)
			}
			if v := s.Data[k]; len(v) > 0 {
				return v
			}
		}
		return nil
	}
	if _, err := tls.X509KeyPair(field(corev1.TLSCertKey, "cert"), field(corev1.TLSPrivateKeyKey, "key")); err != nil {
		return err.Error()
	}
	return ""
}

// gatewayPorts finds ports of gateways that no Service of their workloads leads to.
func gatewayPorts(w *world) {
	for _, g := range w.gateways() {
		reached, services := map[uint32]bool{}, 0
		each(w, func(o *api.Object, s *corev1.Service) {
			if len(s.Spec.Selector) == 0 || !registry.Matches(s.Spec.Selector, g.spec.Selector) && !w.behind(s, g) {
				return
			}
			services++
			for i := range s.Spec.Ports {
				p := &s.Spec.Ports[i]
				reached[uint32(p.Port)] = true
				if p.TargetPort.IntVal != 0 {
					reached[uint32(p.TargetPort.IntVal)] = true
				}
			}
		})
		for i, s := range g.spec.Servers {
			if n := s.GetPort().GetNumber(); services > 0 && !reached[n] {
				w.say("IST0162", g.o, fmt.Sprintf("spec.servers[%d].port.number", i), n)
			}
		}
	}
}

// behind tells whether a Service and a gateway select a workload in common.
func (w *world) behind(s *corev1.Service, g gateway) bool {
	return slices.ContainsFunc(w.workloads, func(x workload) bool {
		return x.ref.Namespace == s.Namespace && registry.Matches(s.Spec.Selector, x.labels) && registry.Matches(g.spec.Selector, x.labels)
	})
}

// key is how VirtualServices name the gateway in full.
func (g gateway) key() string { return g.o.Meta.Namespace + "/" + g.o.Meta.Name }

// bound lists the gateways that a VirtualService names, in full; "mesh" stands for
// sidecars.
func bound(o *api.Object, vs *networking.VirtualService) []string {
	if len(vs.Gateways) == 0 {
		return []string{mesh.MeshGateway}
	}
	var out []string
	for _, g := range vs.Gateways {
		switch namespace, name, ok := strings.Cut(g, "/"); {
		case g == mesh.MeshGateway:
			out = append(out, g)
		case !ok:
			out = append(out, o.Meta.Namespace+"/"+g)
		case namespace == ".":
			out = append(out, o.Meta.Namespace+"/"+name)
		default:
			out = append(out, g)
		}
	}
	return out
}
