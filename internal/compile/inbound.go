package compile

import (
	"cmp"
	"slices"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// inbound compiles the ports that services lead to at the node's workload. Where
// several services lead to one port, the oldest decides its protocol.
func (c *assembler) inbound() {
	mtls := c.snap.MTLS(c.node.Namespace, c.node.Labels)
	in := &ir.Inbound{Addr: c.node.addr(), Mode: inboundMode(mtls.Mode)}
	self := c.self()
	if scope := c.client.v.scope(); scope != nil && len(scope.Ingress) > 0 {
		c.ingress(in, self, &mtls)
		return
	}
	at := map[uint16]int{}
	speaks := map[uint16]ir.Version{}
	for _, h := range c.snap.Serving(c.node.Namespace, c.node.Labels) {
		for _, p := range h.Ports {
			target, ok := registry.TargetPort(p.ServicePort, self)
			if !ok {
				c.say(h.Service.Origin, verdict.Waiting, verdict.Ref{}, "the workload %s declares no port named %s", cmp.Or(self.Owner, self.Name), p.TargetName)
				continue
			}
			i, ok := at[target]
			if !ok {
				at[target] = len(in.Ports)
				in.Ports = append(in.Ports, c.inboundPort(target, h, p, &mtls))
				speaks[target] = c.versionInside(h, p)
				continue
			}
			first := &in.Ports[i]
			first.Services = append(first.Services, serviceRef(h, p))
			first.Origins = append(first.Origins, h.Service.Origin)
			if first.App != appOf(p.Protocol) {
				c.say(h.Service.Origin, verdict.Shadowed, first.Origins[0].Ref,
					"port %d of %s is read as %s, as %s says, which is older", target, self.Name, first.App, first.Origins[0].Ref)
			}
		}
	}
	slices.SortFunc(in.Ports, func(a, b ir.InboundPort) int { return cmp.Compare(a.Port, b.Port) })
	c.out.Inbound = in
	c.inboundClusters(in, speaks)
}

func (c *assembler) inboundPort(target uint16, h *mesh.Host, p *mesh.Port, mtls *mesh.MTLS) ir.InboundPort {
	return ir.InboundPort{
		Port:     target,
		App:      appOf(p.Protocol),
		MTLS:     inboundMode(mtls.At(target)),
		Services: []ir.ServiceRef{serviceRef(h, p)},
		Origins:  append([]verdict.Origin{h.Service.Origin}, mtls.Origins...),
	}
}

// versionInside is the version of HTTP in which the workload itself is called. An
// upgrade is between proxies only; a policy that keeps the client's version keeps
// it to the end (Istio applies useClientProtocol on both sides).
func (c *assembler) versionInside(h *mesh.Host, p *mesh.Port) ir.Version {
	pool := c.snap.Policy(c.client, h).Effective("", p.Number).Pool
	if pool != nil && pool.Version == mesh.Upgraded {
		pool = nil
	}
	return version(appOf(p.Protocol), pool)
}

func (c *assembler) inboundClusters(in *ir.Inbound, speaks map[uint16]ir.Version) {
	if c.out.Redirected {
		c.out.Clusters = append(c.out.Clusters, ir.Cluster{Key: ir.Key{Direction: ir.InboundPassthrough}, Discovery: ir.ByAddress, App: ir.Sniffed, Speaks: ir.AsClient, TLS: ir.PlainCall})
	}
	for _, p := range in.Ports {
		discovery := ir.ByAddress
		if !c.out.Redirected {
			discovery = ir.ByLocalPort
		}
		c.out.Clusters = append(c.out.Clusters, ir.Cluster{
			Key:       ir.Key{Direction: ir.InboundTo, Port: p.Port},
			Discovery: discovery,
			App:       p.App,
			Speaks:    speaks[p.Port],
			Services:  p.Services,
			TLS:       ir.PlainCall,
			Pool:      ir.Pool{ConnectTimeout: connectTimeout},
		})
	}
}

// self is the node's workload in the registry; where it is not registered yet, one
// made of the facts that the node tells.
func (c *assembler) self() *registry.Workload {
	for _, w := range c.snap.Workloads().Namespace(c.node.Namespace) {
		if slices.Contains(c.node.IPs, w.Addr) {
			return w
		}
	}
	return &registry.Workload{Name: c.node.Workload, Owner: c.node.Workload, Namespace: c.node.Namespace, Labels: c.node.Labels, Addr: c.node.addr()}
}

func inboundMode(m mesh.MTLSMode) ir.MTLS {
	switch m {
	case mesh.Strict:
		return ir.Strict
	case mesh.Disable:
		return ir.Plain
	}
	return ir.Permissive
}
