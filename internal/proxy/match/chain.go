package match

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// ChainFacts is what is known of a connection when its filter chain is chosen.
type ChainFacts struct {
	Dest       netip.AddrPort // the original destination where it was restored, else the local address
	Source     netip.AddrPort // the client, from the PROXY protocol where that is used
	ServerName string         // SNI, lower case; "" if there is none
	Transport  string         // "tls" or "raw_buffer"; "" counts as "raw_buffer"
	ALPNs      []string       // offered by the TLS hello, or the one that the HTTP inspector found
}

// none is the rank of a chain that a criterion excludes; otherwise a higher rank
// is a more specific match, and 0 a match by saying nothing.
const none = -1

// criterion is one step of FilterChainMatch.
type criterion struct {
	name string
	rank func(m *config.ChainMatch, f *ChainFacts) int
}

// criteria is the order of Envoy's FilterChainMatch. Each step keeps only the most
// specific matches of those that are left, and never turns back: a chain for port
// 9080 wins over one for all ports even if a later step then finds nothing.
var criteria = [...]criterion{
	{"destination port", rankDestPort},
	{"destination address", rankDestAddr},
	{"server name", rankServerName},
	{"transport protocol", rankTransport},
	{"application protocol", rankALPN},
	{"source type", rankSourceType},
	{"source address", rankSourceAddr},
	{"source port", rankSourcePort},
}

// FindChain returns the filter chain that serves a connection, by the precedence
// of Envoy's FilterChainMatch; the default chain if none matches; nil if there is
// none of that either.
func FindChain(l *config.Listener, f *ChainFacts, rec Recorder) *config.FilterChain {
	var few [64]bool
	left := few[:]
	if len(l.Chains) > len(few) {
		left = make([]bool, len(l.Chains))
	}
	left = left[:len(l.Chains)]
	n := len(left)
	for i := range left {
		left[i] = true
	}
	for c := range criteria {
		if n == 0 {
			break
		}
		n = narrow(l, f, &criteria[c], left, rec)
	}
	for i, c := range l.Chains {
		if left[i] {
			found(rec, c, "it matches, and no other chain matches more specifically")
			return c
		}
	}
	if l.DefaultChain != nil {
		found(rec, l.DefaultChain, "no chain matches, and this is the default chain")
	}
	return l.DefaultChain
}

// narrow drops what c does not match, or matches less specifically than another
// chain; it returns how many are left.
func narrow(l *config.Listener, f *ChainFacts, c *criterion, left []bool, rec Recorder) int {
	best, bestAt := none, -1
	for i, chain := range l.Chains {
		if left[i] {
			if r := c.rank(&chain.Match, f); r > best {
				best, bestAt = r, i
			}
		}
	}
	n := 0
	for i, chain := range l.Chains {
		if !left[i] {
			continue
		}
		r := c.rank(&chain.Match, f)
		if left[i] = r == best && r != none; left[i] {
			n++
			continue
		}
		if rec != nil {
			why := chainMismatch(c.name, &chain.Match, f)
			if r != none {
				why = fmt.Sprintf("chain %q is more specific in the %s", l.Chains[bestAt].Name, c.name)
			}
			rec.Candidate(Candidate{Node: chain, Why: why})
		}
	}
	return n
}

func rankDestPort(m *config.ChainMatch, f *ChainFacts) int {
	return rankOne(m.DestPort == 0, m.DestPort == f.Dest.Port())
}

// rankOne ranks a criterion that matches or not.
func rankOne(unset, match bool) int {
	switch {
	case unset:
		return 0
	case match:
		return 1
	}
	return none
}

func rankDestAddr(m *config.ChainMatch, f *ChainFacts) int {
	return rankPrefixes(m.DestPrefixes, f.Dest.Addr())
}

func rankSourceAddr(m *config.ChainMatch, f *ChainFacts) int {
	return rankPrefixes(m.SrcPrefixes, f.Source.Addr())
}

// rankPrefixes ranks by the longest prefix that holds the address.
func rankPrefixes(list []netip.Prefix, a netip.Addr) int {
	if len(list) == 0 {
		return 0
	}
	best := none
	a = a.Unmap()
	for _, p := range list {
		if p.Contains(a) {
			best = max(best, p.Bits()+1)
		}
	}
	return best
}

// rankServerName: exact names first, then the longest wildcard.
func rankServerName(m *config.ChainMatch, f *ChainFacts) int {
	const exact = 1 << 16
	if len(m.ServerNames) == 0 {
		return 0
	}
	best := none
	for _, n := range m.ServerNames {
		if suffix, wild := strings.CutPrefix(n, "*"); wild {
			if len(f.ServerName) > len(suffix) && strings.HasSuffix(f.ServerName, suffix) {
				best = max(best, len(suffix))
			}
		} else if n == f.ServerName {
			return exact
		}
	}
	return best
}

func rankTransport(m *config.ChainMatch, f *ChainFacts) int {
	return rankOne(m.Transport == "", m.Transport == transport(f))
}

func transport(f *ChainFacts) string {
	if f.Transport == "" {
		return "raw_buffer"
	}
	return f.Transport
}

// rankALPN: the client's order decides.
func rankALPN(m *config.ChainMatch, f *ChainFacts) int {
	if len(m.ALPNs) == 0 {
		return 0
	}
	for i, p := range f.ALPNs {
		if slices.Contains(m.ALPNs, p) {
			return len(f.ALPNs) - i
		}
	}
	return none
}

func rankSourceType(m *config.ChainMatch, f *ChainFacts) int {
	local := f.Source.Addr().IsLoopback() || f.Source.Addr().Unmap() == f.Dest.Addr().Unmap()
	return rankOne(m.SrcType == config.SourceAny, local == (m.SrcType == config.SourceSameIPOrLoopback))
}

func rankSourcePort(m *config.ChainMatch, f *ChainFacts) int {
	return rankOne(len(m.SrcPorts) == 0, slices.Contains(m.SrcPorts, f.Source.Port()))
}

// chainMismatch says why a criterion excludes a chain.
func chainMismatch(criterion string, m *config.ChainMatch, f *ChainFacts) string {
	var is, wants any
	switch criterion {
	case "destination port":
		is, wants = f.Dest.Port(), m.DestPort
	case "destination address":
		is, wants = f.Dest.Addr(), m.DestPrefixes
	case "server name":
		is, wants = fmt.Sprintf("%q", f.ServerName), m.ServerNames
	case "transport protocol":
		is, wants = transport(f), m.Transport
	case "application protocol":
		is, wants = f.ALPNs, m.ALPNs
	case "source type":
		return "the connection comes from the wrong side: it is or is not local"
	case "source address":
		is, wants = f.Source.Addr(), m.SrcPrefixes
	case "source port":
		is, wants = f.Source.Port(), m.SrcPorts
	}
	return fmt.Sprintf("it wants %s %v, the connection has %v", criterion, wants, is)
}

// found tells the recorder of the choice.
func found(rec Recorder, node any, why string) {
	if rec != nil {
		rec.Candidate(Candidate{Node: node, Matched: true, Why: why})
	}
}
