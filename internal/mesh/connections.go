package mesh

import (
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// ConnRule is one rule for connections whose requests are not read.
type ConnRule struct {
	Origin       verdict.Origin
	Matches      []ConnMatch // any of them; empty matches everything
	Destinations []Destination
	// Invalid says why the rule cannot act; "" where it can. What it matches is
	// closed: where it would go otherwise is not what its author wants.
	Invalid string
}

// ConnMatch holds conditions that must all be met.
type ConnMatch struct {
	Invalid         bool           // takes no connection
	ServerNames     []string       // of a TLS rule: exact, "*.suffix" or "*"
	Subnets         []netip.Prefix // of the destination; empty: any
	Port            uint16         // the service's or the gateway server's port; 0: any
	SourceLabels    map[string]string
	SourceNamespace string
	Gateways        []string // as RouteSet.Gateways; empty: the rule set's
}

// CoversServerName reports whether a server name, exact or a wildcard, lies within
// the hosts of the rule set: a rule takes no connections for hosts of others.
func (r *RouteSet) CoversServerName(name string) bool {
	for _, h := range r.Hosts {
		if got, ok := Intersect(h, name); ok && got == name {
			return true
		}
	}
	return false
}
