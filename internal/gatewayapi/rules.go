package gatewayapi

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// ruleReader reads the rules of one route.
type ruleReader struct {
	*reader
	rt    *route
	set   *ruleSet // that is filled
	valid int      // rules
}

// invalid records why a rule cannot act; the first reason is what the rule answers.
func (c *ruleReader) invalid(out *mesh.HTTPRule, at verdict.Origin, code verdict.Code, reason gatewayv1.RouteConditionReason, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	c.say(at, code, "%s; the rule answers 500", msg)
	if out.Invalid == "" {
		out.Invalid = at.Path + ": " + msg
	}
	c.set.invalid = c.set.invalid.or(finding{string(reason), at.Path + ": " + msg})
}

// unusable records that a match takes no request, since it cannot be checked: without
// it, it would take too many. The rule's other matches act.
func (c *ruleReader) unusable(out *mesh.HTTPMatch, at verdict.Origin, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	c.say(at, verdict.Invalid, "%s; the match takes no request", msg)
	out.Invalid = true
	c.set.invalid = c.set.invalid.or(finding{string(gatewayv1.RouteReasonUnsupportedValue), at.Path + ": " + msg})
}

// rule adds a rule that has been read.
func (c *ruleReader) rule(out mesh.HTTPRule) {
	if out.Invalid == "" && !allUnusable(out.Matches) {
		c.valid++
	}
	c.set.rules = append(c.set.rules, out)
	c.set.none = c.valid == 0
}

func allUnusable(list []mesh.HTTPMatch) bool {
	for i := range list {
		if !list[i].Invalid {
			return false
		}
	}
	return len(list) > 0
}

// backendRef is a weighted backend of either kind of route.
type backendRef struct {
	*gatewayv1.BackendRef
	filters []gatewayv1.HTTPRouteFilter
}

// backends reads where a rule sends requests. A backend that cannot be used answers
// 500 for its share.
func (c *ruleReader) backends(out *mesh.HTTPRule, refs []backendRef) {
	at := out.Origin
	var sum int64
	for i, ref := range refs {
		d := c.destination(at.At(list("backendRefs", i)), &ref.BackendObjectReference)
		w := value(ref.Weight, 1)
		if w < 0 {
			c.invalid(out, d.Origin.At("weight"), verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "the weight is negative")
			continue
		}
		d.Weight = uint32(w)
		sum += int64(w)
		c.backendFilters(out, &d, ref.filters)
		out.Destinations = append(out.Destinations, d)
	}
	switch {
	case len(refs) == 0 && out.Redirect == nil:
		out.Direct = noBackends(c, at, "the rule names no backend")
	case out.Redirect == nil && sum == 0:
		out.Destinations, out.Direct = nil, noBackends(c, at, "all backends have the weight 0")
	case sum > math.MaxUint32:
		c.invalid(out, at.At("backendRefs"), verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "the weights add up to %d", sum)
	}
}

// noBackends is what a rule without backends answers (HTTPRouteRule.backendRefs).
func noBackends(c *ruleReader, at verdict.Origin, why string) *mesh.DirectResponse {
	c.say(at, verdict.SelectsNothing, "%s: requests are answered 500", why)
	return &mesh.DirectResponse{Status: 500}
}

