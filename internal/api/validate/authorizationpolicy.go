package validate

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"

	security "istio.io/api/security/v1beta1"
)

func (c *checker) authorizationPolicy(p *security.AuthorizationPolicy) {
	c.policySelector("spec.selector", p.Selector)
	c.targets(p.Selector != nil, p.TargetRef, p.TargetRefs)
	custom := p.Action == security.AuthorizationPolicy_CUSTOM
	switch {
	case custom && p.GetProvider().GetName() == "":
		c.fail("spec.provider.name", "the action CUSTOM needs the name of a provider")
	case !custom && p.GetProvider() != nil:
		c.fail("spec.provider", "a provider is for the action CUSTOM, not for %s", p.Action)
	}
	if p.Rules == nil && (custom || p.Action == security.AuthorizationPolicy_DENY) {
		c.fail("spec.rules", "the action %s never acts without rules; an empty rule {} stands for every request", p.Action)
	}
	onlyHTTP := p.Action == security.AuthorizationPolicy_DENY && len(p.Rules) > 0
	for i, r := range p.Rules {
		c.authorizationRule(at("spec.rules", i), r)
		onlyHTTP = onlyHTTP && httpWithoutPort(r)
	}
	if onlyHTTP {
		c.warn("spec.rules", "rules about HTTP alone, without ports, deny every connection of TCP in their scope as well")
	}
}

func (c *checker) authorizationRule(path string, r *security.Rule) {
	for _, field := range []string{".from", ".to", ".when"} {
		if n := len(r.From) + len(r.To) + len(r.When); n == 0 && c.written(path+field) {
			c.fail(path+field, "an empty list sets no condition: the rule would match every request")
		}
	}
	for i, f := range r.From {
		c.authorizationSource(at(path+".from", i)+".source", f.GetSource())
	}
	for i, t := range r.To {
		c.authorizationOperation(at(path+".to", i)+".operation", t.GetOperation())
	}
	for i, w := range r.When {
		c.authorizationCondition(at(path+".when", i), w)
	}
}

// maxAccounts and longestAccount bound lists of service accounts, as the custom
// resource definition does.
const (
	maxAccounts    = 16
	longestAccount = 320
)

func (c *checker) authorizationSource(path string, s *security.Source) {
	lists := []struct {
		name string
		list []string
		each func(c *checker, path, v string)
	}{
		{"principals", s.GetPrincipals(), nil}, {"notPrincipals", s.GetNotPrincipals(), nil},
		{"requestPrincipals", s.GetRequestPrincipals(), nil}, {"notRequestPrincipals", s.GetNotRequestPrincipals(), nil},
		{"namespaces", s.GetNamespaces(), nil}, {"notNamespaces", s.GetNotNamespaces(), nil},
		{"serviceAccounts", s.GetServiceAccounts(), (*checker).account}, {"notServiceAccounts", s.GetNotServiceAccounts(), (*checker).account},
		{"ipBlocks", s.GetIpBlocks(), (*checker).subnet}, {"notIpBlocks", s.GetNotIpBlocks(), (*checker).subnet},
		{"remoteIpBlocks", s.GetRemoteIpBlocks(), (*checker).subnet}, {"notRemoteIpBlocks", s.GetNotRemoteIpBlocks(), (*checker).subnet},
		{"trustDomains", s.GetTrustDomains(), nil}, {"notTrustDomains", s.GetNotTrustDomains(), nil},
	}
	some := false
	for _, l := range lists {
		c.notEmpty(path+"."+l.name, l.list)
		some = some || len(l.list) > 0
		if l.each != nil {
			c.each(path+"."+l.name, l.list, l.each)
		}
	}
	accounts := len(s.GetServiceAccounts()) + len(s.GetNotServiceAccounts())
	switch {
	case !some:
		c.fail(path, "a source needs at least one field; without conditions on the source leave from out")
	case accounts > 0 && len(s.Principals)+len(s.NotPrincipals)+len(s.Namespaces)+len(s.NotNamespaces) > 0:
		c.fail(path+".serviceAccounts", "serviceAccounts cannot stand beside principals or namespaces")
	case max(len(s.ServiceAccounts), len(s.NotServiceAccounts)) > maxAccounts:
		c.fail(path+".serviceAccounts", "more than %d service accounts are not allowed", maxAccounts)
	}
}

func (c *checker) account(path, s string) {
	namespace, name, qualified := strings.Cut(s, "/")
	if !qualified {
		namespace, name = "default", s
	}
	if len(s) > longestAccount || !isLabel(namespace) || !isSubdomain(name) {
		c.fail(path, "%q is not a service account; write \"name\" or \"namespace/name\", without patterns", s)
	}
}

