package validate

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

const meshGateway = "mesh"

func (c *checker) virtualService(vs *networking.VirtualService) {
	if len(vs.Hosts) == 0 {
		c.delegateService(vs)
		return
	}
	onMesh := len(vs.Gateways) == 0 || slices.Contains(vs.Gateways, meshGateway)
	seen := map[string]bool{}
	for i, h := range vs.Hosts {
		p := at("spec.hosts", i)
		switch {
		case seen[h]:
			c.fail(p, "the host %q is listed twice", h)
		case h == "*" && onMesh:
			c.fail(p, "the host \"*\" is not allowed for the mesh; name services, or bind the VirtualService to gateways only")
		case !isIP(h):
			c.host(p, h, true)
		}
		seen[h] = true
	}
	c.gatewayNames("spec.gateways", vs.Gateways)
	c.exportTo("spec.exportTo", vs.ExportTo)
	if len(vs.Http)+len(vs.Tls)+len(vs.Tcp) == 0 {
		c.fail("spec", "at least one of http, tls and tcp is required")
	}
	c.httpRoutes(vs.Http, false)
	for i, r := range vs.Tls {
		c.tlsRoute(at("spec.tls", i), r, vs.Hosts)
	}
	for i, r := range vs.Tcp {
		c.tcpRoute(at("spec.tcp", i), r)
	}
}

// delegateService checks a VirtualService without hosts, which others delegate
// to.
func (c *checker) delegateService(vs *networking.VirtualService) {
	if len(vs.Gateways) > 0 || len(vs.Tls) > 0 || len(vs.Tcp) > 0 || len(vs.Http) == 0 {
		c.fail("spec.hosts", "at least one host is required; only a VirtualService that others delegate to has none, and it has http routes and neither gateways, tls nor tcp")
		return
	}
	c.exportTo("spec.exportTo", vs.ExportTo)
	c.httpRoutes(vs.Http, true)
}

func (c *checker) gatewayNames(path string, names []string) {
	for i, g := range names {
		namespace, name, qualified := strings.Cut(g, "/")
		if !qualified {
			namespace, name = "default", g
		}
		if !isLabel(namespace) && namespace != "." || !isSubdomain(name) {
			c.fail(at(path, i), "%q is not the name of a gateway; write \"name\", \"namespace/name\" or \"mesh\"", g)
		}
	}
}

func (c *checker) httpRoutes(routes []*networking.HTTPRoute, delegate bool) {
	names := map[string]int{}
	last := len(routes) - 1
	for i, r := range routes {
		p := at("spec.http", i)
		c.httpRoute(p, r, delegate)
		if first, twice := names[r.Name]; twice && r.Name != "" {
			c.warn(p+".name", "the route %q has the name of spec.http[%d]; metrics and logs cannot tell them apart", r.Name, first)
		} else {
			names[r.Name] = i
		}
		if len(r.Match) == 0 && i < last {
			c.warn(p, "this route matches every request; the routes after it are never used")
			last = i // one warning is enough
		}
	}
}

// destination checks where traffic goes.
func (c *checker) destination(path string, d *networking.Destination) {
	if d == nil {
		c.fail(path, "a destination is required")
		return
	}
	if d.Host == "*" {
		c.fail(path+".host", "\"*\" is not a destination")
	} else if !isIP(d.Host) {
		c.host(path+".host", d.Host, true)
	}
	if d.Subset != "" {
		c.subsetName(path+".subset", d.Subset)
	}
	if d.Port != nil {
		c.port(path+".port.number", int64(d.Port.Number))
	}
}

func (c *checker) subsetName(path, name string) {
	if !isLabel(strings.ToLower(name)) {
		c.fail(path, "%q is not a valid subset name; use at most 63 letters, digits and '-'", name)
	}
}

// weights checks the shares of several destinations. They need not add up to
// 100: each is a share of their sum.
func (c *checker) weights(path string, weights []int32) {
	var sum int64
	for i, w := range weights {
		if w < 0 {
			c.fail(at(path, i)+".weight", "the weight %d must not be negative", w)
		}
		sum += int64(w)
	}
	if len(weights) > 1 && sum == 0 {
		c.fail(path, "the weights of several destinations must not all be 0")
	}
	if sum > 1<<32-1 {
		c.fail(path, "the sum of the weights, %d, is too large", sum)
	}
}

func (c *checker) routeDestinations(path string, list []*networking.RouteDestination) {
	if len(list) == 0 {
		c.fail(path, "a route needs at least one destination")
	}
	var weights []int32
	for i, d := range list {
		c.destination(at(path, i)+".destination", d.GetDestination())
		weights = append(weights, d.GetWeight())
	}
	c.weights(path, weights)
}

func (c *checker) tlsRoute(path string, r *networking.TLSRoute, hosts []string) {
	if len(r.Match) == 0 {
		c.fail(path+".match", "a TLS route needs at least one match with sniHosts")
	}
	for i, m := range r.Match {
		p := at(path+".match", i)
		if len(m.SniHosts) == 0 {
			c.fail(p+".sniHosts", "at least one SNI host is required")
		}
		for j, sni := range m.SniHosts {
			hp := at(p+".sniHosts", j)
			if c.host(hp, sni, true); !coveredBy(sni, hosts) {
				c.fail(hp, "the SNI host %q is not covered by spec.hosts", sni)
			}
		}
		c.l4Match(p, m.DestinationSubnets, m.Port, m.SourceLabels, m.Gateways, m.SourceNamespace)
	}
	c.routeDestinations(path+".route", r.Route)
}

// coveredBy reports whether sni is one of hosts or within a wildcard of theirs.
func coveredBy(sni string, hosts []string) bool {
	return slices.ContainsFunc(hosts, func(h string) bool {
		suffix, wild := strings.CutPrefix(h, "*")
		return h == sni || wild && strings.HasSuffix(sni, suffix)
	})
}

func (c *checker) tcpRoute(path string, r *networking.TCPRoute) {
	for i, m := range r.Match {
		p := at(path+".match", i)
		if m.SourceSubnet != "" {
			c.subnet(p+".sourceSubnet", m.SourceSubnet)
		}
		c.l4Match(p, m.DestinationSubnets, m.Port, m.SourceLabels, m.Gateways, m.SourceNamespace)
	}
	c.routeDestinations(path+".route", r.Route)
}

func (c *checker) l4Match(path string, subnets []string, port uint32, labels map[string]string, gateways []string, namespace string) {
	for i, s := range subnets {
		c.subnet(at(path+".destinationSubnets", i), s)
	}
	c.matchSource(path, port, labels, gateways, namespace)
}

// matchSource checks the conditions on the client, which all matches share.
func (c *checker) matchSource(path string, port uint32, labels map[string]string, gateways []string, namespace string) {
	if port > 65535 {
		c.port(path+".port", int64(port))
	}
	c.labels(path+".sourceLabels", labels)
	c.gatewayNames(path+".gateways", gateways)
	if namespace != "" && !isLabel(namespace) {
		c.fail(path+".sourceNamespace", "%q is not a valid namespace", namespace)
	}
}
