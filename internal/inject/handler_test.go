package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admission "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const plainPod = `
apiVersion: v1
kind: Pod
metadata:
  generateName: hello-
  labels: {app: hello}
  annotations: {"example.com/a~b": kept}
spec:
  futureField: {kept: true}
  containers:
  - name: hello
    image: hello
    futureField: kept
    ports: [{containerPort: 80}, {containerPort: 80, protocol: UDP}]
    livenessProbe: {tcpSocket: {port: 80}, periodSeconds: 3}
  initContainers:
  - {name: setup, image: setup}
`

// review makes a request for the creation of a pod; change alters it.
func review(t *testing.T, pod string, change func(*admission.AdmissionReview)) ([]byte, []byte) {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(pod))
	if err != nil {
		t.Fatal(err)
	}
	r := &admission.AdmissionReview{Request: &admission.AdmissionRequest{UID: "u1", Namespace: "app"}}
	r.APIVersion, r.Kind = "admission.k8s.io/v1", "AdmissionReview"
	r.Request.Kind.Kind, r.Request.Object.Raw = "Pod", raw
	if change != nil {
		change(r)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return text, raw
}

type answer struct {
	code     int
	body     string
	response *admission.AdmissionResponse
	outcomes []Outcome
}

func post(t *testing.T, in *Injector, path string, body []byte) answer {
	t.Helper()
	var a answer
	h := Handler(Deps{
		Injector: func() *Injector { return in },
		Namespace: func(name string) (Namespace, bool) {
			return Namespace{Name: name, Annotations: map[string]string{AnnotationProxy: "envoy"}}, name == "app"
		},
		Report: func(o Outcome) { a.outcomes = append(a.outcomes, o) },
		Log:    slog.New(slog.DiscardHandler),
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
	a.code, a.body = w.Code, w.Body.String()
	if w.Code == http.StatusOK {
		var r admission.AdmissionReview
		if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.APIVersion != "admission.k8s.io/v1" || r.Kind != "AdmissionReview" || r.Response.UID != "u1" {
			t.Errorf("answer %+v", r)
		}
		a.response = r.Response
	}
	return a
}

func apply(t *testing.T, raw, patch []byte) []byte {
	t.Helper()
	p, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		t.Fatalf("%v: %s", err, patch)
	}
	out, err := p.Apply(raw)
	if err != nil {
		t.Fatalf("%v: %s", err, patch)
	}
	return out
}

// TestHandlerPatches: the patch makes of the pod that was sent what Inject makes of
// it, keeps fields that we do not know, and injecting again patches nothing.
func TestHandlerPatches(t *testing.T) {
	in := newInjector(t, Settings{})
	text, raw := review(t, plainPod, nil)
	a := post(t, in, "/inject/cluster/c--slash--1/net/west-1", text)
	if a.response == nil || !a.response.Allowed || *a.response.PatchType != admission.PatchTypeJSONPatch {
		t.Fatalf("%+v", a)
	}
	patched := apply(t, raw, a.response.Patch)
	var got, sent corev1.Pod
	for text, to := range map[*corev1.Pod][]byte{&got: patched, &sent: raw} {
		if err := json.Unmarshal(to, text); err != nil {
			t.Fatal(err)
		}
	}
	want, err := in.Inject(Request{
		Pod: &sent, Namespace: Namespace{Name: "app", Annotations: map[string]string{AnnotationProxy: "envoy"}},
		Env: map[string]string{"ISTIO_META_CLUSTER_ID": "c/1", "ISTIO_META_NETWORK": "west-1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.Pod, &got); d != "" {
		t.Errorf("Inject and the patch differ:\n%s", d)
	}
	if n := strings.Count(string(patched), `"futureField"`); n != 2 {
		t.Errorf("%d of 2 unknown fields are kept", n)
	}
	proxy := findProxy(&got)
	if variable(proxy, "ISTIO_META_CLUSTER_ID") != "c/1" || got.Labels["topology.istio.io/network"] != "west-1" || proxy.Args[0] != "agent" {
		t.Errorf("URL or namespace have no effect: %v", proxy)
	}
	o := a.outcomes[0]
	if len(a.outcomes) != 1 || !o.Decision.Inject || o.Pod.Name != "hello-*" || o.Pod.Namespace != "app" {
		t.Errorf("reported %+v", a.outcomes)
	}
	text, _ = review(t, string(patched), nil)
	if again := post(t, in, "/inject/cluster/c--slash--1/net/west-1", text); string(again.response.Patch) != "[]" {
		t.Errorf("the second patch is %s", again.response.Patch)
	}
}

// TestHandlerAnswers: denied, let pass, or failed, so that failurePolicy decides.
func TestHandlerAnswers(t *testing.T) {
	broken, err := ParseConfig([]byte(`{templates: {broken: "{{ .Nothing }}"}, defaultTemplates: [broken]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		in      *Injector
		path    string
		pod     string
		change  func(*admission.AdmissionReview)
		code    int
		want    string
		allowed bool
	}{
		{name: "invalid annotation", pod: `{metadata: {annotations: {sidecar.istio.io/proxyCPU: x}}}`, code: 200, want: `sidecar injection: annotation sidecar.istio.io/proxyCPU: "x" is not a quantity such as 100m or 128Mi`},
		{name: "refused", pod: `{metadata: {labels: {sidecar.istio.io/inject: "false"}}}`, code: 200, allowed: true},
		{name: "warned", pod: `{metadata: {annotations: {sidecar.istio.io/proxyCpu: x}}}`, code: 200, allowed: true, want: "metadata.annotations[sidecar.istio.io/proxyCpu]: pods have no annotation of this name"},
		{name: "broken template", in: newInjector(t, Settings{Config: broken}), code: 500, want: "template broken: "},
		{name: "other kind", change: func(r *admission.AdmissionReview) { r.Request.Kind.Kind = "Job" }, code: 400, want: "only pods are injected"},
		{name: "old version", change: func(r *admission.AdmissionReview) { r.APIVersion = "admission.k8s.io/v1beta1" }, code: 400, want: "not a request of an AdmissionReview"},
		{name: "no request", change: func(r *admission.AdmissionReview) { r.Request = nil }, code: 400, want: "not a request"},
		{name: "no pod", change: func(r *admission.AdmissionReview) { r.Request.Object.Raw = []byte(`"x"`) }, code: 400, want: "reading the pod"},
		{name: "path", path: "/inject/cluster", code: 400, want: "a name without a value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.in == nil {
				c.in = newInjector(t, Settings{})
			}
			if c.pod == "" {
				c.pod = plainPod
			}
			if c.path == "" {
				c.path = "/inject"
			}
			text, _ := review(t, c.pod, c.change)
			a := post(t, c.in, c.path, text)
			if a.code != c.code || !strings.Contains(a.body, jsonText(t, c.want)) {
				t.Errorf("got %d %s", a.code, a.body)
			}
			if a.response != nil && a.response.Allowed != c.allowed {
				t.Errorf("allowed: %t", a.response.Allowed)
			}
		})
	}
	text, _ := review(t, plainPod, nil)
	if a := post(t, nil, "/inject", text); a.code != http.StatusServiceUnavailable {
		t.Errorf("without an injector: %+v", a)
	}
	w := httptest.NewRecorder()
	Handler(Deps{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/inject", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
	w = httptest.NewRecorder()
	Handler(Deps{}).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/inject", io.MultiReader(strings.NewReader("{"), failing{})))
	if w.Code != http.StatusBadRequest {
		t.Errorf("a body that ends early: %d", w.Code)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("gone") }

// jsonText is text as it stands in a JSON string, without the quotes.
func jsonText(t *testing.T, text string) string {
	t.Helper()
	b, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(string(b), `"`)
}

func newInjector(t testing.TB, s Settings) *Injector {
	t.Helper()
	in, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func podOf(t testing.TB, text string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	if err := yaml.Unmarshal([]byte(text), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}
