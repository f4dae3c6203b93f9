package compile

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

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
// one port are merged; the oldest gateway decides between plain HTTP and TLS.
func (c *assembler) gateway() {
	byPort := map[uint16][]openServer{}
	for _, g := range c.snap.Gateways(c.node.Namespace, c.node.Labels) {
		for i := range g.Servers {
			s := &g.Servers[i]
			port := c.targetPort(s.Port)
			list := byPort[port]
			if len(list) > 0 && (list[0].Protocol == registry.HTTPS) != (s.Protocol == registry.HTTPS) {
				c.say(s.Origin, verdict.Shadowed, list[0].gateway.Origin.Ref, "port %d is served as %s, as %s says, which is older", s.Port, list[0].Protocol, list[0].Origin)
				continue
			}
			byPort[port] = append(list, openServer{g, s})
		}
	}
	for _, port := range slices.Sorted(maps.Keys(byPort)) {
		if byPort[port][0].Protocol == registry.HTTPS {
			c.tlsPort(port, byPort[port])
		} else {
			c.httpPort(port, byPort[port])
		}
	}
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

func (c *assembler) httpPort(port uint16, servers []openServer) {
	l := ir.Listener{Port: port, Table: "http." + strconv.Itoa(int(port))}
	for i := range servers {
		s := &servers[i]
		l.Origins = append(l.Origins, s.Origin)
	}
	c.out.Outbound = append(c.out.Outbound, l)
	c.out.Tables = append(c.out.Tables, c.gatewayTable(l.Table, servers))
}

// tlsPort opens a port whose servers end TLS, one route table for each. A server
// without a usable credential stays closed; mesh.Build says so.
func (c *assembler) tlsPort(port uint16, servers []openServer) {
	l := ir.Listener{Port: port}
	var tables []*ir.Table // as l.Chains
	taken := map[string]*openServer{}
	for i := range servers {
		s := &servers[i]
		sec, ok := c.snap.CredentialOf(s.Server, c.node.Namespace)
		if !ok || sec.Invalid != "" {
			continue
		}
		if s.CredentialAccount != "" && s.CredentialAccount != c.node.ServiceAccount {
			c.say(s.Origin.At("tls"), verdict.Invalid, verdict.Ref{Kind: "ServiceAccount", Namespace: c.node.Namespace, Name: c.node.ServiceAccount},
				"a workload with the gateway's labels runs as the account %s, and the certificate is for the account %s: it does not get it", c.node.ServiceAccount, s.CredentialAccount)
			continue
		}
		t := ir.Chain{
			TLS:     &ir.ServerTLS{Secrets: []string{secretName(s.Server)}},
			Table:   strings.Join([]string{"https", strconv.Itoa(int(s.Port)), s.PortName, s.gateway.Name, s.gateway.Namespace}, "."),
			Origins: []verdict.Origin{s.Origin},
		}
		for _, h := range s.Hosts {
			if first := taken[h.Host]; first != nil {
				c.say(s.Origin.At("hosts"), verdict.Shadowed, first.gateway.Origin.Ref, "%s serves the host %s on port %d already", first.Origin, h.Host, s.Port)
				continue
			}
			taken[h.Host] = s
			t.ServerNames = append(t.ServerNames, h.Host)
		}
		if len(t.ServerNames) == 0 {
			continue
		}
		l.Chains = append(l.Chains, t)
		l.Origins = append(l.Origins, s.Origin)
		table := c.gatewayTable(t.Table, servers[i:i+1])
		tables = append(tables, &table)
		c.secret(secretName(s.Server), sec)
	}
	misdirected(l.Chains, tables)
	for _, t := range tables {
		c.out.Tables = append(c.out.Tables, *t)
	}
	if len(l.Chains) > 0 {
		c.out.Outbound = append(c.out.Outbound, l)
	}
}

// secretName is the name of a server's credential in SDS, in Istio's forms.
func secretName(s *mesh.Server) string {
	if s.CredentialNamespace != "" {
		return "kubernetes-gateway://" + s.CredentialNamespace + "/" + s.Credential
	}
	return "kubernetes://" + s.Credential
}

func (c *assembler) secret(name string, sec *mesh.Secret) {
	for i := range c.out.Secrets {
		if c.out.Secrets[i].Name == name {
			return
		}
	}
	c.out.Secrets = append(c.out.Secrets, ir.Secret{Name: name, Cert: ir.Private(sec.Cert), Key: ir.Private(sec.Key), Origins: []verdict.Origin{sec.Origin}})
	slices.SortFunc(c.out.Secrets, func(a, b ir.Secret) int { return cmp.Compare(a.Name, b.Name) })
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
	out.Routes = c.routes(gh.sets, port)
	return out
}
