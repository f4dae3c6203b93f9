package compile

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// tlsPort is a port of a gateway whose clients speak TLS: the servers' names tell the
// servers apart.
type tlsPort struct {
	*assembler
	l      ir.Listener
	tables []*ir.Table            // as l.Chains; nil for chains that relay
	taken  map[string]*openServer // by server name
}

// tlsPort opens a port whose servers end TLS, one route table for each, or let it
// pass. A server without a usable credential stays closed; mesh.Build says so.
func (c *assembler) tlsPort(l ir.Listener, servers []openServer) {
	p := tlsPort{assembler: c, l: l, taken: map[string]*openServer{}}
	for i := range servers {
		s := &servers[i]
		tls, ok := c.serverTLS(s)
		switch {
		case !ok:
		case s.TLS.Mode == mesh.TLSPassthrough:
			p.passthrough(s)
		case s.Opaque():
			p.relayed(s, tls)
		default:
			p.requests(s, tls)
		}
	}
	misdirected(p.l.Chains, p.tables)
	for _, t := range p.tables {
		if t != nil {
			c.out.Tables = append(c.out.Tables, *t)
		}
	}
	if len(p.l.Chains) > 0 {
		c.out.Outbound = append(c.out.Outbound, p.l)
	}
}

// requests opens a server whose requests are read.
func (p *tlsPort) requests(s *openServer, tls *ir.ServerTLS) {
	chain := ir.Chain{
		ServerNames: p.take(s), TLS: tls,
		Table:   strings.Join([]string{"https", strconv.Itoa(int(s.Port)), s.PortName, s.gateway.Name, s.gateway.Namespace}, "."),
		Origins: []verdict.Origin{s.Origin},
	}
	if len(chain.ServerNames) == 0 {
		return
	}
	table := p.gatewayTable(chain.Table, []openServer{*s})
	p.add(s, chain, &table)
}

// relayed opens a server whose connections are relayed after TLS has ended: by the
// rules for TCP.
func (p *tlsPort) relayed(s *openServer, tls *ir.ServerTLS) {
	names := p.take(s)
	if len(names) == 0 {
		return
	}
	chains := p.relays(s, func(set *mesh.RouteSet) []mesh.ConnRule { return set.TCP })
	for _, chain := range chains {
		chain.ServerNames, chain.TLS = names, tls
		p.add(s, chain, nil)
	}
}

// passthrough opens a server whose rules for TLS say where connections go: those for
// the server names that lie within its hosts.
func (p *tlsPort) passthrough(s *openServer) {
	for _, chain := range p.relays(s, func(set *mesh.RouteSet) []mesh.ConnRule { return set.TLS }) {
		var names []string
		for _, n := range chain.ServerNames {
			if first := p.taken[n]; first == nil || first.Server == s.Server {
				p.taken[n] = s
				names = append(names, n)
			} else {
				p.shadowed(s, n, first)
			}
		}
		if chain.ServerNames = names; len(names) > 0 {
			p.add(s, chain, nil)
		}
	}
}

func (p *tlsPort) add(s *openServer, chain ir.Chain, table *ir.Table) {
	p.l.Chains = append(p.l.Chains, chain)
	p.l.Origins = append(p.l.Origins, s.Origin)
	p.tables = append(p.tables, table)
}

// take gives a server those of its hosts that no older one of the port has.
func (p *tlsPort) take(s *openServer) []string {
	var out []string
	for _, h := range s.Hosts {
		if first := p.taken[h.Host]; first != nil {
			p.shadowed(s, h.Host, first)
			continue
		}
		p.taken[h.Host] = s
		out = append(out, h.Host)
	}
	return out
}

func (p *tlsPort) shadowed(s *openServer, host string, first *openServer) {
	p.say(s.Origin.At("hosts"), verdict.Shadowed, first.gateway.Origin.Ref, "%s serves the host %s on port %d already", first.Origin, host, s.Port)
}

// tcpPort opens a port whose connections are relayed as they come.
func (c *assembler) tcpPort(l ir.Listener, servers []openServer) {
	var all []ir.Chain
	for i := range servers {
		all = append(all, c.relays(&servers[i], func(set *mesh.RouteSet) []mesh.ConnRule { return set.TCP })...)
		l.Origins = append(l.Origins, servers[i].Origin)
	}
	if l.Chains = apart(all); len(l.Chains) > 0 {
		c.out.Outbound = append(c.out.Outbound, l)
	}
}

