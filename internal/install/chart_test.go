package install

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// plan makes a plan or fails the test.
func plan(t testing.TB, r Request) *Plan {
	t.Helper()
	s, err := ReadSettings(r)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// render gives the objects of a request without the kinds, which take long to read
// and have a test of their own.
func render(t testing.TB, r Request) []Document {
	t.Helper()
	r.Set = append([]string{"components.base.enabled=false"}, r.Set...)
	docs, err := plan(t, r).Render(nil)
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// everything switches on what the profiles leave off.
const everything = `
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata:
  namespace: mesh
spec:
  profile: stable
  hub: registry.example/lateen
  tag: 1.2.3
  revision: canary
  meshConfig:
    accessLogFile: /dev/stdout
    trustDomain: example.org
  components:
    cni:
      enabled: true
      namespace: kube-system
    pilot:
      k8s:
        env:
          - name: SOME_SETTING
            value: "on"
        hpaSpec: {minReplicas: 3, maxReplicas: 9}
        resources: {limits: {memory: 1Gi}}
        nodeSelector: {pool: system}
        tolerations: [{key: system, operator: Exists}]
        strategy: {rollingUpdate: {maxSurge: 1}}
    ingressGateways:
      - name: istio-ingressgateway
        enabled: false
      - name: public
        namespace: edge
        enabled: true
        label: {istio: ingress}
        k8s:
          serviceAnnotations: {example.org/class: outer}
          service:
            type: NodePort
            ports: [{name: https, port: 443, targetPort: 8443}]
    egressGateways:
      - name: istio-egressgateway
        enabled: true
  values:
    global:
      networkPolicy: {enabled: true}
      imagePullSecrets: [pull]
      certSigners: [clusterissuers.cert-manager.io/mesh]
      priorityClassName: system-cluster-critical
      logAsJson: true
    pilot:
      plaintextXDS: true
    revisionTags: [prod]
    sidecarInjectorWebhook:
      failurePolicy: Fail
      enableNamespacesByDefault: true
      neverInjectSelector: [{matchExpressions: [{key: job-name, operator: Exists}]}]
      repair: {deletePods: true}
      templates:
        hello: |
          metadata:
            labels:
              hello: world
`

// TestGolden holds the manifests. The kinds are left out: they are Istio's.
func TestGolden(t *testing.T) {
	for name, r := range map[string]Request{
		"default": {Profile: "default"}, "demo": {Profile: "demo"}, "stable": {Profile: "stable"}, "minimal": {Profile: "minimal"},
		"everything": {Files: []string{everything}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Text(render(t, r))
			path := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestEveryProfile: all profiles render, and only the empty one gives nothing.
func TestEveryProfile(t *testing.T) {
	if len(Profiles()) < 6 {
		t.Fatalf("profiles: %v", Profiles())
	}
	for _, name := range Profiles() {
		if n := len(render(t, Request{Profile: name})); (n == 0) != (name == "empty") {
			t.Errorf("profile %s: %d objects", name, n)
		}
	}
}

// TestRevisionsShareNothing: two control planes in one cluster must not have one
// object in common, kinds excepted.
func TestRevisionsShareNothing(t *testing.T) {
	seen := map[string]string{}
	for _, r := range []Request{
		{Profile: "minimal"}, {Profile: "minimal", Revision: "canary"},
		{Profile: "minimal", Set: []string{"namespace=other"}}, {Profile: "minimal", Revision: "canary", Set: []string{"namespace=other"}},
	} {
		for _, d := range render(t, r) {
			key := d.Object.GetKind() + " " + d.Object.GetNamespace() + "/" + d.Object.GetName()
			who := cmp.Or(r.Revision, "default") + strings.Join(r.Set, "")
			if other, ok := seen[key]; ok {
				t.Errorf("%s belongs to %s and %s", key, other, who)
			}
			seen[key] = who
		}
	}
}

// helm finds the Helm CLI that the test of the cluster builds.
func helm(t *testing.T) string {
	if path := os.Getenv("LATEEN_TEST_HELM"); path != "" {
		return path
	}
	if path, err := exec.LookPath("helm"); err == nil {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	found, err := filepath.Glob(filepath.Join(cache, "lateen/kube/*/helm"))
	if err != nil || len(found) == 0 {
		t.Skip("no helm: set LATEEN_TEST_HELM, or let `make kube` build it")
	}
	return found[len(found)-1]
}

var blankLines = regexp.MustCompile(`\n\s*\n`)

// TestHelmGivesTheSame: `helm template` by the real CLI prints, release by
// release, what we render in process, byte for byte but for blank lines.
func TestHelmGivesTheSame(t *testing.T) {
	program := helm(t)
	requests := map[string]Request{"everything": {Files: []string{everything}}}
	for _, name := range Profiles() {
		r := Request{Profile: name}
		if name != "default" {
			r.Set = []string{"components.base.enabled=false"} // the same in all
		}
		requests[name] = r
	}
	for name, r := range requests {
		t.Run(name, func(t *testing.T) {
			for _, c := range plan(t, r).Components {
				for _, release := range c.Releases {
					docs, err := Render(release, nil)
					if err != nil {
						t.Fatal(err)
					}
					compact := func(s string) string { return strings.TrimSpace(blankLines.ReplaceAllString(s, "\n")) }
					if diff := gocmp.Diff(compact(template(t, program, release)), compact(Text(docs))); diff != "" {
						t.Errorf("release %s: -helm +lateen:\n%s", release.Name, diff)
					}
				}
			}
		})
	}
}

func template(t *testing.T, program string, r Release) string {
	t.Helper()
	text, err := yaml.Marshal(r.Values)
	if err != nil {
		t.Fatal(err)
	}
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "template", r.Name, "../../charts/"+r.Chart, "--namespace", r.Namespace, "-f", values)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Plugins and kubeconfigs make helm talk on standard error; the manifests begin here.
	_, after, found := strings.Cut("\n"+string(out), "\n---\n")
	if !found {
		return ""
	}
	return "---\n" + after
}

// TestHelmLint: the charts are in order by Helm's own measure.
func TestHelmLint(t *testing.T) {
	program := helm(t)
	out, err := exec.Command(program, "lint", "--strict", "../../charts/base", "../../charts/istiod", "../../charts/gateway", "../../charts/cni").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestSchemasRefuseTypos: a value that no chart knows is an error that names it,
// wherever it is.
func TestSchemasRefuseTypos(t *testing.T) {
	for _, c := range []struct{ set, want string }{
		{"values.pilot.autoscaleMinn=3", "autoscaleMinn"},
		{"values.global.proxi.image=x", "proxi"},
		{"values.global.proxy.imagee=x", "imagee"},
		{"values.sidecarInjectorWebhook.failurePolicy=Sometimes", "failurePolicy"},
		{"values.pilot.replicaCount=two", "replicaCount"},
		{"values.cni.repair.deletePodss=true", "deletePodss"},
	} {
		r := Request{Set: []string{c.set, "components.cni.enabled=true", "components.base.enabled=false"}}
		s, err := ReadSettings(r)
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPlan(s)
		if err != nil {
			t.Errorf("%s: %v", c.set, err)
			continue
		}
		if _, err = p.Render(nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v does not name %s", c.set, err, c.want)
		}
	}
}

// TestOperatorPorts: as with Istio's tool, the pods' ports are 8080 and 8443, which
// the Gateway object of Istio's Bookinfo names; what the user says wins.
func TestOperatorPorts(t *testing.T) {
	service := func(r Request) string {
		return fmt.Sprint(find(t, render(t, r), "Service", "istio-ingressgateway").Object["spec"])
	}
	if got := service(Request{}); !strings.Contains(got, "targetPort:8080") || !strings.Contains(got, "targetPort:8443") {
		t.Errorf("ports: %s", got)
	}
	set := "components.ingressGateways[0].k8s.service.ports[0]."
	if got := service(Request{Set: []string{set + "name=http", set + "port=80"}}); strings.Contains(got, "8080") {
		t.Errorf("the user's ports are lost: %s", got)
	}
}

// TestUserWins: false, zero and empty of the user win over true and full defaults
// and profiles: merging of templates often loses them.
func TestUserWins(t *testing.T) {
	docs := render(t, Request{Profile: "stable", Set: []string{
		"values.pilot.autoscaleEnabled=false", "values.global.configValidation=false", "values.global.logging.level=", "values.telemetry.enabled=false",
		"meshConfig.enablePrometheusMerge=false",
	}})
	all := Text(docs)
	for lost, trace := range map[string]string{
		"autoscaleEnabled=false": "kind: HorizontalPodAutoscaler\nmetadata:\n  name: istiod\n",
		"configValidation=false": "kind: ValidatingWebhookConfiguration", "an empty level": "--log-level",
	} {
		if strings.Contains(all, trace) {
			t.Errorf("%s is lost", lost)
		}
	}
	mesh := text(t, find(t, docs, "ConfigMap", "istio"), "data", "mesh")
	if !strings.Contains(mesh, "enablePrometheusMerge: false") || strings.Contains(mesh, "defaultProviders") {
		t.Errorf("mesh settings are lost:\n%s", mesh)
	}
}
