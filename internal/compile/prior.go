package compile

import (
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Prior is the compiler's memory: by rule (mesh.HTTPRule.Key), the last form in
// which all destinations of the rule existed. It is the same for every proxy, so
// that replicas agree, and it can be stored as JSON. Nil remembers nothing.
type Prior map[string]mesh.HTTPRule

// Next is the Prior to keep after snap: rules that act as written replace what was
// remembered, rules that wait for a destination keep it, and rules that are gone
// are forgotten. The arguments are not changed.
func Next(snap *mesh.Snapshot, prior Prior) Prior {
	next := Prior{}
	for _, set := range snap.AllRoutes() {
		client := mesh.Caller{Namespace: set.Namespace}
		for i := range set.HTTP {
			rule := &set.HTTP[i]
			if len(rule.Destinations) == 0 || rule.Invalid != "" {
				continue
			}
			key := rule.Key()
			if complete(snap, rule, client) {
				next[key] = *rule
			} else if old, ok := prior[key]; ok {
				next[key] = old
			}
		}
	}
	return next
}

// complete reports whether all destinations of a rule exist.
func complete(snap *mesh.Snapshot, rule *mesh.HTTPRule, client mesh.Client) bool {
	for i := range rule.Destinations {
		if rule.Destinations[i].Weight == 0 || rule.Destinations[i].Invalid != "" {
			continue
		}
		if _, missing := snap.Resolve(&rule.Destinations[i], client, firstPort(snap, rule.Destinations[i].Host)); missing != nil {
			return false
		}
	}
	return true
}

func firstPort(snap *mesh.Snapshot, host string) uint16 {
	if h, ok := snap.Host(host); ok && len(h.Ports) > 0 {
		return h.Ports[0].Number
	}
	return 0
}
