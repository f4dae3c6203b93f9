package install

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	meshconfig "istio.io/api/mesh/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/inject"
)

func find(t *testing.T, docs []Document, kind, name string) *unstructured.Unstructured {
	t.Helper()
	i := slices.IndexFunc(docs, func(d Document) bool { return d.Object.GetKind() == kind && d.Object.GetName() == name })
	if i < 0 {
		t.Fatalf("no %s %s", kind, name)
	}
	return docs[i].Object
}

func text(t *testing.T, o *unstructured.Unstructured, path ...string) string {
	t.Helper()
	s, found, err := unstructured.NestedString(o.Object, path...)
	if err != nil || !found {
		t.Fatalf("%s %v: %v %v", o.GetName(), path, found, err)
	}
	return s
}

// TestInjectorReadsTheChart: the injector takes the configuration that the chart
// writes, and the chart's defaults are the injector's own.
func TestInjectorReadsTheChart(t *testing.T) {
	for name, r := range map[string]Request{"default": {}, "everything": {Files: []string{everything}}} {
		t.Run(name, func(t *testing.T) {
			p := plan(t, r)
			suffix := ""
			if p.Revision != "" {
				suffix = "-" + p.Revision
			}
			docs := render(t, r)
			m := find(t, docs, "ConfigMap", "istio-sidecar-injector"+suffix)
			config, err := inject.ParseConfig([]byte(text(t, m, "data", "config")))
			if err != nil {
				t.Fatal(err)
			}
			if name == "everything" && (config.Templates["hello"] == "" || len(config.NeverInjectSelector) != 1) {
				t.Errorf("the user's part is lost: %+v", config)
			}
			if _, err := inject.ParseValues([]byte(text(t, m, "data", "values"))); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestChartAndInjectorAgreeOnDefaults(t *testing.T) {
	own, err := inject.ParseValues([]byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	m := find(t, render(t, Request{Set: []string{"tag=dev"}}), "ConfigMap", "istio-sidecar-injector")
	var chart map[string]any
	if err := yaml.Unmarshal([]byte(text(t, m, "data", "values")), &chart); err != nil {
		t.Fatal(err)
	}
	compareDefaults(t, "", own, chart)
}

// compareDefaults reports values that both sides have and that differ.
func compareDefaults(t *testing.T, path string, a, b map[string]any) {
	for k, v := range a {
		other, ok := b[k]
		if !ok {
			continue
		}
		below := strings.TrimPrefix(path+"."+k, ".")
		m, isMap := v.(map[string]any)
		n, alsoMap := other.(map[string]any)
		if isMap && alsoMap {
			compareDefaults(t, below, m, n)
		} else if x, y := jsonOf(v), jsonOf(other); x != y {
			t.Errorf("%s: the injector has %s, the chart %s", below, x, y)
		}
	}
}

func jsonOf(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func TestMeshConfigIsValid(t *testing.T) {
	m := find(t, render(t, Request{Files: []string{everything}}), "ConfigMap", "istio-canary")
	jsonText, err := yaml.YAMLToJSON([]byte(text(t, m, "data", "mesh")))
	if err != nil {
		t.Fatal(err)
	}
	var mesh meshconfig.MeshConfig
	if err := protojson.Unmarshal(jsonText, &mesh); err != nil {
		t.Fatal(err)
	}
	if got, want := mesh.GetDefaultConfig().GetDiscoveryAddress(), "istiod-canary.mesh.svc:15012"; got != want {
		t.Errorf("discovery address %s, want %s", got, want)
	}
	if mesh.GetTrustDomain() != "example.org" || mesh.GetRootNamespace() != "mesh" || mesh.GetAccessLogFile() != "/dev/stdout" {
		t.Errorf("mesh config %v", &mesh)
	}
	if got := mesh.GetDefaultConfig().GetProxyMetadata()["ISTIO_META_DNS_CAPTURE"]; got != "true" {
		t.Errorf("DNS capture %q", got)
	}
}

// TestRestricted holds the pods of control plane and gateways against the level
// "restricted" of the Pod Security Standards, and more: no writable root.
func TestRestricted(t *testing.T) {
	docs := render(t, Request{Profile: "demo"})
	for _, name := range []string{"istiod", "istio-ingressgateway", "istio-egressgateway"} {
		o := find(t, docs, "Deployment", name)
		spec, _, err := unstructured.NestedMap(o.Object, "spec", "template", "spec")
		if err != nil {
			t.Fatal(err)
		}
		for _, forbidden := range []string{"hostNetwork", "hostPID", "hostIPC"} {
			if spec[forbidden] != nil {
				t.Errorf("%s: %s", name, forbidden)
			}
		}
		if at(spec, "securityContext.seccompProfile.type") != "RuntimeDefault" {
			t.Errorf("%s: no seccomp profile", name)
		}
		for _, v := range spec["containers"].([]any) {
			c := v.(map[string]any)
			for path, want := range map[string]any{
				"securityContext.allowPrivilegeEscalation": false, "securityContext.runAsNonRoot": true,
				"securityContext.readOnlyRootFilesystem": true, "securityContext.capabilities.drop": []any{"ALL"},
				"securityContext.capabilities.add": nil,
			} {
				if fmt.Sprint(at(c, path)) != fmt.Sprint(want) {
					t.Errorf("%s: container %v: %s is %v", name, c["name"], path, at(c, path))
				}
			}
			if at(c, "resources.requests.cpu") == nil {
				t.Errorf("%s: container %v requests nothing", name, c["name"])
			}
		}
	}
}

// TestRights holds the control plane's rights: what it needs and, as important,
// what it must not have.
func TestRights(t *testing.T) {
	docs := render(t, Request{Profile: "minimal"})
	type rule struct{ groups, resources, names, verbs []string }
	rules := func(kinds ...string) []rule {
		var out []rule
		for _, d := range docs {
			if !slices.Contains(kinds, d.Object.GetKind()) {
				continue
			}
			for _, v := range d.Object.Object["rules"].([]any) {
				m := v.(map[string]any)
				list := func(name string) (s []string) {
					l, _ := m[name].([]any)
					for _, x := range l {
						s = append(s, x.(string))
					}
					return s
				}
				out = append(out, rule{list("apiGroups"), list("resources"), list("resourceNames"), list("verbs")})
			}
		}
		return out
	}
	cluster, own := rules("ClusterRole"), rules("ClusterRole", "Role")
	for _, c := range []struct {
		verb, group, resource, name string
		system                      bool // asked about the system namespace
		want                        bool
	}{
		{"list", "networking.istio.io", "virtualservices", "", false, true},
		{"patch", "networking.istio.io", "virtualservices/status", "", false, true},
		{"patch", "networking.istio.io", "virtualservices", "x", false, false},
		{"delete", "security.istio.io", "authorizationpolicies", "x", false, false},
		{"watch", "discovery.k8s.io", "endpointslices", "", false, true},
		{"watch", "", "pods", "", false, true},
		{"delete", "", "pods", "x", false, false},
		{"create", "", "pods", "", false, false},
		{"create", "", "pods/exec", "", true, false},
		{"create", "", "pods/eviction", "x", false, false},
		{"update", "", "configmaps", "istio-ca-root-cert", false, true},
		{"update", "", "configmaps", "coredns", false, false},
		{"delete", "", "configmaps", "coredns", true, false},
		{"create", "", "secrets", "", false, false},
		{"create", "", "secrets", "", true, true},
		{"update", "", "secrets", "istio-ca-secret", true, true},
		{"update", "", "secrets", "cacerts", true, false},
		{"update", "", "secrets", "istio-ca-secret", false, false},
		{"update", "coordination.k8s.io", "leases", "lateen-leader", true, true},
		{"update", "coordination.k8s.io", "leases", "x", false, false},
		{"create", "authentication.k8s.io", "tokenreviews", "", false, true},
		{"patch", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "istio-sidecar-injector", false, true},
		{"create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", false, false},
		{"delete", "admissionregistration.k8s.io", "validatingwebhookconfigurations", "x", false, false},
		{"create", "rbac.authorization.k8s.io", "clusterrolebindings", "", false, false},
		{"approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client", false, false},
		{"create", "certificates.k8s.io", "certificatesigningrequests", "", false, false},
		{"update", "apiextensions.k8s.io", "customresourcedefinitions", "x", false, false},
		{"create", "", "serviceaccounts/token", "x", true, false},
	} {
		set := cluster
		if c.system {
			set = own
		}
		got := slices.ContainsFunc(set, func(r rule) bool {
			return slices.Contains(r.groups, c.group) && slices.Contains(r.resources, c.resource) && slices.Contains(r.verbs, c.verb) &&
				(len(r.names) == 0 || slices.Contains(r.names, c.name))
		})
		if got != c.want {
			t.Errorf("%s %s/%s %q (system namespace: %v): allowed %v, want %v", c.verb, c.group, c.resource, c.name, c.system, got, c.want)
		}
	}
	for _, r := range own {
		if slices.Contains(r.verbs, "*") || slices.Contains(r.resources, "*") || slices.Contains(r.groups, "*") {
			t.Errorf("a rule with a wildcard: %+v", r)
		}
	}
}
