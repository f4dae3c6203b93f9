package compile

import (
	"cmp"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// isolatedFor reports whether requests for a host may reach the rules of a server,
// among the servers of one port: at listeners of the Gateway API, the one with the
// most specific host takes them all (GatewaySpec.listeners).
func isolatedFor(servers []openServer, s *openServer, host string) bool {
	if !s.Isolated {
		return true
	}
	own := closest(s.Server, host)
	for i := range servers {
		o := &servers[i]
		if o.Isolated && o.Server != s.Server && closest(o.Server, host) > own {
			return false
		}
	}
	return true
}

// closest ranks the most specific of a server's hosts that takes a host; 0 if none
// does. A name is more specific than any wildcard, a longer wildcard than a shorter.
func closest(s *mesh.Server, host string) int {
	const name = 1 << 16
	best := 0
	for _, h := range s.Hosts {
		if in, ok := mesh.Intersect(h.Host, host); !ok || in != host {
			continue
		}
		rank := len(h.Host)
		if !strings.HasPrefix(h.Host, "*") {
			rank += name
		}
		best = max(best, rank)
	}
	return best
}

// misdirected has each table of a port's TLS chains answer 421 for the hosts of the
// others. A client may send such requests over a connection that it has, where one
// certificate is good for both (RFC 9110 section 7.4, RFC 9113 section 9.1.1); what
// the right chain demands would be passed by. tables are those of chains, nil where a
// chain relays.
func misdirected(chains []ir.Chain, tables []*ir.Table) {
	for i, t := range tables {
		if t == nil {
			continue
		}
		have := map[string]bool{}
		for _, h := range t.Hosts {
			for _, d := range h.Domains {
				have[d] = true
			}
		}
		for j := range chains {
			for _, name := range chains[j].ServerNames {
				if i != j && !have[name] && !slices.Contains(chains[i].ServerNames, name) {
					have[name] = true
					t.Hosts = append(t.Hosts, refusal(name, cmp.Or(chains[j].Table, chains[j].Label)))
				}
			}
		}
	}
}

// refusal is the virtual host for a host that another chain serves.
func refusal(host, table string) ir.VirtualHost {
	return ir.VirtualHost{
		Name:    "misdirected:" + strings.TrimPrefix(host, "*.") + "." + table,
		Domains: []string{host},
		Routes: []ir.Route{{
			Name:   "misdirected",
			Match:  ir.Match{Path: ir.StringMatch{Kind: ir.Prefix, Value: "/"}, Default: true},
			Direct: &ir.Direct{Status: 421},
			Reason: "misdirected: the host " + host + " belongs to another server of this port; connect with its name",
		}},
	}
}
