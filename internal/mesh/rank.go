package mesh

import "cmp"

// Rank orders the rules of ranked sets among each other: the lower comes first. It
// is the order of the Gateway API (HTTPRouteRule.matches, GRPCRouteRule.matches):
// an exact path, then the longer prefix, then a regular expression; then a match of
// the method; then the more headers, then the more query parameters; then the older
// route, then its namespace and name, then the earlier rule.
type Rank struct {
	path, length, method, headers, query int
	created                              int64
	namespace, name                      string
	rule, match                          int
}

// RankOf is the rank of a match of a rule in a set; match is -1 for a rule without.
func RankOf(set *RouteSet, rule, match int) Rank {
	r := Rank{created: set.Created, namespace: set.Namespace, name: set.Name, rule: rule, match: match, path: pathRank(Prefix), length: 1}
	if match < 0 {
		return r
	}
	m := &set.HTTP[rule].Matches[match]
	if m.Path != nil {
		r.path, r.length = pathRank(m.Path.Kind), len(m.Path.Value)
	}
	if m.Method != nil {
		r.method = 1
	}
	r.headers, r.query = len(m.Headers), len(m.Query)
	return r
}

func pathRank(k MatchKind) int {
	switch k {
	case Exact:
		return 3
	case Prefix, Segments:
		return 2
	case Regex:
		return 1
	}
	return 0
}

// Compare orders ranks.
func (r Rank) Compare(o Rank) int {
	return cmp.Or(
		cmp.Compare(o.path, r.path), cmp.Compare(o.length, r.length), cmp.Compare(o.method, r.method),
		cmp.Compare(o.headers, r.headers), cmp.Compare(o.query, r.query),
		cmp.Compare(r.created, o.created), cmp.Compare(r.namespace, o.namespace), cmp.Compare(r.name, o.name),
		cmp.Compare(r.rule, o.rule), cmp.Compare(r.match, o.match),
	)
}

// Governing are the sets whose HTTP rules act for a port of a service's host on the
// sidecar of a client, of those that Routes gave. Rules of the Gateway API
// replace all others there; those of the client's own namespace (consumer routes)
// replace those of the service's (producer routes; GEP-1426).
func Governing(sets []*RouteSet, port uint16, home string, c Client) []*RouteSet {
	var plain, producer, consumer []*RouteSet
	for _, s := range sets {
		switch {
		case len(s.HTTP) == 0:
		case !s.Ranked:
			plain = append(plain, s)
		case s.Port != 0 && s.Port != port:
		case s.Namespace != home && c.In(s.Namespace):
			consumer = append(consumer, s)
		default:
			producer = append(producer, s)
		}
	}
	switch {
	case len(consumer) > 0:
		return consumer
	case len(producer) > 0:
		return producer
	}
	return plain
}
