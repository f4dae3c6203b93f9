package istioapi

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// What data planes refuse must never reach them: one bad string would have a whole
// route table rejected, with the routes of everybody in it.

// headerName is RFC 9110's token, without capitals: names are folded before.
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9a-z-]+$")

// plain reports whether a string can stand in a header line: no control character
// but the tab.
func plain(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0
}

// hostPattern is a host as an authority can have it: a name or an address, or a
// wildcard for its first labels.
var hostPattern = regexp.MustCompile(`^(\*|(\*\.)?[a-z0-9_]([a-z0-9_.:-]*[a-z0-9_])?)$`)

// validHost reports whether a host can be matched.
func validHost(h string) bool { return len(h) <= 255 && hostPattern.MatchString(h) }

// operators are the beginnings of the command operators that header values may
// hold between per cent signs (Envoy, "Custom request/response headers").
var operators = []string{
	"REQ", "RESP", "TRAILER", "START_TIME", "EMIT_TIME", "PROTOCOL", "HOSTNAME", "ROUTE_NAME", "VIRTUAL_CLUSTER_NAME", "DOWNSTREAM_",
	"UPSTREAM_", "DYNAMIC_METADATA", "CLUSTER_METADATA", "FILTER_STATE", "ENVIRONMENT", "BYTES_", "DURATION", "COMMON_DURATION",
	"CONNECTION_", "GRPC_STATUS", "STREAM_ID", "TRACE_ID", "UNIQUE_ID", "METADATA", "PER_REQUEST_STATE", "ACCESS_LOG_TYPE", "LOCAL_REPLY_BODY",
}

var operator = regexp.MustCompile(`^([A-Z0-9_]+)(\([^%]*\))?(:[0-9]+)?$`)

// validFormat reports whether each per cent sign of a header value is part of an
// operator or doubled.
func validFormat(s string) bool {
	for {
		_, rest, found := strings.Cut(s, "%")
		if !found {
			return true
		}
		name, after, closed := strings.Cut(rest, "%")
		if !closed {
			return false
		}
		m := operator.FindStringSubmatch(name)
		known := name == "" // "%%"
		for _, op := range operators {
			known = known || m != nil && strings.HasPrefix(m[1], op)
		}
		if !known {
			return false
		}
		s = after
	}
}

// validSubstitution reports whether every backslash of an RE2 substitution is
// doubled or followed by the number of one of the groups.
func validSubstitution(s string, groups int) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		i++
		if i == len(s) || s[i] != '\\' && (s[i] < '0' || int(s[i]-'0') > groups) {
			return false
		}
	}
	return true
}

// wireRule refuses a rule with strings that data planes refuse.
func (c *ruleReader) wireRule(out *mesh.HTTPRule) {
	at := out.Origin
	c.wireHeaders(&out.Invalid, at.At("headers.request"), out.Request)
	c.wireHeaders(&out.Invalid, at.At("headers.response"), out.Response)
	for i := range out.Destinations {
		d := &out.Destinations[i]
		c.wireHeaders(&out.Invalid, d.Origin.At("headers.request"), d.Request)
		c.wireHeaders(&out.Invalid, d.Origin.At("headers.response"), d.Response)
	}
	if rw := out.Rewrite; rw != nil && !plain(rw.Path+rw.Subst+rw.Authority) {
		c.invalid(&out.Invalid, at.At("rewrite"), verdict.Invalid, "the rewrite holds a control character")
	}
	if rd := out.Redirect; rd != nil {
		if !plain(rd.Path + rd.Authority + rd.Scheme) {
			c.invalid(&out.Invalid, at.At("redirect"), verdict.Invalid, "the redirect holds a control character")
		}
		if rd.Port > 65535 {
			c.invalid(&out.Invalid, at.At("redirect.port"), verdict.Invalid, "the port is out of range")
		}
	}
	const maxBody = 1 << 20
	if out.Direct != nil && len(out.Direct.Body) > maxBody {
		c.invalid(&out.Invalid, at.At("directResponse.body"), verdict.Invalid, "the body is longer than 1 MiB")
	}
}

func (c *ruleReader) wireHeaders(reason *string, at verdict.Origin, ops mesh.HeaderOps) {
	check := func(at verdict.Origin, h mesh.Header) {
		switch {
		case !headerName.MatchString(h.Name):
			c.invalid(reason, at, verdict.Invalid, "not a header's name: "+strconv.Quote(h.Name))
		case h.Name == "host":
			c.invalid(reason, at, verdict.Invalid, "the header host can only be set, and by the rule's own headers.request")
		case !plain(h.Value):
			c.invalid(reason, at, verdict.Invalid, "the value of "+h.Name+" holds a control character")
		case !validFormat(h.Value):
			c.invalid(reason, at, verdict.Invalid, "the value of "+h.Name+" has a % that is neither doubled nor part of an operator")
		}
	}
	for _, h := range ops.Set {
		check(at.At("set"), h)
	}
	for _, h := range ops.Add {
		check(at.At("add"), h)
	}
	for _, name := range ops.Remove {
		check(at.At("remove"), mesh.Header{Name: name})
	}
}

// hosts qualifies and checks a list of hosts; those that cannot be matched are left
// out with a verdict.
func (r *reader) hosts(at verdict.Origin, list []string, namespace string) []string {
	var out []string
	for i, h := range list {
		if q := qualify(h, namespace); validHost(q) {
			out = append(out, q)
		} else {
			r.say(at.At("["+strconv.Itoa(i)+"]"), verdict.Invalid, "%s is neither a host nor a wildcard of the form *.suffix", strconv.Quote(h))
		}
	}
	return out
}
