package validate

import (
	"regexp"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
)

// The rules of the Gateway API's own schema, for meshes without an API server that
// holds it. None is stricter than the schema.

// controllerForm is that of GatewayClass.spec.controllerName: a domain and a path.
var controllerForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+$`)

func (c *checker) gatewayClass(s *gatewayv1.GatewayClassSpec) {
	if !controllerForm.MatchString(string(s.ControllerName)) {
		c.fail("spec.controllerName", "%q is not of the form DOMAIN/PATH, as in \"lateen.dev/gateway-controller\"", s.ControllerName)
	}
}

func (c *checker) gatewayOfAPI(s *gatewayv1.GatewaySpec) {
	if s.GatewayClassName == "" {
		c.fail("spec.gatewayClassName", "a Gateway names its class, as in \"lateen\"")
	}
	if len(s.Listeners) == 0 {
		c.fail("spec.listeners", "a Gateway needs at least one listener")
	}
	names := map[gatewayv1.SectionName]int{}
	for i := range s.Listeners {
		l, path := &s.Listeners[i], at("spec.listeners", i)
		if first, twice := names[l.Name]; twice {
			c.fail(path+".name", "the name %q is used by spec.listeners[%d] already", l.Name, first)
		}
		names[l.Name] = i
		c.listener(path, l)
	}
}

func (c *checker) listener(path string, l *gatewayv1.Listener) {
	if !isSubdomain(string(l.Name)) {
		c.fail(path+".name", "%q is not a valid name; use %s", l.Name, subdomainRule)
	}
	c.port(path+".port", int64(l.Port))
	if l.Hostname != nil && *l.Hostname != "" {
		c.hostname(path+".hostname", string(*l.Hostname))
	}
	switch l.Protocol {
	case "":
		c.fail(path+".protocol", "a listener needs a protocol, as HTTP or HTTPS")
	case gatewayv1.HTTPProtocolType, gatewayv1.TCPProtocolType, gatewayv1.UDPProtocolType:
		if l.TLS != nil {
			c.fail(path+".tls", "a listener of protocol %s has no tls", l.Protocol)
		}
	case gatewayv1.HTTPSProtocolType:
		if l.TLS != nil && l.TLS.Mode != nil && *l.TLS.Mode != gatewayv1.TLSModeTerminate {
			c.fail(path+".tls.mode", "a listener of protocol HTTPS has the mode Terminate")
		}
	case gatewayv1.TLSProtocolType:
		if l.TLS == nil || l.TLS.Mode == nil {
			c.fail(path+".tls.mode", "a listener of protocol TLS needs a mode")
		}
	}
}

// hostname checks a hostname of the Gateway API: a name, or a wildcard for its first
// labels; addresses are not hostnames.
func (c *checker) hostname(path, h string) {
	name := strings.TrimPrefix(h, "*.")
	if !isSubdomain(name) || isIP(h) {
		c.fail(path, "%q is neither a host name nor a wildcard of the form *.suffix", h)
	}
}

// route checks what all routes have.
func (c *checker) route(parents []gatewayv1.ParentReference, hostnames []gatewayv1.Hostname) {
	for i, p := range parents {
		path := at("spec.parentRefs", i)
		if p.Name == "" {
			c.fail(path+".name", "a parent needs a name")
		}
		if p.Port != nil {
			c.port(path+".port", int64(*p.Port))
		}
	}
	for i, h := range hostnames {
		c.hostname(at("spec.hostnames", i), string(h))
	}
}

func (c *checker) httpRouteOfAPI(s *gatewayv1.HTTPRouteSpec) {
	c.route(s.ParentRefs, s.Hostnames)
	for i := range s.Rules {
		r, path := &s.Rules[i], at("spec.rules", i)
		for j := range r.Matches {
			c.pathMatch(at(path+".matches", j)+".path", r.Matches[j].Path)
		}
		redirects := c.filters(path, r.Filters)
		if redirects && len(r.BackendRefs) > 0 {
			c.fail(path+".backendRefs", "a rule with a redirect has no backends")
		}
		for j := range r.BackendRefs {
			b := at(path+".backendRefs", j)
			c.backend(b, &r.BackendRefs[j].BackendRef)
			c.filters(b, r.BackendRefs[j].Filters)
		}
		if t := r.Timeouts; t != nil {
			request, backend := c.gatewayDuration(path+".timeouts.request", t.Request), c.gatewayDuration(path+".timeouts.backendRequest", t.BackendRequest)
			if request > 0 && backend > request {
				c.fail(path+".timeouts.backendRequest", "it is longer than timeouts.request")
			}
		}
		if r.Retry != nil {
			c.gatewayDuration(path+".retry.backoff", r.Retry.Backoff)
		}
	}
}

func (c *checker) grpcRoute(s *gatewayv1.GRPCRouteSpec) {
	c.route(s.ParentRefs, s.Hostnames)
	for i := range s.Rules {
		r, path := &s.Rules[i], at("spec.rules", i)
		for j, m := range r.Matches {
			if m.Method != nil && m.Method.Service == nil && m.Method.Method == nil {
				c.fail(at(path+".matches", j)+".method", "one of service and method is required")
			}
		}
		for j := range r.BackendRefs {
			c.backend(at(path+".backendRefs", j), &r.BackendRefs[j].BackendRef)
		}
	}
}

// pathMatch checks exact paths and prefixes: what a normalised path can never have is
// never matched.
func (c *checker) pathMatch(path string, m *gatewayv1.HTTPPathMatch) {
	if m == nil || m.Value == nil || m.Type != nil && *m.Type == gatewayv1.PathMatchRegularExpression {
		return
	}
	v := *m.Value
	if !strings.HasPrefix(v, "/") {
		c.fail(path+".value", "%q does not begin with a slash", v)
	}
	for _, bad := range []string{"//", "/./", "/../", "%2f", "%2F", "#"} {
		if strings.Contains(v, bad) {
			c.fail(path+".value", "a path cannot hold %q", bad)
		}
	}
	if strings.HasSuffix(v, "/.") || strings.HasSuffix(v, "/..") {
		c.fail(path+".value", "a path cannot end with %q", v[strings.LastIndexByte(v, '/'):])
	}
}

// filters checks that each filter has the part that its type names, and that only
// mirrors are repeated; it reports whether one redirects.
func (c *checker) filters(path string, list []gatewayv1.HTTPRouteFilter) (redirects bool) {
	seen := map[gatewayv1.HTTPRouteFilterType]bool{}
	for i := range list {
		f, path := &list[i], at(path+".filters", i)
		parts := map[gatewayv1.HTTPRouteFilterType]bool{
			gatewayv1.HTTPRouteFilterRequestHeaderModifier:  f.RequestHeaderModifier != nil,
			gatewayv1.HTTPRouteFilterResponseHeaderModifier: f.ResponseHeaderModifier != nil,
			gatewayv1.HTTPRouteFilterRequestMirror:          f.RequestMirror != nil,
			gatewayv1.HTTPRouteFilterRequestRedirect:        f.RequestRedirect != nil,
			gatewayv1.HTTPRouteFilterURLRewrite:             f.URLRewrite != nil,
			gatewayv1.HTTPRouteFilterCORS:                   f.CORS != nil,
			gatewayv1.HTTPRouteFilterExternalAuth:           f.ExternalAuth != nil,
			gatewayv1.HTTPRouteFilterExtensionRef:           f.ExtensionRef != nil,
		}
		has, known := parts[f.Type]
		switch {
		case !known:
			c.fail(path+".type", "%q is no type of filter", f.Type)
		case !has:
			c.fail(path, "a filter of the type %s needs the field of that name", f.Type)
		case seen[f.Type] && f.Type != gatewayv1.HTTPRouteFilterRequestMirror && f.Type != gatewayv1.HTTPRouteFilterExtensionRef:
			c.fail(path+".type", "a list has one filter of the type %s", f.Type)
		}
		seen[f.Type] = true
	}
	if seen[gatewayv1.HTTPRouteFilterRequestRedirect] && seen[gatewayv1.HTTPRouteFilterURLRewrite] {
		c.fail(path+".filters", "a redirect and a rewrite exclude each other")
	}
	return seen[gatewayv1.HTTPRouteFilterRequestRedirect]
}

func (c *checker) backend(path string, b *gatewayv1.BackendRef) {
	if b.Name == "" {
		c.fail(path+".name", "a backend needs a name")
	}
	service := (b.Group == nil || *b.Group == "") && (b.Kind == nil || *b.Kind == api.KindService)
	switch {
	case b.Port != nil:
		c.port(path+".port", int64(*b.Port))
	case service:
		c.fail(path+".port", "a Service needs a port")
	}
	if b.Weight != nil && (*b.Weight < 0 || *b.Weight > 1_000_000) {
		c.fail(path+".weight", "the weight is not between 0 and 1000000")
	}
}

// durationForm is GEP-2257's.
var durationForm = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

func (c *checker) gatewayDuration(path string, d *gatewayv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	out, err := time.ParseDuration(string(*d))
	if err != nil || !durationForm.MatchString(string(*d)) {
		c.fail(path, "%q is not a duration such as 1m30s or 500ms", *d)
	}
	return out
}

func (c *checker) referenceGrant(s *gatewayv1.ReferenceGrantSpec) {
	if len(s.From) == 0 {
		c.fail("spec.from", "a grant says from whom references may come")
	}
	for i, f := range s.From {
		if f.Kind == "" || f.Namespace == "" {
			c.fail(at("spec.from", i), "a kind and a namespace are required")
		}
	}
	if len(s.To) == 0 {
		c.fail("spec.to", "a grant says what references may name")
	}
	for i, t := range s.To {
		if t.Kind == "" {
			c.fail(at("spec.to", i), "a kind is required")
		}
	}
}
