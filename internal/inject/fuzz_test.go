package inject

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// structured are annotations whose values are YAML or JSON of their own, or name
// templates: their effect on the shape of a pod is what they are for.
var structured = []string{
	annotation.ProxyConfig.Name, annotation.ProxyOverrides.Name, annotation.SidecarUserVolume.Name, annotation.SidecarUserVolumeMount.Name,
	annotation.InjectTemplates.Name, annotation.SidecarStatus.Name,
}

// shape is all of a pod that no annotation with a plain value may change, whatever
// the value is: names, users, capabilities, mounts, hosts.
func shape(pod *corev1.Pod) string {
	p := pod.DeepCopy()
	p.Annotations = nil
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			c := &list[i]
			c.Image, c.Args, c.Resources = "", nil, corev1.ResourceRequirements{}
			for j := range c.Env {
				c.Env[j].Value = ""
			}
			c.ReadinessProbe, c.StartupProbe, c.Lifecycle = nil, nil, nil
			if c.LivenessProbe != nil && c.LivenessProbe.HTTPGet != nil {
				c.LivenessProbe.HTTPGet.Port = intstr.IntOrString{} // the agent's, as its annotation says
			}
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// FuzzAnnotations: an annotation never breaks out of the scalar that it stands in.
// Its value is refused, or the pod has the shape that some harmless value gives it.
func FuzzAnnotations(f *testing.F) {
	var names []string
	for name := range rules() {
		if !slices.Contains(structured, name) {
			names = append(names, name)
		}
	}
	names = append(names, "example.com/any", annotationMultus, annotationScrape, annotationScrapePath, annotationScrapePort)
	slices.Sort(names)
	for i := range names {
		for _, v := range []string{"", "1"} {
			f.Add(uint8(i), v)
		}
		f.Add(uint8(i), "x\"\n    securityContext: {privileged: true}\n    y: \"")
		f.Add(uint8(i), "x'}, {name: evil, image: evil")
		f.Add(uint8(i), "a\x7f")
		f.Add(uint8(i), "{{ .Values }}\u0085\u2028\x00\xff\U0001f600")
	}
	values, err := ParseValues([]byte("istio_cni: {enabled: true, chained: false}"))
	if err != nil {
		f.Fatal(err)
	}
	injectors := []*Injector{newInjector(f, Settings{}), newInjector(f, Settings{Values: values})}
	shapes := harmless(f, injectors)
	f.Fuzz(func(t *testing.T, which uint8, value string) {
		name := names[int(which)%len(names)]
		value = strings.ToValidUTF8(value, "?") // the API server takes no other texts
		for i, in := range injectors {
			pod := podOf(t, plainPod)
			pod.Annotations[name] = value
			result, err := in.Inject(Request{Pod: pod})
			var mistake *UserError
			if errors.As(err, &mistake) {
				continue
			}
			if err != nil {
				t.Fatalf("annotation %s: %q: %v", name, value, err)
			}
			if !result.Decision.Inject {
				continue
			}
			if got := result.Pod.Annotations[name]; got != value && !strings.HasPrefix(name, "prometheus.io/") && name != annotationMultus && name != annotation.SidecarTrafficExcludeInboundPorts.Name {
				t.Errorf("annotation %s: %q became %q", name, value, got)
			}
			if got := shape(result.Pod); !shapes[i][got] {
				t.Errorf("annotation %s: %q gives the pod another shape:\n%s", name, value, got)
			}
		}
	})
}

// harmless collects the shapes that the known plain values give.
func harmless(t testing.TB, injectors []*Injector) []map[string]bool {
	t.Helper()
	var out []map[string]bool
	for _, in := range injectors {
		shapes := map[string]bool{}
		for _, a := range []map[string]string{
			nil, {AnnotationProxy: "envoy"}, {annotation.SidecarNativeSidecar.Name: "false"}, {annotation.SidecarInterceptionMode.Name: "NONE"},
			{annotation.SidecarInterceptionMode.Name: "TPROXY"}, {annotation.SidecarRewriteAppHTTPProbers.Name: "false"},
			{annotation.SidecarStatusPort.Name: "0"}, {annotationScrape: "true"},
		} {
			pod := podOf(t, plainPod)
			maps.Copy(pod.Annotations, a)
			result, err := in.Inject(Request{Pod: pod})
			if err != nil {
				t.Fatal(err)
			}
			shapes[shape(result.Pod)] = true
		}
		out = append(out, shapes)
	}
	return out
}

// FuzzProxyConfig: nothing in the annotation for the proxy's configuration leaves
// the environment of the proxy's containers.
func FuzzProxyConfig(f *testing.F) {
	for _, v := range []string{"concurrency: 2", "proxyMetadata: {A: \"it's\", B: '\"', C: \"a\\nb: c\\n- d\"}", "proxyMetadata: {A: b}", "proxyMetadata: {\"A\\n      x\": \"b\\\"\"}", "discoveryAddress: \"a\\nb:1\"", "- a", "a: &a [*a]", "holdApplicationUntilProxyStarts: true"} {
		f.Add(v)
	}
	in := newInjector(f, Settings{})
	f.Fuzz(func(t *testing.T, value string) {
		pod := podOf(t, `{metadata: {name: a}, spec: {containers: [{name: a, image: a}]}}`)
		pod.Annotations = map[string]string{annotation.ProxyConfig.Name: value}
		result, err := in.Inject(Request{Pod: pod})
		var mistake *UserError
		if err != nil {
			if !errors.As(err, &mistake) {
				t.Fatalf("%q: %v", value, err)
			}
			return
		}
		for _, c := range append(result.Pod.Spec.InitContainers, result.Pod.Spec.Containers...) {
			if s := c.SecurityContext; s != nil && s.Privileged != nil && *s.Privileged {
				t.Errorf("%q: container %s is privileged", value, c.Name)
			}
		}
		if got := containerNames(result.Pod.Spec.Containers) + "," + containerNames(result.Pod.Spec.InitContainers); got != "a,istio-init istio-proxy" && got != "a,istio-proxy" {
			t.Errorf("%q: containers %s", value, got)
		}
		if text := variable(findProxy(result.Pod), "PROXY_CONFIG"); !json.Valid([]byte(text)) {
			t.Errorf("%q: PROXY_CONFIG is %q", value, text)
		}
		again, err := in.Inject(Request{Pod: result.Pod})
		if err != nil || fmt.Sprint(again.Pod) != fmt.Sprint(result.Pod) {
			t.Errorf("%q: the second injection differs: %v", value, err)
		}
	})
}

// FuzzQuote: what is quoted is read back.
func FuzzQuote(f *testing.F) {
	for _, v := range []string{"", "a", "\"", "\\", "a\nb", "\x00\x1b\x7f\u0085\u00a0\u2028\ufeff\U0001f600\xff", "{{ }}", "- a: b", "yes", "0x1", "'"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got []string
		if err := yaml.Unmarshal([]byte("- "+quote(text)+"\n- end\n"), &got); err != nil {
			t.Fatalf("%q: %s: %v", text, quote(text), err)
		}
		if want := strings.ToValidUTF8(text, "\ufffd"); len(got) != 2 || got[0] != want || got[1] != "end" {
			t.Errorf("%q: quoted as %s, read as %q", text, quote(text), got)
		}
	})
}

