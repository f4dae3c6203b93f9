package validate

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"
)

// httpRoute checks one route. delegate tells that the VirtualService is
// delegated to.
func (c *checker) httpRoute(path string, r *networking.HTTPRoute, delegate bool) {
	c.httpAction(path, r, delegate)
	for i, m := range r.Match {
		c.httpMatch(at(path+".match", i), m)
		if delegate || r.Delegate != nil {
			c.joinable(at(path+".match", i), m)
		}
	}
	var weights []int32
	for i, d := range r.Route {
		p := at(path+".route", i)
		c.destination(p+".destination", d.GetDestination())
		c.headers(p+".headers", d.Headers)
		weights = append(weights, d.Weight)
	}
	c.weights(path+".route", weights)
	c.redirect(path+".redirect", r.Redirect)
	c.directResponse(path+".directResponse", r.DirectResponse)
	c.rewrite(path+".rewrite", r.Rewrite)
	if r.Timeout != nil && r.Timeout.AsDuration() != 0 { // 0 switches the time-out off
		c.duration(path+".timeout", r.Timeout)
	}
	c.retries(path+".retries", r.Retries)
	c.fault(path+".fault", r.Fault)
	c.mirrors(path, r)
	c.cors(path+".corsPolicy", r.CorsPolicy)
	c.headers(path+".headers", r.Headers)
}

// httpAction checks that the route does one thing.
func (c *checker) httpAction(path string, r *networking.HTTPRoute, delegate bool) {
	var actions []string
	for _, a := range []struct {
		name string
		set  bool
	}{
		{"route", len(r.Route) > 0}, {"redirect", r.Redirect != nil},
		{"directResponse", r.DirectResponse != nil}, {"delegate", r.Delegate != nil},
	} {
		if a.set {
			actions = append(actions, a.name)
		}
	}
	switch {
	case len(actions) == 0:
		c.fail(path, "one of route, redirect, directResponse and delegate is required")
		return
	case len(actions) > 1:
		c.fail(path+"."+actions[1], "only one of %s can be set", strings.Join(actions, " and "))
		return
	}
	action := actions[0]
	if r.Delegate != nil {
		if delegate {
			c.fail(path+".delegate", "a VirtualService that is delegated to cannot delegate further")
		}
		if !isSubdomain(r.Delegate.Name) {
			c.fail(path+".delegate.name", "the name of a VirtualService is required")
		}
		if r.Delegate.Namespace != "" && !isLabel(r.Delegate.Namespace) {
			c.fail(path+".delegate.namespace", "%q is not a valid namespace", r.Delegate.Namespace)
		}
	}
	if action == "redirect" || action == "directResponse" {
		if r.Fault != nil {
			c.fail(path+".fault", "a route with %s cannot inject faults", action)
		}
		if r.Rewrite != nil {
			c.fail(path+".rewrite", "a route with %s cannot rewrite", action)
		}
	}
}

func (c *checker) httpMatch(path string, m *networking.HTTPMatchRequest) {
	for _, s := range []struct {
		name  string
		match *networking.StringMatch
	}{{"uri", m.Uri}, {"scheme", m.Scheme}, {"method", m.Method}, {"authority", m.Authority}} {
		c.stringMatch(path+"."+s.name, s.match)
		if s.match != nil && s.match.MatchType == nil {
			c.fail(path+"."+s.name, "one of exact, prefix and regex is required")
		}
	}
	if m.IgnoreUriCase && m.GetUri().GetRegex() != "" {
		c.warn(path+".ignoreUriCase", "ignoreUriCase has no effect on a regular expression; write (?i) in it")
	}
	for _, headers := range []struct {
		name string
		all  map[string]*networking.StringMatch
	}{{"headers", m.Headers}, {"withoutHeaders", m.WithoutHeaders}} {
		for _, k := range slices.Sorted(maps.Keys(headers.all)) {
			p := key(path+"."+headers.name, k)
			c.header(p, k, ":authority", ":method", ":path", ":scheme")
			c.stringMatch(p, headers.all[k]) // without a match type: the header is present
		}
	}
	for _, k := range slices.Sorted(maps.Keys(m.QueryParams)) {
		p := key(path+".queryParams", k)
		if k == "" {
			c.fail(p, "the name of a query parameter is required")
		}
		c.stringMatch(p, m.QueryParams[k])
	}
	if m.StatPrefix != "" && strings.ContainsAny(m.StatPrefix, " \t\n") {
		c.fail(path+".statPrefix", "%q must not contain spaces", m.StatPrefix)
	}
	c.matchSource(path, m.Port, m.SourceLabels, m.Gateways, m.SourceNamespace)
}

