package istioapi

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// httpMatch reads the conditions of a match. One that cannot be checked makes the
// whole match take no request: without it, it would take too many.
func (c *ruleReader) httpMatch(at verdict.Origin, in *networking.HTTPMatchRequest) mesh.HTTPMatch {
	out := mesh.HTTPMatch{
		Origin:          at,
		Name:            in.Name,
		IgnorePathCase:  in.IgnoreUriCase,
		SourceLabels:    in.SourceLabels,
		SourceNamespace: in.SourceNamespace,
		Gateways:        gatewayNames(in.Gateways, c.namespace),
	}
	if in.Port > 65535 {
		c.unusable(&out.Invalid, at.At("port"), "the port "+strconv.FormatUint(uint64(in.Port), 10)+" is out of range")
	} else {
		out.Port = uint16(in.Port)
	}
	out.Path = c.stringMatch(&out.Invalid, at.At("uri"), in.Uri)
	out.Scheme = c.stringMatch(&out.Invalid, at.At("scheme"), in.Scheme)
	out.Method = c.stringMatch(&out.Invalid, at.At("method"), in.Method)
	out.Authority = c.stringMatch(&out.Invalid, at.At("authority"), in.Authority)
	out.Headers = c.namedMatches(&out.Invalid, at.At("headers"), in.Headers, true)
	out.WithoutHeaders = c.namedMatches(&out.Invalid, at.At("withoutHeaders"), in.WithoutHeaders, true)
	out.Query = c.namedMatches(&out.Invalid, at.At("queryParams"), in.QueryParams, false)
	return out
}

func (c *ruleReader) unusable(bad *bool, at verdict.Origin, msg string) {
	*bad = true
	effect := "the match takes no request"
	if c.relays {
		effect = "the match takes no connection"
	}
	c.say(at, verdict.Invalid, "%s; %s", msg, effect)
}

// stringMatch reads one comparison; nil where none is written. Without a kind the
// value must only be present, as in Istio's header matches ("x-c: {}").
func (c *ruleReader) stringMatch(bad *bool, at verdict.Origin, in *networking.StringMatch) *mesh.StringMatch {
	if in == nil {
		return nil
	}
	switch m := in.MatchType.(type) {
	case *networking.StringMatch_Exact:
		return &mesh.StringMatch{Kind: mesh.Exact, Value: m.Exact}
	case *networking.StringMatch_Prefix:
		return &mesh.StringMatch{Kind: mesh.Prefix, Value: m.Prefix}
	case *networking.StringMatch_Regex:
		if m.Regex == "*" { // accepted by Istio for "anything"
			return &mesh.StringMatch{Kind: mesh.Present}
		}
		if _, err := regexp.Compile(m.Regex); err != nil {
			c.unusable(bad, at.At("regex"), "not a regular expression of RE2: "+err.Error())
		}
		return &mesh.StringMatch{Kind: mesh.Regex, Value: m.Regex}
	}
	return &mesh.StringMatch{Kind: mesh.Present}
}

// namedMatches reads a map of comparisons in the order of its keys. fold makes the
// keys lower case, as header names are.
func (c *ruleReader) namedMatches(bad *bool, at verdict.Origin, in map[string]*networking.StringMatch, fold bool) []mesh.NamedMatch {
	var out []mesh.NamedMatch
	for _, name := range slices.Sorted(maps.Keys(in)) {
		m := c.stringMatch(bad, at.At("["+strconv.Quote(name)+"]"), in[name])
		if m == nil {
			m = &mesh.StringMatch{Kind: mesh.Present}
		}
		at := at.At("[" + strconv.Quote(name) + "]")
		if fold {
			name = strings.ToLower(name)
		}
		if fold && !headerName.MatchString(strings.TrimPrefix(name, ":")) || name == "" {
			c.unusable(bad, at, "not a name that can be matched")
		}
		out = append(out, mesh.NamedMatch{Name: name, StringMatch: *m})
	}
	return out
}
