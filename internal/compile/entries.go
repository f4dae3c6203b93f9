package compile

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Claim is what a port of an entry wants: the connections to an address, or those to
// any address that server names or ranges tell apart.
type Claim struct {
	Host    string
	Created int64
	Origin  verdict.Origin // of the entry
	Port    uint16
	Addr    netip.Addr // invalid: any
	Chains  []ir.Chain // the last is the port's own, those before it are of rules
	Table   string     // for what is HTTP at the address; "": requests are not read
}

// claims adds what a port of an entry wants. One without any address takes by name
// what is TLS, and all else if it is not.
func (c *compiler) claims(h *mesh.Host, p *mesh.Port, app ir.App) {
	if !c.client.Redirected() {
		c.say(h.Service.Origin, verdict.Unsupported, verdict.Ref{},
			"without redirection a sidecar serves HTTP ports only: port %d of %s is called directly", p.Number, h.Name)
		return
	}
	own := Claim{Host: h.Name, Created: h.Service.Created, Origin: h.Service.Origin, Port: p.Number}
	singles := c.dialled(h)
	for _, a := range singles {
		one := own
		one.Addr, one.Chains = a, c.chains(h, p)
		if app == ir.Sniffed {
			one.Table = h.Name + ":" + strconv.Itoa(int(p.Number))
		}
		c.out.Claims = append(c.out.Claims, one)
	}
	if app == ir.Sniffed && len(singles) > 0 {
		c.out.Tables = append(c.out.Tables, ir.Table{Name: h.Name + ":" + strconv.Itoa(int(p.Number)), Hosts: []ir.VirtualHost{c.anyDomain(h, p)}})
	}
	ranges := slices.DeleteFunc(slices.Clone(h.Service.Entry.Addresses), netip.Prefix.IsSingleIP)
	if len(singles) > 0 && len(ranges) == 0 {
		return
	}
	if app == ir.Sniffed && len(singles) == 0 {
		c.out.Hosts = append(c.out.Hosts, PortHost{p.Number, c.virtualHost(h, p), h.Service.Origin})
	}
	own.Chains = c.chains(h, p)
	tls := p.Protocol == registry.TLS || p.Protocol == registry.HTTPS
	for i := range own.Chains {
		chain := &own.Chains[i]
		if tls && len(chain.ServerNames) == 0 {
			chain.ServerNames = []string{h.Name}
		}
		if len(chain.Subnets) == 0 {
			chain.Subnets = ranges
		}
	}
	c.out.Claims = append(c.out.Claims, own)
}

// dialled are the single addresses at which the client's workload calls an entry.
func (c *compiler) dialled(h *mesh.Host) []netip.Addr {
	var out []netip.Addr
	e := h.Service.Entry
	for _, p := range e.Addresses {
		if p.IsSingleIP() {
			out = append(out, p.Addr())
		}
	}
	if e.AutoAddress && h.Addr.IsValid() && c.client.AsksNames() {
		out = append(out, h.Addr)
	}
	return out
}

// claimed opens the listeners that entries want: those at an address at once, those
// at any address it gives by port. Of two claims to the same connections the older
// has them.
func (c *assembler) claimed(claims []Claim) map[uint16]*ir.Listener {
	slices.SortStableFunc(claims, func(a, b Claim) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), cmp.Compare(a.Host, b.Host))
	})
	wild := map[uint16]*ir.Listener{}
	single := map[netip.AddrPort]*ir.Listener{}
	var order []netip.AddrPort
	holders := map[string]verdict.Ref{}
	for i := range claims {
		x := &claims[i]
		at := netip.AddrPortFrom(x.Addr, x.Port)
		if first := c.opened[at]; first != nil && x.Addr.IsValid() {
			c.shadowed(x, first.Origins[0].Ref)
			continue
		}
		if by, taken := holder(holders, x); taken {
			c.shadowed(x, by)
			continue
		}
		l := wild[x.Port]
		switch {
		case x.Addr.IsValid():
			if l = single[at]; l == nil {
				l = &ir.Listener{Port: x.Port, Addr: x.Addr, Table: x.Table}
				single[at], order = l, append(order, at)
			}
		case l == nil:
			l = &ir.Listener{Port: x.Port}
			wild[x.Port] = l
		}
		l.Chains = append(l.Chains, x.Chains...)
		l.Origins = append(l.Origins, x.Origin)
	}
	for _, at := range order {
		single[at].Chains = apart(single[at].Chains)
		c.shared.Listeners = append(c.shared.Listeners, single[at])
	}
	for _, l := range wild {
		l.Chains = apart(l.Chains)
	}
	return wild
}

func (c *assembler) shadowed(x *Claim, by verdict.Ref) {
	if by == x.Origin.Ref {
		return // of the same object: several hosts at one address
	}
	c.say(x.Origin.At("spec.ports"), verdict.Shadowed, by, "connections to port %d of %s go where %s says, which has the same address or name", x.Port, x.Host, by)
}

// holder finds who has the connections that a claim's own chain takes, and gives
// them to the claim where nobody does.
func holder(holders map[string]verdict.Ref, x *Claim) (by verdict.Ref, taken bool) {
	own := x.Chains[len(x.Chains)-1]
	key := netip.AddrPortFrom(x.Addr, x.Port).String()
	for _, n := range own.ServerNames {
		key += " " + n
	}
	for _, r := range own.Subnets {
		key += " " + r.String()
	}
	if by, taken = holders[key]; !taken {
		holders[key] = x.Origin.Ref
	}
	return by, taken
}
