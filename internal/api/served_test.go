package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
)

func TestDecodeServed(t *testing.T) {
	const virtualService = `{"apiVersion":"networking.istio.io/v1","kind":"VirtualService",
"metadata":{"name":"reviews","namespace":"shop","uid":"u-1","generation":7,"resourceVersion":"4711","creationTimestamp":"2026-01-02T03:04:05Z",
 "labels":{"a":"b"},"annotations":{"c":"d"},"managedFields":[{"manager":"kubectl","operation":"Update","apiVersion":"networking.istio.io/v1"}]},
"spec":{"hosts":["reviews"],"http":[{"route":[{"destination":{"host":"reviews"}}],"fromTheFuture":{"deep":[1,2]}}]},
"status":{"whatever":1}}`
	for _, c := range []struct {
		name, text string
		unknown    []string
		err        string
	}{
		{"a newer definition", virtualService, []string{"spec.http[0].fromTheFuture"}, ""},
		{"a wrong type", strings.Replace(virtualService, `"hosts":["reviews"]`, `"hosts":7`, 1), nil, "spec.hosts: expected a list, found"},
		{"an unknown kind", strings.Replace(virtualService, `"kind":"VirtualService"`, `"kind":"Virtual"`, 1), nil, "is not known"},
		{"no JSON", "kind: VirtualService", nil, "expected one object in JSON"},
		{"two", virtualService + virtualService, nil, "expected one object in JSON, found 2"},
		{"a list", `{"apiVersion":"v1","kind":"List","items":[]}`, nil, "expected one object, found 0"},
		{"nothing", "", nil, "expected one object in JSON, found 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := DecodeServed([]byte(c.text))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || got.Object != nil {
					t.Fatalf("got %v, %v, want the error %q", got.Object, err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var unknown []string
			for _, u := range got.Unknown {
				unknown = append(unknown, u.Path)
			}
			if diff := cmp.Diff(c.unknown, unknown); diff != "" {
				t.Errorf("unknown fields: %s", diff)
			}
			want := Meta{
				Namespace: "shop", Name: "reviews", UID: "u-1", Generation: 7, Version: 4711, Created: 1767323045000000000,
				Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"},
			}
			if diff := cmp.Diff(want, got.Object.Meta); diff != "" {
				t.Error(diff)
			}
			if hosts := got.Object.Spec.(*networking.VirtualService).Hosts; len(hosts) != 1 || got.Object.Source.Lines != nil {
				t.Errorf("hosts %v, source %v", hosts, got.Object.Source)
			}
		})
	}
}

func TestDecodeMessage(t *testing.T) {
	m := &meshconfig.MeshConfig{TrustDomain: "kept", RootNamespace: "replaced"}
	unknown, err := DecodeMessage([]byte("rootNamespace: istio-system\nconnectTimeout: 5s\nfromTheFuture: 1\nenableAutoMtls: true\n"), "mesh", m)
	if err != nil {
		t.Fatal(err)
	}
	if m.TrustDomain != "kept" || m.RootNamespace != "istio-system" || m.ConnectTimeout.AsDuration().Seconds() != 5 || !m.EnableAutoMtls.GetValue() {
		t.Errorf("got %v", m)
	}
	if len(unknown) != 1 || unknown[0].Path != "fromTheFuture" || unknown[0].Line != 3 {
		t.Errorf("unknown: %v", unknown)
	}
	for _, bad := range []string{"connectTimeout: 5", "a: [", "rootNamespace: {}", "trustDomain: a\n---\ntrustDomain: b\n", "- a"} {
		if _, err := DecodeMessage([]byte(bad), "mesh", &meshconfig.MeshConfig{}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := DecodeMessage(nil, "mesh", m); err != nil {
		t.Errorf("an empty text: %v", err)
	}
}

// FuzzDecodeServed: whatever bytes come, there is an object or an error.
func FuzzDecodeServed(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"networking.istio.io/v1","kind":"Gateway","metadata":{"name":"g"},"spec":{"servers":[{}]}}`))
	f.Add([]byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"},"spec":{"ports":[{"port":80}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := DecodeServed(data)
		if (err == nil) != (got.Object != nil) {
			t.Errorf("object %v, error %v", got.Object, err)
		}
	})
}
