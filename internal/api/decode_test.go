package api_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/api"
)

func decode(t testing.TB, text string) []*api.Object {
	t.Helper()
	objects, err := api.Decode(strings.NewReader(text), "in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

const virtualService = `# a comment
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: reviews
  labels: {app: reviews}
spec:
  hosts:
  - reviews
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    timeout: 1m30s
    fault:
      delay: {fixedDelay: 100ms, percentage: {value: 0.5}}
    retries:
      attempts: 3
      retryRemoteLocalities: no
    route:
    - destination:
        host: reviews
        port: {number: 0x2378}
      weight: 100
`

func TestDecodeIstio(t *testing.T) {
	o := decode(t, virtualService)[0]
	vs, ok := o.Spec.(*networking.VirtualService)
	if !ok {
		t.Fatalf("the spec is a %T", o.Spec)
	}
	if o.Ref().String() != "VirtualService default/reviews" || o.Meta.Labels["app"] != "reviews" || o.Kind.APIVersion() != "networking.istio.io/v1" {
		t.Errorf("meta: %+v", o.Meta)
	}
	r := vs.Http[0]
	if r.Timeout.AsDuration() != 90*time.Second || r.Fault.Delay.GetFixedDelay().AsDuration() != 100*time.Millisecond || r.Fault.Delay.Percentage.Value != 0.5 {
		t.Errorf("durations: %v", r)
	}
	if r.Retries.RetryRemoteLocalities == nil || r.Retries.RetryRemoteLocalities.Value || r.Route[0].Destination.Port.Number != 9080 {
		t.Errorf("values: %v", r)
	}
	for path, line := range map[string]int{
		"":                      2,
		"spec":                  7,
		"spec.hosts[0]":         9,
		"spec.http[0]":          11,
		"spec.http[0].match[0]": 12,
		"spec.http[0].match[0].headers[end-user].exact": 14,
		"spec.http[0].match[0].uri.prefix":              12, // the nearest parent
		"spec.http[0].route[0].weight":                  25,
		"metadata.labels[app]":                          6,
	} {
		if got := o.Source.LineOf(path); got != line {
			t.Errorf("line of %q: %d, want %d", path, got, line)
		}
	}
}

func TestDecodeKubernetes(t *testing.T) {
	objects := decode(t, `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, uid: 0d9, creationTimestamp: "2024-01-01T00:00:00Z", resourceVersion: "7"}
spec:
  ports:
  - {port: 80, name: http}
  - {port: 443, name: https, targetPort: tls, protocol: TCP}
status: {loadBalancer: {}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: web
        resources: {limits: {cpu: 500m, memory: 64Mi}}
        readinessProbe: {httpGet: {port: 80}}
---
# nothing here
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {a: plain}
data: {b: aGVsbG8=}
`)
	if len(objects) != 3 {
		t.Fatalf("%d objects", len(objects))
	}
	svc := objects[0].Spec.(*corev1.Service)
	if p := svc.Spec.Ports; p[0].TargetPort.IntVal != 80 || p[0].Protocol != "TCP" || p[1].TargetPort.StrVal != "tls" || svc.Spec.Type != "ClusterIP" {
		t.Errorf("service: %+v", svc.Spec)
	}
	if objects[0].Meta.Namespace != "shop" || objects[0].Meta.UID != "" || svc.UID != "" || svc.Namespace != "shop" {
		t.Errorf("what the server sets is not dropped: %+v", svc.ObjectMeta)
	}
	d := objects[1].Spec.(*appsv1.Deployment)
	c := d.Spec.Template.Spec.Containers[0]
	if *d.Spec.Replicas != 1 || c.Resources.Limits.Memory().Value() != 64<<20 || c.ReadinessProbe.PeriodSeconds != 10 || c.ReadinessProbe.HTTPGet.Path != "/" {
		t.Errorf("deployment: %+v", d.Spec)
	}
	s := objects[2].Spec.(*corev1.Secret)
	if string(s.Data["a"]) != "plain" || string(s.Data["b"]) != "hello" || s.Type != "Opaque" {
		t.Errorf("secret: %+v", s)
	}
}

func names(objects []*api.Object) string {
	var all []string
	for _, o := range objects {
		all = append(all, o.Ref().String())
	}
	return strings.Join(all, ", ")
}

func TestDecodeForms(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", ""},
		{"comments", "# nothing\n---\n# still nothing\n---\n", ""},
		{"null document", "~\n", ""},
		{"list", "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n", "Namespace a, ConfigMap default/b"},
		{"empty list", "apiVersion: v1\nkind: List\nitems: []\n", ""},
		{"typed list", "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: a}\n", "ConfigMap default/a"},
		{"list in a list", "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Namespace, metadata: {name: a}}]}]}", "Namespace a"},
		{"directive and end", "%YAML 1.1\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n...\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n", "Namespace a, Namespace b"},
		{"content behind the dashes", "--- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n", "Namespace a"},
		{"dashes in a block", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  pem: |\n    ---\n    --- x\n", "ConfigMap default/a"},
		{"windows line ends", "apiVersion: v1\r\nkind: Namespace\r\nmetadata:\r\n  name: a\r\n---\r\napiVersion: v1\r\nkind: Namespace\r\nmetadata:\r\n  name: b\r\n", "Namespace a, Namespace b"},
		{"byte order mark", "\ufeffapiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n", "Namespace a"},
		{"json", `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}`, "Namespace a"},
		{"json in a row", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\"}}\n{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"b\"}}", "Namespace a, Namespace b"},
		{"json with tabs and escapes", "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"a\"},\n\t\"data\": {\"smile\": \"\\ud83d\\ude00 \\/\"}\n}", "ConfigMap default/a"},
		{"flow yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: a}}", "Namespace a"},
		{"anchors and merge keys", "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  labels: &l {app: a}\nspec:\n  selector:\n    <<: *l\n    version: v1\n  ports: [{port: 80}]\n", "Service default/a"},
		{"old versions", strings.ReplaceAll(virtualService, "v1beta1", "v1alpha3"), "VirtualService default/reviews"},
		{"status of a server", strings.Replace(virtualService, "spec:", "status: {conditions: []}\nspec:", 1), "VirtualService default/reviews"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := names(decode(t, c.text)); got != c.want {
				t.Errorf("decoded %q, want %q", got, c.want)
			}
		})
	}
}

// TestDecodeAgreesWithKubectl compares scalars with the conversion that kubectl
// uses.
func TestDecodeAgreesWithKubectl(t *testing.T) {
	for _, scalar := range []string{
		"1", "-7", "+3", "0x1F", "0o17", "017", "0b101", "1_000", "1.5", "1e3", "1.0", ".5", "685_230.15", "18446744073709551615",
		"true", "False", "yes", "off", "Y", "n", "null", "~", "", "'yes'", `"1"`, "2001-01-01", "12:30:45", "abc", "1.2.3", "0xZZ", "=", "<<",
	} {
		t.Run(scalar, func(t *testing.T) {
			doc := "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: a}\nspec: {configPatches: [{patch: {value: {v: " + scalar + "}}}]}\n"
			o := decode(t, doc)[0].Spec.(*networking.EnvoyFilter)
			got, err := protojson.Marshal(o.ConfigPatches[0].Patch.Value)
			if err != nil {
				t.Fatal(err)
			}
			want, err := yaml.YAMLToJSON([]byte("{v: " + scalar + "}"))
			if err != nil {
				t.Fatal(err)
			}
			var g, w map[string]any
			if err := json.Unmarshal(got, &g); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(want, &w); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(w, g); diff != "" {
				t.Errorf("(-kubectl +ours):\n%s", diff)
			}
		})
	}
}

func TestDecodeReportsAll(t *testing.T) {
	_, err := api.Decode(strings.NewReader(strings.Replace(virtualService, "  hosts:", "  host: x\n  hosts:", 1)+
		"---\nfoo: [\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: 5, labels: {a: true}}\n"), "all.yaml")
	want := `all.yaml:8: VirtualService default/reviews: spec.host: unknown field; did you mean "hosts"?
all.yaml:28: syntax error: did not find expected node content
all.yaml:32: Namespace: metadata.labels[a]: expected a string, found the boolean true; put it in quotes
all.yaml:32: Namespace: metadata.name: expected a string, found the number 5; put it in quotes`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	if n := len(api.DecodeErrors(err)); n != 4 {
		t.Errorf("%d errors, want 4", n)
	}
}

// TestMergeKeys: a map's own entries win over merged ones, and earlier sources
// over later ones.
func TestMergeKeys(t *testing.T) {
	o := decode(t, `
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  labels: &first {a: first, b: first}
  annotations: &second {b: second, c: second}
data:
  a: own
  <<: [*first, *second]
`)[0]
	want := map[string]string{"a": "own", "b": "first", "c": "second"}
	if diff := cmp.Diff(want, o.Spec.(*corev1.ConfigMap).Data); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBrokenObjectsAreLeftOut: of a file with mistakes only whole objects come
// out.
func TestBrokenObjectsAreLeftOut(t *testing.T) {
	objects, err := api.Decode(strings.NewReader(`
{apiVersion: v1, kind: ConfigMap, metadata: {name: twice}, data: {a: b, a: c}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: unknown}, dat: {}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: good}}
`), "x")
	if names(objects) != "ConfigMap default/good" || len(api.DecodeErrors(err)) != 2 {
		t.Errorf("objects %q, errors %v", names(objects), err)
	}
}

func TestParseKind(t *testing.T) {
	for in, want := range map[string]string{
		"vs": "VirtualService", "VirtualServices": "VirtualService", "virtualservice.networking.istio.io": "VirtualService",
		"svc": "Service", "deploy": "Deployment", "deployments.apps": "Deployment", "gw": "Gateway", "trafficextension": "TrafficExtension",
	} {
		if k, err := api.ParseKind(in); err != nil || k.Name != want {
			t.Errorf("%s: %v, %v", in, k, err)
		}
	}
	if _, err := api.ParseKind("virtualservce"); err == nil || !strings.Contains(err.Error(), `did you mean "virtualservice"?`) {
		t.Errorf("misspelled kind: %v", err)
	}
	seen := map[string]bool{}
	for _, k := range api.Kinds() {
		if plural := k.Plural + "." + k.Group; seen[k.ID()] || seen[plural] {
			t.Errorf("%s is not unique", k.Name)
		} else {
			seen[k.ID()], seen[plural] = true, true
		}
		if k.New() == nil || len(k.Versions) == 0 {
			t.Errorf("%s is incomplete", k.Name)
		}
	}
}

// sample gives realistic inputs: the project's own samples.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("../../samples/yaml/*/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no samples (%v)", err)
	}
	all := map[string][]byte{}
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all[p] = text
	}
	return all
}

