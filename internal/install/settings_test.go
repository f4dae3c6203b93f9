package install

import (
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// release finds one release of a plan.
func release(t *testing.T, p *Plan, name string) Release {
	t.Helper()
	for _, c := range p.Components {
		for _, r := range c.Releases {
			if r.Name == name {
				return r
			}
		}
	}
	t.Fatalf("the plan has no release %s", name)
	return Release{}
}

func at(values map[string]any, path string) any {
	var v any = values
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// TestSettingsReachTheChart: each form in which people write a setting lands where
// the chart reads it.
func TestSettingsReachTheChart(t *testing.T) {
	operator := "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec:\n"
	for _, c := range []struct {
		name    string
		request Request
		release string
		path    string
		want    any
	}{
		{"istioctl --set values", Request{Set: []string{"values.global.proxy.logLevel=debug"}}, "istiod", "global.proxy.logLevel", "debug"},
		{"helm --set", Request{Set: []string{"global.proxy.logLevel=debug"}}, "istiod", "global.proxy.logLevel", "debug"},
		{"hub", Request{Set: []string{"hub=example.org/x"}}, "istiod", "global.hub", "example.org/x"},
		{"tag that looks like a number", Request{Set: []string{"tag=1.31"}}, "istiod", "global.tag", "1.31"},
		{"mesh config", Request{Set: []string{"meshConfig.accessLogFile=/dev/stdout"}}, "istiod", "meshConfig.accessLogFile", "/dev/stdout"},
		{"mesh config below values", Request{Set: []string{"values.meshConfig.accessLogFile=/dev/stdout"}}, "istiod", "meshConfig.accessLogFile", "/dev/stdout"},
		{"operator file", Request{Files: []string{operator + "  meshConfig: {accessLogFile: /x}\n"}}, "istiod", "meshConfig.accessLogFile", "/x"},
		{"values file", Request{Files: []string{"meshConfig: {accessLogFile: /x}\n"}}, "istiod", "meshConfig.accessLogFile", "/x"},
		{"flag over file", Request{Files: []string{"global: {tag: a}"}, Set: []string{"global.tag=b"}}, "istiod", "global.tag", "b"},
		{"later file over earlier", Request{Files: []string{"global: {tag: a}", "global: {tag: b}"}}, "istiod", "global.tag", "b"},
		{"revision", Request{Revision: "canary"}, "istiod-canary", "revision", "canary"},
		{"cni tells the injector", Request{Set: []string{"components.cni.enabled=true"}}, "istiod", "pilot.cni.enabled", true},
		{"k8s of pilot", Request{Set: []string{"components.pilot.k8s.hpaSpec.minReplicas=4"}}, "istiod", "pilot.autoscaleMin", int64(4)},
		{"old gateway values", Request{Set: []string{"values.gateways.istio-ingressgateway.type=NodePort"}}, "istio-ingressgateway", "service.type", "NodePort"},
		{"old gateway values, autoscaling", Request{Set: []string{"values.gateways.istio-ingressgateway.autoscaleEnabled=false"}}, "istio-ingressgateway", "autoscaling.enabled", false},
		{"k8s of a gateway by index", Request{Set: []string{"components.ingressGateways[0].name=edge", "components.ingressGateways[0].enabled=true", "components.ingressGateways[0].k8s.service.type=ClusterIP"}}, "edge", "service.type", "ClusterIP"},
		{"profile by --set, then its lists", Request{Set: []string{"components.egressGateways[0].namespace=out", "profile=demo"}}, "istio-egressgateway", "service.type", "ClusterIP"},
		{"an egress gateway is inside", Request{Profile: "demo"}, "istio-egressgateway", "service.type", "ClusterIP"},
		{"a gateway belongs to the revision", Request{Revision: "canary"}, "istio-ingressgateway", "revision", "canary"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := release(t, plan(t, c.request), c.release)
			if diff := gocmp.Diff(c.want, at(r.Values, c.path)); diff != "" {
				t.Errorf("%s: -want +got:\n%s", c.path, diff)
			}
		})
	}
}

// TestRefusedSettings: whatever has no effect is refused by its name.
func TestRefusedSettings(t *testing.T) {
	operator := "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec:\n"
	for _, c := range []struct {
		name    string
		request Request
		want    string
	}{
		{"unknown value", Request{Set: []string{"pilt.x=1"}}, "values.pilt"},
		{"typo in mesh config", Request{Set: []string{"meshConfig.accesLogFile=x"}}, "accesLogFile"},
		{"no assignment", Request{Set: []string{"meshConfig"}}, "expected path=value"},
		{"unknown profile", Request{Profile: "demmo"}, `unknown profile "demmo"`},
		{"ambient", Request{Profile: "ambient"}, "sidecars"},
		{"unknown field", Request{Files: []string{operator + "  meshConf: {}\n"}}, "spec.meshConf"},
		{"add-ons", Request{Files: []string{operator + "  addonComponents: {}\n"}}, "add-ons"},
		{"unvalidated", Request{Set: []string{"unvalidatedValues.x=1"}}, "unvalidatedValues"},
		{"another kind", Request{Files: []string{"kind: Service\n"}}, `kind "Service"`},
		{"not YAML", Request{Files: []string{"a: [\n"}}, "file 1"},
		{"a key twice", Request{Files: []string{"a: 1\na: 2\n"}}, "already set"},
		{"ztunnel", Request{Set: []string{"components.ztunnel.enabled=true"}}, "components.ztunnel"},
		{"overlays", Request{Set: []string{"components.pilot.k8s.overlays[0].kind=Deployment"}}, "components.pilot.k8s.overlays"},
		{"a gateway without a name", Request{Set: []string{"components.ingressGateways[1].enabled=true"}}, "no name"},
		{"an unknown gateway", Request{Set: []string{"values.gateways.mine.type=NodePort"}}, "values.gateways.mine"},
		{"an unknown gateway value", Request{Set: []string{"values.gateways.istio-ingressgateway.typ=NodePort"}}, "istio-ingressgateway.typ"},
		{"env from elsewhere", Request{Files: []string{operator + "  components: {pilot: {enabled: true, k8s: {env: [{name: A, valueFrom: {}}]}}}\n"}}, "valueFrom"},
		{"recreate", Request{Set: []string{"components.pilot.k8s.strategy.type=Recreate"}}, "only RollingUpdate"},
		{"a component that is no object", Request{Set: []string{"components.pilot=on"}}, "components.pilot"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := ReadSettings(c.request)
			if err == nil {
				_, err = NewPlan(s)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v does not contain %q", err, c.want)
			}
		})
	}
}

func TestCompatibilityVersionIsNoted(t *testing.T) {
	p := plan(t, Request{Set: []string{"compatibilityVersion=1.28"}})
	if !slices.ContainsFunc(p.Notes, func(n string) bool { return strings.Contains(n, "1.28") }) {
		t.Errorf("notes: %v", p.Notes)
	}
	if _, err := p.Components[1].render(nil); err != nil {
		t.Error(err)
	}
}

func TestOverlayKeepsItsArguments(t *testing.T) {
	below := map[string]any{"a": map[string]any{"x": 1}, "l": []any{map[string]any{"name": "g", "v": 1}}}
	top := map[string]any{"a": map[string]any{"y": 2}, "l": []any{map[string]any{"name": "g", "w": 2}, map[string]any{"name": "h"}}}
	got := overlay(below, top)
	want := map[string]any{"a": map[string]any{"x": 1, "y": 2}, "l": []any{map[string]any{"name": "g", "v": 1, "w": 2}, map[string]any{"name": "h"}}}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(below["a"].(map[string]any)) != 1 || len(below["l"].([]any)) != 1 {
		t.Errorf("an argument was changed: %v", below)
	}
}
