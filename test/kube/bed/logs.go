package bed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// LogsOnFailure prints, if the test fails, what helps to understand it: the pods
// of the namespaces, events, and the ends of the logs of all containers.
func (b *Bed) LogsOnFailure(t testing.TB, namespaces ...string) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, ns := range namespaces {
			t.Logf("namespace %s:\n%s", ns, b.describePods(ns))
			names, err := b.TryKubectl("get", "pods", "-n", ns, "-o", "name")
			if err != nil {
				t.Logf("pods of %s: %v", ns, err)
				continue
			}
			for _, pod := range strings.Fields(names) {
				out, err := b.TryKubectl("logs", "-n", ns, pod, "--all-containers", "--prefix", "--tail=25")
				t.Logf("logs of %s: %v\n%s", pod, err, clip(out, 6000))
			}
		}
	})
}

// ComponentLogsOnFailure prints the ends of the logs of Kubernetes' components.
func (b *Bed) ComponentLogsOnFailure(t testing.TB, names ...string) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, n := range names {
			text, err := os.ReadFile(filepath.Join(b.Cluster.Logs(), n+".log"))
			t.Logf("%s: %v\n%s", n, err, clip(string(text), 4000))
		}
	})
}

// describePods lists pods and the last warnings.
func (b *Bed) describePods(namespace string) string {
	pods, err := b.TryKubectl("get", "pods", "-n", namespace, "-o", "wide")
	if err != nil {
		pods = err.Error()
	}
	events, err := b.TryKubectl("get", "events", "-n", namespace, "--field-selector=type=Warning", "--sort-by=.lastTimestamp",
		"-o", "custom-columns=OBJECT:.involvedObject.name,REASON:.reason,MESSAGE:.message")
	if err != nil {
		events = err.Error()
	}
	return pods + clip(events, 4000)
}

// clip keeps the last n bytes.
func clip(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}
