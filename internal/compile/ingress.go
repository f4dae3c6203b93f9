package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// ingress compiles the ports that a Sidecar object lists, in place of those that
// services lead to.
func (c *assembler) ingress(in *ir.Inbound, self *registry.Workload, mtls *mesh.MTLS) {
	c.out.Inbound = in
	speaks := map[uint16]ir.Version{}
	targets := map[uint16]netip.AddrPort{}
	for i := range c.client.v.scope().Ingress {
		l := &c.client.v.scope().Ingress[i]
		if _, twice := speaks[l.Port]; twice {
			c.say(l.Origin, verdict.Shadowed, verdict.Ref{}, "an earlier listener has the port %d", l.Port)
			continue
		}
		app := appOf(l.Protocol)
		in.Ports = append(in.Ports, ir.InboundPort{
			Port: l.Port, App: app, MTLS: inboundMode(mtls.At(l.Port)), Services: c.servedAt(self, l.Port),
			Origins: append([]verdict.Origin{l.Origin}, mtls.Origins...),
		})
		speaks[l.Port] = version(app, nil)
		if t := l.Target; t.IsValid() {
			if t.Addr().IsUnspecified() && c.node.addr().IsValid() {
				t = netip.AddrPortFrom(c.node.addr(), t.Port())
			}
			targets[l.Port] = t
		}
	}
	slices.SortFunc(in.Ports, func(a, b ir.InboundPort) int { return cmp.Compare(a.Port, b.Port) })
	c.inboundClusters(in, speaks)
	for i := range c.out.Clusters {
		x := &c.out.Clusters[i]
		if t := targets[x.Key.Port]; x.Key.Direction == ir.InboundTo && t.IsValid() {
			x.Discovery, x.Target = ir.ByLocalPort, t
		}
	}
}

// servedAt lists the services that lead to a port of the workload.
func (c *assembler) servedAt(self *registry.Workload, port uint16) []ir.ServiceRef {
	var out []ir.ServiceRef
	for _, h := range c.snap.Serving(c.node.Namespace, c.node.Labels) {
		for _, p := range h.Ports {
			if target, ok := registry.TargetPort(p.ServicePort, self); ok && target == port {
				out = append(out, serviceRef(h, p))
			}
		}
	}
	return out
}
