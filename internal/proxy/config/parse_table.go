package config

import (
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// ParseRouteTable makes the node of a route table.
//
// Overrides by filter name (typed_per_filter_config) are stored by slot, and a
// filter's slot is its index in Deps.Filters, in every chain: so a table parses
// without the listeners that use it.
func ParseRouteTable(m *routev3.RouteConfiguration, d Deps) (*RouteTable, error) {
	s := root("route table", m.GetName())
	if err := strict(s, m); err != nil {
		return nil, err
	}
	p := &parser{Deps: d}
	return p.routeTable(s, m)
}

// defaults are what routes inherit from their virtual host and table.
type defaults struct {
	request, response [2]HeaderOps // virtual host, table
	reversed          bool         // most_specific_header_mutations_wins
	overrides         []any
	retry             *Retry
	mirrors           []Mirror
	maxBody           uint32
	host              *VirtualHost
}

// routeTable reads a table that strict has checked.
func (p *parser) routeTable(s *scope, m *routev3.RouteConfiguration) (*RouteTable, error) {
	t := &RouteTable{Name: m.GetName(), IgnorePortInHost: m.GetIgnorePortInHostMatching()}
	var err error
	if t.Hash, err = hash(s, m); err != nil {
		return nil, err
	}
	for _, name := range m.GetInternalOnlyHeaders() {
		t.InternalOnlyRemove = append(t.InternalOnlyRemove, []byte(strings.ToLower(name)))
	}
	if t.RequestHeaders, err = requestOps(s, m); err != nil {
		return nil, err
	}
	if t.ResponseHeaders, err = responseOps(s, m); err != nil {
		return nil, err
	}
	// Envoy's default bound for the body of a direct response is 4 KiB.
	inherit := defaults{reversed: m.GetMostSpecificHeaderMutationsWins(), maxBody: uint32Or(m.GetMaxDirectResponseBodySizeBytes(), 4096)}
	inherit.request[1], inherit.response[1] = t.RequestHeaders, t.ResponseHeaders
	if inherit.overrides, err = p.overrides(s, m.GetTypedPerFilterConfig(), nil); err != nil {
		return nil, err
	}
	if inherit.mirrors, err = p.mirrors(s, m.GetRequestMirrorPolicies()); err != nil {
		return nil, err
	}
	domains := map[string]string{}
	for i, v := range m.GetVirtualHosts() {
		at := s.item("virtual_hosts", i)
		h, err := p.host(at, v, inherit)
		if err != nil {
			return nil, err
		}
		for _, d := range h.Domains {
			if other, taken := domains[d]; taken {
				return nil, at.at("domains").errorf("%q is in virtual host %q too", d, other)
			}
			domains[d] = h.Name
		}
		t.Hosts = append(t.Hosts, h)
	}
	return t, nil
}

// host reads one virtual host.
func (p *parser) host(s *scope, m *routev3.VirtualHost, inherit defaults) (*VirtualHost, error) {
	h := &VirtualHost{
		Name:            m.GetName(),
		AttemptCount:    m.GetIncludeRequestAttemptCount(),
		AttemptCountRsp: m.GetIncludeAttemptCountInResponse(),
		Metadata:        parseMetadata(m.GetMetadata()),
	}
	var err error
	if h.Hash, err = hash(s, m); err != nil {
		return nil, err
	}
	if h.Domains, err = parseDomains(s, m.GetDomains()); err != nil {
		return nil, err
	}
	switch m.GetRequireTls() {
	case routev3.VirtualHost_NONE:
	case routev3.VirtualHost_ALL:
		h.RequireTLS = true
	default:
		return nil, s.at("require_tls").errorf("%s is not supported by this proxy", m.GetRequireTls())
	}
	if h.RequestHeaders, err = requestOps(s, m); err != nil {
		return nil, err
	}
	if h.ResponseHeaders, err = responseOps(s, m); err != nil {
		return nil, err
	}
	if h.Overrides, err = p.overrides(s, m.GetTypedPerFilterConfig(), inherit.overrides); err != nil {
		return nil, err
	}
	inherit.host, inherit.overrides = h, h.Overrides
	inherit.request[0], inherit.response[0] = h.RequestHeaders, h.ResponseHeaders
	if inherit.retry, err = parseRetry(s.at("retry_policy"), m.GetRetryPolicy()); err != nil {
		return nil, err
	}
	if list, err := p.mirrors(s, m.GetRequestMirrorPolicies()); err != nil {
		return nil, err
	} else if list != nil {
		inherit.mirrors = list
	}
	for i, r := range m.GetRoutes() {
		route, err := p.route(s.item("routes", i), r, &inherit)
		if err != nil {
			return nil, err
		}
		h.Routes = append(h.Routes, route)
	}
	return h, nil
}

func parseDomains(s *scope, list []string) ([]string, error) {
	if len(list) == 0 {
		return nil, s.at("domains").errorf("is empty")
	}
	out := make([]string, len(list))
	for i, d := range list {
		inner := strings.TrimPrefix(d, "*")
		if inner == d {
			inner = strings.TrimSuffix(d, "*")
		}
		if d == "" || strings.Contains(inner, "*") {
			return nil, s.item("domains", i).errorf(`%q is not a domain, "*suffix", "prefix*" or "*"`, d)
		}
		out[i] = strings.ToLower(d)
	}
	return out, nil
}

// overrides reads typed_per_filter_config into slots, over those of less specific
// levels.
func (p *parser) overrides(s *scope, m map[string]*anypb.Any, under []any) ([]any, error) {
	if len(m) == 0 {
		return under, nil
	}
	out := make([]any, len(p.Filters))
	copy(out, under)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if err := p.override(s.at("typed_per_filter_config").at(name), name, m[name], out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (p *parser) override(s *scope, name string, a *anypb.Any, out []any) error {
	e, err := unwrap(s, a)
	if err != nil {
		return err
	}
	optional := false
	if e.short() == "envoy.config.route.v3.FilterConfig" {
		fc := &routev3.FilterConfig{}
		if err := e.into(s, fc); err != nil {
			return err
		}
		if fc.GetDisabled() {
			return s.at("disabled").unsupported()
		}
		optional = fc.GetIsOptional()
		if e, err = unwrap(s.at("config"), fc.GetConfig()); err != nil {
			return err
		}
	}
	slot, b := p.filter(name)
	if b == nil {
		if optional {
			return nil
		}
		return s.errorf("there is no filter of that name in this proxy")
	}
	cfg, err := b.ParseOverride(e.url, e.value)
	if err != nil {
		return s.errorf("%w", err)
	}
	out[slot] = cfg
	return nil
}
