package config

import (
	"maps"
	"slices"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/proto"
)

// Types of the access filters.
const (
	HTTPRBACURL         = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
	HTTPRBACPerRouteURL = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
	networkRBAC         = "envoy.extensions.filters.network.rbac.v3.RBAC"
)

// ParseHTTPAccess reads the configuration of envoy.filters.http.rbac.
func ParseHTTPAccess(value []byte) (*Access, error) {
	s := root("filter", MetadataNamespace)
	m := &httprbacv3.RBAC{}
	if err := proto.Unmarshal(value, m); err != nil {
		return nil, s.errorf("%w", err)
	}
	if err := strict(s, m); err != nil {
		return nil, err
	}
	return httpAccess(s, m)
}

// ParseHTTPAccessPerRoute reads a route's own rules, which replace the filter's;
// without any the route is open.
func ParseHTTPAccessPerRoute(value []byte) (*Access, error) {
	s := root("filter", MetadataNamespace)
	m := &httprbacv3.RBACPerRoute{}
	if err := proto.Unmarshal(value, m); err != nil {
		return nil, s.errorf("%w", err)
	}
	if err := strict(s, m); err != nil {
		return nil, err
	}
	return httpAccess(s.at("rbac"), m.GetRbac())
}

func httpAccess(s *scope, m *httprbacv3.RBAC) (*Access, error) {
	a := &Access{RulesPrefix: m.GetRulesStatPrefix(), ShadowPrefix: m.GetShadowRulesStatPrefix()}
	return a, a.parse(s, m.GetRules(), m.GetShadowRules())
}

// networkAccess reads the network filter's configuration.
func networkAccess(s *scope, e extension) (*Access, error) {
	m := &networkrbacv3.RBAC{}
	if err := e.into(s, m); err != nil {
		return nil, err
	}
	if m.GetStatPrefix() == "" {
		return nil, s.at("stat_prefix").errorf("is empty")
	}
	a := &Access{StatPrefix: m.GetStatPrefix(), ShadowPrefix: m.GetShadowRulesStatPrefix()}
	if err := a.parse(s, m.GetRules(), m.GetShadowRules()); err != nil {
		return nil, err
	}
	if name := headerPolicy(a.Rules); name != "" {
		return nil, s.at("rules").at("policies").at(name).errorf("a connection has no headers")
	}
	if name := headerPolicy(a.Shadow); name != "" {
		return nil, s.at("shadow_rules").at("policies").at(name).errorf("a connection has no headers")
	}
	return a, nil
}

// headerPolicy gives the name of a policy that looks at headers, "" for none.
// Envoy refuses these for connections; paths it lets never match.
func headerPolicy(r *RBAC) string {
	if r == nil {
		return ""
	}
	for _, p := range r.Policies {
		if usesHeader(&p.Permissions) || usesHeader(&p.Principals) {
			return p.Name
		}
	}
	return ""
}

func usesHeader(c *Condition) bool {
	return c.Kind == CondHeader || slices.ContainsFunc(c.Parts, func(part Condition) bool { return usesHeader(&part) })
}

func (a *Access) parse(s *scope, rules, shadow *rbacv3.RBAC) error {
	var err error
	if a.Rules, err = parseRBAC(s.at("rules"), rules); err != nil {
		return err
	}
	a.Shadow, err = parseRBAC(s.at("shadow_rules"), shadow)
	return err
}

func parseRBAC(s *scope, m *rbacv3.RBAC) (*RBAC, error) {
	if m == nil {
		return nil, nil
	}
	r := &RBAC{}
	switch m.GetAction() {
	case rbacv3.RBAC_ALLOW:
	case rbacv3.RBAC_DENY:
		r.Action = ActionDeny
	case rbacv3.RBAC_LOG:
		r.Action = ActionLog
	default:
		return nil, s.at("action").errorf("value %d is not known", m.GetAction())
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetPolicies())) {
		at := s.at("policies").at(name)
		if err := strict(at, m.GetPolicies()[name]); err != nil {
			return nil, err
		}
		p, err := accessPolicy(at, name, m.GetPolicies()[name])
		if err != nil {
			return nil, err
		}
		r.Policies = append(r.Policies, p)
	}
	return r, nil
}

func accessPolicy(s *scope, name string, m *rbacv3.Policy) (*AccessPolicy, error) {
	p := &AccessPolicy{Name: name}
	var err error
	if p.Permissions, err = conditions(s, "permissions", m.GetPermissions(), CondAny, 0, permission); err != nil {
		return nil, err
	}
	p.Principals, err = conditions(s, "principals", m.GetPrincipals(), CondAny, 0, principal)
	return p, err
}

// maxConditionDepth bounds how deep conditions lie in each other; Istio's need 6.
const maxConditionDepth = 64

// conditions reads a list under one kind, CondAll or CondAny; a list of one is
// that one.
func conditions[M any](
	s *scope, field string, list []M, kind ConditionKind, depth int, parse func(*scope, M, int) (Condition, error),
) (Condition, error) {
	if len(list) == 0 {
		return Condition{}, s.at(field).errorf("is empty")
	}
	if depth > maxConditionDepth {
		return Condition{}, s.at(field).errorf("lies more than %d levels deep", maxConditionDepth)
	}
	c := Condition{Kind: kind}
	for i, m := range list {
		part, err := parse(s.item(field, i), m, depth+1)
		if err != nil {
			return c, err
		}
		c.Parts = append(c.Parts, part)
	}
	if len(c.Parts) == 1 {
		return c.Parts[0], nil
	}
	return c, nil
}

// negation reads the one condition of not_rule or not_id.
func negation[M any](s *scope, field string, m M, depth int, parse func(*scope, M, int) (Condition, error)) (Condition, error) {
	if depth > maxConditionDepth {
		return Condition{}, s.at(field).errorf("lies more than %d levels deep", maxConditionDepth)
	}
	part, err := parse(s.at(field), m, depth+1)
	return Condition{Kind: CondNot, Parts: []Condition{part}}, err
}
