package istioapi

import (
	"net/netip"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// tlsRule reads a rule for connections of TLS. A rule without matches takes none:
// there is no server name that it could be for.
func (c *ruleReader) tlsRule(at verdict.Origin, set *mesh.RouteSet, in *networking.TLSRoute) mesh.ConnRule {
	out := mesh.ConnRule{Origin: at}
	if len(in.Match) == 0 {
		c.say(at.At("match"), verdict.Invalid, "a rule for TLS needs server names (sniHosts); it takes no connection")
		out.Matches = []mesh.ConnMatch{{Invalid: true}}
	}
	for i, m := range in.Match {
		at := at.At(index("match", i))
		one := c.connMatch(at, m.Port, m.DestinationSubnets)
		one.SourceLabels, one.SourceNamespace, one.Gateways = m.SourceLabels, m.SourceNamespace, gatewayNames(m.Gateways, c.namespace)
		c.serverNames(&one, at, set, m.SniHosts)
		out.Matches = append(out.Matches, one)
	}
	c.connDestinations(&out, in.Route)
	return out
}

// serverNames reads the server names of a match. They must lie within the hosts of
// the VirtualService, as Istio demands: nobody takes connections for others' names.
func (c *ruleReader) serverNames(out *mesh.ConnMatch, at verdict.Origin, set *mesh.RouteSet, names []string) {
	for i, n := range names {
		here := at.At(index("sniHosts", i))
		switch n = strings.ToLower(n); {
		case !validHost(n):
			c.say(here, verdict.Invalid, "%s is neither a host nor a wildcard of the form *.suffix", strconv.Quote(n))
		case !set.CoversServerName(n):
			c.say(here, verdict.Invalid, "the server name %s is not within the hosts of the VirtualService", n)
		default:
			out.ServerNames = append(out.ServerNames, n)
		}
	}
	if len(out.ServerNames) == 0 {
		c.unusable(&out.Invalid, at.At("sniHosts"), "the match has no usable server name")
	}
}

func (c *ruleReader) tcpRule(at verdict.Origin, in *networking.TCPRoute) mesh.ConnRule {
	out := mesh.ConnRule{Origin: at}
	for i, m := range in.Match {
		one := c.connMatch(at.At(index("match", i)), m.Port, m.DestinationSubnets)
		one.SourceLabels, one.SourceNamespace, one.Gateways = m.SourceLabels, m.SourceNamespace, gatewayNames(m.Gateways, c.namespace)
		out.Matches = append(out.Matches, one)
	}
	c.connDestinations(&out, in.Route)
	return out
}

// connMatch reads what the matches of both kinds have in common.
func (c *ruleReader) connMatch(at verdict.Origin, port uint32, subnets []string) mesh.ConnMatch {
	var out mesh.ConnMatch
	if port > 65535 {
		c.unusable(&out.Invalid, at.At("port"), "the port "+strconv.FormatUint(uint64(port), 10)+" is out of range")
	} else {
		out.Port = uint16(port)
	}
	for i, s := range subnets {
		p, err := subnet(s)
		if err != nil {
			c.unusable(&out.Invalid, at.At(index("destinationSubnets", i)), strconv.Quote(s)+" is neither an address nor a subnet")
			continue
		}
		out.Subnets = append(out.Subnets, p)
	}
	return out
}

// subnet reads "10.0.0.0/8", or an address as a subnet of one.
func subnet(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone("").Prefix(a.Unmap().BitLen())
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

func (c *ruleReader) connDestinations(out *mesh.ConnRule, list []*networking.RouteDestination) {
	if len(list) == 0 {
		c.invalid(&out.Invalid, out.Origin, verdict.Invalid, "the rule has no route")
		return
	}
	weights := make([]int32, len(list))
	for i, d := range list {
		weights[i] = d.Weight
		out.Destinations = append(out.Destinations, c.destination(&out.Invalid, out.Origin.At(index("route", i)), d.Destination))
	}
	c.weigh(&out.Invalid, out.Origin, weights, out.Destinations)
}