// relays are the chains that the rules bound to a server's gateway make of its
// connections, the oldest rules first. Server names are held to the server's hosts.
func (c *assembler) relays(s *openServer, rules func(*mesh.RouteSet) []mesh.ConnRule) []ir.Chain {
	at := bound{gateway: s.gateway.Key(), port: s.Port, called: s.Port}
	var out []ir.Chain
	for _, set := range c.snap.RoutesAt(at.gateway, c.node.Namespace) {
		if !slices.ContainsFunc(set.Hosts, func(h string) bool { return len(s.Intersect(h, set.Namespace)) > 0 }) {
			continue
		}
		for _, chain := range c.ruled(rules(set), set, at) {
			if len(chain.ServerNames) > 0 {
				if chain.ServerNames = within(s, set.Namespace, chain.ServerNames); len(chain.ServerNames) == 0 {
					c.say(chain.Rule, verdict.SelectsNothing, s.gateway.Origin.Ref, "none of the server names is a host of %s", s.Origin)
					continue
				}
			}
			chain.Origins = append(chain.Origins, s.Origin)
			out = append(out, chain)
		}
	}
	if out = apart(out); len(out) == 0 {
		c.say(s.Origin, verdict.SelectsNothing, verdict.Ref{}, "no rule of a VirtualService says where the server's connections go: it is not opened")
	}
	return out
}

// within are the server names, narrowed to the hosts that a server takes of rules of a
// namespace.
func within(s *openServer, namespace string, names []string) []string {
	var out []string
	for _, n := range names {
		for _, h := range s.Intersect(n, namespace) {
			if !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	return out
}

// serverTLS gives what a server ends TLS with, and adds its credentials. ok is false
// where it cannot; nil is TLS that passes.
func (c *assembler) serverTLS(s *openServer) (out *ir.ServerTLS, ok bool) {
	t := s.TLS
	if t.Mode == mesh.TLSPassthrough {
		return nil, true
	}
	creds, missing := c.snap.CredentialsOf(t, c.node.Namespace)
	if missing != "" {
		return nil, false
	}
	if t.Account != "" && t.Account != c.node.ServiceAccount {
		c.say(s.Origin.At("tls"), verdict.Invalid, verdict.Ref{Kind: "ServiceAccount", Namespace: c.node.Namespace, Name: c.node.ServiceAccount},
			"a workload with the gateway's labels runs as the account %s, and the certificate is for the account %s: it does not get it", c.node.ServiceAccount, t.Account)
		return nil, false
	}
	out = &ir.ServerTLS{
		Mesh: t.Mode == mesh.TLSMesh, Require: t.Mode == mesh.TLSMesh || t.Mode == mesh.TLSMutual,
		SANs: t.SANs, SPKIs: t.SPKIs, Hashes: t.Hashes, MinVersion: t.MinVersion, MaxVersion: t.MaxVersion, Ciphers: t.Ciphers,
	}
	for _, sec := range creds.Certs {
		name := secretName(t, sec.Name)
		out.Secrets = append(out.Secrets, name)
		c.secret(ir.Secret{Name: name, Cert: ir.Private(sec.Cert), Key: ir.Private(sec.Key), Origins: []verdict.Origin{sec.Origin}})
	}
	if sec := creds.CA; sec != nil {
		out.Roots = secretName(t, strings.TrimSuffix(sec.Name, mesh.CASuffix)) + mesh.CASuffix
		c.secret(ir.Secret{Name: out.Roots, CA: ir.Private(sec.CA), CRL: ir.Private(sec.CRL), Origins: []verdict.Origin{sec.Origin}})
	}
	return out, true
}

// secretName is the name of a credential in SDS, in Istio's forms.
func secretName(t *mesh.ServerTLS, name string) string {
	if t.Namespace != "" {
		return "kubernetes-gateway://" + t.Namespace + "/" + name
	}
	return "kubernetes://" + name
}

func (c *assembler) secret(s ir.Secret) {
	if !slices.ContainsFunc(c.out.Secrets, func(o ir.Secret) bool { return o.Name == s.Name }) {
		c.out.Secrets = append(c.out.Secrets, s)
		slices.SortFunc(c.out.Secrets, func(a, b ir.Secret) int { return cmp.Compare(a.Name, b.Name) })
	}
}
