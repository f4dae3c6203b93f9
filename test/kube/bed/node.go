package bed

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// OnNode runs a program on the first node, with its files, processes and network,
// and returns its output.
func (b *Bed) OnNode(t testing.TB, argv ...string) string {
	t.Helper()
	line, err := b.Cluster.OnNode(argv...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, line[0], line[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("on the node: %s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// container gives the runtime's id of a running container.
func (b *Bed) container(t testing.TB, namespace, pod, container string) string {
	t.Helper()
	out := b.Kubectl(t, "get", "pod", "-n", namespace, pod, "-o",
		fmt.Sprintf(`jsonpath={.status.containerStatuses[?(@.name==%q)].containerID}{.status.initContainerStatuses[?(@.name==%[1]q)].containerID}`, container))
	_, id, ok := strings.Cut(out, "://")
	if !ok {
		t.Fatalf("container %s of pod %s has no id: it does not run", container, pod)
	}
	return id
}

// Signal sends a signal ("SIGKILL") to the first process of a container from the
// node, past the kubelet.
func (b *Bed) Signal(t testing.TB, namespace, pod, container, signal string) {
	t.Helper()
	b.OnNode(t, "ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", signal, b.container(t, namespace, pod, container))
}

// Processes lists the processes of a container, by their numbers on the node.
func (b *Bed) Processes(t testing.TB, namespace, pod, container string) []string {
	t.Helper()
	out := b.OnNode(t, "ctr", "--namespace", "k8s.io", "tasks", "ps", b.container(t, namespace, pod, container))
	var pids []string
	for _, line := range strings.Split(strings.TrimSpace(out), "\n")[1:] { // after the heading
		pids = append(pids, strings.Fields(line)[0])
	}
	return pids
}

// InPod runs a program of the host in a pod's network, with the container's
// process as the way in: images have no programs of that kind.
func (b *Bed) InPod(t testing.TB, namespace, pod, container string, argv ...string) string {
	t.Helper()
	pids := b.Processes(t, namespace, pod, container)
	if len(pids) == 0 {
		t.Fatalf("container %s of pod %s has no process", container, pod)
	}
	return b.OnNode(t, append([]string{"nsenter", "--net", "--target=" + pids[0], "--"}, argv...)...)
}
