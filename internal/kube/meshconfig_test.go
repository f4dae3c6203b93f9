package kube

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	meshconfig "istio.io/api/mesh/v1alpha1"
)

func TestParseMesh(t *testing.T) {
	document := func(text string) *Document {
		return &Document{Namespace: "system", Name: "istio", Data: map[string][]byte{"mesh": []byte(text)}}
	}
	for _, c := range []struct {
		name, shared, own string
		want              *meshconfig.MeshConfig
		said, err         string
	}{
		{"nothing", "", "", &meshconfig.MeshConfig{}, "", ""},
		{"own", "", "trustDomain: a.example\nrootNamespace: root", &meshconfig.MeshConfig{TrustDomain: "a.example", RootNamespace: "root"}, "", ""},
		{"over the shared one", "trustDomain: a.example\nrootNamespace: root\ntrustDomainAliases: [one, two]\ndefaultConfig: {discoveryAddress: a, binaryPath: p, proxyMetadata: {A: a, B: b}}",
			"rootNamespace: other\ntrustDomainAliases: [z]\ndefaultConfig: {discoveryAddress: b, proxyMetadata: {B: c}}",
			&meshconfig.MeshConfig{TrustDomain: "a.example", RootNamespace: "other", TrustDomainAliases: []string{"z"},
				DefaultConfig: &meshconfig.ProxyConfig{DiscoveryAddress: "b", BinaryPath: "p", ProxyMetadata: map[string]string{"A": "a", "B": "c"}}}, "", ""},
		{"a field of the future", "", "soon: {x: 1}\n", &meshconfig.MeshConfig{}, "soon", ""},
		{"broken", "", "trustDomain: [", nil, "", "ConfigMap system/istio"},
		{"broken shared", "connectTimeout: 5", "", nil, "", "needs a unit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, statuses, err := parseMesh("system", document(c.shared), document(c.own))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got the error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := proto.CloneOf(c.want)
			overlayDefaults(want)
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
			if (c.said != "") != (len(statuses) > 0) || len(statuses) > 0 && statuses[0].Path != c.said {
				t.Errorf("said: %v", statuses)
			}
		})
	}
}

func overlayDefaults(m *meshconfig.MeshConfig) {
	if m.TrustDomain == "" {
		m.TrustDomain = "cluster.local"
	}
	if m.RootNamespace == "" {
		m.RootNamespace = "system"
	}
}

func TestSelection(t *testing.T) {
	for _, c := range []struct {
		name, selectors  string
		name2            string // of the namespace
		labels           map[string]string
		want, unreadable bool
	}{
		{"no selectors", "", "a", nil, true, false},
		{"a label", "[{matchLabels: {x: w}}]", "a", map[string]string{"x": "w"}, true, false},
		{"another value", "[{matchLabels: {x: w}}]", "a", map[string]string{"x": "z"}, false, false},
		{"any of two", "[{matchLabels: {x: w}}, {matchExpressions: [{key: z, operator: Exists}]}]", "a", map[string]string{"z": ""}, true, false},
		{"both of one", "[{matchLabels: {x: w}, matchExpressions: [{key: z, operator: Exists}]}]", "a", map[string]string{"z": ""}, false, false},
		{"the system namespace", "[{matchLabels: {x: w}}]", "system", nil, true, false},
		{"an empty selector", "[{}]", "a", nil, true, false},
		{"one that cannot be read", "[{matchExpressions: [{key: z, operator: Like}]}]", "a", map[string]string{"z": ""}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, _, err := parseMesh("system", nil, &Document{Data: map[string][]byte{"mesh": []byte("discoverySelectors: " + c.selectors)}})
			if err != nil {
				t.Fatal(err)
			}
			s := selectionOf(m, "system")
			if got := s.takes(c.name2, c.labels); got != c.want || (s.bad != nil) != c.unreadable {
				t.Errorf("takes it: %t, error %v", got, s.bad)
			}
		})
	}
}

// FuzzParseMesh: whatever people write, there is a configuration or an error.
func FuzzParseMesh(f *testing.F) {
	f.Add("trustDomain: a\ndefaultConfig: {concurrency: 2}\n", "discoverySelectors: [{matchLabels: {a: b}}]")
	f.Fuzz(func(t *testing.T, shared, own string) {
		m, _, err := parseMesh("system", &Document{Data: map[string][]byte{"mesh": []byte(shared)}}, &Document{Data: map[string][]byte{"mesh": []byte(own)}})
		if err != nil {
			return
		}
		if m.RootNamespace == "" || m.TrustDomain == "" {
			t.Errorf("%v", m)
		}
		s := selectionOf(m, "system")
		s.takes("a", map[string]string{"a": "b"})
	})
}
