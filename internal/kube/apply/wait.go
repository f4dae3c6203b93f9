package apply

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// pollInterval is how often Wait looks.
const pollInterval = 500 * time.Millisecond

// Wait blocks until every object works: a kind is served, a Deployment and a
// DaemonSet run in the version that was applied, other kinds are there. When ctx
// ends first, the error says what it still waited for, and why as far as pods
// tell.
func (c *Cluster) Wait(ctx context.Context, refs []Ref) error {
	for _, ref := range refs {
		for {
			missing, err := c.missing(ctx, ref)
			if err != nil && ctx.Err() == nil {
				return err
			}
			if err == nil && missing == "" {
				break
			}
			if err := pause(ctx); err != nil {
				// A fresh context: the reason is worth one more look.
				last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
				defer cancel()
				return fmt.Errorf("%s is not ready: %s%s: %w", ref, missing, c.podTrouble(last, ref), err)
			}
		}
	}
	return nil
}

// WaitGone blocks until none of the objects is there.
func (c *Cluster) WaitGone(ctx context.Context, refs []Ref) error {
	for _, ref := range refs {
		for {
			o, err := c.Get(ctx, ref)
			if err != nil && ctx.Err() == nil {
				return err
			}
			if err == nil && o == nil {
				break
			}
			if err := pause(ctx); err != nil {
				return fmt.Errorf("%s is still there: %w", ref, err)
			}
		}
	}
	return nil
}

func pause(ctx context.Context) error {
	t := time.NewTimer(pollInterval)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// missing says what an object lacks to be ready, "" if nothing.
func (c *Cluster) missing(ctx context.Context, ref Ref) (string, error) {
	o, err := c.Get(ctx, ref)
	if err != nil {
		return "", err
	}
	if o == nil {
		return "it is not there", nil
	}
	return lacks(o), nil
}

// lacks says what an object lacks to be ready, "" if nothing.
func lacks(o *unstructured.Unstructured) string {
	switch o.GetKind() {
	case "CustomResourceDefinition":
		if !condition(o, "Established") {
			return "the API server does not serve it yet"
		}
	case "Deployment":
		return lacksReplicas(o, "replicas", "updatedReplicas", "availableReplicas")
	case "DaemonSet":
		return lacksReplicas(o, "desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
	}
	return ""
}

// lacksReplicas compares the counts of a workload's status; wanted is a field of
// the status, or of the spec for a Deployment, whose status follows later.
func lacksReplicas(o *unstructured.Unstructured, wanted, updated, available string) string {
	status := func(field string) int64 {
		n, _, _ := unstructured.NestedInt64(o.Object, "status", field) // absent is 0
		return n
	}
	if status("observedGeneration") < o.GetGeneration() {
		return "its controller has not seen it yet"
	}
	want := status(wanted)
	if n, found, _ := unstructured.NestedInt64(o.Object, "spec", wanted); found {
		want = n
		if status(wanted) > n {
			return "pods of the version before still end"
		}
	}
	switch {
	case status(updated) < want:
		return fmt.Sprintf("%d of %d pods are of the new version", status(updated), want)
	case status(available) < want:
		return fmt.Sprintf("%d of %d pods are available", status(available), want)
	}
	return ""
}

func condition(o *unstructured.Unstructured, name string) bool {
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions") // absent: not yet
	for _, v := range all {
		m, _ := v.(map[string]any)
		if m["type"] == name {
			return m["status"] == "True"
		}
	}
	return false
}

// podTrouble says in short why the pods of a workload do not run: what their
// containers wait for. It is for error messages: what cannot be read is left out.
func (c *Cluster) podTrouble(ctx context.Context, ref Ref) string {
	o, err := c.Get(ctx, ref)
	if err != nil || o == nil {
		return ""
	}
	match, _, _ := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
	if len(match) == 0 {
		return ""
	}
	pods, err := c.List(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, ref.Namespace, labels.SelectorFromSet(match).String())
	if err != nil {
		return ""
	}
	var why []string
	for i := range pods {
		if reason := waitsFor(&pods[i]); reason != "" {
			why = append(why, "pod "+pods[i].GetName()+": "+reason)
		}
	}
	if len(why) == 0 {
		return ""
	}
	return " (" + strings.Join(why, "; ") + ")"
}

// waitsFor gives what a pod waits for: the reason of a container that does not
// run, or that the pod has no node.
func waitsFor(pod *unstructured.Unstructured) string {
	for _, field := range []string{"initContainerStatuses", "containerStatuses"} {
		all, _, _ := unstructured.NestedSlice(pod.Object, "status", field) // absent: none yet
		for _, v := range all {
			m, _ := v.(map[string]any)
			waiting, found, _ := unstructured.NestedMap(m, "state", "waiting")
			if !found || waiting["reason"] == "PodInitializing" {
				continue
			}
			return strings.TrimSuffix(fmt.Sprintf("container %v: %v: %v", m["name"], waiting["reason"], waiting["message"]), ": <nil>")
		}
	}
	all, _, _ := unstructured.NestedSlice(pod.Object, "status", "conditions")
	for _, v := range all {
		m, _ := v.(map[string]any)
		if m["type"] == "PodScheduled" && m["status"] == "False" {
			return fmt.Sprintf("no node: %v", m["message"])
		}
	}
	return ""
}
