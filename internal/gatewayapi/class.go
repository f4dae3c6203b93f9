package gatewayapi

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// features are the names of what we support of the Gateway API beyond its core, in
// the words of its conformance suite.
var features = []gatewayv1.FeatureName{
	"GRPCRoute",
	"GRPCRouteNamedRouteRule",
	"Gateway",
	"GatewayHTTPListenerIsolation",
	"GatewayInfrastructure",
	"GatewayPort8080",
	"HTTPRoute",
	"HTTPRoute303RedirectStatusCode",
	"HTTPRoute307RedirectStatusCode",
	"HTTPRoute308RedirectStatusCode",
	"HTTPRouteBackendProtocolH2C",
	"HTTPRouteBackendProtocolWebSocket",
	"HTTPRouteBackendRequestHeaderModification",
	"HTTPRouteBackendTimeout",
	"HTTPRouteHostRewrite",
	"HTTPRouteMethodMatching",
	"HTTPRouteNamedRouteRule",
	"HTTPRouteParentRefPort",
	"HTTPRoutePathRedirect",
	"HTTPRoutePathRewrite",
	"HTTPRoutePortRedirect",
	"HTTPRouteQueryParamMatching",
	"HTTPRouteRequestMirror",
	"HTTPRouteRequestMultipleMirrors",
	"HTTPRouteRequestPercentageMirror",
	"HTTPRouteRequestTimeout",
	"HTTPRouteResponseHeaderModification",
	"HTTPRouteRetry",
	"HTTPRouteRetryBackendTimeout",
	"HTTPRouteRetryConnectionError",
	"HTTPRouteSchemeRedirect",
	"Mesh",
	"MeshConsumerRoute",
	"MeshHTTPRouteBackendRequestHeaderModification",
	"MeshHTTPRouteNamedRouteRule",
	"MeshHTTPRouteQueryParamMatching",
	"MeshHTTPRouteRedirectPath",
	"MeshHTTPRouteRedirectPort",
	"MeshHTTPRouteRewritePath",
	"MeshHTTPRouteSchemeRedirect",
	"ReferenceGrant",
}

// class accepts a GatewayClass that names one of our controllers.
func (r *reader) class(o *api.Object, in *gatewayv1.GatewayClass) {
	if !r.o.ours(in.Spec.ControllerName) {
		return
	}
	s := &gatewayv1.GatewayClassStatus{}
	if in.Spec.ParametersRef != nil && !isConfigMap(string(in.Spec.ParametersRef.Group), string(in.Spec.ParametersRef.Kind)) {
		const msg = "the parameters of a class are a ConfigMap"
		r.say(o.Origin().At("spec.parametersRef"), verdict.Invalid, msg)
		s.Conditions = conditions{condition(o, string(gatewayv1.GatewayClassConditionStatusAccepted), false, string(gatewayv1.GatewayClassReasonInvalidParameters), msg)}
	} else {
		r.say(o.Origin(), verdict.Effective, "")
		s.Conditions = conditions{condition(o, string(gatewayv1.GatewayClassConditionStatusAccepted), true, string(gatewayv1.GatewayClassReasonAccepted), "the class is served by this mesh")}
	}
	for _, f := range slices.Sorted(slices.Values(features)) {
		s.SupportedFeatures = append(s.SupportedFeatures, gatewayv1.SupportedFeature{Name: f})
	}
	r.statuses = append(r.statuses, Status{Object: o, Class: s})
}

func isConfigMap(group, kind string) bool { return group == "" && kind == "ConfigMap" }

// conditions is a list with one entry a type.
type (
	conditions     = []metav1.Condition
	conditionValue = metav1.Condition
)

// condition makes a condition of what was read of an object.
func condition(o *api.Object, kind string, ok bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if ok {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: cmp.Or(message, reason), ObservedGeneration: o.Meta.Generation}
}

// finding is why a condition is not met: its reason in the words of the Gateway API,
// and a sentence. The zero value is that it is met.
type finding struct{ reason, message string }

func (f finding) ok() bool { return f.reason == "" }

// or is the first finding of two.
func (f finding) or(g finding) finding {
	if f.ok() {
		return g
	}
	return f
}

// condition is the condition of a finding, with the reason that it has when met.
func (f finding) condition(o *api.Object, kind, met string) metav1.Condition {
	if f.ok() {
		return condition(o, kind, true, met, "")
	}
	return condition(o, kind, false, f.reason, f.message)
}
