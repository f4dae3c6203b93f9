package compile

import (
	"net/netip"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// connections opens a port whose connections are relayed, or told apart by their
// first bytes: at the service's address, or at each endpoint of a headless one.
func (c *compiler) connections(h *mesh.Host, p *mesh.Port, app ir.App) {
	if !c.client.Redirected() {
		c.say(h.Service.Origin, verdict.Unsupported, verdict.Ref{},
			"without redirection a sidecar serves HTTP ports only: port %d of %s is called directly", p.Number, h.Name)
		return
	}
	l := ir.Listener{Port: p.Number, Addr: h.Addr, Chains: c.chains(h, p), Origins: []verdict.Origin{h.Service.Origin}}
	if app == ir.Sniffed {
		l.Table = h.Name + ":" + strconv.Itoa(int(p.Number))
		c.out.Tables = append(c.out.Tables, ir.Table{Name: l.Table, Hosts: []ir.VirtualHost{c.anyDomain(h, p)}})
	}
	if !h.Service.Headless() {
		if h.Addr.IsValid() {
			c.out.Outbound = append(c.out.Outbound, l)
		}
		return
	}
	for _, e := range c.snap.Endpoints(h, p) {
		if c.client.Has(e.Addr.Addr()) {
			continue // a workload's call to itself does not go through its proxy
		}
		l.Addr, l.Port = e.Addr.Addr(), e.Addr.Port()
		c.out.Outbound = append(c.out.Outbound, l)
	}
}

// open adds a host's listeners. Of several hosts with one address and port, those
// whose endpoints are called directly, the first has it.
func (c *assembler) open(list []ir.Listener) {
	for i := range list {
		l := &list[i]
		at := netip.AddrPortFrom(l.Addr, l.Port)
		first := c.opened[at]
		switch {
		case first == nil:
			c.opened[at] = l
			c.shared.Listeners = append(c.shared.Listeners, l)
		case first.Origins[0].Ref != l.Origins[0].Ref:
			c.say(l.Origins[0], verdict.Shadowed, first.Origins[0].Ref,
				"%s is an endpoint of %s too, whose listener calls to it use", at, first.Origins[0].Ref)
		}
	}
}

// chains are where connections to a port go: by the rules for TLS or for TCP,
// which the port's protocol chooses between (Istio, VirtualService), else to the
// port itself: whatever name its client asks for, it has dialled this host.
func (c *compiler) chains(h *mesh.Host, p *mesh.Port) []ir.Chain {
	at := bound{gateway: mesh.MeshGateway, port: p.Number, called: p.Number}
	var out []ir.Chain
	for _, set := range c.imported(h, p.Number) {
		rules := set.TCP
		if p.Protocol == registry.HTTPS || p.Protocol == registry.TLS {
			rules = set.TLS
		}
		out = append(out, c.ruled(rules, set, at)...)
	}
	key := ir.Key{Direction: ir.OutboundTo, Port: p.Number, Host: h.Name}
	last := ir.Chain{
		To: []ir.WeightedCluster{{Cluster: key, Weight: 100}}, Label: key.String(), Origins: []verdict.Origin{h.Service.Origin},
	}
	c.shapeRelay(&last)
	return apart(append(out, last))
}

// bound is where rules for connections act.
type bound struct {
	gateway string
	port    uint16 // that rules name: the service's, or the gateway server's
	called  uint16 // that destinations without a port mean; 0: none
}

// ruled gives a chain for each match of the rules that is for this proxy, in order.
func (c *compiler) ruled(rules []mesh.ConnRule, set *mesh.RouteSet, at bound) []ir.Chain {
	var out []ir.Chain
	for i := range rules {
		r := &rules[i]
		chain := ir.Chain{Rule: r.Origin, Origins: []verdict.Origin{r.Origin}}
		resolve := func() {
			if chain.To != nil {
				return
			}
			chain.To = c.tcpDestinations(r, at.called)
			chain.Label = set.Name + "." + set.Namespace
			if len(chain.To) == 1 {
				chain.Label = chain.To[0].Cluster.String()
			}
			c.shapeRelay(&chain)
		}
		if len(r.Matches) == 0 && c.meant(nil, "", nil, set, at.gateway) {
			resolve()
			out = append(out, chain)
			continue
		}
		for j := range r.Matches {
			m := &r.Matches[j]
			if m.Invalid || m.Port != 0 && m.Port != at.port || !c.meant(m.SourceLabels, m.SourceNamespace, m.Gateways, set, at.gateway) {
				continue
			}
			resolve()
			one := chain
			one.ServerNames, one.Subnets = m.ServerNames, m.Subnets
			out = append(out, one)
		}
	}
	return out
}

// tcpDestinations are where a rule's connections go. A rule that cannot act closes
// them: where they went before is not what its author wants.
func (c *compiler) tcpDestinations(r *mesh.ConnRule, called uint16) []ir.WeightedCluster {
	var out []ir.WeightedCluster
	for i := range r.Destinations {
		d := &r.Destinations[i]
		if d.Weight == 0 || r.Invalid != "" {
			continue
		}
		t, missing := c.snap.Resolve(d, c.client, called)
		if missing != nil {
			c.waits(d, missing)
			continue
		}
		out = append(out, ir.WeightedCluster{Cluster: targetKey(&t), Weight: d.Weight})
	}
	if len(out) == 0 {
		out = []ir.WeightedCluster{{Cluster: ir.Key{Direction: ir.BlackHole}, Weight: 100}}
	}
	return out
}
