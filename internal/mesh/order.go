package mesh

import (
	"maps"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// checkOrder names the rules that no request reaches, because an earlier rule of
// the same host takes them all: in the same set, or in an older one for the same
// host. Rule sets of one host are merged in this order: all rules with conditions,
// the oldest set first, then the first rule without.
func (s *Snapshot) checkOrder(v *verdicts) {
	for _, r := range s.routes.all {
		if !r.Ranked {
			coveredWithin(v, r)
			shadowedWithin(v, r)
		}
	}
	for _, host := range slices.Sorted(maps.Keys(s.routes.exact)) {
		shadowedByRanked(v, host, s.routes.exact[host])
		shadowedAcross(v, s.routes.exact[host], "the host "+host)
	}
	for _, g := range slices.Sorted(maps.Keys(s.routes.gateways)) {
		byHost := map[string][]*RouteSet{}
		for _, r := range s.routes.gateways[g] {
			for _, h := range r.Hosts {
				byHost[h] = append(byHost[h], r)
			}
		}
		for _, h := range slices.Sorted(maps.Keys(byHost)) {
			shadowedAcross(v, byHost[h], "the host "+h+" at the gateway "+g)
		}
	}
}

// shadowedByRanked names the sets of a service that a route of the Gateway API
// replaces.
func shadowedByRanked(v *verdicts, host string, sets []*RouteSet) {
	for _, r := range sets {
		if r.Ranked || len(r.HTTP) == 0 {
			continue
		}
		for _, w := range sets {
			if w.Ranked && w.Port == 0 && len(w.ExportTo) == 0 {
				v.by(r.Origin, verdict.Shadowed, w.Origin.Ref, "%s routes the requests for %s: rules of the Gateway API win over those of a VirtualService", w.Origin, host)
				break
			}
		}
	}
}

func shadowedWithin(v *verdicts, r *RouteSet) {
	for i := range r.HTTP {
		if !r.HTTP[i].CatchAll() {
			continue
		}
		for j := i + 1; j < len(r.HTTP); j++ {
			v.by(r.HTTP[j].Origin, verdict.Shadowed, r.HTTP[i].Origin.Ref, "%s takes every request", within(r.HTTP[j].Origin, r.HTTP[i].Origin))
		}
		return
	}
}

func shadowedAcross(v *verdicts, sets []*RouteSet, where string) {
	seen := map[string]*HTTPRule{} // by conditions; "" for the rule without
	owner := map[string]*RouteSet{}
	for _, r := range sets {
		if r.Ranked {
			continue // its rules are not taken in the order of age
		}
		for i := range r.HTTP {
			rule := &r.HTTP[i]
			key := ""
			if !rule.CatchAll() {
				key = rule.Key()
				key = key[strings.LastIndex(key, "#"):]
			}
			first := seen[key]
			if first != nil && owner[key] != r {
				v.by(rule.Origin, verdict.Shadowed, first.Origin.Ref, "%s is older and has the same conditions for %s", first.Origin, where)
			}
			if first == nil {
				seen[key], owner[key] = rule, r
			}
			if key == "" {
				break // what follows in this set has its verdict already
			}
		}
	}
}
