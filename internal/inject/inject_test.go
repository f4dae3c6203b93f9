package inject

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"istio.io/api/annotation"
	networking "istio.io/api/networking/v1beta1"
	typebeta "istio.io/api/type/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TestInjectAgain: between two injections another webhook added a container and
// changed ours and the user's; the second injection makes the new container's probes
// work and keeps what was done to the user's.
func TestInjectAgain(t *testing.T) {
	config, err := ParseConfig([]byte(`
defaultTemplates: [sidecar, mine]
templates:
  mine: |
    spec: {containers: [{name: hello, env: [{name: ADDED, value: "1"}]}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	in := newInjector(t, Settings{Config: config})
	pod := podOf(t, `
metadata: {name: a, annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9090"}}
spec:
  containers:
  - name: hello
    image: hello
    livenessProbe: {tcpSocket: {port: 80}}
    readinessProbe: {grpc: {port: 81}}
  - {name: second, image: second}
  - {name: istio-proxy, image: auto, env: [{name: EXTRA, value: "1"}]}
`)
	first, err := in.Inject(Request{Pod: pod})
	if err != nil {
		t.Fatal(err)
	}
	again, err := in.Inject(Request{Pod: first.Pod})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(first.Pod, again.Pod); d != "" {
		t.Errorf("nothing happened, but the second injection changes:\n%s", d)
	}

	changed := first.Pod.DeepCopy()
	changed.Spec.Containers = append(changed.Spec.Containers, corev1.Container{
		Name: "vault", Image: "vault", Ports: []corev1.ContainerPort{{ContainerPort: 8200}},
		LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/v", Port: intstr.FromInt32(8200)}}},
	})
	hello := find(changed.Spec.Containers, "hello")
	hello.Env = append(hello.Env, corev1.EnvVar{Name: "SECRET", Value: "s"})
	findProxy(changed).Image = "tampered"
	again, err = in.Inject(Request{Pod: changed})
	if err != nil {
		t.Fatal(err)
	}
	if got := containerNames(again.Pod.Spec.Containers); got != "hello second vault" {
		t.Errorf("containers: %s", got)
	}
	proxy := findProxy(again.Pod)
	want := `{"/app-health/hello/livez":{"tcpSocket":{"port":80}},"/app-health/hello/readyz":{"grpc":{"port":81,"service":null}},"/app-health/vault/livez":{"httpGet":{"path":"/v","port":8200}}}`
	if got := variable(proxy, envProbers); got != want {
		t.Errorf("probers: %s", got)
	}
	if got := variable(proxy, "ISTIO_META_APP_CONTAINERS"); got != "hello,second,vault" {
		t.Errorf("applications: %s", got)
	}
	if got := variable(proxy, envScrape); got != `{"scrape":"true","path":"","port":"9090"}` {
		t.Errorf("scrape: %s", got)
	}
	if proxy.Image != "lateen/proxy:dev" || variable(proxy, "EXTRA") != "1" {
		t.Errorf("the proxy is not what template and user want: %+v", proxy)
	}
	if h := find(again.Pod.Spec.Containers, "hello"); variable(h, "SECRET") != "s" || variable(h, "ADDED") != "1" {
		t.Errorf("the user's container lost what another webhook did: %+v", h.Env)
	}
}

func containerNames(list []corev1.Container) string {
	var out []string
	for _, c := range list {
		out = append(out, c.Name)
	}
	return strings.Join(out, " ")
}

// TestProxyConfigs: the precedence of everything that configures a proxy.
func TestProxyConfigs(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	resource := func(namespace, name string, created time.Time, selector map[string]string, concurrency int32, env map[string]string) ProxyConfig {
		s := &networking.ProxyConfig{EnvironmentVariables: env}
		if concurrency >= 0 {
			s.Concurrency = wrapperspb.Int32(concurrency)
		}
		if selector != nil {
			s.Selector = &typebeta.WorkloadSelector{MatchLabels: selector}
		}
		return ProxyConfig{Namespace: namespace, Name: name, Created: created, Spec: s}
	}
	mesh, err := ParseMesh([]byte(`{rootNamespace: root, defaultConfig: {concurrency: 1, proxyMetadata: {A: mesh, B: mesh, C: mesh, D: mesh, E: mesh}}}`))
	if err != nil {
		t.Fatal(err)
	}
	in := newInjector(t, Settings{Mesh: mesh})
	result, err := in.Inject(Request{
		Pod:       podOf(t, `{metadata: {name: a, labels: {app: a}, annotations: {proxy.istio.io/config: "{concurrency: 4, proxyMetadata: {D: pod, E: pod}}"}}, spec: {containers: [{name: a, image: a}]}}`),
		Namespace: Namespace{Name: "app"},
		ProxyConfigs: []ProxyConfig{
			resource("root", "r", day(1), nil, 2, map[string]string{"B": "root", "C": "root", "D": "root", "E": "root"}),
			resource("app", "n", day(1), nil, 3, map[string]string{"C": "ns", "D": "ns", "E": "ns"}),
			resource("app", "young", day(3), map[string]string{"app": "a"}, 9, map[string]string{"E": "young", "F": "young"}),
			resource("app", "old", day(2), map[string]string{"app": "a"}, 0, map[string]string{"E": "old"}),
			resource("app", "other", day(1), map[string]string{"app": "b"}, 7, map[string]string{"E": "other"}),
			resource("other", "n", day(1), nil, 8, map[string]string{"A": "other"}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"concurrency":0,"discoveryAddress":"istiod.istio-system.svc:15012","proxyMetadata":{"A":"mesh","B":"root","C":"ns","D":"pod","E":"old","F":"young","ISTIO_META_DNS_CAPTURE":"true"}}`
	if got := variable(findProxy(result.Pod), "PROXY_CONFIG"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestInputStays: Inject changes nothing of its input.
func TestInputStays(t *testing.T) {
	in := newInjector(t, Settings{})
	pod := podOf(t, plainPod)
	before := pod.DeepCopy()
	if _, err := in.Inject(Request{Pod: pod}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, pod); d != "" {
		t.Error(d)
	}
}

// TestOwner: the workload behind a pod.
func TestOwner(t *testing.T) {
	for _, c := range []struct{ meta, want string }{
		{`{name: a}`, "kubernetes://apis/v1/namespaces/ns/pods/a"},
		{`{name: a-h-x, labels: {pod-template-hash: h}, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: a-h, controller: true}]}`, "kubernetes://apis/apps/v1/namespaces/ns/deployments/a"},
		{`{name: a-h-x, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: a-h, controller: true}]}`, "kubernetes://apis/apps/v1/namespaces/ns/replicasets/a-h"},
		{`{generateName: a-, ownerReferences: [{apiVersion: batch/v1, kind: Job, name: a-29000000, controller: true}]}`, "kubernetes://apis/batch/v1/namespaces/ns/cronjobs/a"},
		{`{generateName: a-, ownerReferences: [{apiVersion: batch/v1, kind: Job, name: a-1, controller: true}]}`, "kubernetes://apis/batch/v1/namespaces/ns/jobs/a-1"},
		{`{labels: {deploymentconfig: d}, ownerReferences: [{apiVersion: v1, kind: ReplicationController, name: d-1, controller: true}]}`, "kubernetes://apis/apps.openshift.io/v1/namespaces/ns/deploymentconfigs/d"},
		{`{name: a, ownerReferences: [{apiVersion: v1, kind: Something, name: s}]}`, "kubernetes://apis/v1/namespaces/ns/pods/a"},
		{`{generateName: a-}`, ""},
	} {
		in := newInjector(t, Settings{})
		result, err := in.Inject(Request{Pod: podOf(t, "{metadata: "+c.meta+", spec: {containers: [{name: a, image: a}]}}"), Namespace: Namespace{Name: "ns"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := variable(findProxy(result.Pod), "ISTIO_META_OWNER"); got != c.want {
			t.Errorf("%s: got %q, want %q", c.meta, got, c.want)
		}
	}
}

// TestSettingsErrors: mistakes of the configuration are told when it is read.
func TestSettingsErrors(t *testing.T) {
	for _, c := range []struct{ name, config, values, mesh, want string }{
		{"unknown field", "polizy: enabled", "", "", `unknown field "polizy"`},
		{"bad selector", "neverInjectSelector: [{matchExpressions: [{key: a, operator: Some}]}]", "", "", "neverInjectSelector[0]"},
		{"bad default template", "defaultTemplates: [none]", "", "", ""},
		{"bad values", "", "a: [", "", "injector values"},
		{"bad mesh", "", "", "defaultConfig: {concurrency: many}", "mesh configuration"},
	} {
		_, errConfig := ParseConfig([]byte(c.config))
		_, errValues := ParseValues([]byte(c.values))
		_, errMesh := ParseMesh([]byte(c.mesh))
		var all []string
		for _, err := range []error{errConfig, errValues, errMesh} {
			if err != nil {
				all = append(all, err.Error())
			}
		}
		got := strings.Join(all, "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestSplit: the parts of a stream are the stream.
func TestSplit(t *testing.T) {
	for _, text := range []string{"", "a: 1", "---\na: 1\n---\n", "a: |\n  ---\n--- # x\r\nb: 1\n---\t\n", "--- a: 1\n---x\n"} {
		var all []string
		for _, p := range split([]byte(text)) {
			all = append(all, p.separator+string(p.text))
		}
		if got := strings.Join(all, ""); got != text {
			t.Errorf("%q became %q", text, all)
		}
	}
}

// TestFunctions: those of Istio's templates.
func TestFunctions(t *testing.T) {
	f := functions(func(name string) string { return map[string]string{"SET": "x"}[name] })
	for _, name := range []string{"now", "shuffle", "htpasswd", "randAlpha", "uuidv4", "genCA", "getHostByName", "expandenv"} {
		if f[name] != nil {
			t.Errorf("%s is not pure", name)
		}
	}
	for _, c := range []struct{ port, ports, want string }{
		{"15020", "", "15020"}, {"15020", "1, 2", "1,2,15020"}, {"2", "1,2", "1,2"}, {"0", "1", "1"}, {"", "", ""},
	} {
		if got := excludeInboundPort(c.port, c.ports); got != c.want {
			t.Errorf("excludeInboundPort(%q, %q) = %q", c.port, c.ports, got)
		}
	}
	for _, c := range []struct{ existing, want string }{
		{"", "istio-cni"}, {" ", "istio-cni"}, {"a", "a, istio-cni"}, {"a, istio-cni", "a, istio-cni"},
		{`[{"name":"a"}]`, `[{"name":"a"},{"name":"istio-cni"}]`}, {`[{"name":"istio-cni"}]`, `[{"name":"istio-cni"}]`}, {"[]", `[{"name":"istio-cni"}]`},
	} {
		if got, err := appendMultusNetwork(c.existing, "istio-cni"); err != nil || got != c.want {
			t.Errorf("appendMultusNetwork(%q) = %q, %v", c.existing, got, err)
		}
	}
	env := f["env"].(func(string, string) string)
	if env("SET", "d") != "x" || env("UNSET", "d") != "d" {
		t.Error("env")
	}
	if got := indent(4, "a\nb\nc"); got != "a\n    b\n    c" {
		t.Errorf("indent: %q", got)
	}
	for text, want := range map[string]int64{"1000/10": 1009, "1000-2000": 2000, "1000/10,5/5": 1009, "": 0, "x/1": 0, "1/x": 0} {
		if got, _ := lastID(text); got != want {
			t.Errorf("lastID(%q) = %d", text, got)
		}
	}
}

func BenchmarkInject(b *testing.B) {
	in := newInjector(b, Settings{})
	pod := podOf(b, plainPod)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := in.Inject(Request{Pod: pod, Namespace: Namespace{Name: "a"}}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRestricted: with a CNI plugin the result passes the restricted pod security
// standard, without one only the init container's NET_ADMIN and user do not.
func TestRestricted(t *testing.T) {
	values, err := ParseValues([]byte("pilot: {cni: {enabled: true}}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		values Values
		want   []string
	}{
		{"cni", values, nil},
		{"init", nil, []string{"istio-init: adds NET_ADMIN", "istio-init: may run as root"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			result, err := newInjector(t, Settings{Values: c.values}).Inject(Request{Pod: podOf(t, `{metadata: {name: a}, spec: {}}`)})
			if err != nil {
				t.Fatal(err)
			}
			if got := unrestricted(result.Pod); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// unrestricted lists what the restricted pod security standard forbids.
func unrestricted(pod *corev1.Pod) []string {
	var out []string
	for _, c := range append(slices.Clone(pod.Spec.Containers), pod.Spec.InitContainers...) {
		s := c.SecurityContext
		if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || *s.Privileged {
			out = append(out, c.Name+": may gain privileges")
		}
		for _, add := range s.Capabilities.Add {
			if add != "NET_BIND_SERVICE" {
				out = append(out, c.Name+": adds "+string(add))
			}
		}
		if !slices.Contains(s.Capabilities.Drop, "ALL") {
			out = append(out, c.Name+": keeps capabilities")
		}
		if !*s.RunAsNonRoot || *s.RunAsUser == 0 {
			out = append(out, c.Name+": may run as root")
		}
		if s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			out = append(out, c.Name+": has no seccomp profile")
		}
	}
	for _, v := range pod.Spec.Volumes {
		if v.EmptyDir == nil && v.ConfigMap == nil && v.Projected == nil && v.DownwardAPI == nil {
			out = append(out, "volume "+v.Name)
		}
	}
	return out
}

// TestRulesComplete: every annotation that Istio's API has for pods is known.
func TestRulesComplete(t *testing.T) {
	known := rules()
	// These are written by controllers on what they make, or are for other things than
	// injection.
	others := []string{"istio.io/dry-run", "topology.istio.io/controlPlaneClusters", "networking.istio.io/exportTo"}
	pods := 0
	for _, a := range annotation.AllResourceAnnotations() {
		if !slices.Contains(a.Resources, annotation.Pod) {
			continue
		}
		pods++
		if _, ok := known[a.Name]; !ok && !slices.Contains(others, a.Name) {
			t.Errorf("the annotation %s of pods is not known", a.Name)
		}
	}
	if pods < 40 {
		t.Errorf("the API has %d annotations of pods", pods)
	}
}
