package match

import (
	"cmp"
	"slices"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// indexFrom is the number of routes from which an index beats a scan.
const indexFrom = 16

func prepareTable(t *config.RouteTable) {
	t.Index = indexHosts(t.Hosts)
	for _, h := range t.Hosts {
		if len(h.Routes) >= indexFrom {
			h.Index = indexRoutes(h.Routes)
		}
	}
}

// routeIndex narrows a request down to the routes whose path may match; it is
// config.VirtualHost.Index. The routes are then tried in their order, as a scan
// would. Lists hold positions in routes, ascending.
type routeIndex struct {
	routes   []*config.Route
	exact    map[string][]int32
	prefixes trie
	rest     []int32 // patterns, folded case, CONNECT
}

// trie is a radix tree of path prefixes.
type trie struct {
	label  string
	routes []int32
	kids   []*trie // by the first byte of their labels
}

func indexRoutes(routes []*config.Route) *routeIndex {
	x := &routeIndex{routes: routes, exact: map[string][]int32{}}
	for i, r := range routes {
		m, at := &r.Match, int32(i)
		switch {
		case m.CaseFold:
			x.rest = append(x.rest, at)
		case m.PathKind == config.PathExact:
			x.exact[m.Path] = append(x.exact[m.Path], at)
		case m.PathKind == config.PathPrefix, m.PathKind == config.PathSeparatedPrefix:
			x.prefixes.add(m.Path, at)
		default:
			x.rest = append(x.rest, at)
		}
	}
	return x
}

// add puts a route at the end of path, which begins below t.
func (t *trie) add(path string, at int32) {
	for path != "" {
		i, ok := t.kid(path[0])
		if !ok {
			t.kids = slices.Insert(t.kids, i, &trie{label: path})
		}
		k := t.kids[i]
		n := 0
		for n < len(path) && n < len(k.label) && path[n] == k.label[n] {
			n++
		}
		if n < len(k.label) { // split
			low := &trie{label: k.label[n:], routes: k.routes, kids: k.kids}
			k.label, k.routes, k.kids = k.label[:n], nil, []*trie{low}
		}
		t, path = k, path[n:]
	}
	t.routes = append(t.routes, at)
}

func (t *trie) kid(first byte) (int, bool) {
	return slices.BinarySearchFunc(t.kids, first, func(k *trie, c byte) int { return cmp.Compare(k.label[0], c) })
}

// maxLists bounds the candidate lists of one look-up; a path with more nested
// prefixes is scanned.
const maxLists = 16

// find returns the first matching route. ok is false if the look-up must scan.
func (x *routeIndex) find(m *matcher) (r *config.Route, ok bool) {
	var lists [maxLists][]int32
	n := 0
	push := func(list []int32) {
		if len(list) > 0 && n < maxLists {
			lists[n] = list
			n++
		}
	}
	push(x.exact[string(m.path)])
	push(x.rest)
	for t, rest := &x.prefixes, m.path; ; {
		push(t.routes)
		if n == maxLists {
			return nil, false
		}
		if len(rest) == 0 {
			break
		}
		i, found := t.kid(rest[0])
		if !found || len(rest) < len(t.kids[i].label) || string(rest[:len(t.kids[i].label)]) != t.kids[i].label {
			break
		}
		t = t.kids[i]
		rest = rest[len(t.label):]
	}
	return x.merge(m, lists[:n]), true
}

// merge tries the candidates of all lists in ascending order.
func (x *routeIndex) merge(m *matcher, lists [][]int32) *config.Route {
	for {
		best := -1
		for i, l := range lists {
			if len(l) > 0 && (best < 0 || l[0] < lists[best][0]) {
				best = i
			}
		}
		if best < 0 {
			return nil
		}
		r := x.routes[lists[best][0]]
		if m.matches(&r.Match) {
			return r
		}
		lists[best] = lists[best][1:]
	}
}
