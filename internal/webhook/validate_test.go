package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	admission "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

const good = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews}}]}]
`

func raw(t testing.TB, text string) runtime.RawExtension {
	t.Helper()
	if text == "" {
		return runtime.RawExtension{}
	}
	j, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return runtime.RawExtension{Raw: j}
}

func ask(t *testing.T, h http.Handler, r *admission.AdmissionRequest) *admission.AdmissionResponse {
	t.Helper()
	r.UID = "u1"
	body, err := json.Marshal(admission.AdmissionReview{TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: r})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/validate", bytes.NewReader(body)))
	var out admission.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v: %s", w.Code, err, w.Body)
	}
	if out.APIVersion != "admission.k8s.io/v1" || out.Kind != "AdmissionReview" || out.Response == nil || out.Response.UID != "u1" {
		t.Fatalf("not an answer: %s", w.Body)
	}
	return out.Response
}

func TestValidation(t *testing.T) {
	bad := strings.Replace(good, "hosts: [reviews]", `hosts: ["re views"]`, 1)
	unknown := strings.Replace(good, "route:", "rout:", 1)
	labelled := strings.Replace(bad, "metadata: {", "metadata: {labels: {a: b}, ", 1)
	deleted := strings.Replace(bad, "metadata: {", "metadata: {deletionTimestamp: '2026-01-01T00:00:00Z', ", 1)
	dubious := `
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vms, namespace: default}
spec: {template: {}}
`
	for name, c := range map[string]struct {
		op       admission.Operation
		sub      string
		old, now string
		allowed  bool
		message  string // part of the message, or of a warning where allowed
	}{
		"a good one":                    {op: admission.Create, now: good, allowed: true},
		"a bad one":                     {op: admission.Create, now: bad, message: "spec.hosts"},
		"an unknown field":              {op: admission.Create, now: unknown, message: `unknown field`},
		"made bad":                      {op: admission.Update, old: good, now: bad, message: "spec.hosts"},
		"bad before, another label":     {op: admission.Update, old: bad, now: labelled, allowed: true, message: "spec.hosts"},
		"bad and being deleted":         {op: admission.Update, old: bad, now: deleted, allowed: true},
		"a deletion":                    {op: admission.Delete, old: bad, allowed: true},
		"a status":                      {op: admission.Update, sub: "status", old: bad, now: bad, allowed: true},
		"what Lateen does not act upon": {op: admission.Create, now: dubious, allowed: true, message: "not acted on yet"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(c.message, "not acted on yet") {
				if _, w, _ := Judge(raw(t, c.now).Raw, ""); len(w) == 0 {
					t.Skip("the kind acts now")
				}
			}
			r := ask(t, NewValidation(Validation{}), &admission.AdmissionRequest{
				Operation: c.op, SubResource: c.sub, Namespace: "default", Object: raw(t, c.now), OldObject: raw(t, c.old),
			})
			if r.Allowed != c.allowed {
				t.Fatalf("allowed %v: %+v", r.Allowed, r.Result)
			}
			said := strings.Join(r.Warnings, "\n")
			if !c.allowed {
				said = r.Result.Message
				if r.Result.Code != http.StatusUnprocessableEntity {
					t.Errorf("code %d", r.Result.Code)
				}
			}
			if !strings.Contains(said, c.message) {
				t.Errorf("said %q, want %q", said, c.message)
			}
		})
	}
}

func TestNotAReview(t *testing.T) {
	for _, body := range []string{"", "{}", `{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{}}`, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`} {
		w := httptest.NewRecorder()
		NewValidation(Validation{}).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/validate", strings.NewReader(body)))
		if w.Code != http.StatusBadRequest {
			t.Errorf("%q: %d", body, w.Code)
		}
	}
}

func TestWarningsAreBounded(t *testing.T) {
	var list []string
	for i := range 100 {
		list = append(list, fmt.Sprint(i, strings.Repeat("é", 300)))
	}
	size := 0
	out := bounded(list)
	for _, w := range out {
		size += len(w)
		if len(w) > 256 || !utf8.ValidString(w) {
			t.Errorf("%d bytes: %q", len(w), w)
		}
	}
	if size > 4096 || !strings.HasPrefix(out[len(out)-1], "and ") {
		t.Errorf("%d bytes in %d warnings, the last is %q", size, len(out), out[len(out)-1])
	}
}

// FuzzReview: no body crashes the webhook, and every review is answered.
func FuzzReview(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE","object":` + string(raw(f, good).Raw) + `}}`))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"operation":"UPDATE","object":null,"oldObject":[]}}`))
	h := NewValidation(Validation{})
	f.Fuzz(func(t *testing.T, body []byte) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/validate", bytes.NewReader(body)))
		if w.Code == http.StatusOK && !json.Valid(w.Body.Bytes()) || w.Code >= 500 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
