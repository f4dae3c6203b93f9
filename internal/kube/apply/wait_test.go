package apply

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestLacks(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a kind that is served", "kind: CustomResourceDefinition\nstatus: {conditions: [{type: Established, status: 'True'}]}", ""},
		{"a kind that is new", "kind: CustomResourceDefinition\nmetadata: {name: x}", "does not serve"},
		{"a kind that is refused", "kind: CustomResourceDefinition\nstatus: {conditions: [{type: Established, status: 'False'}]}", "does not serve"},
		{"another kind", "kind: ConfigMap", ""},
		{"a Deployment unseen", "kind: Deployment\nmetadata: {generation: 2}\nspec: {replicas: 1}\nstatus: {observedGeneration: 1, replicas: 1, updatedReplicas: 1, availableReplicas: 1}", "has not seen"},
		{"a Deployment half way", "kind: Deployment\nmetadata: {generation: 1}\nspec: {replicas: 3}\nstatus: {observedGeneration: 1, replicas: 3, updatedReplicas: 1, availableReplicas: 3}", "1 of 3 pods are of the new version"},
		{"a Deployment with old pods", "kind: Deployment\nmetadata: {generation: 1}\nspec: {replicas: 1}\nstatus: {observedGeneration: 1, replicas: 2, updatedReplicas: 1, availableReplicas: 2}", "still end"},
		{"a Deployment starting", "kind: Deployment\nmetadata: {generation: 1}\nspec: {replicas: 2}\nstatus: {observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 1}", "1 of 2 pods are available"},
		{"a Deployment", "kind: Deployment\nmetadata: {generation: 1}\nspec: {replicas: 2}\nstatus: {observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 2}", ""},
		{"a Deployment of none", "kind: Deployment\nmetadata: {generation: 1}\nspec: {replicas: 0}\nstatus: {observedGeneration: 1}", ""},
		{"a DaemonSet", "kind: DaemonSet\nmetadata: {generation: 1}\nstatus: {observedGeneration: 1, desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 2}", ""},
		{"a DaemonSet starting", "kind: DaemonSet\nmetadata: {generation: 1}\nstatus: {observedGeneration: 1, desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 0}", "0 of 2 pods are available"},
	} {
		// Numbers as the API server's answers have them.
		o := object(t, c.text)
		text, err := o.MarshalJSON()
		if err == nil {
			err = o.UnmarshalJSON(append([]byte(`{"apiVersion":"v1",`), text[1:]...))
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := lacks(o); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestWaitsFor(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"status: {containerStatuses: [{name: app, state: {running: {}}}]}", ""},
		{"status: {containerStatuses: [{name: app, state: {waiting: {reason: ErrImagePull, message: no such image}}}]}", "container app: ErrImagePull: no such image"},
		{"status: {initContainerStatuses: [{name: i, state: {waiting: {reason: CrashLoopBackOff}}}], containerStatuses: [{name: app, state: {waiting: {reason: PodInitializing}}}]}", "container i: CrashLoopBackOff"},
		{"status: {conditions: [{type: PodScheduled, status: 'False', message: no room}]}", "no node: no room"},
		{"{}", ""},
	} {
		if got := waitsFor(object(t, c.text)); got != c.want {
			t.Errorf("%s: %q, want %q", c.text, got, c.want)
		}
	}
}
