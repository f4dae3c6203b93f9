package gatewayapi

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// route is an HTTPRoute or GRPCRoute as its parents see it.
type route struct {
	object *api.Object
	kind   string
	hosts  []string // "*" where the route names none
	// The rules as they act at gateways, and at services; nil where there is no such
	// parent.
	gateway, mesh *ruleSet
	status        gatewayv1.RouteStatus
	bound         map[string]bool // listeners that have it already
}

// ruleSet is the rules of a route at one kind of parents.
type ruleSet struct {
	// mesh rules need no ReferenceGrant: a client may call every service of the mesh
	// anyway (GEP-1426).
	mesh    bool
	rules   []mesh.HTTPRule
	invalid finding // of a rule or more, which answer 500
	none    bool    // no rule is valid
	refs    finding // of a reference or more
}

// ruleSets makes the sets that a route's parents need, at least one.
func (rt *route) ruleSets(parents []gatewayv1.ParentReference) []*ruleSet {
	for i := range parents {
		switch string(value(parents[i].Kind, api.KindGateway)) {
		case api.KindService, api.KindServiceEntry:
			rt.mesh = &ruleSet{mesh: true}
		default:
			rt.gateway = &ruleSet{}
		}
	}
	switch {
	case rt.mesh == nil:
		rt.gateway = &ruleSet{}
		return []*ruleSet{rt.gateway}
	case rt.gateway == nil:
		return []*ruleSet{rt.mesh}
	}
	return []*ruleSet{rt.gateway, rt.mesh}
}

// attach binds a route to its parents, and says of each whether it took the route.
func (r *reader) attach(rt *route, parents []gatewayv1.ParentReference, defaults gatewayv1.GatewayDefaultScope) {
	spec := rt.object.Origin().At("spec")
	if defaults != "" && defaults != gatewayv1.GatewayDefaultScopeNone {
		r.say(spec.At("useDefaultGateways"), verdict.NotActedOn, "default gateways are not acted on yet")
	}
	taken, ours, none, before := 0, false, false, len(r.cfg.Routes)
	for i := range parents {
		p := &parents[i]
		at := spec.At(list("parentRefs", i))
		var f finding
		var controller string
		set := rt.gateway
		switch group, kind := string(value(p.Group, api.GroupGatewayAPI)), string(value(p.Kind, api.KindGateway)); {
		case group == api.GroupGatewayAPI && kind == api.KindGateway:
			name := key{string(value(p.Namespace, gatewayv1.Namespace(rt.object.Meta.Namespace))), string(p.Name)}
			g := r.gateways[name]
			if g == nil {
				r.by(at, verdict.Waiting, verdict.Ref{Kind: api.RefGateway, Namespace: name.namespace, Name: name.name}, "this mesh has no such Gateway")
				continue
			}
			controller, f = r.classes[string(g.spec.GatewayClassName)], r.toGateway(rt, g, p)
		case group == "" && kind == "Service":
			if !r.ownedBy(&r.o, rt.object) {
				continue
			}
			controller, f, set = r.o.controllers()[0], r.toService(rt, p), rt.mesh
		case group == api.GroupNetworking && kind == api.KindServiceEntry:
			if !r.ownedBy(&r.o, rt.object) {
				continue
			}
			controller, f, set = r.o.controllers()[0], r.toEntry(rt, p), rt.mesh
		default:
			r.say(at, verdict.Unsupported, "a parent of the kind %s is not supported", kind)
			continue
		}
		ours = true
		if f.ok() {
			taken++
			none = none || set.none
		} else {
			r.say(at, attachCode(f), "%s", f.message)
		}
		rt.status.Parents = append(rt.status.Parents, gatewayv1.RouteParentStatus{
			ParentRef: *p, ControllerName: gatewayv1.GatewayController(controller), Conditions: rt.conditions(set, f),
		})
	}
	switch {
	case none:
		r.say(rt.object.Origin(), verdict.Invalid, "no rule of the route can act: requests are answered 500")
	case len(r.cfg.Routes) > before: // mesh.Build says that the object is effective
	case taken > 0:
		r.say(rt.object.Origin(), verdict.Waiting, "no listener of the route's parents is open")
	case ours:
		r.say(rt.object.Origin(), verdict.Invalid, "no parent takes the route")
	default:
		r.say(rt.object.Origin(), verdict.Waiting, "no parent of the route is one of this mesh")
	}
	r.statuses = append(r.statuses, Status{Object: rt.object, Route: &rt.status, Controllers: r.o.controllers()})
}