func TestRoundTrip(t *testing.T) {
	inputs := samples(t)
	inputs["virtualservice"] = []byte(virtualService)
	inputs["numbers"] = []byte(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  trafficPolicy:
    retryBudget: {percent: 12.5}
    loadBalancer:
      consistentHash: {ringHash: {minimumRingSize: 1024}, httpCookie: {name: c, ttl: 0s}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: a}
spec: {selector: {matchLabels: {a: b}}, mtls: {}, portLevelMtls: {8080: {mode: DISABLE}}}
`)
	for name, text := range inputs {
		objects, err := api.Decode(bytes.NewReader(text), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, o := range objects {
			checkRoundTrip(t, o)
		}
	}
}

func checkRoundTrip(t testing.TB, o *api.Object) {
	t.Helper()
	for form, encode := range map[string]func(*api.Object) ([]byte, error){"json": api.EncodeJSON, "yaml": api.EncodeYAML} {
		text, err := encode(o)
		if err != nil {
			t.Errorf("%s: %v", o.Ref(), err)
			continue
		}
		again, err := api.Decode(bytes.NewReader(text), "again")
		if err != nil || len(again) != 1 {
			t.Errorf("%s as %s: %v\n%s", o.Ref(), form, err, text)
			continue
		}
		if !api.SameSpec(o, again[0]) || !reflect.DeepEqual(o.Meta, again[0].Meta) {
			t.Errorf("%s as %s is another object:\n%s", o.Ref(), form, text)
		}
	}
}

func TestEncodeYAML(t *testing.T) {
	o := *decode(t, virtualService)[0]
	o.Meta.UID, o.Meta.Generation, o.Meta.Version, o.Meta.Created = "u", 2, 7, time.Date(2024, 5, 6, 7, 8, 9, 1, time.UTC).UnixNano()
	got, err := api.EncodeYAML(&o)
	if err != nil {
		t.Fatal(err)
	}
	want := `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  creationTimestamp: "2024-05-06T07:08:09Z"
  generation: 2
  labels:
    app: reviews
  name: reviews
  namespace: default
  resourceVersion: "7"
  uid: u
spec:
  hosts:
  - reviews
  http:
  - fault:
      delay:
        fixedDelay: 100ms
        percentage:
          value: 0.5
    match:
    - headers:
        end-user:
          exact: jason
    retries:
      attempts: 3
      retryRemoteLocalities: false
    route:
    - destination:
        host: reviews
        port:
          number: 9080
      weight: 100
    timeout: 1m30s
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAgreesWithProtojson: what is decoded equals what protojson decodes, for
// documents that it understands.
func TestAgreesWithProtojson(t *testing.T) {
	text := `{"selector":{"matchLabels":{"a":"b"}},"mtls":{"mode":"STRICT"},"portLevelMtls":{"80":{"mode":"DISABLE"},"81":{}}}`
	o := decode(t, `{"apiVersion":"security.istio.io/v1","kind":"PeerAuthentication","metadata":{"name":"a"},"spec":`+text+`}`)[0]
	var want security.PeerAuthentication
	if err := protojson.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(o.Spec.(proto.Message), &want) {
		t.Errorf("got %v, want %v", o.Spec, &want)
	}
}

func FuzzDecode(f *testing.F) {
	for _, text := range samples(f) {
		f.Add(text)
	}
	broken, err := filepath.Glob("../controlplane/configapi/testdata/broken/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range broken {
		text, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(virtualService))
	f.Fuzz(func(t *testing.T, text []byte) {
		objects, err := api.Decode(bytes.NewReader(text), "fuzz")
		if err != nil && len(api.DecodeErrors(err)) == 0 {
			t.Fatalf("an error without a place: %v", err)
		}
		lines := 1
		for _, br := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // YAML's line breaks
			lines += bytes.Count(text, []byte(br))
		}
		for _, e := range api.DecodeErrors(err) {
			if e.Line < 0 || e.Line > lines {
				t.Errorf("line %d of %d: %v", e.Line, lines, e)
			}
		}
		for _, o := range objects {
			checkRoundTrip(t, o)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	text := samples(b)["../../samples/yaml/bookinfo/bookinfo.yaml"]
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := api.Decode(bytes.NewReader(text), "bookinfo.yaml"); err != nil {
			b.Fatal(err)
		}
	}
}
