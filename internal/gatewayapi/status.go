package gatewayapi

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
)

// Status is what the status of one object should say. Exactly one of Class,
// Gateway and Route is set. Conditions have no lastTransitionTime: Merge fills it.
// It is immutable.
type Status struct {
	Object *api.Object // whose status it is: GatewayClass, Gateway, HTTPRoute or GRPCRoute

	Class   *gatewayv1.GatewayClassStatus
	Gateway *gatewayv1.GatewayStatus
	// Route holds our entries of status.parents only; those of other controllers
	// are kept by Merge.
	Route *gatewayv1.RouteStatus
	// Controllers are the names under which entries of status.parents are ours:
	// entries that are not in Route any more are removed.
	Controllers []string
}

// Merge writes the status into a live object, a *gatewayv1.GatewayClass, *Gateway,
// *HTTPRoute or *GRPCRoute that the caller owns, and reports whether that changed
// it. Conditions that keep their status keep their time; conditions and parents of
// other controllers stay. The caller sends the object with the resourceVersion that
// it read.
//
// An object that has moved on to another generation is left alone: the status is of
// what was read.
func (s *Status) Merge(live any, now time.Time) (changed bool) {
	at := metav1.NewTime(now.Truncate(time.Second))
	switch o := live.(type) {
	case *gatewayv1.GatewayClass:
		if s.Class != nil && s.current(o.Generation) {
			return replace(&o.Status, mergeClass(&o.Status, s.Class, at))
		}
	case *gatewayv1.Gateway:
		if s.Gateway != nil && s.current(o.Generation) {
			return replace(&o.Status, mergeGateway(&o.Status, s.Gateway, at))
		}
	case *gatewayv1.HTTPRoute:
		if s.Route != nil && s.current(o.Generation) {
			return replace(&o.Status.RouteStatus, s.mergeRoute(&o.Status.RouteStatus, at))
		}
	case *gatewayv1.GRPCRoute:
		if s.Route != nil && s.current(o.Generation) {
			return replace(&o.Status.RouteStatus, s.mergeRoute(&o.Status.RouteStatus, at))
		}
	}
	return false
}

// current reports whether the status is of a live object's generation. Objects of
// one machine count generations of their own, and are never merged.
func (s *Status) current(generation int64) bool {
	return generation == s.Object.Meta.Generation
}

func replace[T any](old *T, now T) bool {
	if equality.Semantic.DeepEqual(*old, now) {
		return false
	}
	*old = now
	return true
}

func mergeClass(old, want *gatewayv1.GatewayClassStatus, at metav1.Time) gatewayv1.GatewayClassStatus {
	return gatewayv1.GatewayClassStatus{
		Conditions:        mergeConditions(old.Conditions, want.Conditions, at, true),
		SupportedFeatures: want.SupportedFeatures,
	}
}

func mergeGateway(old, want *gatewayv1.GatewayStatus, at metav1.Time) gatewayv1.GatewayStatus {
	out := *want
	out.AttachedListenerSets = old.AttachedListenerSets
	out.Conditions = mergeConditions(old.Conditions, want.Conditions, at, true)
	out.Listeners = make([]gatewayv1.ListenerStatus, len(want.Listeners))
	for i, l := range want.Listeners {
		var before []metav1.Condition
		if at := slices.IndexFunc(old.Listeners, func(o gatewayv1.ListenerStatus) bool { return o.Name == l.Name }); at >= 0 {
			before = old.Listeners[at].Conditions
		}
		l.Conditions = mergeConditions(before, l.Conditions, at, false)
		out.Listeners[i] = l
	}
	return out
}

func (s *Status) mergeRoute(old *gatewayv1.RouteStatus, at metav1.Time) gatewayv1.RouteStatus {
	out := gatewayv1.RouteStatus{Parents: []gatewayv1.RouteParentStatus{}}
	for _, p := range old.Parents {
		if !slices.Contains(s.Controllers, string(p.ControllerName)) {
			out.Parents = append(out.Parents, p)
		}
	}
	for _, p := range s.Route.Parents {
		var before []metav1.Condition
		same := func(o gatewayv1.RouteParentStatus) bool {
			return o.ControllerName == p.ControllerName && equality.Semantic.DeepEqual(o.ParentRef, p.ParentRef)
		}
		if at := slices.IndexFunc(old.Parents, same); at >= 0 {
			before = old.Parents[at].Conditions
		}
		p.Conditions = mergeConditions(before, p.Conditions, at, false)
		out.Parents = append(out.Parents, p)
	}
	return out
}

// mergeConditions gives want with the times of old where the status is the same.
// keep retains conditions of other types.
func mergeConditions(old, want []metav1.Condition, at metav1.Time, keep bool) []metav1.Condition {
	var out []metav1.Condition
	for _, o := range old {
		if keep && !slices.ContainsFunc(want, func(w metav1.Condition) bool { return w.Type == o.Type }) {
			out = append(out, o)
		}
	}
	for _, w := range want {
		w.LastTransitionTime = at
		if i := slices.IndexFunc(old, func(o metav1.Condition) bool { return o.Type == w.Type }); i >= 0 && old[i].Status == w.Status {
			w.LastTransitionTime = old[i].LastTransitionTime
		}
		out = append(out, w)
	}
	return out
}

// Refused is the status of a Gateway that cannot be accepted for a reason that
// reading it does not know, such as its parameters.
func (s Status) Refused(reason gatewayv1.GatewayConditionReason, message string) Status {
	s = s.with(gatewayv1.GatewayConditionAccepted, finding{string(reason), message})
	return s.NotProgrammed(gatewayv1.GatewayReasonInvalid, message)
}

// NotProgrammed is the status of a Gateway that is accepted, but has no workload.
func (s Status) NotProgrammed(reason gatewayv1.GatewayConditionReason, message string) Status {
	return s.with(gatewayv1.GatewayConditionProgrammed, finding{string(reason), message})
}

func (s Status) with(kind gatewayv1.GatewayConditionType, f finding) Status {
	g := *s.Gateway
	g.Conditions = slices.Clone(g.Conditions)
	for i, c := range g.Conditions {
		if c.Type == string(kind) {
			g.Conditions[i] = f.condition(s.Object, c.Type, "")
		}
	}
	s.Gateway = &g
	return s
}