// joinable checks a match that is joined with another one by delegation: nobody can
// tell whether a regular expression lies within another comparison.
func (c *checker) joinable(path string, m *networking.HTTPMatchRequest) {
	check := func(path string, s *networking.StringMatch) {
		if s.GetRegex() != "" {
			c.fail(path+".regex", "regular expressions cannot be used around delegation; use exact or prefix")
		}
	}
	check(path+".uri", m.Uri)
	check(path+".scheme", m.Scheme)
	check(path+".method", m.Method)
	check(path+".authority", m.Authority)
	for _, named := range []struct {
		name string
		all  map[string]*networking.StringMatch
	}{{"headers", m.Headers}, {"withoutHeaders", m.WithoutHeaders}, {"queryParams", m.QueryParams}} {
		for _, k := range slices.Sorted(maps.Keys(named.all)) {
			check(key(path+"."+named.name, k), named.all[k])
		}
	}
}

func (c *checker) stringMatch(path string, m *networking.StringMatch) {
	switch t := m.GetMatchType().(type) {
	case *networking.StringMatch_Prefix:
		if t.Prefix == "" {
			c.fail(path+".prefix", "an empty prefix matches everything; leave the match out instead")
		}
	case *networking.StringMatch_Regex:
		c.regex(path+".regex", t.Regex)
	}
}

func (c *checker) headers(path string, h *networking.Headers) {
	for _, ops := range []struct {
		name   string
		ops    *networking.Headers_HeaderOperations
		pseudo []string
	}{{"request", h.GetRequest(), []string{":authority"}}, {"response", h.GetResponse(), nil}} {
		for _, m := range []struct {
			name string
			all  map[string]string
		}{{"set", ops.ops.GetSet()}, {"add", ops.ops.GetAdd()}} {
			for _, k := range slices.Sorted(maps.Keys(m.all)) {
				p := key(path+"."+ops.name+"."+m.name, k)
				c.header(p, k, ops.pseudo...)
				c.headerValue(p, m.all[k])
			}
		}
		for i, name := range ops.ops.GetRemove() {
			c.header(at(path+"."+ops.name+".remove", i), name)
		}
	}
}

func (c *checker) redirect(path string, r *networking.HTTPRedirect) {
	if r == nil {
		return
	}
	if r.Uri == "" && r.Authority == "" && r.Scheme == "" && r.PrefixRewrite == "" && r.RedirectPort == nil {
		c.fail(path, "at least one of uri, authority, scheme, port and prefixRewrite is required")
	}
	if r.Uri != "" && r.PrefixRewrite != "" {
		c.fail(path+".prefixRewrite", "only one of uri and prefixRewrite can be set")
	}
	if r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
		c.fail(path+".scheme", "%q is not http or https", r.Scheme)
	}
	if p, ok := r.RedirectPort.(*networking.HTTPRedirect_Port); ok {
		c.port(path+".port", int64(p.Port))
	}
	switch r.RedirectCode {
	case 0, 301, 302, 303, 307, 308:
	default:
		c.fail(path+".redirectCode", "%d is not one of 301, 302, 303, 307, 308", r.RedirectCode)
	}
}

// Bodies of direct responses go into every proxy's configuration.
const (
	largeBody   = 100 << 10
	longestBody = 1 << 20
)

func (c *checker) directResponse(path string, r *networking.HTTPDirectResponse) {
	if r == nil {
		return
	}
	c.httpStatus(path+".status", int64(r.Status))
	size := max(len(r.GetBody().GetString_()), len(r.GetBody().GetBytes()))
	switch {
	case size > longestBody:
		c.fail(path+".body", "the body has %d bytes, more than the limit of 1 MiB", size)
	case size > largeBody:
		c.warn(path+".body", "the body has %d bytes, which every proxy keeps in memory; serve large bodies from a workload", size)
	}
}

func (c *checker) httpStatus(path string, status int64) {
	if status < 200 || status > 599 {
		c.fail(path, "%d is not an HTTP status between 200 and 599", status)
	}
}

func (c *checker) rewrite(path string, r *networking.HTTPRewrite) {
	if r == nil {
		return
	}
	if r.Uri == "" && r.Authority == "" && r.UriRegexRewrite == nil {
		c.fail(path, "at least one of uri, authority and uriRegexRewrite is required")
	}
	if x := r.UriRegexRewrite; x != nil {
		if r.Uri != "" {
			c.fail(path+".uriRegexRewrite", "only one of uri and uriRegexRewrite can be set")
		}
		c.regex(path+".uriRegexRewrite.match", x.Match)
	}
}

// retryConditions are Envoy's names for x-envoy-retry-on and
// x-envoy-retry-grpc-on.
var retryConditions = []string{
	"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited",
	"retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
	"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
}

func (c *checker) retries(path string, r *networking.HTTPRetry) {
	if r == nil {
		return
	}
	c.nonNegative(path+".attempts", r.Attempts)
	if r.Attempts == 0 && (r.PerTryTimeout != nil || r.RetryOn != "" || r.RetryRemoteLocalities != nil) {
		c.fail(path, "attempts is 0, which switches retries off; the other fields have no effect")
	}
	if r.PerTryTimeout != nil && r.PerTryTimeout.AsDuration() != 0 {
		c.duration(path+".perTryTimeout", r.PerTryTimeout)
	}
	c.duration(path+".backoff", r.Backoff)
	if r.RetryOn == "" {
		return
	}
	for word := range strings.SplitSeq(r.RetryOn, ",") {
		word = strings.TrimSpace(word)
		if slices.Contains(retryConditions, word) {
			continue
		}
		if code, err := strconv.Atoi(word); err != nil || code < 100 || code > 599 {
			c.fail(path+".retryOn", "%q is not a retry condition; use HTTP status codes or %s", word, oneOf(retryConditions...))
		}
	}
}

