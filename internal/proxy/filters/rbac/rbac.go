// Package rbac enforces access rules: envoy.filters.http.rbac for requests
// (envoy.extensions.filters.http.rbac.v3.RBAC) and envoy.filters.network.rbac for
// connections. What decides is match.DecideAccess.
package rbac

import (
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Name is the HTTP filter's name.
const Name = config.MetadataNamespace

// guard is an Access node with everything that a decision needs made before. It
// is immutable; its counters are shared.
type guard struct {
	rules, shadow     *config.RBAC
	count             *counters
	reasons           map[*config.AccessPolicy]stream.Reason // denials; nil: by no policy
	replies           map[*config.AccessPolicy]*stream.Reply
	idKey, resultKey  string // of the dry run's metadata
	ids               map[*config.AccessPolicy]any
	allowedV, deniedV any
}

func newGuard(a *config.Access, stats *Stats, kind string) *guard {
	g := &guard{
		rules: a.Rules, shadow: a.Shadow, count: stats.counters(kind, a),
		reasons: map[*config.AccessPolicy]stream.Reason{nil: denial(nil)}, replies: map[*config.AccessPolicy]*stream.Reply{},
		idKey: a.ShadowPrefix + "shadow_effective_policy_id", resultKey: a.ShadowPrefix + "shadow_engine_result",
		ids: map[*config.AccessPolicy]any{}, allowedV: "allowed", deniedV: "denied",
	}
	if a.Rules != nil {
		for _, p := range a.Rules.Policies {
			g.reasons[p] = denial(p)
		}
	}
	for p, why := range g.reasons {
		g.replies[p] = stream.NewReply(0, why)
	}
	if a.Shadow != nil {
		for _, p := range a.Shadow.Policies {
			g.ids[p] = p.Name
		}
	}
	return g
}

// denial is the reason of a denial by a policy, or because none allowed it. The
// policy's name is for logs alone: clients are not told which one keeps them out.
// Envoy writes it without blanks, which separate the columns of a log.
func denial(p *config.AccessPolicy) stream.Reason {
	name := "none"
	if p != nil {
		name = strings.Join(strings.Fields(p.Name), "_")
	}
	return stream.Reason{Code: stream.PolicyDenied, Envoy: "rbac_access_denied_matched_policy[" + name + "]"}
}

// check evaluates both sets of rules and counts. It reports whether s is let
// through; if not, by is the policy that denies, nil where none allows.
func (g *guard) check(s *stream.Stream) (by *config.AccessPolicy, ok bool) {
	if g.shadow != nil {
		g.dryRun(s)
	}
	if g.rules == nil {
		return nil, true
	}
	d := match.DecideAccess(g.rules, s, nil)
	if g.rules.Action == config.ActionLog {
		s.Metadata.Set("envoy.common", "access_log_hint", d.Policy != nil)
	}
	if d.Allowed {
		g.count.allowed.Add(1)
	} else {
		g.count.denied.Add(1)
	}
	return d.Policy, d.Allowed
}

// dryRun evaluates the shadow rules and leaves what they came to as metadata.
func (g *guard) dryRun(s *stream.Stream) {
	d := match.DecideAccess(g.shadow, s, nil)
	if d.Policy != nil {
		s.Metadata.Set(Name, g.idKey, g.ids[d.Policy])
	}
	if d.Allowed {
		g.count.shadowAllowed.Add(1)
		s.Metadata.Set(Name, g.resultKey, g.allowedV)
	} else {
		g.count.shadowDenied.Add(1)
		s.Metadata.Set(Name, g.resultKey, g.deniedV)
	}
}