func attachCode(f finding) verdict.Code {
	if f.reason == string(gatewayv1.RouteReasonNoMatchingListenerHostname) {
		return verdict.SelectsNothing
	}
	return verdict.Invalid
}

// conditions are those of a route at one parent.
func (rt *route) conditions(set *ruleSet, attached finding) conditions {
	accepted := attached
	if set.none {
		accepted = accepted.or(set.invalid)
	}
	out := conditions{
		accepted.condition(rt.object, string(gatewayv1.RouteConditionAccepted), string(gatewayv1.RouteReasonAccepted)),
		set.refs.condition(rt.object, string(gatewayv1.RouteConditionResolvedRefs), string(gatewayv1.RouteReasonResolvedRefs)),
	}
	if !set.invalid.ok() && !set.none {
		out = append(out, condition(rt.object, string(gatewayv1.RouteConditionPartiallyInvalid), true, set.invalid.reason, "requests for the invalid rules are answered 500: "+set.invalid.message))
	}
	return out
}

// toGateway binds a route to the listeners of a gateway that a parentRef means, that
// allow it, and that have a hostname in common with it.
func (r *reader) toGateway(rt *route, g *gateway, p *gatewayv1.ParentReference) finding {
	meant := slices.DeleteFunc(slices.Clone(g.listeners), func(l *listener) bool {
		return p.SectionName != nil && *p.SectionName != l.spec.Name || p.Port != nil && *p.Port != l.spec.Port
	})
	if len(meant) == 0 {
		return finding{string(gatewayv1.RouteReasonNoMatchingParent), "the Gateway has no such listener"}
	}
	allowed := slices.DeleteFunc(meant, func(l *listener) bool {
		return !slices.Contains(l.kinds, rt.kind) || !r.allows(l, rt.object.Meta.Namespace)
	})
	if len(allowed) == 0 {
		return finding{string(gatewayv1.RouteReasonNotAllowedByListeners), "no listener allows routes of this kind and namespace"}
	}
	common := slices.DeleteFunc(allowed, func(l *listener) bool {
		return !slices.ContainsFunc(rt.hosts, func(h string) bool { _, ok := mesh.Intersect(l.host, h); return ok })
	})
	if len(common) == 0 {
		return finding{string(gatewayv1.RouteReasonNoMatchingListenerHostname), "no listener has a hostname in common with the route"}
	}
	for _, l := range common {
		r.bind(rt, l)
	}
	return finding{}
}

// bind adds a route's rules at a listener. A listener counts routes whether it is
// open or not.
func (r *reader) bind(rt *route, l *listener) {
	id := l.gateway.object.Ref().String() + " " + l.name()
	if rt.bound[id] {
		return
	}
	rt.bound[id] = true
	if !rt.gateway.none {
		l.attached++
	}
	if l.key == "" {
		return
	}
	r.cfg.Routes = append(r.cfg.Routes, mesh.RouteSet{
		Meta: metaOf(rt.object), Namespace: rt.object.Meta.Namespace, Name: rt.object.Meta.Name,
		Hosts: rt.hosts, Gateways: []string{l.key}, Ranked: true, HTTP: redirectsOf(rt.gateway.rules, l),
	})
}

// toService binds a route to a service of the mesh (GEP-1426): for all its clients, or
// for those of the route's own namespace only where that is another one.
func (r *reader) toService(rt *route, p *gatewayv1.ParentReference) finding {
	at := key{string(value(p.Namespace, gatewayv1.Namespace(rt.object.Meta.Namespace))), string(p.Name)}
	s := r.services[at]
	if s == nil {
		return finding{string(gatewayv1.RouteReasonNoMatchingParent), fmt.Sprintf("the Service %s/%s does not exist", at.namespace, at.name)}
	}
	ports := make([]meshPort, 0, len(s.Spec.Ports))
	for _, sp := range s.Spec.Ports {
		ports = append(ports, meshPort{sp.Name, sp.Port})
	}
	return r.toHosts(rt, p, at, "Service", []string{mesh.Hostname(at.name, at.namespace)}, ports)
}

