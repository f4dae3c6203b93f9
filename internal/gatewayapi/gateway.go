package gatewayapi

import (
	"cmp"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// GatewayNameLabel is on every workload that a Gateway is deployed as (GEP-1762).
const GatewayNameLabel = gatewayv1.GatewayNameLabelKey

// gateway is a Gateway of ours.
type gateway struct {
	object    *api.Object
	spec      *gatewayv1.GatewaySpec
	listeners []*listener
	accepted  finding // of the Gateway as a whole
	place     placement
}

// Ours lists the Gateways among objs that belong to this control plane, in the order
// of their names: those of our classes and revision. Their Spec is a *gatewayv1.Gateway.
func Ours(objs []*api.Object, o Options) []*api.Object {
	x := newIndex(objs, &o)
	var out []*api.Object
	for _, obj := range objs {
		if g, ok := obj.Spec.(*gatewayv1.Gateway); ok && x.classes[string(g.Spec.GatewayClassName)] != "" && x.ownedBy(&o, obj) {
			out = append(out, obj)
		}
	}
	slices.SortFunc(out, func(a, b *api.Object) int { return a.Ref().Compare(b.Ref()) })
	return out
}

// gateway reads a Gateway; those of other classes and revisions are not ours to judge.
func (r *reader) gateway(o *api.Object, in *gatewayv1.Gateway) {
	if r.classes[string(in.Spec.GatewayClassName)] == "" {
		r.by(o.Origin().At("spec.gatewayClassName"), verdict.NotActedOn, verdict.Ref{Kind: api.KindGatewayClass, Name: string(in.Spec.GatewayClassName)},
			"no GatewayClass %s of this mesh exists", in.Spec.GatewayClassName)
		return
	}
	if !r.ownedBy(&r.o, o) {
		r.say(o.Origin(), verdict.NotActedOn, "the gateway belongs to another revision of the control plane")
		return
	}
	g := &gateway{object: o, spec: &in.Spec}
	spec := o.Origin().At("spec")
	g.place, g.accepted = r.placement(g)
	if p := in.Spec.Infrastructure; p != nil && p.ParametersRef != nil && !isConfigMap(string(p.ParametersRef.Group), string(p.ParametersRef.Kind)) {
		g.accepted = finding{string(gatewayv1.GatewayReasonInvalidParameters), "infrastructure.parametersRef must name a ConfigMap"}
		r.say(spec.At("infrastructure.parametersRef"), verdict.Invalid, "%s", g.accepted.message)
	}
	if in.Spec.TLS != nil && in.Spec.TLS.Backend != nil {
		r.say(spec.At("tls.backend"), verdict.NotActedOn, "certificates of the gateway for its backends are not acted on yet")
	}
	if in.Spec.AllowedListeners != nil {
		r.say(spec.At("allowedListeners"), verdict.NotActedOn, "ListenerSets are not acted on yet")
	}
	if in.Spec.DefaultScope != "" && in.Spec.DefaultScope != gatewayv1.GatewayDefaultScopeNone {
		r.say(spec.At("defaultScope"), verdict.NotActedOn, "default gateways are not acted on yet")
	}
	for i := range in.Spec.Listeners {
		g.listeners = append(g.listeners, r.listener(g, spec.At(list("listeners", i)), &in.Spec.Listeners[i]))
	}
	r.conflicts(g)
	for _, l := range g.listeners {
		r.open(l)
	}
	r.gateways[key{o.Meta.Namespace, o.Meta.Name}] = g
	r.ordered = append(r.ordered, g)
}

// open adds an accepted listener to the model.
func (r *reader) open(l *listener) {
	g := l.gateway
	if !g.accepted.ok() || !l.usable() {
		return
	}
	out := mesh.Gateway{
		Meta: metaOf(g.object), Namespace: g.object.Meta.Namespace, Name: mesh.ListenerName(g.object.Meta.Name, l.name()),
		Selector: g.place.selector, WorkloadNamespace: g.place.namespace, Listener: true,
		Servers: []mesh.Server{{
			Origin: l.at, Name: l.name(), Port: uint16(l.spec.Port), PortName: l.name(), Protocol: l.protocol,
			Hosts: []mesh.ServerHost{{Namespace: "*", Host: l.host}}, Isolated: true,
			TLS: serverTLS(l, g),
		}},
	}
	l.key = out.Key()
	r.cfg.Gateways = append(r.cfg.Gateways, out)
}

// serverTLS is nil for a listener of plain text.
func serverTLS(l *listener, g *gateway) *mesh.ServerTLS {
	if l.credential.name == "" {
		return nil
	}
	return &mesh.ServerTLS{
		Mode: mesh.TLSSimple, Credentials: []string{l.credential.name}, Namespace: l.credential.namespace, Account: g.place.account,
	}
}

// finish says what became of a gateway, when all routes have been read.
func (r *reader) finish(g *gateway) {
	s := &gatewayv1.GatewayStatus{Addresses: g.place.addresses}
	open, unresolved, notValid := 0, finding{}, finding{}
	for _, l := range g.listeners {
		if l.usable() {
			open++
		}
		if !l.accepted.ok() || !l.conflict.ok() || !l.resolved.ok() {
			bad := l.accepted.or(l.conflict).or(l.resolved)
			notValid = notValid.or(finding{string(gatewayv1.GatewayReasonListenersNotValid), "the listener " + l.name() + " is not valid: " + bad.message})
		}
		if !l.resolved.ok() {
			unresolved = unresolved.or(finding{string(gatewayv1.GatewayReasonListenersNotResolved), "the listener " + l.name() + ": " + l.resolved.message})
		}
		s.Listeners = append(s.Listeners, l.status())
	}
	o := g.object
	s.Conditions = conditions{
		acceptedGateway(g, notValid),
		r.programmed(g, open),
		unresolved.condition(o, string(gatewayv1.GatewayConditionResolvedRefs), string(gatewayv1.GatewayReasonResolvedRefs)),
	}
	switch {
	case !g.accepted.ok():
		r.say(o.Origin(), verdict.Invalid, "%s", g.accepted.message)
	case open == 0:
		r.say(o.Origin(), verdict.Invalid, "no listener is open")
	}
	r.statuses = append(r.statuses, Status{Object: o, Gateway: s})
}

// acceptedGateway is true with the reason ListenersNotValid where some listeners act
// and others do not.
func acceptedGateway(g *gateway, notValid finding) (c conditionValue) {
	kind := string(gatewayv1.GatewayConditionAccepted)
	some := slices.ContainsFunc(g.listeners, func(l *listener) bool { return l.accepted.ok() && l.conflict.ok() })
	switch {
	case !g.accepted.ok():
		return g.accepted.condition(g.object, kind, "")
	case !notValid.ok():
		return condition(g.object, kind, some, notValid.reason, notValid.message)
	}
	return condition(g.object, kind, true, string(gatewayv1.GatewayReasonAccepted), "")
}

func (r *reader) programmed(g *gateway, open int) conditionValue {
	f := finding{}
	switch {
	case !g.accepted.ok() || open == 0:
		f = finding{string(gatewayv1.GatewayReasonInvalid), cmp.Or(g.accepted.message, "no listener is valid")}
	case !g.place.programmed.ok():
		f = g.place.programmed
	}
	return f.condition(g.object, string(gatewayv1.GatewayConditionProgrammed), string(gatewayv1.GatewayReasonProgrammed))
}
