package compile

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// virtualHost compiles the routes of a host's port for a sidecar.
func (c *compiler) virtualHost(h *mesh.Host, p *mesh.Port) ir.VirtualHost {
	out := ir.VirtualHost{
		Name:    h.Name + ":" + strconv.Itoa(int(p.Number)),
		Domains: domains(h, c.client, c.snap.Aliases(c.client, h), h.Service.Entry != nil && c.client.AsksNames()),
		Origins: []verdict.Origin{h.Service.Origin},
	}
	c.addHeaders(&out)
	sets := mesh.Governing(c.imported(h, p.Number), p.Number, h.Service.Namespace, c.client)
	if len(sets) == 0 {
		out.Routes = []ir.Route{c.defaultRoute(h, p)}
		return out
	}
	bound := make([]boundSet, len(sets))
	for i, s := range sets {
		bound[i] = boundSet{set: s, gateway: mesh.MeshGateway}
		out.Origins = append(out.Origins, s.Origin)
	}
	out.Routes = c.routes(bound, p.Number)
	return out
}

// imported are the rule sets for a host that the client's scope takes.
func (c *compiler) imported(h *mesh.Host, port uint16) []*mesh.RouteSet {
	scope := c.client.Scope()
	return slices.DeleteFunc(slices.Clone(c.snap.Routes(c.client, h.Name)), func(r *mesh.RouteSet) bool {
		return !scope.Imports(r, port)
	})
}

// anyDomain is the only virtual host of a sniffed port: whatever the authority
// says, the connection was made to the host.
func (c *compiler) anyDomain(h *mesh.Host, p *mesh.Port) ir.VirtualHost {
	out := c.virtualHost(h, p)
	out.Domains = []string{"*"}
	return out
}

// domains are the names by which a client calls a host, in Istio's order, and its
// addresses: given says whether clients dial those that the mesh gives to entries.
// Services of type ExternalName are further names.
func domains(h *mesh.Host, by mesh.Client, aliases []*mesh.Host, given bool) []string {
	out := namesOfHost(h, by)
	for _, a := range aliases {
		out = append(out, namesOfHost(a, by)...)
	}
	e := h.Service.Entry
	if e != nil {
		for _, p := range e.Addresses {
			if p.IsSingleIP() {
				out = append(out, authority(p.Addr()))
			}
		}
	}
	if h.Addr.IsValid() && (e == nil || given && e.AutoAddress) {
		out = append(out, authority(h.Addr))
	}
	return out
}

// authority is how an address stands in a request.
func authority(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

func namesOfHost(h *mesh.Host, by mesh.Client) []string {
	if h.Service.Entry != nil {
		if strings.HasPrefix(h.Name, "*") {
			return []string{h.Name}
		}
		return []string{h.Name, h.Name + "."}
	}
	name, ns := h.Service.Name, h.Service.Namespace
	out := []string{h.Name, h.Name + "."}
	if by.In(ns) {
		out = append(out, name, name+"."+ns+".svc", name+"."+ns)
	} else {
		out = append(out, name+"."+ns, name+"."+ns+".svc")
	}
	if h.Service.Headless() {
		for _, d := range slices.Clone(out) {
			out = append(out, "*."+d)
		}
	}
	return out
}

// uniqueDomains removes domains that an earlier host of the table has: one domain
// twice would have the whole table rejected.
func uniqueDomains(t *PortTable) {
	seen := make(map[string]bool, 8*len(t.Hosts))
	out := t.Hosts[:0]
	for _, h := range t.Hosts {
		var own []string
		cut := false
		for i, d := range h.Domains {
			switch dup := seen[d]; {
			case dup && !cut:
				cut, own = true, slices.Clone(h.Domains[:i])
			case !dup && cut:
				own = append(own, d)
			}
			seen[d] = true
		}
		if cut { // the part stays as it is: other proxies may have all of it
			rest := *h
			rest.Domains = own
			h = &rest
		}
		if len(h.Domains) > 0 {
			out = append(out, h)
		}
	}
	t.Hosts = out
}

// others is for hosts that the mesh does not know: requests go where the client
// dialled (outbound policy ALLOW_ANY), or are refused (REGISTRY_ONLY). Without
// redirection the client dialled the proxy itself, and they are refused too.
func (c *assembler) others() ir.VirtualHost {
	out := c.otherHosts()
	c.addHeaders(&out)
	return out
}

func (c *assembler) otherHosts() ir.VirtualHost {
	if !c.out.Redirected || c.out.RegistryOnly {
		why := "unknown host: without redirection only hosts of the mesh can be called"
		if c.out.RegistryOnly {
			why = "unknown host: the outbound policy is REGISTRY_ONLY"
		}
		return ir.VirtualHost{
			Name:    "block_all",
			Domains: []string{"*"},
			Routes: []ir.Route{{
				Name:   "block_all",
				Match:  ir.Match{Path: ir.StringMatch{Kind: ir.Prefix, Value: "/"}, Default: true},
				Direct: &ir.Direct{Status: 502},
				Reason: why,
			}},
		}
	}
	return ir.VirtualHost{
		Name:    "allow_any",
		Domains: []string{"*"},
		Routes: []ir.Route{{
			Name:        "allow_any",
			Match:       ir.Match{Path: ir.StringMatch{Kind: ir.Prefix, Value: "/"}, Default: true},
			Clusters:    []ir.WeightedCluster{{Cluster: ir.Key{Direction: ir.PassthroughTo}, Weight: 100}},
			Passthrough: true,
		}},
	}
}

func (c *compiler) defaultRoute(h *mesh.Host, p *mesh.Port) ir.Route {
	key := ir.Key{Direction: ir.OutboundTo, Port: p.Number, Host: h.Name}
	to := []ir.WeightedCluster{{Cluster: key, Weight: 100}}
	return ir.Route{
		Name:      "default",
		Match:     ir.Match{Path: ir.StringMatch{Kind: ir.Prefix, Value: "/"}, Default: true},
		Clusters:  to,
		Hash:      c.hashKeys(to),
		Retry:     c.defaultRetry(),
		Operation: h.Name + ":" + strconv.Itoa(int(p.Number)) + "/*",
	}
}