// toEntry binds a route to the hosts of a ServiceEntry, in the same way (Istio).
func (r *reader) toEntry(rt *route, p *gatewayv1.ParentReference) finding {
	at := key{string(value(p.Namespace, gatewayv1.Namespace(rt.object.Meta.Namespace))), string(p.Name)}
	e := r.entries[at]
	if e == nil {
		return finding{string(gatewayv1.RouteReasonNoMatchingParent), fmt.Sprintf("the ServiceEntry %s/%s does not exist", at.namespace, at.name)}
	}
	var hosts []string
	for _, h := range e.Hosts {
		hosts = append(hosts, strings.ToLower(h))
	}
	ports := make([]meshPort, 0, len(e.Ports))
	for _, sp := range e.Ports {
		ports = append(ports, meshPort{sp.Name, int32(sp.Number)})
	}
	return r.toHosts(rt, p, at, api.KindServiceEntry, hosts, ports)
}

// meshPort is a port of a parent in the mesh.
type meshPort struct {
	name   string
	number int32
}

func (r *reader) toHosts(rt *route, p *gatewayv1.ParentReference, at key, kind string, hosts []string, ports []meshPort) finding {
	own := rt.object.Meta.Namespace
	set := mesh.RouteSet{
		Meta: metaOf(rt.object), Namespace: own, Name: rt.object.Meta.Name,
		Hosts: hosts, Gateways: []string{mesh.MeshGateway}, Ranked: true, HTTP: rt.mesh.rules,
	}
	if at.namespace != own {
		set.ExportTo = []string{"."}
	}
	port := value(p.Port, 0)
	for _, sp := range ports {
		if port == sp.number || p.SectionName != nil && string(*p.SectionName) == sp.name {
			set.Port = uint16(sp.number)
		}
	}
	if set.Port == 0 && (p.Port != nil || p.SectionName != nil) {
		return finding{string(gatewayv1.RouteReasonNoMatchingParent), fmt.Sprintf("the %s %s/%s has no such port", kind, at.namespace, at.name)}
	}
	r.cfg.Routes = append(r.cfg.Routes, set)
	return finding{}
}

// newRoute reads what all routes have.
func (r *reader) newRoute(o *api.Object, hostnames []gatewayv1.Hostname) *route {
	rt := &route{object: o, kind: o.Kind.Name, bound: map[string]bool{}, status: gatewayv1.RouteStatus{Parents: []gatewayv1.RouteParentStatus{}}}
	for i, h := range hostnames {
		host := strings.ToLower(string(h))
		if !validHost(host) || host == "*" {
			r.say(o.Origin().At("spec").At(list("hostnames", i)), verdict.Invalid, "%q is neither a host nor a wildcard of the form *.suffix", h)
			continue
		}
		rt.hosts = append(rt.hosts, host)
	}
	if len(hostnames) == 0 {
		rt.hosts = []string{"*"}
	}
	return rt
}

// defaultPorts are those that an authority and a Location leave out.
var defaultPorts = map[string]uint32{"http": 80, "https": 443}

// redirectsOf gives the rules as they are at a listener: where a redirect names no
// port, it goes to the listener's, or to the default one of the scheme that it names
// (HTTPRequestRedirectFilter.port). Default ports are not written.
func redirectsOf(rules []mesh.HTTPRule, l *listener) []mesh.HTTPRule {
	out := rules
	for i := range rules {
		rd := rules[i].Redirect
		if rd == nil {
			continue
		}
		if &out[0] == &rules[0] {
			out = slices.Clone(rules)
		}
		c := *rd
		scheme := rd.Scheme
		if scheme == "" {
			scheme = strings.ToLower(string(l.spec.Protocol))
			if c.Port == 0 {
				c.Port = uint32(l.spec.Port)
			}
		}
		if c.Port == defaultPorts[scheme] {
			c.Port = 0
		}
		out[i].Redirect = &c
	}
	return out
}