// grpcStatuses are gRPC's names of status codes, each at its number.
var grpcStatuses = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// GRPCStatus gives the number of a gRPC status by its name, such as UNAVAILABLE.
func GRPCStatus(name string) (code uint32, ok bool) {
	i := slices.Index(grpcStatuses, name)
	return uint32(max(i, 0)), i >= 0
}

func (c *checker) fault(path string, f *networking.HTTPFaultInjection) {
	if f == nil {
		return
	}
	if f.Delay == nil && f.Abort == nil {
		c.fail(path, "one of delay and abort is required")
	}
	if d := f.Delay; d != nil {
		switch t := d.HttpDelayType.(type) {
		case *networking.HTTPFaultInjection_Delay_FixedDelay:
			c.duration(path+".delay.fixedDelay", t.FixedDelay)
		case *networking.HTTPFaultInjection_Delay_ExponentialDelay:
			c.fail(path+".delay.exponentialDelay", "exponential delays are not supported; use fixedDelay")
		default:
			c.fail(path+".delay.fixedDelay", "a delay is required")
		}
		c.percent(path+".delay.percentage.value", d.GetPercentage().GetValue())
		c.percent(path+".delay.percent", float64(d.Percent)) //nolint:staticcheck // the deprecated field still acts
	}
	if a := f.Abort; a != nil {
		switch t := a.ErrorType.(type) {
		case *networking.HTTPFaultInjection_Abort_HttpStatus:
			c.httpStatus(path+".abort.httpStatus", int64(t.HttpStatus))
		case *networking.HTTPFaultInjection_Abort_GrpcStatus:
			if !slices.Contains(grpcStatuses, t.GrpcStatus) {
				c.fail(path+".abort.grpcStatus", "%q is not a gRPC status; use one of %s", t.GrpcStatus, oneOf(grpcStatuses...))
			}
		case *networking.HTTPFaultInjection_Abort_Http2Error:
			c.fail(path+".abort.http2Error", "HTTP/2 errors cannot be injected; use httpStatus or grpcStatus")
		default:
			c.fail(path+".abort", "one of httpStatus and grpcStatus is required")
		}
		c.percent(path+".abort.percentage.value", a.GetPercentage().GetValue())
	}
}

func (c *checker) mirrors(path string, r *networking.HTTPRoute) {
	if r.Mirror != nil {
		c.destination(path+".mirror", r.Mirror)
		if len(r.Mirrors) > 0 {
			c.fail(path+".mirrors", "only one of mirror and mirrors can be set")
		}
	} else if r.MirrorPercentage != nil {
		c.warn(path+".mirrorPercentage", "mirrorPercentage has no effect without mirror")
	}
	c.percent(path+".mirrorPercentage.value", r.MirrorPercentage.GetValue())
	c.percent(path+".mirrorPercent", float64(r.MirrorPercent.GetValue())) //nolint:staticcheck // the deprecated field still acts
	for i, m := range r.Mirrors {
		p := at(path+".mirrors", i)
		c.destination(p+".destination", m.GetDestination())
		c.percent(p+".percentage.value", m.GetPercentage().GetValue())
	}
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "*"}

func (c *checker) cors(path string, p *networking.CorsPolicy) {
	if p == nil {
		return
	}
	if len(p.AllowOrigin) > 0 { //nolint:staticcheck // the deprecated field is to be named
		c.warn(path+".allowOrigin", "allowOrigin is deprecated; use allowOrigins")
	}
	for i, o := range p.AllowOrigins {
		if o.GetMatchType() == nil {
			c.fail(at(path+".allowOrigins", i), "one of exact, prefix and regex is required")
		}
		c.stringMatch(at(path+".allowOrigins", i), o)
	}
	for i, m := range p.AllowMethods {
		if !slices.Contains(methods, m) {
			c.fail(at(path+".allowMethods", i), "%q is not an HTTP method; use one of %s", m, oneOf(methods...))
		}
	}
	for _, list := range []struct {
		name  string
		names []string
	}{{"allowHeaders", p.AllowHeaders}, {"exposeHeaders", p.ExposeHeaders}} {
		for i, name := range list.names {
			c.header(at(path+"."+list.name, i), name)
		}
	}
	if p.MaxAge != nil {
		if d := p.MaxAge.AsDuration(); d < 0 || d%time.Second != 0 {
			c.fail(path+".maxAge", "the duration %s must be whole seconds, which is what the header carries", d)
		}
	}
}
