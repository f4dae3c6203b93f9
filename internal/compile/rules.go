package compile

import (
	"slices"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// boundSet is a rule set where it acts: on sidecars (mesh.MeshGateway), or at a
// gateway.
type boundSet struct {
	set     *mesh.RouteSet
	gateway string
}

// routes merges the rules of several sets for one host: all routes with
// conditions, the oldest set first, then the first route without. Within a set
// nothing after a rule without conditions acts. port is the one that is called.
//
// The rules of ranked sets come before those, by their ranks.
func (c *compiler) routes(sets []boundSet, port uint16) []ir.Route {
	out := c.ranked(sets, port)
	var last *ir.Route
	for _, b := range sets {
		done := b.set.Ranked
		for i := range b.set.HTTP {
			if done {
				break
			}
			for _, r := range c.rule(&b.set.HTTP[i], b, port) {
				if !unconditional(&r.Match) {
					out = append(out, r)
					continue
				}
				if last == nil {
					last = &r
				}
				done = true
				break
			}
		}
	}
	if last != nil {
		out = append(out, *last)
	}
	return out
}

func unconditional(m *ir.Match) bool {
	return m.Path.Kind == ir.Prefix && m.Path.Value == "/" && len(m.Headers)+len(m.Query) == 0
}

// rule compiles one rule: a route for each of its matches that can apply to this
// proxy.
func (c *compiler) rule(rule *mesh.HTTPRule, b boundSet, port uint16) []ir.Route {
	if len(rule.Matches) == 0 {
		r := c.action(rule, b, port)
		r.Match = ir.Match{Path: ir.StringMatch{Kind: ir.Prefix, Value: "/"}, Default: true}
		replacePath(&r, rule)
		r.Operation += "/*"
		return []ir.Route{r}
	}
	var out []ir.Route
	for i := range rule.Matches {
		m := &rule.Matches[i]
		if m.Invalid || m.Port != 0 && m.Port != port || !c.meant(m.SourceLabels, m.SourceNamespace, m.Gateways, b.set, b.gateway) {
			continue
		}
		r := c.action(rule, b, port)
		r.Match = match(m)
		replacePath(&r, rule)
		if r.Name != "" && m.Name != "" {
			r.Name += "." + m.Name
		}
		r.Operation += operationPath(&r.Match)
		out = append(out, r)
	}
	return out
}

// meant reports whether a match is meant for this proxy: its labels, its
// namespace, and the gateway at which the set is bound.
func (c *compiler) meant(labels map[string]string, namespace string, gateways []string, set *mesh.RouteSet, gateway string) bool {
	if len(gateways) == 0 {
		gateways = set.Gateways
	}
	if !slices.Contains(gateways, gateway) {
		return false
	}
	if gateway != mesh.MeshGateway {
		return true // the caller's labels are not known at a gateway; Istio ignores them there
	}
	return c.client.Carries(labels) && (namespace == "" || c.client.In(namespace))
}

func match(m *mesh.HTTPMatch) ir.Match {
	out := ir.Match{Path: ir.StringMatch{Kind: ir.Prefix, Value: "/"}, FoldCase: m.IgnorePathCase}
	if m.Path != nil && m.Path.Kind != mesh.Present {
		out.Path = stringMatch(m.Path)
	}
	for i := range m.Headers {
		out.Headers = append(out.Headers, named(&m.Headers[i], false))
	}
	for i := range m.WithoutHeaders {
		out.Headers = append(out.Headers, named(&m.WithoutHeaders[i], true))
	}
	pseudo := func(name string, s *mesh.StringMatch) {
		if s != nil {
			out.Headers = append(out.Headers, ir.NamedMatch{Name: name, StringMatch: stringMatch(s)})
		}
	}
	pseudo(":method", m.Method)
	pseudo(":authority", m.Authority)
	pseudo(":scheme", m.Scheme)
	for i := range m.Query {
		out.Query = append(out.Query, named(&m.Query[i], false))
	}
	return out
}

func stringMatch(s *mesh.StringMatch) ir.StringMatch {
	return ir.StringMatch{Kind: ir.MatchKind(s.Kind), Value: s.Value}
}

func named(m *mesh.NamedMatch, invert bool) ir.NamedMatch {
	out := ir.NamedMatch{Name: m.Name, StringMatch: stringMatch(&m.StringMatch)}
	out.Invert = invert
	return out
}

func operationPath(m *ir.Match) string {
	if m.Path.Kind == ir.Prefix || m.Path.Kind == ir.Segments {
		return m.Path.Value + "*"
	}
	return m.Path.Value
}
