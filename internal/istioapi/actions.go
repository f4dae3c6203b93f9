package istioapi

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

func (c *ruleReader) redirect(reason *string, at verdict.Origin, in *networking.HTTPRedirect) *mesh.Redirect {
	out := &mesh.Redirect{Status: in.RedirectCode, Scheme: in.Scheme, Authority: in.Authority, Path: in.Uri}
	switch in.RedirectCode {
	case 0:
		out.Status = 301
	case 301, 302, 303, 307, 308:
	default:
		c.invalid(reason, at.At("redirectCode"), verdict.Invalid, "the code is none of 301, 302, 303, 307 and 308")
	}
	if in.PrefixRewrite != "" {
		out.Path, out.PrefixURI = in.PrefixRewrite, true
		if in.Uri != "" {
			c.invalid(reason, at, verdict.Invalid, "uri and prefixRewrite exclude each other")
		}
	}
	if rest, ok := strings.CutPrefix(in.Uri, "%PREFIX()%"); ok {
		out.Path, out.PrefixURI = rest, true
	}
	switch p := in.RedirectPort.(type) {
	case *networking.HTTPRedirect_Port:
		out.Port = p.Port
	case *networking.HTTPRedirect_DerivePort:
		out.FromRequestPort = p.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT
	}
	return out
}

func (c *ruleReader) direct(reason *string, at verdict.Origin, in *networking.HTTPDirectResponse) *mesh.DirectResponse {
	out := &mesh.DirectResponse{Status: in.Status}
	if in.Status < 200 || in.Status > 599 {
		c.invalid(reason, at.At("status"), verdict.Invalid, "the status is not between 200 and 599")
	}
	switch b := in.GetBody().GetSpecifier().(type) {
	case *networking.HTTPBody_String_:
		out.Body = b.String_
	case *networking.HTTPBody_Bytes:
		out.Body = string(b.Bytes)
	}
	return out
}

func (c *ruleReader) rewrite(reason *string, at verdict.Origin, in *networking.HTTPRewrite) *mesh.Rewrite {
	if in == nil {
		return nil
	}
	out := &mesh.Rewrite{Path: in.Uri, Authority: in.Authority}
	if re := in.UriRegexRewrite; re != nil {
		out.Regex, out.Subst = re.Match, re.Rewrite
		pattern, err := regexp.Compile(re.Match)
		switch {
		case re.Match == "":
			c.invalid(reason, at.At("uriRegexRewrite.match"), verdict.Invalid, "the regular expression is empty")
		case err != nil:
			c.invalid(reason, at.At("uriRegexRewrite.match"), verdict.Invalid, "not a regular expression of RE2: "+err.Error())
		case !validSubstitution(re.Rewrite, pattern.NumSubexp()):
			c.invalid(reason, at.At("uriRegexRewrite.rewrite"), verdict.Invalid, "a backslash is followed by neither a backslash nor the number of a group of match")
		}
		if in.Uri != "" {
			c.invalid(reason, at, verdict.Invalid, "uri and uriRegexRewrite exclude each other")
		}
	}
	return out
}

// hostHeader turns a rule that sets the header host into a rewrite of the
// authority: that is what Istio does, and a header "host" cannot be set as such.
func (c *ruleReader) hostHeader(out *mesh.HTTPRule) {
	for i, h := range out.Request.Set {
		if h.Name != "host" && h.Name != ":authority" {
			continue
		}
		if out.Rewrite == nil {
			out.Rewrite = &mesh.Rewrite{}
		}
		if out.Rewrite.Authority == "" {
			out.Rewrite.Authority = h.Value
		}
		out.Request.Set = slices.Delete(out.Request.Set, i, i+1)
		return
	}
}

// retryConditions are Envoy's names of retry conditions that a rule may list.
var retryConditions = set("5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited",
	"retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers", "cancelled", "deadline-exceeded",
	"internal", "resource-exhausted", "unavailable", "http3-post-connect-failure")

func (c *ruleReader) retries(reason *string, at verdict.Origin, in *networking.HTTPRetry) *mesh.Retries {
	if in == nil {
		return nil
	}
	out := &mesh.Retries{
		PerTryTimeout:    in.PerTryTimeout.AsDuration(),
		Backoff:          in.Backoff.AsDuration(),
		AvoidPrevious:    in.RetryIgnorePreviousHosts == nil || in.RetryIgnorePreviousHosts.Value,
		RemoteLocalities: in.RetryRemoteLocalities.GetValue(),
	}
	if in.Attempts < 0 {
		c.invalid(reason, at.At("attempts"), verdict.Invalid, "the number of attempts is negative")
		return out
	}
	if out.PerTryTimeout < 0 || out.Backoff < 0 {
		c.invalid(reason, at, verdict.Invalid, "a duration is negative")
	}
	out.Attempts = uint32(in.Attempts)
	for _, cond := range strings.Split(in.RetryOn, ",") {
		cond = strings.TrimSpace(cond)
		code, err := strconv.Atoi(cond)
		switch {
		case cond == "":
		case err == nil && code >= 100 && code <= 599:
			out.Statuses = append(out.Statuses, uint32(code))
		case retryConditions[cond]:
			out.On = append(out.On, cond)
		default:
			c.invalid(reason, at.At("retryOn"), verdict.Invalid, strconv.Quote(cond)+" is neither a retry condition nor a status")
		}
	}
	return out
}

