package compile

import (
	"regexp"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// ranked compiles the rules of the ranked sets, the most specific match first.
func (c *compiler) ranked(sets []boundSet, port uint16) []ir.Route {
	type entry struct {
		rank  mesh.Rank
		route ir.Route
	}
	var list []entry
	for _, b := range sets {
		if !b.set.Ranked {
			continue
		}
		for i := range b.set.HTTP {
			rule := &b.set.HTTP[i]
			if len(rule.Matches) == 0 {
				list = append(list, entry{mesh.RankOf(b.set, i, -1), c.rule(rule, b, port)[0]})
				continue
			}
			one := *rule
			for j := range rule.Matches {
				one.Matches = rule.Matches[j : j+1]
				for _, r := range c.rule(&one, b, port) {
					list = append(list, entry{mesh.RankOf(b.set, i, j), r})
				}
			}
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int { return a.rank.Compare(b.rank) })
	out := make([]ir.Route, 0, len(list))
	for i := range list {
		out = append(out, list[i].route)
	}
	return out
}

// wholePath matches every path, once.
const wholePath = "/.*"

// replacePath fits the path that a rule sets to what the route's match matched, for
// the scopes of the Gateway API. Data planes replace the bytes that a prefix matched,
// so that segments need care where one side ends with a slash.
func replacePath(r *ir.Route, rule *mesh.HTTPRule) {
	if rw := rule.Rewrite; rw != nil && r.Rewrite != nil {
		switch rw.Scope {
		case mesh.OfWhole:
			r.Rewrite.Path, r.Rewrite.Regex, r.Rewrite.Subst = "", wholePath, quoteSubst(rw.Path)
		case mesh.OfSegments:
			r.Rewrite.Path, r.Rewrite.Regex, r.Rewrite.Subst = segments(&r.Match, rw.Path)
		}
	}
	if rd := rule.Redirect; rd != nil && r.Redirect != nil && rd.Segments {
		r.Redirect.Prefix, r.Redirect.Regex, r.Redirect.Subst = segments(&r.Match, rd.Path)
	}
}

// segments gives the prefix that replaces a match's, or a regular expression and its
// substitution where the data plane's replacement would double or lose a slash.
func segments(m *ir.Match, by string) (prefix, regex, subst string) {
	by = strings.TrimRight(by, "/")
	old := ""
	if m.Path.Kind == ir.Segments {
		old = m.Path.Value
	}
	switch {
	case by == "": // what follows begins with its own slash, or needs one
		return "", "^" + regexp.QuoteMeta(old) + "/?(.*)", `/\1`
	case old == "": // the match is "/", which takes the slash of what follows
		return by + "/", "", ""
	}
	return by, "", ""
}

// quoteSubst makes a substitution of a text.
func quoteSubst(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }
