package mesh

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/sum"
)

// routeIndex finds rule sets by host and by gateway; lists are oldest first.
type routeIndex struct {
	all      []*RouteSet
	exact    map[string][]*RouteSet // on sidecars, by host
	wild     []*RouteSet            // on sidecars, with a wildcard host
	gateways map[string][]*RouteSet // by gateway, "namespace/name"
	revs     map[*RouteSet]uint64   // hashes of all
}

func newRouteIndex(list []RouteSet) *routeIndex {
	x := &routeIndex{all: pointers(list), exact: map[string][]*RouteSet{}, gateways: map[string][]*RouteSet{}}
	slices.SortFunc(x.all, func(a, b *RouteSet) int { return older(&a.Meta, &b.Meta) })
	x.revs = make(map[*RouteSet]uint64, len(x.all))
	for _, r := range x.all {
		x.revs[r] = sum.Of(r)
		for _, g := range slices.Compact(slices.Sorted(slices.Values(r.Gateways))) {
			if attaches(r, g) {
				x.gateways[g] = append(x.gateways[g], r)
			}
		}
		if !slices.Contains(r.Gateways, MeshGateway) {
			continue
		}
		wild := false
		for _, h := range slices.Compact(slices.Sorted(slices.Values(r.Hosts))) {
			if strings.HasPrefix(h, "*") {
				wild = true
				continue
			}
			x.exact[h] = append(x.exact[h], r)
		}
		if wild {
			x.wild = append(x.wild, r)
		}
	}
	return x
}

// attaches reports whether a rule set may act at a gateway by naming it. Gateways
// of the Gateway API choose their routes: no VirtualService binds there by a name.
func attaches(r *RouteSet, gateway string) bool {
	return gateway != MeshGateway && r.Ranked == strings.HasPrefix(gateway, listenerPrefix)
}

// Routes lists the rule sets for a host on a client's sidecar, the oldest first. Sets
// that name the host win over sets with a wildcard: those are given
// only where no set names the host.
func (s *Snapshot) Routes(c Client, host string) []*RouteSet {
	var out []*RouteSet
	for _, r := range s.routes.exact[host] {
		if seenBy(exported(r.ExportTo, s.settings.RouteExportTo), r.Namespace, c) {
			out = append(out, r)
		}
	}
	if len(out) > 0 {
		return out
	}
	best := ""
	for _, r := range s.routes.wild {
		w := widest(r.Hosts, host)
		if w == "" || !seenBy(exported(r.ExportTo, s.settings.RouteExportTo), r.Namespace, c) {
			continue
		}
		switch {
		case len(w) < len(best):
		case len(w) > len(best):
			best, out = w, []*RouteSet{r}
		default:
			out = append(out, r)
		}
	}
	return out
}

// widest is the longest wildcard of a list that matches host; "" if none does.
func widest(hosts []string, host string) string {
	best := ""
	for _, p := range hosts {
		if strings.HasPrefix(p, "*") && hostMatches(p, host) && len(p) > len(best) {
			best = p
		}
	}
	return best
}

// RoutesAt lists the rule sets that are bound to a gateway ("namespace/name") and
// visible from the gateway workload's namespace, the oldest first.
func (s *Snapshot) RoutesAt(gateway, namespace string) []*RouteSet {
	var out []*RouteSet
	for _, r := range s.routes.gateways[gateway] {
		if visible(exported(r.ExportTo, s.settings.RouteExportTo), r.Namespace, namespace) {
			out = append(out, r)
		}
	}
	return out
}

// AllRoutes lists every rule set, the oldest first.
func (s *Snapshot) AllRoutes() []*RouteSet { return s.routes.all }

// Key names a rule over changes of its object: the object and what the rule
// matches, so that a rule that moves within its object keeps its key.
func (r *HTTPRule) Key() string {
	h := fnv.New64a()
	for i := range r.Matches {
		_, _ = fmt.Fprintln(h, r.Matches[i].conditions()) // hashes do not fail
	}
	return fmt.Sprintf("%s#%016x", r.Origin.Ref, h.Sum64())
}

// CatchAll reports whether the rule takes every request, whoever sends it.
func (r *HTTPRule) CatchAll() bool {
	if len(r.Matches) == 0 {
		return true
	}
	for i := range r.Matches {
		m := &r.Matches[i]
		if !m.Invalid && !m.Conditional() && m.Port == 0 && len(m.SourceLabels) == 0 && m.SourceNamespace == "" && len(m.Gateways) == 0 {
			return true
		}
	}
	return false
}

// Conditional reports whether the match says anything about the request itself.
func (m *HTTPMatch) Conditional() bool {
	path := m.Path != nil && !(m.Path.Kind == Prefix && m.Path.Value == "/") && m.Path.Kind != Present
	return path || m.Method != nil || m.Scheme != nil || m.Authority != nil ||
		len(m.Headers)+len(m.WithoutHeaders)+len(m.Query) > 0
}

// conditions spells out what a match requires, in a fixed order.
func (m *HTTPMatch) conditions() string {
	var b strings.Builder
	one := func(name string, s *StringMatch) {
		if s != nil {
			fmt.Fprintf(&b, "%s %s %q;", name, s.Kind, s.Value)
		}
	}
	many := func(name string, list []NamedMatch) {
		for i := range list {
			one(name+" "+list[i].Name, &list[i].StringMatch)
		}
	}
	one("path", m.Path)
	one("method", m.Method)
	one("scheme", m.Scheme)
	one("authority", m.Authority)
	many("header", m.Headers)
	many("without", m.WithoutHeaders)
	many("query", m.Query)
	// fmt prints maps in the order of their keys.
	fmt.Fprintf(&b, "%t %t %d %v %s %v", m.Invalid, m.IgnorePathCase, m.Port, m.SourceLabels, m.SourceNamespace, m.Gateways)
	return b.String()
}
