package inject

import (
	"fmt"
	"os"
	"testing"

	admission "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// webhooks are the configurations of testdata/webhooks.yaml: revision "default" with
// enableNamespacesByDefault, revision "canary", and its tag "prod".
func webhooks(t *testing.T) []admission.MutatingWebhookConfiguration {
	t.Helper()
	text, err := os.ReadFile("testdata/webhooks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var list admission.MutatingWebhookConfigurationList
	if err := yaml.UnmarshalStrict(text, &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// TestSelection compares the policy matrix with what the API server makes of the
// selectors of the webhooks, over all combinations of labels.
func TestSelection(t *testing.T) {
	hooks := webhooks(t)
	selections := map[string]Selection{
		"istio-sidecar-injector":        {Revisions: []string{"default"}, ByDefault: true},
		"istio-sidecar-injector-canary": {Revisions: []string{"canary"}},
		"istio-revision-tag-prod":       {Revisions: []string{"prod"}},
	}
	absent := "-"
	count := map[bool]int{}
	for _, name := range []string{"app", "kube-system"} {
		for _, injection := range []string{absent, "enabled", "disabled", "other", ""} {
			for _, nsRev := range []string{absent, "default", "canary", "prod", ""} {
				for _, podInject := range []string{absent, "true", "false", "other", ""} {
					for _, podRev := range []string{absent, "default", "canary", "prod"} {
						ns, pod := Namespace{Name: name, Labels: map[string]string{}}, map[string]string{}
						for _, l := range []struct {
							m    map[string]string
							k, v string
						}{{ns.Labels, "istio-injection", injection}, {ns.Labels, "istio.io/rev", nsRev}, {pod, "sidecar.istio.io/inject", podInject}, {pod, "istio.io/rev", podRev}} {
							if l.v != absent {
								l.m[l.k] = l.v
							}
						}
						matches, err := MatchWebhooks(hooks, ns, pod)
						if err != nil {
							t.Fatal(err)
						}
						if len(matches) != len(selections) {
							t.Fatalf("%d matches", len(matches))
						}
						for _, m := range matches {
							d := selections[m.Webhook].Of(ns, pod)
							count[d.Inject]++
							if d.Inject != m.Injected || d.Message == "" || m.Reason == "" {
								t.Errorf("namespace %v, pod %v: the matrix says %t (%s), the webhooks %s say %t (%s)", ns, pod, d.Inject, d.Message, m.Webhook, m.Injected, m.Reason)
							}
						}
					}
				}
			}
		}
	}
	if count[true] < 100 || count[false] < 100 {
		t.Errorf("a poor table: %v", count)
	}
}

// TestMatchReasons: what check-inject says.
func TestMatchReasons(t *testing.T) {
	for _, c := range []struct {
		ns, pod map[string]string
		webhook string
		want    string
	}{
		{map[string]string{"istio-injection": "enabled"}, nil, "istio-sidecar-injector", "true: Namespace label istio-injection=enabled matches"},
		{map[string]string{"istio-injection": "enabled"}, nil, "istio-sidecar-injector-canary", "false: Namespace label istio-injection=enabled prevents injection"},
		{map[string]string{"istio-injection": "disabled"}, nil, "istio-sidecar-injector", "false: Namespace label istio-injection=disabled prevents injection"},
		{map[string]string{"istio-injection": "enabled"}, map[string]string{"sidecar.istio.io/inject": "false"}, "istio-sidecar-injector", "false: Pod label sidecar.istio.io/inject=false prevents injection"},
		{map[string]string{"istio.io/rev": "canary"}, nil, "istio-sidecar-injector-canary", "true: Namespace label istio.io/rev=canary matches"},
		{map[string]string{"istio.io/rev": "prod"}, nil, "istio-revision-tag-prod", "true: Namespace label istio.io/rev=prod matches"},
		{nil, map[string]string{"istio.io/rev": "canary"}, "istio-sidecar-injector-canary", "true: Pod label istio.io/rev=canary matches"},
		{nil, map[string]string{"sidecar.istio.io/inject": "true"}, "istio-sidecar-injector", "true: Pod label sidecar.istio.io/inject=true matches"},
		{nil, nil, "istio-sidecar-injector", "true: Automatic injection is enabled for namespaces and pods without labels of their own"},
		{nil, nil, "istio-sidecar-injector-canary", "false: No matching namespace labels (istio.io/rev=canary) or pod labels (istio.io/rev=canary)"},
	} {
		matches, err := MatchWebhooks(webhooks(t), Namespace{Name: "app", Labels: c.ns}, c.pod)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range matches {
			if m.Webhook != c.webhook {
				continue
			}
			if got := fmt.Sprintf("%t: %s", m.Injected, m.Reason); got != c.want {
				t.Errorf("%s, namespace %v, pod %v: got %q, want %q", c.webhook, c.ns, c.pod, got, c.want)
			}
		}
	}
}

// TestDecide: what the pod itself and the configuration say, in their order.
func TestDecide(t *testing.T) {
	selector := func(k, v string) []metav1.LabelSelector {
		return []metav1.LabelSelector{{MatchLabels: map[string]string{k: v}}, {}} // an empty one selects nothing
	}
	annotated := func(v string) map[string]string { return map[string]string{"sidecar.istio.io/inject": v} }
	for _, c := range []struct {
		name                string
		namespace           string
		labels, annotations map[string]string
		host                bool
		policy              Policy
		never, always       []metav1.LabelSelector
		want                Reason
		inject              bool
	}{
		{name: "nothing said", want: ReasonPolicy, inject: true},
		{name: "nothing said, disabled", policy: PolicyDisabled, want: ReasonPolicy},
		{name: "label", labels: annotated("true"), policy: PolicyDisabled, want: ReasonPodLabel, inject: true},
		{name: "label in other words", labels: annotated("Yes"), policy: PolicyDisabled, want: ReasonPodLabel, inject: true},
		{name: "label off", labels: annotated("off"), want: ReasonPodLabel},
		{name: "label that is no boolean", labels: annotated("maybe"), want: ReasonPodLabel},
		{name: "empty label", labels: annotated(""), annotations: annotated("false"), want: ReasonPolicy, inject: true},
		{name: "annotation", annotations: annotated("on"), policy: PolicyDisabled, want: ReasonPodAnnotation, inject: true},
		{name: "annotation off", annotations: annotated("n"), want: ReasonPodAnnotation},
		{name: "label over annotation", labels: annotated("false"), annotations: annotated("true"), want: ReasonPodLabel},
		{name: "never", labels: map[string]string{"a": "b"}, never: selector("a", "b"), always: selector("a", "b"), want: ReasonNeverSelector},
		{name: "label over never", labels: map[string]string{"a": "b", "sidecar.istio.io/inject": "true"}, never: selector("a", "b"), want: ReasonPodLabel, inject: true},
		{name: "always", labels: map[string]string{"a": "b"}, always: selector("a", "b"), policy: PolicyDisabled, want: ReasonAlwaysSelector, inject: true},
		{name: "always does not match", labels: map[string]string{"a": "c"}, always: selector("a", "b"), policy: PolicyDisabled, want: ReasonPolicy},
		{name: "host network over label", labels: annotated("true"), host: true, want: ReasonHostNetwork},
		{name: "kube-system over label", namespace: "kube-system", labels: annotated("true"), want: ReasonSystemNamespace},
		{name: "own namespace", namespace: "istio-system", want: ReasonSystemNamespace},
		{name: "a gateway in the own namespace", namespace: "istio-system", labels: annotated("true"), want: ReasonPodLabel, inject: true},
		{name: "the control plane", namespace: "istio-system", labels: map[string]string{"istio": "pilot", "sidecar.istio.io/inject": "true"}, want: ReasonControlPlane},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := &Config{Policy: c.policy, NeverInjectSelector: c.never, AlwaysInjectSelector: c.always}
			in, err := New(Settings{Config: config})
			if err != nil {
				t.Fatal(err)
			}
			d := in.Decide(&metav1.ObjectMeta{Namespace: c.namespace, Labels: c.labels, Annotations: c.annotations}, &corev1.PodSpec{HostNetwork: c.host})
			if d.Inject != c.inject || d.Reason != c.want {
				t.Errorf("got %+v, want %t %s", d, c.inject, c.want)
			}
		})
	}
}

// TestWants is both together: who should have a proxy and has none.
func TestWants(t *testing.T) {
	in, err := New(Settings{Revision: "canary"})
	if err != nil {
		t.Fatal(err)
	}
	ns := func(name, key, value string) Namespace {
		return Namespace{Name: name, Labels: map[string]string{key: value}}
	}
	pod := &corev1.Pod{}
	for _, c := range []struct {
		ns   Namespace
		pod  *corev1.Pod
		want bool
	}{
		{ns("a", "istio.io/rev", "canary"), pod, true},
		{ns("a", "istio.io/rev", "prod"), pod, true},
		{ns("a", "istio.io/rev", "default"), pod, false},
		{ns("a", "istio-injection", "enabled"), pod, false},
		{ns("istio-system", "istio.io/rev", "canary"), pod, false},
		{ns("a", "istio.io/rev", "canary"), &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: true}}, false},
		{ns("a", "istio.io/rev", "canary"), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"sidecar.istio.io/inject": "false"}}}, false},
	} {
		if d := in.Wants(c.ns, c.pod, []string{"prod"}); d.Inject != c.want {
			t.Errorf("%v: got %+v, want %t", c.ns, d, c.want)
		}
	}
}
