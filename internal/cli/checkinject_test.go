package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	admission "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/inject"
)

// injectionTable is a cluster with one pod, in the namespace "app".
type injectionTable struct {
	ns     map[string]string
	pod    corev1.Pod
	config string
	empty  bool
}

func (c injectionTable) Webhooks(context.Context) ([]admission.MutatingWebhookConfiguration, error) {
	if c.empty {
		return nil, nil
	}
	exists := func(key string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpDoesNotExist}
	}
	in := func(op metav1.LabelSelectorOperator, key, value string) metav1.LabelSelectorRequirement {
		return metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}}
	}
	selector := func(r ...metav1.LabelSelectorRequirement) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: r}
	}
	notFalse := in(metav1.LabelSelectorOpNotIn, "sidecar.istio.io/inject", "false")
	var list []admission.MutatingWebhookConfiguration
	for _, rev := range []string{"default", "canary"} {
		w := admission.MutatingWebhookConfiguration{}
		w.Name, w.Labels = "istio-sidecar-injector-"+rev, map[string]string{"istio.io/rev": rev}
		w.Webhooks = []admission.MutatingWebhook{
			{Name: "rev.namespace.sidecar-injector.istio.io", NamespaceSelector: selector(in(metav1.LabelSelectorOpIn, "istio.io/rev", rev), exists("istio-injection")), ObjectSelector: selector(notFalse)},
		}
		if rev == "default" {
			w.Webhooks = append(w.Webhooks, admission.MutatingWebhook{
				Name: "namespace.sidecar-injector.istio.io", NamespaceSelector: selector(in(metav1.LabelSelectorOpIn, "istio-injection", "enabled")), ObjectSelector: selector(notFalse),
			})
		}
		list = append(list, w)
	}
	return list, nil
}

func (c injectionTable) Namespace(_ context.Context, name string) (inject.Namespace, error) {
	if name != "app" {
		return inject.Namespace{}, errors.New("namespace " + name + " not found")
	}
	return inject.Namespace{Name: name, Labels: c.ns}, nil
}

func (c injectionTable) Pod(_ context.Context, namespace, kind, name string) (*corev1.Pod, error) {
	if namespace+" "+kind+" "+name != "app "+c.pod.Annotations["kind"]+" a" {
		return nil, errors.New(kind + " " + namespace + "/" + name + " not found")
	}
	return &c.pod, nil
}

func (c injectionTable) InjectorConfig(context.Context, string) (string, error) { return c.config, nil }

func TestCheckInject(t *testing.T) {
	enabled := map[string]string{"istio-injection": "enabled"}
	const (
		head   = "WEBHOOK                           REVISION    INJECTED    REASON"
		canary = "istio-sidecar-injector-canary     canary      ✘           "
		def    = "istio-sidecar-injector-default    default     "
	)
	pod := func(kind string) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"kind": kind}}}
	}
	host := pod("deployment")
	host.Spec.HostNetwork = true
	for _, c := range []struct {
		name    string
		cluster injectionTable
		flags   checkInjectFlags
		args    []string
		want    []string
		err     string
	}{
		{"pod", injectionTable{ns: enabled, pod: pod("pod")}, checkInjectFlags{}, []string{"a.app"}, []string{head,
			canary + "Namespace label istio-injection=enabled prevents injection", def + "✔           Namespace label istio-injection=enabled matches"}, ""},
		{"host network", injectionTable{ns: enabled, pod: host}, checkInjectFlags{namespace: "app"}, []string{"Deployment/a"}, []string{head,
			canary + "Namespace label istio-injection=enabled prevents injection",
			def + "✘           Namespace label istio-injection=enabled matches, but the pod uses the node's network, where redirection would act on all of the node"}, ""},
		{"never", injectionTable{ns: enabled, config: "neverInjectSelector: [{matchLabels: {app: a}}]"}, checkInjectFlags{namespace: "app", labels: "app=a"}, nil, []string{head,
			canary + "Namespace label istio-injection=enabled prevents injection",
			def + "✘           Namespace label istio-injection=enabled matches, but neverInjectSelector matches the pod's labels"}, ""},
		{"labels", injectionTable{}, checkInjectFlags{namespace: "app", labels: "app=a,version=v1"}, nil, []string{head,
			canary + "No matching namespace labels (istio.io/rev=canary) or pod labels ()",
			def + "✘           No matching namespace labels (istio-injection=enabled, istio.io/rev=default) or pod labels ()"}, ""},
		{"both", injectionTable{}, checkInjectFlags{labels: "a=b"}, []string{"a"}, nil, "name a pod or give its labels with -l, not both"},
		{"no such pod", injectionTable{}, checkInjectFlags{namespace: "app"}, []string{"b"}, nil, "pod app/b not found"},
		{"no such namespace", injectionTable{}, checkInjectFlags{namespace: "b"}, nil, nil, "namespace b not found"},
		{"nothing installed", injectionTable{empty: true}, checkInjectFlags{namespace: "app"}, nil, nil, "is a control plane installed?"},
		{"broken configuration", injectionTable{ns: enabled, config: "policy: x"}, checkInjectFlags{namespace: "app"}, nil, nil, `policy "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := c.flags.run(t.Context(), &Env{Out: &out}, c.cluster, c.args)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, want := out.String(), strings.Join(c.want, "\n")+"\n"; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
