package compile

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// openServer is a server of a gateway that selects the node.
type openServer struct {
	gateway *mesh.Gateway
	*mesh.Server
}

// gateway compiles the servers of all gateways that select the node. Servers of
// one port are merged; the oldest gateway decides what the port speaks: HTTP, TLS or
// plain connections.
func (c *assembler) gateway() {
	byPort := map[netip.AddrPort][]openServer{}
	for _, g := range c.snap.Gateways(c.node.Namespace, c.node.Labels) {
		for i := range g.Servers {
			s := &g.Servers[i]
			at := netip.AddrPortFrom(s.Bind, c.targetPort(s.Port))
			list := byPort[at]
			if len(list) > 0 && speech(list[0].Server) != speech(s) {
				c.say(s.Origin, verdict.Shadowed, list[0].gateway.Origin.Ref, "port %d is served as %s, as %s says, which is older", s.Port, list[0].Protocol, list[0].Origin)
				continue
			}
			byPort[at] = append(list, openServer{g, s})
		}
	}
	for _, at := range slices.SortedFunc(maps.Keys(byPort), netip.AddrPort.Compare) {
		servers := byPort[at]
		switch l := (ir.Listener{Port: at.Port(), Addr: at.Addr()}); speech(servers[0].Server) {
		case registry.HTTP:
			c.httpPort(l, servers)
		case registry.TLS:
			c.tlsPort(l, servers)
		default:
			c.tcpPort(l, servers)
		}
	}
}

// speech is what a port with the server speaks to begin with: HTTP, TLS or TCP.
func speech(s *mesh.Server) registry.Protocol {
	switch {
	case s.TLS != nil:
		return registry.TLS
	case s.Protocol == registry.TCP:
		return registry.TCP
	}
	return registry.HTTP
}

// targetPort is the port that the gateway's workload listens on for a server's
// port: what a Service that selects the workload says, else the same port.
func (c *assembler) targetPort(port uint16) uint16 {
	self := c.self()
	for _, h := range c.snap.Serving(c.node.Namespace, c.node.Labels) {
		if p := h.Port(port); p != nil {
			if target, ok := registry.TargetPort(p.ServicePort, self); ok {
				return target
			}
		}
	}
	return port
}

func (c *assembler) httpPort(l ir.Listener, servers []openServer) {
	l.Table = "http." + strconv.Itoa(int(l.Port))
	if l.Addr.IsValid() {
		l.Table += "." + l.Addr.String()
	}
	for i := range servers {
		l.Origins = append(l.Origins, servers[i].Origin)
	}
	c.out.Outbound = append(c.out.Outbound, l)
	c.out.Tables = append(c.out.Tables, c.gatewayTable(l.Table, servers))
}

// gatewayHost collects what acts for one host of a port.
type gatewayHost struct {
	sets       []boundSet
	requireTLS bool
}

// gatewayTable compiles the routes of a port: a virtual host for each host that a
// server and a rule set bound to its gateway have in common.
func (c *assembler) gatewayTable(name string, servers []openServer) ir.Table {
	hosts := map[string]*gatewayHost{}
	at := func(host string) *gatewayHost {
		if hosts[host] == nil {
			hosts[host] = &gatewayHost{}
		}
		return hosts[host]
	}
	for i := range servers {
		s := &servers[i]
		if s.HTTPSRedirect {
			for _, h := range s.Hosts {
				at(h.Host).requireTLS = true
			}
		}
		if s.Isolated {
			for _, h := range s.Hosts {
				at(h.Host) // what no rule takes reaches no other listener
			}
		}
		for _, set := range c.snap.RoutesAt(s.gateway.Key(), c.node.Namespace) {
			for _, vsHost := range set.Hosts {
				for _, h := range s.Intersect(vsHost, set.Namespace) {
					if !isolatedFor(servers, s, h) {
						continue
					}
					gh := at(h)
					gh.requireTLS = gh.requireTLS || s.HTTPSRedirect
					b := boundSet{set: set, gateway: s.gateway.Key()}
					if !slices.Contains(gh.sets, b) {
						gh.sets = append(gh.sets, b)
					}
				}
			}
		}
	}
	port := servers[0].Port
	t := ir.Table{Name: name}
	for _, h := range slices.Sorted(maps.Keys(hosts)) {
		t.Hosts = append(t.Hosts, c.gatewayVirtualHost(h, port, hosts[h]))
	}
	if len(t.Hosts) == 0 {
		t.Hosts = []ir.VirtualHost{{Name: "blackhole:" + strconv.Itoa(int(port)), Domains: []string{"*"}}}
	}
	return t
}

func (c *assembler) gatewayVirtualHost(host string, port uint16, gh *gatewayHost) ir.VirtualHost {
	slices.SortStableFunc(gh.sets, func(a, b boundSet) int {
		return cmp.Or(cmp.Compare(a.set.Created, b.set.Created), a.set.Origin.Ref.Compare(b.set.Origin.Ref))
	})
	out := ir.VirtualHost{Name: host + ":" + strconv.Itoa(int(port)), Domains: []string{host}, RequireTLS: gh.requireTLS}
	for _, b := range gh.sets {
		out.Origins = append(out.Origins, b.set.Origin)
	}
	c.addHeaders(&out)
	out.Routes = c.routes(gh.sets, port)
	return out
}