// FuzzJSON: what toJson writes is read back from YAML.
func FuzzJSON(f *testing.F) {
	for _, v := range []string{"", "a", "\"", "\x00\x1b\x7f\u0085\u2028\ufeff\ufffe\uffff\U0001f600", "{{ }}", "a: b\n- c"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?")
		js, err := toJSON([]string{text, "end"})
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ X []string }
		if err := yaml.Unmarshal([]byte("x: "+js+"\n"), &got); err != nil || !slices.Equal(got.X, []string{text, "end"}) {
			t.Errorf("%q: written as %s, read as %q, %v", text, js, got.X, err)
		}
	})
}

// FuzzDocuments: any stream is injected, left alone or refused; injecting twice is
// injecting once.
func FuzzDocuments(f *testing.F) {
	f.Add([]byte("a: 1\n---\n" + plainPod))
	f.Add([]byte("kind: List\nitems: [{kind: Pod, spec: {containers: [{name: a}]}}, 1, {}]"))
	f.Add([]byte("kind: CronJob\nspec: {jobTemplate: {spec: {template: {spec: {containers: [{name: istio-proxy, image: auto}]}}}}}"))
	f.Add([]byte("kind: Pod\nmetadata: {annotations: {sidecar.istio.io/status: \"{}\", proxy.istio.io/overrides: \"{}\"}}"))
	in := newInjector(f, Settings{})
	f.Fuzz(func(t *testing.T, stream []byte) {
		once, _, err := in.Documents(stream, Namespace{})
		if err != nil {
			return
		}
		twice, _, err := in.Documents(once, Namespace{})
		if err != nil {
			t.Fatalf("%q becomes %q, which is refused: %v", stream, once, err)
		}
		if string(once) != string(twice) {
			t.Errorf("%q: once\n%s\ntwice\n%s", stream, once, twice)
		}
	})
}

// FuzzReview: any review is answered or refused, without a panic.
func FuzzReview(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u1","kind":{"kind":"Pod"},"object":{"spec":{"containers":[{"name":"a"}]}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		review, pod, err := readReview(text)
		if err == nil && (review.Request == nil || pod == nil) {
			t.Error("neither a review nor an error")
		}
	})
}
