package compile

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/ir"
)

// matched is one combination that a chain takes: a server name ("": any) and a
// destination (the zero prefix: any).
type matched struct {
	name string
	to   netip.Prefix
}

// apart makes the matches of chains disjoint, as data planes demand: of two chains
// for one combination the first has it, and a chain that has nothing left goes.
//
// Data planes look at the destination first, and do not turn back: a chain for a
// subnet would take all connections to it, only to find that it has no chain for
// their server names. So every chain of a wider subnet gets the narrower ones, too.
func apart(chains []ir.Chain) []ir.Chain {
	owner := map[matched]int{}
	var order []matched
	claim := func(m matched, i int) {
		if _, taken := owner[m]; !taken {
			owner[m] = i
			order = append(order, m)
		}
	}
	var subnets []netip.Prefix
	for i := range chains {
		for _, m := range combinations(&chains[i]) {
			claim(m, i)
			if m.to.IsValid() && !slices.Contains(subnets, m.to) {
				subnets = append(subnets, m.to)
			}
		}
	}
	// The widest last: what is nearest decides.
	slices.SortStableFunc(order, func(a, b matched) int { return width(b.to) - width(a.to) })
	for _, p := range subnets {
		for _, m := range slices.Clone(order) {
			if m == (matched{}) {
				continue // the default chain: it is asked last
			}
			if !m.to.IsValid() || m.to.Bits() < p.Bits() && m.to.Contains(p.Addr()) {
				claim(matched{m.name, p}, owner[m])
			}
		}
	}
	var out []ir.Chain
	for i := range chains {
		out = append(out, parts(chains[i], func(m matched) bool { o, ok := owner[m]; return ok && o == i }, subnets)...)
	}
	return out
}

// width orders prefixes: any destination is the widest.
func width(p netip.Prefix) int {
	if !p.IsValid() {
		return -1
	}
	return p.Bits()
}

func combinations(c *ir.Chain) []matched {
	var out []matched
	for _, n := range namesOf(c) {
		for _, p := range subnetsOf(c) {
			out = append(out, matched{n, p})
		}
	}
	return out
}

// namesOf are a chain's server names; "*" is any that is TLS.
func namesOf(c *ir.Chain) []string {
	if len(c.ServerNames) == 0 {
		return []string{""}
	}
	return c.ServerNames
}

func subnetsOf(c *ir.Chain) []netip.Prefix {
	if len(c.Subnets) == 0 {
		return []netip.Prefix{{}}
	}
	return c.Subnets
}

// parts splits a chain into those that take together what it owns: names with the
// same subnets share one.
func parts(c ir.Chain, owns func(matched) bool, subnets []netip.Prefix) []ir.Chain {
	type part struct {
		names []string
		to    []netip.Prefix
	}
	var list []part
	for _, n := range slices.Compact(slices.Sorted(slices.Values(namesOf(&c)))) {
		var to []netip.Prefix
		for _, p := range append([]netip.Prefix{{}}, subnets...) {
			if owns(matched{n, p}) {
				to = append(to, p)
			}
		}
		if len(to) == 0 {
			continue
		}
		// Any destination stands alone: a match is by subnets or by none.
		for _, group := range [][]netip.Prefix{anyOf(to), subnetsIn(to)} {
			if len(group) == 0 {
				continue
			}
			i := slices.IndexFunc(list, func(x part) bool { return slices.Equal(x.to, group) })
			if i < 0 {
				i, list = len(list), append(list, part{to: group})
			}
			list[i].names = append(list[i].names, n)
		}
	}
	var out []ir.Chain
	for _, x := range list {
		one := c
		one.ServerNames, one.Subnets = nil, nil
		if x.names[0] != "" {
			one.ServerNames = x.names
		}
		if x.to[0].IsValid() {
			one.Subnets = x.to
			slices.SortFunc(one.Subnets, func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) })
		}
		out = append(out, one)
	}
	return out
}

func anyOf(list []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(list), netip.Prefix.IsValid)
}

func subnetsIn(list []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool { return !p.IsValid() })
}
