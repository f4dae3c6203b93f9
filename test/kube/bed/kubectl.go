package bed

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// commandTimeout bounds one kubectl, helm or lateen.
const commandTimeout = 5 * time.Minute

// TryKubectl runs kubectl and returns its output.
func (b *Bed) TryKubectl(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return b.Cluster.Kubectl(ctx, nil, args...)
}

// Kubectl runs kubectl, which must succeed, and returns its output.
func (b *Bed) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := b.TryKubectl(args...)
	if err != nil {
		t.Fatalf("kubectl %v", err)
	}
	return out
}

// Apply runs `kubectl apply -n namespace -f -` with the manifests.
func (b *Bed) Apply(t testing.TB, namespace, manifests string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	if _, err := b.Cluster.Kubectl(ctx, []byte(manifests), "apply", "-n", namespace, "-f", "-"); err != nil {
		t.Fatalf("kubectl %v\n%s", err, manifests)
	}
}

// Helm runs the Helm command line, which must succeed.
func (b *Bed) Helm(t testing.TB, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	out, err := b.Cluster.Helm(ctx, args...)
	if err != nil {
		t.Fatalf("helm %v", err)
	}
	return out
}

// TryLateen runs the lateen that was built for the images, against the cluster.
func (b *Bed) TryLateen(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return b.Cluster.Run(ctx, append([]string{b.Images.Lateen}, args...)...)
}

// Lateen is TryLateen for a command that must succeed.
func (b *Bed) Lateen(t testing.TB, args ...string) string {
	t.Helper()
	out, err := b.TryLateen(args...)
	if err != nil {
		t.Fatalf("lateen %v", err)
	}
	return out
}

// Exec runs a command in a container; target is "deploy/curl" or a pod's name.
func (b *Bed) Exec(namespace, target string, argv ...string) (string, error) {
	return b.TryKubectl(append([]string{"exec", "-n", namespace, target, "--"}, argv...)...)
}

// Namespace makes a namespace with the labels ("key=value") for one test and
// deletes it afterwards.
func (b *Bed) Namespace(t testing.TB, name string, labels ...string) {
	t.Helper()
	b.Kubectl(t, "create", "namespace", name)
	t.Cleanup(func() {
		if _, err := b.TryKubectl("delete", "namespace", name, "--ignore-not-found", "--timeout=90s"); err != nil {
			t.Errorf("deleting namespace %s: %v", name, err)
		}
	})
	// The logs are needed while the pods are there: cleanups run last to first.
	b.LogsOnFailure(t, name)
	if len(labels) > 0 {
		b.Kubectl(t, append([]string{"label", "namespace", name}, labels...)...)
	}
}

// Rollout waits until the named workloads ("deployment/x"), or all deployments of
// the namespace, have all their pods ready.
func (b *Bed) Rollout(t testing.TB, namespace string, names ...string) {
	t.Helper()
	if len(names) == 0 {
		names = strings.Fields(b.Kubectl(t, "get", "deployments", "-n", namespace, "-o", "name"))
	}
	for _, n := range names {
		if _, err := b.TryKubectl("rollout", "status", "-n", namespace, n, "--timeout=120s"); err != nil {
			t.Fatalf("%v\n%s", err, b.describePods(namespace))
		}
	}
}

// Pod is what tests want to know of a pod.
type Pod struct {
	Name     string
	IP       string
	Node     string
	Phase    string
	Ready    int // containers that are ready, native sidecars among them
	Want     int // containers, native sidecars among them
	Restarts map[string]int
	Deleting bool
	Labels   map[string]string
}

// Pods lists pods by label selector.
func (b *Bed) Pods(namespace, selector string) ([]Pod, error) {
	out, err := b.TryKubectl("get", "pods", "-n", namespace, "-l", selector, "-o", "json")
	if err != nil {
		return nil, err
	}
	type status struct {
		Name         string `json:"name"`
		Ready        bool   `json:"ready"`
		RestartCount int    `json:"restartCount"`
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name              string            `json:"name"`
				DeletionTimestamp *time.Time        `json:"deletionTimestamp"`
				Labels            map[string]string `json:"labels"`
			} `json:"metadata"`
			Spec struct {
				NodeName       string     `json:"nodeName"`
				Containers     []struct{} `json:"containers"`
				InitContainers []struct {
					Name          string `json:"name"`
					RestartPolicy string `json:"restartPolicy"`
				} `json:"initContainers"`
			} `json:"spec"`
			Status struct {
				PodIP                 string   `json:"podIP"`
				Phase                 string   `json:"phase"`
				ContainerStatuses     []status `json:"containerStatuses"`
				InitContainerStatuses []status `json:"initContainerStatuses"`
			} `json:"status"`
		} `json:"items"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("pods of %s: %w", namespace, err)
	}
	var pods []Pod
	for _, i := range list.Items {
		p := Pod{
			Name: i.Metadata.Name, IP: i.Status.PodIP, Node: i.Spec.NodeName, Phase: i.Status.Phase, Labels: i.Metadata.Labels,
			Deleting: i.Metadata.DeletionTimestamp != nil, Want: len(i.Spec.Containers), Restarts: map[string]int{},
		}
		sidecars := map[string]bool{}
		for _, c := range i.Spec.InitContainers {
			if c.RestartPolicy == "Always" {
				p.Want++
				sidecars[c.Name] = true
			}
		}
		for _, s := range i.Status.ContainerStatuses {
			p.Restarts[s.Name] = s.RestartCount
			if s.Ready {
				p.Ready++
			}
		}
		for _, s := range i.Status.InitContainerStatuses {
			if p.Restarts[s.Name] = s.RestartCount; s.Ready && sidecars[s.Name] {
				p.Ready++
			}
		}
		pods = append(pods, p)
	}
	return pods, nil
}

// Pod gives the one pod of the selector that is not being deleted.
func (b *Bed) Pod(t testing.TB, namespace, selector string) Pod {
	t.Helper()
	var found Pod
	Eventually(t, time.Minute, "one pod "+selector, func() error {
		pods, err := b.Pods(namespace, selector)
		if err != nil {
			return err
		}
		n := 0
		for _, p := range pods {
			if !p.Deleting {
				found = p
				n++
			}
		}
		if n != 1 {
			return fmt.Errorf("%d pods", n)
		}
		return nil
	})
	return found
}

// Address waits for the address of a Service of type LoadBalancer.
func (b *Bed) Address(t testing.TB, namespace, service string) string {
	t.Helper()
	var ip string
	Eventually(t, 30*time.Second, "an address of service "+service, func() (err error) {
		ip, err = b.TryKubectl("get", "service", "-n", namespace, service, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
		if err == nil && ip == "" {
			err = fmt.Errorf("it has none yet")
		}
		return err
	})
	return ip
}
