package kube

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/kube/bed"
)

func TestMain(m *testing.M) { os.Exit(bed.Main(m)) }

const system = "istio-system"

// install installs the mesh with `lateen install` for one test and uninstalls it
// afterwards. args are further arguments.
func install(t *testing.T, b *bed.Bed, args ...string) {
	t.Helper()
	t.Cleanup(func() { uninstall(t, b) })
	b.LogsOnFailure(t, system)
	began := time.Now()
	b.Lateen(t, append([]string{"install", "-y", "--timeout=2m", "--set", "values.global.hub=lateen", "--set", "values.global.tag=dev"}, args...)...)
	t.Logf("installed in %.1f s", time.Since(began).Seconds())
}

func uninstall(t *testing.T, b *bed.Bed) {
	t.Helper()
	out, err := b.TryLateen("uninstall", "-y", "--purge")
	if err != nil {
		t.Errorf("lateen %v", err)
	}
	t.Log(strings.TrimSpace(out))
	if _, err := b.TryKubectl("delete", "namespace", system, "--ignore-not-found", "--timeout=90s"); err != nil {
		t.Errorf("kubectl %v", err)
	}
}

// bookinfo deploys Bookinfo and its gateway into a namespace with sidecars and
// gives the gateway's base URL once it serves.
func bookinfo(t *testing.T, b *bed.Bed, namespace string, labels ...string) string {
	t.Helper()
	b.Namespace(t, namespace, append([]string{"istio-injection=enabled"}, labels...)...)
	b.Apply(t, namespace, b.Sample(t, "bookinfo/bookinfo.yaml"))
	b.Apply(t, namespace, b.Sample(t, "bookinfo/destination-rule-all.yaml"))
	b.Apply(t, namespace, b.Sample(t, "bookinfo/bookinfo-gateway.yaml"))
	b.Rollout(t, namespace)
	url := "http://" + b.Address(t, system, "istio-ingressgateway")
	b.WaitStatus(t, 30*time.Second, 200, url+"/productpage")
	return url
}

// ready fails unless every pod of the namespace runs with so many containers, all
// of them ready: "2/2" in kubectl's words.
func ready(t *testing.T, b *bed.Bed, namespace string, containers, pods int) {
	t.Helper()
	bed.Eventually(t, 60*time.Second, fmt.Sprintf("%d pods of %d containers", pods, containers), func() error {
		list, err := b.Pods(namespace, "")
		if err != nil {
			return err
		}
		n := 0
		for _, p := range list {
			if p.Deleting {
				continue
			}
			n++
			if p.Ready != containers || p.Want != containers {
				return fmt.Errorf("pod %s is %d/%d", p.Name, p.Ready, p.Want)
			}
		}
		if n != pods {
			return fmt.Errorf("%d pods", n)
		}
		return nil
	})
}

// inventory lists every object of the cluster but those that come and go by
// themselves, so that what an uninstallation leaves can be seen.
func inventory(t *testing.T, b *bed.Bed) map[string]bool {
	t.Helper()
	skip := map[string]bool{"events": true, "events.events.k8s.io": true, "leases.coordination.k8s.io": true, "endpointslices.discovery.k8s.io": true, "endpoints": true, "componentstatuses": true, "ipaddresses.networking.k8s.io": true}
	var kinds []string
	for kind := range strings.FieldsSeq(b.Kubectl(t, "api-resources", "--verbs=list", "-o", "name")) {
		if !skip[kind] {
			kinds = append(kinds, kind)
		}
	}
	found := map[string]bool{}
	out := b.Kubectl(t, "get", strings.Join(kinds, ","), "-A", "--ignore-not-found", "--no-headers", "-o", "custom-columns=K:.kind,NS:.metadata.namespace,N:.metadata.name")
	for line := range strings.Lines(out) {
		found[strings.Join(strings.Fields(line), " ")] = true
	}
	return found
}