// destination reads one backend. What is wrong with the reference is a condition of
// the route, and a reason for 500.
func (c *ruleReader) destination(at verdict.Origin, ref *gatewayv1.BackendObjectReference) mesh.Destination {
	out := mesh.Destination{Origin: at}
	to := key{string(value(ref.Namespace, gatewayv1.Namespace(c.rt.object.Meta.Namespace))), string(ref.Name)}
	bad := func(code verdict.Code, reason gatewayv1.RouteConditionReason, format string, args ...any) mesh.Destination {
		out.Invalid = fmt.Sprintf(format, args...)
		c.by(at, code, verdict.Ref{Kind: "Service", Namespace: to.namespace, Name: to.name}, "%s", out.Invalid)
		c.set.refs = c.set.refs.or(finding{string(reason), at.Path + ": " + out.Invalid})
		return out
	}
	group, kind := string(value(ref.Group, "")), string(value(ref.Kind, "Service"))
	if group == api.GroupNetworking && kind == "Hostname" {
		host := strings.ToLower(string(ref.Name))
		switch {
		case ref.Port == nil:
			return bad(verdict.Invalid, gatewayv1.RouteReasonBackendNotFound, "the reference to the host %s names no port", host)
		case !c.hasHost(host):
			return bad(verdict.Waiting, gatewayv1.RouteReasonBackendNotFound, "no Service and no ServiceEntry has the host %s", host)
		}
		out.Host, out.Port = host, uint16(*ref.Port)
		return out
	}
	if group != "" || kind != "Service" {
		return bad(verdict.Unsupported, gatewayv1.RouteReasonInvalidKind, "backends of the kind %s are not supported", kind)
	}
	if !c.set.mesh && !c.permits(reference{fromKind: c.rt.kind, fromNamespace: c.rt.object.Meta.Namespace, kind: kind, to: to}) {
		return bad(verdict.Invalid, gatewayv1.RouteReasonRefNotPermitted, "no ReferenceGrant of the namespace %s permits it", to.namespace)
	}
	s := c.services[to]
	switch {
	case s == nil:
		return bad(verdict.Waiting, gatewayv1.RouteReasonBackendNotFound, "the Service %s/%s does not exist", to.namespace, to.name)
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		return bad(verdict.Unsupported, gatewayv1.RouteReasonBackendNotFound, "the Service %s/%s is of the type ExternalName, which has no endpoints: name the host that it stands for", to.namespace, to.name)
	case ref.Port == nil:
		return bad(verdict.Invalid, gatewayv1.RouteReasonBackendNotFound, "the reference to the Service %s/%s names no port", to.namespace, to.name)
	}
	for _, p := range s.Spec.Ports {
		if p.Port != *ref.Port {
			continue
		}
		if p.Protocol == corev1.ProtocolTCP || p.Protocol == "" {
			out.Host, out.Port = mesh.Hostname(to.name, to.namespace), uint16(p.Port)
			return out
		}
		return bad(verdict.Unsupported, gatewayv1.RouteReasonUnsupportedProtocol, "the port %d of the Service %s/%s is of the protocol %s", p.Port, to.namespace, to.name, p.Protocol)
	}
	return bad(verdict.Waiting, gatewayv1.RouteReasonBackendNotFound, "the Service %s/%s has no port %d", to.namespace, to.name, *ref.Port)
}

// hasHost reports whether some object brings a host into the mesh, by its own name
// (Istio's backends of the kind Hostname).
func (x *index) hasHost(host string) bool {
	for at := range x.services {
		if mesh.Hostname(at.name, at.namespace) == host {
			return true
		}
	}
	for _, e := range x.entries {
		if slices.ContainsFunc(e.Hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
			return true
		}
	}
	return false
}

// durationForm is GEP-2257's.
var durationForm = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

// duration reads a duration; 0 where none is written.
func (c *ruleReader) duration(out *mesh.HTTPRule, at verdict.Origin, in *gatewayv1.Duration) time.Duration {
	if in == nil {
		return 0
	}
	d, err := time.ParseDuration(string(*in))
	if err != nil || !durationForm.MatchString(string(*in)) {
		c.invalid(out, at, verdict.Invalid, gatewayv1.RouteReasonUnsupportedValue, "%q is not a duration such as 1m30s or 500ms", *in)
		return 0
	}
	return d
}

// persistence says what becomes of session persistence.
func (c *ruleReader) persistence(at verdict.Origin, in *gatewayv1.SessionPersistence) {
	if in != nil {
		c.say(at.At("sessionPersistence"), verdict.NotActedOn, "session persistence is not acted on yet: each request is balanced")
	}
}