func (c *checker) authorizationOperation(path string, o *security.Operation) {
	some := false
	for _, l := range []struct {
		name string
		list []string
		each func(c *checker, path, v string)
	}{
		{"hosts", o.GetHosts(), nil}, {"notHosts", o.GetNotHosts(), nil},
		{"ports", o.GetPorts(), (*checker).portText}, {"notPorts", o.GetNotPorts(), (*checker).portText},
		{"methods", o.GetMethods(), nil}, {"notMethods", o.GetNotMethods(), nil},
		{"paths", o.GetPaths(), (*checker).authorizationPath}, {"notPaths", o.GetNotPaths(), (*checker).authorizationPath},
	} {
		c.notEmpty(path+"."+l.name, l.list)
		some = some || len(l.list) > 0
		if l.each != nil {
			c.each(path+"."+l.name, l.list, l.each)
		}
	}
	if !some {
		c.fail(path, "an operation needs at least one field; without conditions on the operation leave to out")
	}
}

func (c *checker) portText(path, s string) {
	if n, err := strconv.ParseUint(s, 10, 32); err != nil || n < 1 || n > 65535 {
		c.fail(path, "%q is not a port between 1 and 65535", s)
	}
}

// authorizationPath checks path templates (Operation.paths): {*} and {**} stand for
// whole segments, and nothing follows a {**} but literal text.
func (c *checker) authorizationPath(path, s string) {
	if !strings.Contains(s, "{*}") && !strings.Contains(s, "{**}") {
		return
	}
	rest := false
	for segment := range strings.SplitSeq(s, "/") {
		operator := segment == "{*}" || segment == "{**}"
		switch {
		case operator && rest:
			c.fail(path, "%q has an operator after {**}, which must be the last", s)
			return
		case !operator && strings.ContainsAny(segment, "*{}"):
			c.fail(path, "%q is not a path template: {*} and {**} stand for whole segments, and no other *, { or } is allowed", s)
			return
		}
		rest = rest || segment == "{**}"
	}
}

// attributes are the keys of conditions, each with a check of its values.
var attributes = []struct {
	name  string
	keyed bool // "name[key]"
	check func(c *checker, path, v string)
}{
	{"request.headers", true, nil},
	{"source.ip", false, (*checker).subnet},
	{"remote.ip", false, (*checker).subnet},
	{"source.namespace", false, nil},
	{"source.principal", false, nil},
	{"source.serviceAccount", false, (*checker).account},
	{"source.trustDomain", false, nil},
	{"request.auth.principal", false, nil},
	{"request.auth.audiences", false, nil},
	{"request.auth.presenter", false, nil},
	{"request.auth.claims", true, nil},
	{"destination.ip", false, (*checker).subnet},
	{"destination.port", false, (*checker).portText},
	{"connection.sni", false, nil},
}

var bracketed = regexp.MustCompile(`^(\[[^\[\]]+\])+$`)

func (c *checker) authorizationCondition(path string, w *security.Condition) {
	if w.Key == "" {
		c.fail(path+".key", "a key is required")
		return
	}
	if len(w.Values)+len(w.NotValues) == 0 {
		c.fail(path, "one of values and notValues is required")
	}
	c.notEmpty(path+".values", w.Values)
	c.notEmpty(path+".notValues", w.NotValues)
	if strings.HasPrefix(w.Key, "experimental.envoy.filters.") {
		return
	}
	for _, a := range attributes {
		rest, ok := strings.CutPrefix(w.Key, a.name)
		if !ok || a.keyed != bracketed.MatchString(rest) || !a.keyed && rest != "" {
			continue
		}
		if a.check != nil {
			c.each(path+".values", w.Values, a.check)
			c.each(path+".notValues", w.NotValues, a.check)
		}
		return
	}
	c.fail(path+".key", "%q is not an attribute that conditions know, such as source.ip, request.headers[name] or request.auth.claims[name]", w.Key)
}

// each checks the texts of a list that are not empty.
func (c *checker) each(path string, list []string, check func(c *checker, path, v string)) {
	for i, v := range list {
		if v != "" {
			check(c, at(path, i), v)
		}
	}
}

// httpWithoutPort reports whether a rule speaks of HTTP and of no port. Such a rule
// of a DENY policy matches every connection that is not HTTP.
func httpWithoutPort(r *security.Rule) bool {
	http := false
	for _, f := range r.From {
		s := f.GetSource()
		http = http || len(s.GetRequestPrincipals())+len(s.GetNotRequestPrincipals()) > 0
	}
	for _, t := range r.To {
		o := t.GetOperation()
		if len(o.GetPorts())+len(o.GetNotPorts()) > 0 {
			return false
		}
		http = http || len(o.GetHosts())+len(o.GetNotHosts())+len(o.GetMethods())+len(o.GetNotMethods())+len(o.GetPaths())+len(o.GetNotPaths()) > 0
	}
	for _, w := range r.When {
		if w.Key == "destination.port" {
			return false
		}
		http = http || strings.HasPrefix(w.Key, "request.")
	}
	return http
}

// urlOf checks a URL of one of the schemes.
func (c *checker) urlOf(path, s string, schemes ...string) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" && u.Opaque == "" && u.Path == "" {
		c.fail(path, "%q is not a URL", s)
		return
	}
	for _, scheme := range schemes {
		if u.Scheme == scheme {
			return
		}
	}
	c.fail(path, "%q is not a URL of one of the schemes %s", s, oneOf(schemes...))
}