func (c *ruleReader) fault(reason *string, at verdict.Origin, in *networking.HTTPFaultInjection) *mesh.Fault {
	if in == nil {
		return nil
	}
	out := &mesh.Fault{}
	if d := in.Delay; d.GetFixedDelay() != nil {
		out.Delay, out.DelayPercent = d.GetFixedDelay().AsDuration(), 100
		switch {
		case d.Percentage != nil:
			out.DelayPercent = d.Percentage.Value
		case d.GetPercent() != 0: //nolint:staticcheck // deprecated by Istio, still written by users
			out.DelayPercent = float64(d.GetPercent()) //nolint:staticcheck // as above
		}
		if out.Delay <= 0 {
			c.invalid(reason, at.At("delay.fixedDelay"), verdict.Invalid, "the delay is not positive")
		}
		c.percent(reason, at.At("delay.percentage.value"), out.DelayPercent)
	}
	if in.Abort != nil {
		c.abort(reason, at.At("abort"), in.Abort, out)
	}
	return out
}

func (c *ruleReader) abort(reason *string, at verdict.Origin, in *networking.HTTPFaultInjection_Abort, out *mesh.Fault) {
	switch t := in.ErrorType.(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		out.AbortStatus = uint32(t.HttpStatus)
		if t.HttpStatus < 200 || t.HttpStatus > 599 {
			c.invalid(reason, at.At("httpStatus"), verdict.Invalid, "the status is not between 200 and 599")
		}
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		code, ok := validate.GRPCStatus(t.GrpcStatus)
		if !ok {
			c.invalid(reason, at.At("grpcStatus"), verdict.Invalid, strconv.Quote(t.GrpcStatus)+" is no name of a gRPC status, such as UNAVAILABLE")
			return
		}
		out.AbortGRPC = &code
	default:
		return // what else there is has its verdict from the field tables
	}
	out.AbortPercent = 100
	if in.Percentage != nil {
		out.AbortPercent = in.Percentage.Value
	}
	c.percent(reason, at.At("percentage.value"), out.AbortPercent)
}

func (c *ruleReader) percent(reason *string, at verdict.Origin, p float64) {
	if !(p >= 0 && p <= 100) { // also true for NaN
		c.invalid(reason, at, verdict.Invalid, "the percentage is not between 0 and 100")
	}
}

func (c *ruleReader) mirrors(reason *string, at verdict.Origin, in *networking.HTTPRoute) []mesh.Mirror {
	var out []mesh.Mirror
	add := func(at verdict.Origin, d *networking.Destination, percent float64) {
		c.percent(reason, at, percent)
		if percent > 0 {
			out = append(out, mesh.Mirror{Destination: c.destination(reason, at, d), Percent: percent})
		}
	}
	if in.Mirror != nil {
		percent := 100.0
		switch {
		case in.MirrorPercentage != nil:
			percent = in.MirrorPercentage.Value
		case in.GetMirrorPercent() != nil: //nolint:staticcheck // deprecated by Istio, still written by users
			percent = float64(in.GetMirrorPercent().Value) //nolint:staticcheck // as above
		}
		add(at.At("mirror"), in.Mirror, percent)
	}
	for i, m := range in.Mirrors {
		percent := 100.0
		if m.Percentage != nil {
			percent = m.Percentage.Value
		}
		add(at.At(index("mirrors", i)), m.Destination, percent)
	}
	return out
}

// headerOps reads header changes in a fixed order: by name.
func headerOps(in *networking.Headers_HeaderOperations) mesh.HeaderOps {
	if in == nil {
		return mesh.HeaderOps{}
	}
	out := mesh.HeaderOps{Set: headers(in.Set), Add: headers(in.Add)}
	for _, name := range in.Remove {
		out.Remove = append(out.Remove, strings.ToLower(name))
	}
	return out
}

func headers(in map[string]string) []mesh.Header {
	var out []mesh.Header
	for _, name := range slices.Sorted(maps.Keys(in)) {
		out = append(out, mesh.Header{Name: strings.ToLower(name), Value: in[name]})
	}
	return out
}
