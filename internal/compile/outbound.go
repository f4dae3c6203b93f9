package compile

import (
	"net/netip"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// The ports to which connections are redirected; a listener of a service's port
// there would have the same address as the proxy's own.
const (
	redirectOut = 15001
	redirectIn  = 15006
)

// outbound compiles the ports that the node's workload can call: one listener and
// one route table for each number that HTTP services use, and one listener for
// each address and port of other services.
func (c *compiler) outbound() {
	tables := map[uint16]*ir.Table{}
	origins := map[uint16][]verdict.Origin{}
	for _, h := range c.hosts {
		for _, p := range h.Ports {
			switch app := appOf(p.Protocol); {
			case p.Number == redirectOut || p.Number == redirectIn:
				c.say(h.Service.Origin, verdict.Unsupported, verdict.Ref{}, "the port %d belongs to redirection: sidecars do not serve it", p.Number)
			case app.HTTPish():
				if tables[p.Number] == nil {
					tables[p.Number] = &ir.Table{Name: strconv.Itoa(int(p.Number))}
				}
				tables[p.Number].Hosts = append(tables[p.Number].Hosts, c.virtualHost(h, p))
				origins[p.Number] = append(origins[p.Number], h.Service.Origin)
			default:
				c.connections(h, p, app)
			}
		}
	}
	for number, t := range tables { // the lists are sorted when everything is there
		uniqueDomains(t)
		t.Hosts = append(t.Hosts, c.others())
		c.out.Tables = append(c.out.Tables, *t)
		c.out.Outbound = append(c.out.Outbound, ir.Listener{
			Port: number, Addr: c.bindAddr(), App: ir.HTTP, Table: t.Name, Origins: origins[number],
		})
	}
}

// bindAddr is where HTTP ports are bound without redirection: loopback.
func (c *compiler) bindAddr() netip.Addr {
	if c.out.Redirected {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// connections opens a port whose connections are relayed, or told apart by their
// first bytes: at the service's address, or at each endpoint of a headless one.
func (c *compiler) connections(h *mesh.Host, p *mesh.Port, app ir.App) {
	if !c.out.Redirected {
		c.say(h.Service.Origin, verdict.Unsupported, verdict.Ref{},
			"without redirection a sidecar serves HTTP ports only: port %d of %s is called directly", p.Number, h.Name)
		return
	}
	l := ir.Listener{Port: p.Number, Addr: h.Addr, App: app, Origins: []verdict.Origin{h.Service.Origin}}
	l.TCP, l.Label, l.Rule = c.tcpRoute(h, p)
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
	for _, e := range p.Endpoints {
		if e.Addr.Addr() == c.node.addr() {
			continue // a workload's call to itself does not go through its proxy
		}
		l.Addr, l.Port = e.Addr.Addr(), e.Addr.Port()
		if !c.opened(l.Addr, l.Port) {
			c.out.Outbound = append(c.out.Outbound, l)
		}
	}
}

func (c *compiler) opened(addr netip.Addr, port uint16) bool {
	for i := range c.out.Outbound {
		if c.out.Outbound[i].Addr == addr && c.out.Outbound[i].Port == port {
			return true
		}
	}
	return false
}

// tcpRoute is where connections to a port go: by the first rule that matches, else
// to the port itself. A rule that cannot act closes connections: where they went
// before is not what its author wants.
func (c *compiler) tcpRoute(h *mesh.Host, p *mesh.Port) (list []ir.WeightedCluster, label string, rule verdict.Origin) {
	for _, set := range c.snap.Routes(c.node.Namespace, h.Name) {
		for i := range set.TCP {
			r := &set.TCP[i]
			if !c.tcpMatches(r, set, p.Number) {
				continue
			}
			list = c.tcpDestinations(r, p.Number)
			label = set.Name + "." + set.Namespace
			if len(list) == 1 {
				label = list[0].Cluster.String()
			}
			return list, label, r.Origin
		}
	}
	key := ir.Key{Direction: ir.OutboundTo, Port: p.Number, Host: h.Name}
	return []ir.WeightedCluster{{Cluster: key, Weight: 100}}, key.String(), verdict.Origin{}
}

func (c *compiler) tcpMatches(r *mesh.TCPRule, set *mesh.RouteSet, port uint16) bool {
	for i := range r.Matches {
		m := &r.Matches[i]
		if (m.Port == 0 || m.Port == port) && c.meant(m.SourceLabels, m.SourceNamespace, m.Gateways, set, mesh.MeshGateway) {
			return true
		}
	}
	return len(r.Matches) == 0
}

func (c *compiler) tcpDestinations(r *mesh.TCPRule, called uint16) []ir.WeightedCluster {
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
