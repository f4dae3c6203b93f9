package compile

import (
	"maps"
	"net/netip"
	"slices"
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
func (c *assembler) outbound() {
	tables := map[uint16]*PortTable{}
	var claims []Claim
	for _, h := range c.hosts {
		part := c.part(h, OfCalls)
		for i := range part.Hosts {
			e := &part.Hosts[i]
			t := tables[e.Port]
			if t == nil {
				t = &PortTable{Name: strconv.Itoa(int(e.Port))}
				tables[e.Port] = t
			}
			t.Hosts, t.origins = append(t.Hosts, &e.Host), append(t.origins, e.Origin)
		}
		claims = append(claims, part.Claims...)
		c.open(part.Outbound)
		for i := range part.Tables {
			c.shared.Tables = append(c.shared.Tables, &part.Tables[i])
		}
	}
	wild := c.claimed(claims)
	for _, number := range slices.Sorted(maps.Keys(tables)) {
		t := tables[number]
		uniqueDomains(t)
		others := c.others()
		t.Hosts = append(t.Hosts, &others)
		c.shared.Ports = append(c.shared.Ports, t)
		l := &ir.Listener{Port: number, Addr: c.bindAddr(), Table: t.Name, Origins: t.origins}
		if w := wild[number]; w != nil {
			l.Chains, l.Origins = w.Chains, slices.Concat(l.Origins, w.Origins)
			delete(wild, number)
		}
		c.shared.Listeners = append(c.shared.Listeners, l)
	}
	for _, number := range slices.Sorted(maps.Keys(wild)) {
		c.shared.Listeners = append(c.shared.Listeners, wild[number])
	}
}

// seesAny reports whether a scope takes a host at any of its ports.
func seesAny(scope *mesh.SidecarScope, h *mesh.Host) bool {
	return slices.ContainsFunc(h.Ports, func(p *mesh.Port) bool { return scope.Sees(h, p.Number) })
}

// callsOf compiles how the ports of a host are called, as far as the client's scope
// takes them.
func (c *compiler) callsOf(h *mesh.Host) {
	if h.Service.Alias != "" {
		return // another name of its target
	}
	scope := c.client.Scope()
	for _, p := range h.Ports {
		switch app := appOf(p.Protocol); {
		case !scope.Sees(h, p.Number):
		case p.Number == redirectOut || p.Number == redirectIn:
			c.say(h.Service.Origin, verdict.Unsupported, verdict.Ref{}, "the port %d belongs to redirection: sidecars do not serve it", p.Number)
		case app.HTTPish():
			c.out.Hosts = append(c.out.Hosts, PortHost{p.Number, c.virtualHost(h, p), h.Service.Origin})
		case h.Service.Entry != nil:
			c.claims(h, p, app)
		default:
			c.connections(h, p, app)
		}
	}
}

// bindAddr is where HTTP ports are bound without redirection: loopback.
func (c *assembler) bindAddr() netip.Addr {
	if c.out.Redirected {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}
