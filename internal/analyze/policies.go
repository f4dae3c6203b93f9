package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	typev1beta1 "istio.io/api/type/v1beta1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// attached is what policies of all kinds have in common.
type attached struct {
	o       *api.Object
	labels  map[string]string
	path    string // of the labels
	targets []*typev1beta1.PolicyTargetReference
}

// policies lists all objects that choose workloads by labels or by reference.
func (w *world) policies() []attached {
	var out []attached
	for _, o := range w.in.Objects {
		p := attached{o: o, path: "spec.selector.matchLabels"}
		var one *typev1beta1.PolicyTargetReference
		switch s := o.Spec.(type) {
		case *security.AuthorizationPolicy:
			p.labels, one, p.targets = s.GetSelector().GetMatchLabels(), s.TargetRef, s.TargetRefs
		case *security.RequestAuthentication:
			p.labels, one, p.targets = s.GetSelector().GetMatchLabels(), s.TargetRef, s.TargetRefs
		case *telemetry.Telemetry:
			p.labels, one, p.targets = s.GetSelector().GetMatchLabels(), s.TargetRef, s.TargetRefs
		case *extensions.WasmPlugin:
			p.labels, one, p.targets = s.GetSelector().GetMatchLabels(), s.TargetRef, s.TargetRefs
		case *extensions.TrafficExtension:
			p.labels, p.targets = s.GetSelector().GetMatchLabels(), s.TargetRefs
		case *networking.EnvoyFilter:
			p.path, p.labels, p.targets = "spec.workloadSelector.labels", s.GetWorkloadSelector().GetLabels(), s.TargetRefs
		case *networking.Sidecar:
			p.path, p.labels = "spec.workloadSelector.labels", s.GetWorkloadSelector().GetLabels()
		case *networking.DestinationRule:
			p.path, p.labels = "spec.workloadSelector.matchLabels", s.GetWorkloadSelector().GetMatchLabels()
		default:
			continue
		}
		if one != nil {
			p.targets = append(slices.Clone(p.targets), one)
		}
		out = append(out, p)
	}
	return out
}

// gatewayLabel is on the workloads of the Gateway API's gateways.
const gatewayLabel = "gateway.networking.k8s.io/gateway-name"

// policySelectors finds selectors that match no workload, or one that is not chosen
// by labels.
func policySelectors(w *world) {
	for _, p := range w.policies() {
		if len(p.labels) == 0 {
			continue
		}
		if gateway := p.labels[gatewayLabel]; gateway != "" && len(p.targets) == 0 {
			w.say("IST0166", p.o, p.path, gateway)
			continue
		}
		if len(w.workloads) > 0 && len(w.selected(p.o.Meta.Namespace, p.labels)) == 0 {
			w.say("IST0127", p.o, p.path, labelText(p.labels))
		}
	}
}

// policyTargets finds references to objects that do not exist.
func policyTargets(w *world) {
	for _, p := range w.policies() {
		for i, t := range p.targets {
			kind, namespace := t.Kind, p.o.Meta.Namespace
			switch {
			case t.Kind == "Gateway" && t.Group == api.GroupGatewayAPI:
				kind = api.RefGateway
			case t.Kind == "GatewayClass":
				namespace = ""
			case t.Kind != "Service" && t.Kind != "ServiceEntry":
				continue // a mistake, which has been said
			}
			ref := verdict.Ref{Kind: kind, Namespace: namespace, Name: t.Name}
			if w.byRef[ref] == nil && (kind != "GatewayClass" || !strings.HasPrefix(t.Name, "lateen") && !strings.HasPrefix(t.Name, "istio")) {
				w.say("IST0101", p.o, fmt.Sprintf("spec.targetRefs[%d]", i), ref.String()+" does not exist")
			}
		}
	}
}

// tokenPorts finds tokens asked for at ports that are not HTTP.
func tokenPorts(w *world) {
	each(w, func(o *api.Object, r *security.RequestAuthentication) {
		seen := map[string]bool{}
		for _, x := range w.selected(o.Meta.Namespace, r.GetSelector().GetMatchLabels()) {
			for _, s := range w.servicesOf(x) {
				for i := range s.Spec.Ports {
					p := &s.Spec.Ports[i]
					app := ""
					if p.AppProtocol != nil {
						app = *p.AppProtocol
					}
					protocol, _ := registry.ProtocolOf(string(p.Protocol), app, p.Name)
					where := s.Namespace + "/" + s.Name
					k := fmt.Sprint(where, p.Port)
					if len(r.JwtRules) > 0 && (protocol == registry.TCP || protocol == registry.Auto) && !seen[k] {
						seen[k] = true
						w.say("IST0119", o, "spec.selector", where, p.Name, p.Port)
					}
				}
			}
		}
	})
}

// scoped finds objects of a kind that compete: two without a selector in one
// namespace, and two that select one workload.
func (w *world) scoped(all []attached, without, same string) {
	open := map[string][]*api.Object{}
	by := map[verdict.Ref][]*api.Object{}
	for _, p := range all {
		if len(p.targets) > 0 {
			continue
		}
		if len(p.labels) == 0 {
			open[p.o.Meta.Namespace] = append(open[p.o.Meta.Namespace], p.o)
			continue
		}
		for i := range w.workloads {
			if x := &w.workloads[i]; x.ref.Namespace == p.o.Meta.Namespace && registry.Matches(p.labels, x.labels) {
				by[x.ref] = append(by[x.ref], p.o)
			}
		}
	}
	for _, ns := range slices.Sorted(maps.Keys(open)) {
		if list := open[ns]; len(list) > 1 {
			for _, o := range list {
				w.say(without, o, "", names(list))
			}
		}
	}
	for _, ref := range slices.SortedFunc(maps.Keys(by), verdict.Ref.Compare) {
		if list := by[ref]; len(list) > 1 {
			for _, o := range list {
				w.say(same, o, "", names(list), ref)
			}
		}
	}
}

func (w *world) kind(name string) []attached {
	var out []attached
	for _, p := range w.policies() {
		if p.o.Kind.Name == name {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b attached) int {
		return cmp.Or(cmp.Compare(a.o.Meta.Created, b.o.Meta.Created), a.o.Ref().Compare(b.o.Ref()))
	})
	return out
}

// sidecarConflicts finds Sidecars that compete, and those without effect.
func sidecarConflicts(w *world) {
	all := w.kind("Sidecar")
	w.scoped(all, "IST0111", "IST0110")
	for _, p := range all {
		if ns := w.namespaces[p.o.Meta.Namespace]; ns != nil && ns.Meta.Labels["istio.io/dataplane-mode"] == "ambient" {
			w.say("IST0167", p.o, "")
		}
	}
}

// telemetryConflicts finds Telemetries that compete, and those without providers.
func telemetryConflicts(w *world) {
	w.scoped(w.kind("Telemetry"), "IST0160", "IST0159")
	if w.defaultProviders() {
		return
	}
	each(w, func(o *api.Object, t *telemetry.Telemetry) {
		for i, x := range t.Tracing {
			if len(x.Providers) == 0 {
				w.say("IST0157", o, fmt.Sprintf("spec.tracing[%d]", i))
			}
		}
		for i, x := range t.AccessLogging {
			if len(x.Providers) == 0 {
				w.say("IST0157", o, fmt.Sprintf("spec.accessLogging[%d]", i))
			}
		}
	})
}
