package gatewayapi

import (
	"fmt"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// listener is a listener of a Gateway.
type listener struct {
	gateway  *gateway
	spec     *gatewayv1.Listener
	at       verdict.Origin
	host     string // exact, "*.suffix" or "*"
	protocol registry.Protocol
	kinds    []string // of routes that may attach
	key      string   // in mesh.RouteSet.Gateways; "" while the listener is not open

	credential key // of HTTPS

	accepted, conflict, resolved finding
	attached                     int32
}

func (l *listener) name() string { return string(l.spec.Name) }

// usable reports whether the listener serves: kinds that it does not know are no
// reason to close it.
func (l *listener) usable() bool {
	return l.accepted.ok() && l.conflict.ok() && (l.resolved.ok() || l.resolved.reason == string(gatewayv1.ListenerReasonInvalidRouteKinds) && len(l.kinds) > 0)
}

// reservedPorts belong to the proxy itself.
var reservedPorts = map[int32]string{
	15000: "the proxy's admin page", 15001: "redirection", 15006: "redirection", 15020: "metrics", 15021: "readiness", 15053: "names", 15090: "metrics",
}

// routeKinds can attach to HTTP and HTTPS listeners.
var routeKinds = []string{api.KindHTTPRoute, api.KindGRPCRoute}

// terminateMode is Istio's option for client certificates at a listener.
const terminateMode = "gateway.istio.io/tls-terminate-mode"

func (r *reader) listener(g *gateway, at verdict.Origin, in *gatewayv1.Listener) *listener {
	l := &listener{gateway: g, spec: in, at: at, host: "*"}
	if h := strings.ToLower(string(value(in.Hostname, ""))); h != "" {
		l.host = h
	}
	switch in.Protocol {
	case gatewayv1.HTTPProtocolType:
		l.protocol = registry.HTTP
	case gatewayv1.HTTPSProtocolType:
		l.protocol = registry.HTTPS
	default:
		r.refuse(l, gatewayv1.ListenerReasonUnsupportedProtocol, verdict.Unsupported, "protocol", fmt.Sprintf("listeners of protocol %s are not supported yet", in.Protocol))
		return l
	}
	r.routeKinds(l)
	if what := reservedPorts[in.Port]; what != "" || in.Port < 1 || in.Port > 65535 {
		if what == "" {
			what = "nobody: it is out of range"
		}
		r.refuse(l, gatewayv1.ListenerReasonPortUnavailable, verdict.Invalid, "port", fmt.Sprintf("the port %d belongs to %s", in.Port, what))
	}
	if !validHost(l.host) {
		r.refuse(l, gatewayv1.ListenerReasonUnsupportedValue, verdict.Invalid, "hostname", fmt.Sprintf("%q is neither a host nor a wildcard of the form *.suffix", l.host))
	}
	if l.protocol == registry.HTTPS {
		r.terminate(l)
	}
	return l
}

// refuse says that a listener cannot be accepted. The first reason stays.
func (r *reader) refuse(l *listener, reason gatewayv1.ListenerConditionReason, code verdict.Code, field, message string) {
	r.say(l.at.At(field), code, "%s: the listener is not opened", message)
	l.accepted = l.accepted.or(finding{string(reason), message})
}

// routeKinds reads which kinds may attach.
func (r *reader) routeKinds(l *listener) {
	if l.spec.AllowedRoutes == nil || len(l.spec.AllowedRoutes.Kinds) == 0 {
		l.kinds = routeKinds
		return
	}
	for i, k := range l.spec.AllowedRoutes.Kinds {
		name := string(k.Kind)
		if string(value(k.Group, api.GroupGatewayAPI)) != api.GroupGatewayAPI || name != api.KindHTTPRoute && name != api.KindGRPCRoute {
			msg := fmt.Sprintf("routes of the kind %s cannot attach to a listener of protocol %s", name, l.spec.Protocol)
			r.say(l.at.At(list("allowedRoutes.kinds", i)), verdict.Unsupported, "%s", msg)
			l.resolved = l.resolved.or(finding{string(gatewayv1.ListenerReasonInvalidRouteKinds), msg})
			continue
		}
		l.kinds = append(l.kinds, name)
	}
}

// allows reports whether routes of a namespace may attach.
func (r *reader) allows(l *listener, namespace string) bool {
	from := &gatewayv1.RouteNamespaces{}
	if l.spec.AllowedRoutes != nil && l.spec.AllowedRoutes.Namespaces != nil {
		from = l.spec.AllowedRoutes.Namespaces
	}
	switch value(from.From, gatewayv1.NamespacesFromSame) {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return namespace == l.gateway.object.Meta.Namespace
	case gatewayv1.NamespacesFromSelector:
		ok, err := r.namespaceMatches(namespace, from.Selector)
		if err != nil {
			r.say(l.at.At("allowedRoutes.namespaces.selector"), verdict.Invalid, "%s; no route may attach", err)
		}
		return ok
	}
	return false // None, and what later versions add
}

// conflicts finds the listeners of a gateway that no request could tell apart: none
// of them is accepted (GatewaySpec.listeners, "Handling indistinct Listeners").
func (r *reader) conflicts(g *gateway) {
	for i, l := range g.listeners {
		for j, o := range g.listeners {
			if i == j || l.protocol == "" || o.protocol == "" || l.spec.Port != o.spec.Port {
				continue
			}
			f := finding{}
			switch {
			case l.protocol != o.protocol:
				f = finding{string(gatewayv1.ListenerReasonProtocolConflict), fmt.Sprintf("the listener %s has the port %d with the protocol %s", o.name(), o.spec.Port, o.spec.Protocol)}
			case l.host == o.host:
				f = finding{string(gatewayv1.ListenerReasonHostnameConflict), fmt.Sprintf("the listener %s has the same port and hostname", o.name())}
			default:
				continue
			}
			if l.conflict.ok() {
				r.say(l.at, verdict.Invalid, "%s: neither is opened", f.message)
			}
			l.conflict = l.conflict.or(f)
		}
	}
}

// overlaps reports whether another HTTPS listener of the port takes some of the same
// hosts, so that clients may reuse connections between the two.
func (l *listener) overlaps() bool {
	for _, o := range l.gateway.listeners {
		if o != l && l.protocol == registry.HTTPS && o.protocol == registry.HTTPS && o.spec.Port == l.spec.Port {
			if _, ok := mesh.Intersect(o.host, l.host); ok {
				return true
			}
		}
	}
	return false
}

// status is the listener's entry in its Gateway's status.
func (l *listener) status() gatewayv1.ListenerStatus {
	o := l.gateway.object
	programmed := l.accepted.or(l.conflict)
	if !l.usable() {
		programmed = programmed.or(l.resolved)
	}
	if !l.gateway.accepted.ok() {
		programmed = programmed.or(l.gateway.accepted)
	}
	if !programmed.ok() {
		programmed.reason = string(gatewayv1.ListenerReasonInvalid)
	}
	accepted := l.accepted
	if accepted.ok() && !l.conflict.ok() {
		accepted = l.conflict
	}
	s := gatewayv1.ListenerStatus{
		Name: l.spec.Name, AttachedRoutes: l.attached, SupportedKinds: []gatewayv1.RouteGroupKind{},
		Conditions: conditions{
			accepted.condition(o, string(gatewayv1.ListenerConditionAccepted), string(gatewayv1.ListenerReasonAccepted)),
			programmed.condition(o, string(gatewayv1.ListenerConditionProgrammed), string(gatewayv1.ListenerReasonProgrammed)),
			conflicted(l),
			l.resolved.condition(o, string(gatewayv1.ListenerConditionResolvedRefs), string(gatewayv1.ListenerReasonResolvedRefs)),
		},
	}
	if l.overlaps() {
		s.Conditions = append(s.Conditions, condition(o, string(gatewayv1.ListenerConditionOverlappingTLSConfig), true, string(gatewayv1.ListenerReasonOverlappingHostnames),
			"another listener of the port takes some of the same hosts: requests for its hosts over this one's connections are answered 421"))
	}
	group := gatewayv1.Group(api.GroupGatewayAPI)
	for _, k := range l.kinds {
		s.SupportedKinds = append(s.SupportedKinds, gatewayv1.RouteGroupKind{Group: &group, Kind: gatewayv1.Kind(k)})
	}
	return s
}

// conflicted is the one condition that is false when all is well.
func conflicted(l *listener) conditionValue {
	kind := string(gatewayv1.ListenerConditionConflicted)
	if l.conflict.ok() {
		return condition(l.gateway.object, kind, false, string(gatewayv1.ListenerReasonNoConflicts), "")
	}
	return condition(l.gateway.object, kind, true, l.conflict.reason, l.conflict.message)
}
