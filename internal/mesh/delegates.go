package mesh

import (
	"maps"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Delegate names the rule set, without hosts, whose rules take a rule's place
// (Istio's VirtualService http[].delegate).
type Delegate struct{ Namespace, Name string }

func (d *Delegate) ref() verdict.Ref {
	return verdict.Ref{Kind: "VirtualService", Namespace: d.Namespace, Name: d.Name}
}

// IsDelegate reports whether the set has no hosts: it acts only where other sets
// delegate to it.
func (r *RouteSet) IsDelegate() bool { return len(r.Hosts) == 0 && !r.Ranked }

// delegation puts the rules of delegates in the place of those that delegate.
type delegation struct {
	*verdicts
	byName   map[Delegate]*RouteSet
	all      map[Delegate]*RouteSet // with hosts too
	used     map[*RouteSet]bool
	exportTo []string // by default
}

// delegated gives the sets that have hosts, their rules merged with those of their
// delegates: one level, as in Istio. A rule whose delegate cannot be used is left
// out, so that its requests go on to the next rule.
func delegated(v *verdicts, list []RouteSet, exportTo []string) []RouteSet {
	d := &delegation{verdicts: v, byName: map[Delegate]*RouteSet{}, all: map[Delegate]*RouteSet{}, used: map[*RouteSet]bool{}, exportTo: exportTo}
	var out []RouteSet
	for i := range list {
		r := &list[i]
		if r.Ranked {
			continue
		}
		key := Delegate{r.Namespace, r.Name}
		d.all[key] = r
		if r.IsDelegate() {
			d.byName[key] = r
		}
	}
	for i := range list {
		if list[i].IsDelegate() {
			continue
		}
		out = append(out, d.merge(list[i]))
	}
	for i := range list {
		if r := &list[i]; r.IsDelegate() && !d.used[r] {
			v.say(r.Origin, verdict.SelectsNothing, "no VirtualService that sees it delegates to it, and without hosts it acts nowhere else")
		}
	}
	return out
}

// merge replaces the rules of root that delegate.
func (d *delegation) merge(root RouteSet) RouteSet {
	if !slices.ContainsFunc(root.HTTP, func(r HTTPRule) bool { return r.Delegate != nil && r.Invalid == "" }) {
		return root
	}
	rules := make([]HTTPRule, 0, len(root.HTTP))
	for i := range root.HTTP {
		rule := &root.HTTP[i]
		if rule.Delegate == nil || rule.Invalid != "" {
			rules = append(rules, *rule)
			continue
		}
		to := d.find(&root, rule)
		if to == nil {
			continue
		}
		d.used[to] = true
		for j := range to.HTTP {
			if merged, ok := d.rule(&root, rule, &to.HTTP[j]); ok {
				rules = append(rules, merged)
			}
		}
	}
	root.HTTP = rules
	return root
}

// find gives the delegate of a rule, or says why it cannot be used.
func (d *delegation) find(root *RouteSet, rule *HTTPRule) *RouteSet {
	at, ref := rule.Origin.At("delegate"), rule.Delegate.ref()
	to := d.byName[*rule.Delegate]
	switch {
	case to == nil && d.all[*rule.Delegate] != nil:
		d.by(at, verdict.Invalid, ref, "%s has hosts: only a VirtualService without hosts can be delegated to; the rule does not act", ref)
		return nil
	case to == nil:
		d.by(at, verdict.Waiting, ref, "%s does not exist; the rule does not act until then", ref)
		return nil
	case !visible(exported(to.ExportTo, d.exportTo), to.Namespace, root.Namespace):
		d.by(at, verdict.Waiting, ref, "%s is not exported to the namespace %s; the rule does not act until then", ref, root.Namespace)
		return nil
	}
	return to
}

// rule merges one rule of a delegate with the rule of root that delegates to it. What
// the delegate's rule does not say, root's says.
func (d *delegation) rule(root *RouteSet, by, to *HTTPRule) (HTTPRule, bool) {
	out := *to
	matches, bad := mergeMatches(by.Matches, to.Matches)
	if bad != nil {
		d.by(bad.Origin, verdict.Invalid, root.Origin.Ref, "lies within no match of %s, which delegates to this rule; the rule does not act there", by.Origin)
		return out, false
	}
	out.Matches = matches
	out.Name = dashed(by.Name, to.Name)
	out.Rewrite = orElse(to.Rewrite, by.Rewrite)
	out.Retries = orElse(to.Retries, by.Retries)
	out.Fault = orElse(to.Fault, by.Fault)
	out.CORS = orElse(to.CORS, by.CORS)
	if !to.TimeoutSet {
		out.Timeout, out.TimeoutSet = by.Timeout, by.TimeoutSet
	}
	if len(to.Mirrors) == 0 {
		out.Mirrors = by.Mirrors
	}
	if to.Request.IsZero() && to.Response.IsZero() {
		out.Request, out.Response = by.Request, by.Response
	}
	return out, true
}

func orElse[T any](a, b *T) *T {
	if a == nil {
		return b
	}
	return a
}

func dashed(root, name string) string {
	if root == "" || name == "" {
		return root + name
	}
	return root + "-" + name
}

// mergeMatches joins each match of a delegate's rule with each match of root's that
// it lies within. One that lies within none is bad, and the rule with it: the
// delegate would take requests that root did not hand on.
func mergeMatches(root, to []HTTPMatch) (out []HTTPMatch, bad *HTTPMatch) {
	switch {
	case len(root) == 0:
		return to, nil
	case len(to) == 0:
		return root, nil
	}
	for i := range to {
		found := false
		for j := range root {
			if root[j].conflicts(&to[i]) {
				continue
			}
			out = append(out, root[j].and(&to[i]))
			found = true
		}
		if !found {
			return nil, &to[i]
		}
	}
	return out, nil
}

// and gives the match of a delegate with root's conditions, where it has none of its
// own, which are narrower.
func (m *HTTPMatch) and(to *HTTPMatch) HTTPMatch {
	out := *to
	out.Name = dashed(m.Name, to.Name)
	out.Invalid = m.Invalid || to.Invalid
	out.Path = orElse(to.Path, m.Path)
	out.Method = orElse(to.Method, m.Method)
	out.Scheme = orElse(to.Scheme, m.Scheme)
	out.Authority = orElse(to.Authority, m.Authority)
	out.Headers = narrower(m.Headers, to.Headers)
	out.Query = narrower(m.Query, to.Query)
	// Conditions on what must be missing add up: a narrower one would let more through.
	out.WithoutHeaders = slices.Clone(m.WithoutHeaders)
	for _, n := range to.WithoutHeaders {
		if !slices.Contains(out.WithoutHeaders, n) {
			out.WithoutHeaders = append(out.WithoutHeaders, n)
		}
	}
	if to.Port == 0 {
		out.Port = m.Port
	}
	if len(m.SourceLabels) > 0 {
		out.SourceLabels = maps.Clone(m.SourceLabels)
		maps.Copy(out.SourceLabels, to.SourceLabels)
	}
	if to.SourceNamespace == "" {
		out.SourceNamespace = m.SourceNamespace
	}
	if len(to.Gateways) == 0 {
		out.Gateways = m.Gateways
	}
	return out
}

// narrower lists root's conditions but for those of the delegate's names, and the
// delegate's, by name.
func narrower(root, to []NamedMatch) []NamedMatch {
	out := slices.Clone(to)
	for i := range root {
		if namedIn(to, root[i].Name) == nil {
			out = append(out, root[i])
		}
	}
	slices.SortStableFunc(out, func(a, b NamedMatch) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func namedIn(list []NamedMatch, name string) *StringMatch {
	for i := range list {
		if list[i].Name == name {
			return &list[i].StringMatch
		}
	}
	return nil
}

// conflicts reports whether a delegate's match is not within root's, as Istio
// decides it: where both compare the same thing, exactly or by a prefix, the
// delegate's must be as narrow or narrower; other comparisons cannot be joined.
func (m *HTTPMatch) conflicts(to *HTTPMatch) bool {
	for _, p := range [][2]*StringMatch{{m.Path, to.Path}, {m.Scheme, to.Scheme}, {m.Method, to.Method}, {m.Authority, to.Authority}} {
		if !p[0].joins(p[1]) {
			return true
		}
	}
	for _, p := range [][2][]NamedMatch{{m.Headers, to.Headers}, {m.WithoutHeaders, to.WithoutHeaders}, {m.Query, to.Query}} {
		for i := range p[1] {
			if !namedIn(p[0], p[1][i].Name).joins(&p[1][i].StringMatch) {
				return true
			}
		}
	}
	for k, v := range to.SourceLabels {
		if own, ok := m.SourceLabels[k]; ok && own != v {
			return true
		}
	}
	return m.IgnorePathCase != to.IgnorePathCase ||
		m.Port != 0 && to.Port != 0 && m.Port != to.Port ||
		m.SourceNamespace != "" && to.SourceNamespace != "" && m.SourceNamespace != to.SourceNamespace ||
		len(m.Gateways) > 0 && slices.ContainsFunc(to.Gateways, func(g string) bool { return !slices.Contains(m.Gateways, g) })
}

// joins reports whether a delegate's comparison can take the place of root's.
func (s *StringMatch) joins(to *StringMatch) bool {
	if s == nil || to == nil {
		return true
	}
	plain := func(k MatchKind) bool { return k == Exact || k == Prefix }
	return plain(s.Kind) && plain(to.Kind) && s.covers(to)
}
