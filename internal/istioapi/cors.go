package istioapi

import (
	"regexp"
	"strconv"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// cors reads a CORS policy. One whose origins cannot be compared makes the rule
// invalid: without it, pages of other origins might be let in, or the rule's own out.
func (c *ruleReader) cors(reason *string, at verdict.Origin, rule *networking.HTTPRoute) *mesh.CORS {
	in := rule.CorsPolicy
	if in == nil {
		return nil
	}
	if rule.Redirect != nil || rule.DirectResponse != nil {
		c.say(at, verdict.NotActedOn, "a rule that answers by itself has no CORS policy, in Istio neither")
		return nil
	}
	out := &mesh.CORS{
		Methods:     in.AllowMethods,
		Headers:     in.AllowHeaders,
		Expose:      in.ExposeHeaders,
		Credentials: in.AllowCredentials.GetValue(),
		Ignore:      in.UnmatchedPreflights == networking.CorsPolicy_IGNORE,
	}
	if in.MaxAge != nil {
		out.MaxAge = strconv.FormatInt(in.MaxAge.GetSeconds(), 10)
		if in.MaxAge.AsDuration() < 0 {
			c.invalid(reason, at.At("maxAge"), verdict.Invalid, "the duration is negative")
		}
	}
	for i, o := range in.AllowOrigins {
		out.Origins = append(out.Origins, c.origin(reason, at.At(index("allowOrigins", i)), o))
	}
	old := in.GetAllowOrigin() //nolint:staticcheck // deprecated by Istio, still written by users
	switch {
	case len(old) == 0:
	case len(in.AllowOrigins) > 0:
		c.say(at.At("allowOrigin"), verdict.NotActedOn, "allowOrigins is set, which replaces it")
	default:
		for _, o := range old {
			out.Origins = append(out.Origins, mesh.StringMatch{Kind: mesh.Exact, Value: o})
		}
	}
	return out
}

// origin reads how an origin is compared. Nothing is taken to mean every origin that
// does not say so: {exact: "*"} does.
func (c *ruleReader) origin(reason *string, at verdict.Origin, in *networking.StringMatch) mesh.StringMatch {
	switch m := in.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return mesh.StringMatch{Kind: mesh.Exact, Value: m.Exact}
	case *networking.StringMatch_Prefix:
		if m.Prefix != "" {
			return mesh.StringMatch{Kind: mesh.Prefix, Value: m.Prefix}
		}
		c.invalid(reason, at.At("prefix"), verdict.Invalid, "the prefix is empty")
	case *networking.StringMatch_Regex:
		if _, err := regexp.Compile(m.Regex); err == nil && m.Regex != "" {
			return mesh.StringMatch{Kind: mesh.Regex, Value: m.Regex}
		}
		c.invalid(reason, at.At("regex"), verdict.Invalid, "not a regular expression of RE2")
	default:
		c.invalid(reason, at, verdict.Invalid, "one of exact, prefix and regex is needed")
	}
	return mesh.StringMatch{}
}
