package mesh

import (
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// coveredWithin names the rules and matches of a set, up to the first rule that takes
// everything, that an earlier match of the set leaves nothing to.
func coveredWithin(v *verdicts, r *RouteSet) {
	for j := range r.HTTP {
		rule := &r.HTTP[j]
		if rule.CatchAll() {
			return
		}
		var said []verdict.Status
		var whole *HTTPMatch
		for k := range rule.Matches {
			earlier := coveredBy(r.HTTP[:j], &rule.Matches[k])
			if earlier == nil {
				continue
			}
			whole = earlier
			said = append(said, verdict.Status{
				Origin: rule.Matches[k].Origin, Code: verdict.Shadowed, By: earlier.Origin.Ref,
				Message: within(rule.Origin, earlier.Origin) + " takes every request of this match",
			})
		}
		if len(said) > 0 && len(said) == len(rule.Matches) {
			v.by(rule.Origin, verdict.Shadowed, whole.Origin.Ref, "nothing is left to the rule: %s takes every request that it would", within(rule.Origin, whole.Origin))
			continue
		}
		v.list = append(v.list, said...)
	}
}

// within names a place for readers of a verdict on at: by its path, and by its object
// where that is another one.
func within(at, o verdict.Origin) string {
	if o.Ref == at.Ref {
		return o.Path
	}
	return o.String()
}

// coveredBy gives an earlier match that takes every request that m takes.
func coveredBy(earlier []HTTPRule, m *HTTPMatch) *HTTPMatch {
	for i := range earlier {
		for k := range earlier[i].Matches {
			if a := &earlier[i].Matches[k]; a.covers(m) {
				return a
			}
		}
	}
	return nil
}

// covers reports whether every request that b takes is one that m takes. It may say
// no where that cannot be told.
func (m *HTTPMatch) covers(b *HTTPMatch) bool {
	return !m.Invalid && !b.Invalid && m.coversPath(b) &&
		m.Method.covers(b.Method) && m.Scheme.covers(b.Scheme) && m.Authority.covers(b.Authority) &&
		coverNamed(m.Headers, b.Headers) && coverNamed(m.Query, b.Query) && sameNamed(m.WithoutHeaders, b.WithoutHeaders) &&
		(m.Port == 0 || m.Port == b.Port) && registry.Matches(m.SourceLabels, b.SourceLabels) &&
		(m.SourceNamespace == "" || m.SourceNamespace == b.SourceNamespace) &&
		(len(m.Gateways) == 0 || len(b.Gateways) > 0 && !slices.ContainsFunc(b.Gateways, func(g string) bool { return !slices.Contains(m.Gateways, g) }))
}

func (m *HTTPMatch) coversPath(b *HTTPMatch) bool {
	everything := m.Path == nil || m.Path.Kind == Prefix && m.Path.Value == "/"
	switch {
	case everything:
		return true
	case b.Path == nil || b.IgnorePathCase && !m.IgnorePathCase:
		return false
	case m.IgnorePathCase:
		x, y := *m.Path, *b.Path
		x.Value, y.Value = strings.ToLower(x.Value), strings.ToLower(y.Value)
		return x.Kind != Regex && y.Kind != Regex && x.covers(&y)
	}
	return m.Path.covers(b.Path)
}

// covers reports whether every value that b takes is one that s takes; nil takes all.
func (s *StringMatch) covers(b *StringMatch) bool {
	switch {
	case s == nil:
		return true
	case b == nil:
		return false
	case *s == *b || s.Kind == Present:
		return true
	case s.Kind == Prefix:
		return b.Kind != Regex && b.Kind != Present && strings.HasPrefix(b.Value, s.Value)
	case s.Kind == Segments:
		return b.Kind != Regex && b.Kind != Present && (b.Value == s.Value && b.Kind == Exact || strings.HasPrefix(b.Value, s.Value+"/"))
	}
	return false
}

// coverNamed reports whether each condition of a follows from one of b.
func coverNamed(a, b []NamedMatch) bool {
	return !slices.ContainsFunc(a, func(x NamedMatch) bool {
		return !slices.ContainsFunc(b, func(y NamedMatch) bool { return x.Name == y.Name && x.StringMatch.covers(&y.StringMatch) })
	})
}

// sameNamed reports whether each condition of a is one of b.
func sameNamed(a, b []NamedMatch) bool {
	return !slices.ContainsFunc(a, func(x NamedMatch) bool { return !slices.Contains(b, x) })
}
