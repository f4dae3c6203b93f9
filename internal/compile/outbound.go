package compile

import (
	"net/netip"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/ir"
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
			Port: number, Addr: c.bindAddr(), Table: t.Name, Origins: origins[number],
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
