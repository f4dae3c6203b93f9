package kube

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/kube/bed"
)

// TestRevisionCanary moves a mesh from one control plane to another beside it, pod
// by pod, and takes the old one away, under load: no failed request.
func TestRevisionCanary(t *testing.T) {
	b := bed.UseFull(t)
	install(t, b)
	url := bookinfo(t, b, "bookinfo")
	ready(t, b, "bookinfo", 2, 6)
	follows(t, b, "bookinfo", "istiod-", "istiod-canary-")
	run := b.StartLoad(t, bed.Load{URL: url + "/productpage", Rate: 20, Workers: 32})

	b.Lateen(t, "install", "-y", "--timeout=2m", "--set", "profile=minimal", "--set", "revision=canary", "--set", "values.global.hub=lateen", "--set", "values.global.tag=dev")
	// The tag moves whom the namespace's label means, and the pods move when they start again.
	b.Lateen(t, "tag", "set", "prod", "--revision", "canary", "--overwrite")
	b.Kubectl(t, "label", "namespace", "bookinfo", "istio-injection-", "istio.io/rev=prod")
	restart(t, b, "bookinfo")
	follows(t, b, "bookinfo", "istiod-canary-", "")
	// The gateway follows its own revision.
	b.Kubectl(t, "label", "namespace", system, "istio.io/rev=prod", "--overwrite")
	b.Kubectl(t, "patch", "deployment", "-n", system, "istio-ingressgateway", "-p", `{"spec":{"template":{"metadata":{"labels":{"istio.io/rev":"prod"}}}}}`)
	b.Rollout(t, system, "deployment/istio-ingressgateway")
	follows(t, b, system, "istiod-canary-", "")

	// Without the old control plane the new one serves changes.
	b.Kubectl(t, "scale", "-n", system, "deployment/istiod", "--replicas=0")
	b.Apply(t, "bookinfo", b.Sample(t, "bookinfo/virtual-service-reviews-v3.yaml"))
	onlyVersion(t, b, bed.Load{URL: url + "/productpage", Match: stars}, "red")
	run.Stop(t).NoFailure(t, 500)
}

// TestUpgradeInPlace upgrades an installation of an older state of the project with
// Helm, and goes back, under load. In between proxies of the one state are driven by
// the control plane of the other, both ways, and take changes from it.
func TestUpgradeInPlace(t *testing.T) {
	b := bed.UseFull(t)
	before := b.Earlier(t)
	b.Namespace(t, system)
	charts := func(c string) string { return filepath.Join(before.Source, "charts", c) }
	helmInstall(t, b, "base", charts("base"))
	helmInstall(t, b, "istiod", charts("istiod"), "--set", "global.hub=lateen", "--set", "global.tag="+bed.BeforeTag, "--wait", "--timeout", "2m")
	helmInstall(t, b, "istio-ingressgateway", charts("gateway"), "--set-json", bookinfoPorts, "--wait", "--timeout", "2m")
	url := bookinfo(t, b, "bookinfo")
	ready(t, b, "bookinfo", 2, 6)
	images(t, b, "bookinfo", bed.BeforeTag)
	load := bed.Load{URL: url + "/productpage", Rate: 20, Workers: 32}

	run := b.StartLoad(t, load)
	b.Helm(t, "upgrade", "base", filepath.Join(b.Root, "charts/base"), "-n", system)
	b.Helm(t, "upgrade", "istiod", filepath.Join(b.Root, "charts/istiod"), "-n", system, "--set", "global.hub=lateen", "--set", "global.tag=dev", "--wait", "--timeout", "2m")
	images(t, b, "bookinfo", bed.BeforeTag)
	reroutes(t, b, url)
	run.Stop(t).NoFailure(t, 200)
	bed.Note(t, "the above: proxies of %s with the new control plane", before.Commit)

	run = b.StartLoad(t, load)
	restart(t, b, "bookinfo")
	images(t, b, "bookinfo", "dev")
	b.Kubectl(t, "rollout", "restart", "-n", system, "deployment/istio-ingressgateway")
	b.Rollout(t, system, "deployment/istio-ingressgateway")
	run.Stop(t).NoFailure(t, 200)
	bed.Note(t, "the above: all proxies restarted into the new state")

	run = b.StartLoad(t, load)
	// The control plane has made validation strict since (failurePolicy), which Helm's
	// server-side apply sees as a conflict when it goes back; it does so again.
	b.Helm(t, "rollback", "istiod", "1", "-n", system, "--force-conflicts", "--wait", "--timeout", "2m")
	images(t, b, "bookinfo", "dev")
	reroutes(t, b, url)
	run.Stop(t).NoFailure(t, 200)
	bed.Note(t, "the above: new proxies with the control plane of %s", before.Commit)
}

// bookinfoPorts are the ports that Bookinfo's gateway is written for: the chart's
// default serves port 80 itself, the profile of `lateen install` at 8080.
const bookinfoPorts = `service.ports=[{"name":"status-port","port":15021,"targetPort":15021},{"name":"http2","port":80,"targetPort":8080}]`

// helmInstall installs a chart for one test.
func helmInstall(t *testing.T, b *bed.Bed, release, chart string, args ...string) {
	t.Helper()
	b.Helm(t, append([]string{"install", release, chart, "-n", system}, args...)...)
	t.Cleanup(func() { b.Helm(t, "uninstall", release, "-n", system, "--wait") })
}

// reroutes sends all of reviews to v3 and back, and sees each change act.
func reroutes(t *testing.T, b *bed.Bed, url string) {
	t.Helper()
	b.Apply(t, "bookinfo", b.Sample(t, "bookinfo/virtual-service-reviews-v3.yaml"))
	onlyVersion(t, b, bed.Load{URL: url + "/productpage", Match: stars}, "red")
	b.Apply(t, "bookinfo", b.Sample(t, "bookinfo/virtual-service-all-v1.yaml"))
	onlyVersion(t, b, bed.Load{URL: url + "/productpage", Match: stars}, "no match")
}

// restart replaces all pods of a namespace's deployments.
func restart(t *testing.T, b *bed.Bed, namespace string) {
	t.Helper()
	b.Kubectl(t, "rollout", "restart", "-n", namespace, "deployment")
	b.Rollout(t, namespace)
	bed.Eventually(t, time.Minute, "the old pods to be gone", func() error {
		pods, err := b.Pods(namespace, "")
		for _, p := range pods {
			if p.Deleting {
				return fmt.Errorf("pod %s still ends", p.Name)
			}
		}
		return err
	})
}

// images fails unless the sidecars of a namespace's pods run the tag.
func images(t *testing.T, b *bed.Bed, namespace, tag string) {
	t.Helper()
	out := b.Kubectl(t, "get", "pods", "-n", namespace, "-o", `jsonpath={range .items[*]}{.spec.initContainers[?(@.name=="istio-proxy")].image}{.spec.containers[?(@.name=="istio-proxy")].image}{"\n"}{end}`)
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, ":"+tag) {
			t.Fatalf("a sidecar in %s runs %s, want the tag %s", namespace, line, tag)
		}
	}
}

// follows waits until every proxy of a namespace is connected to a control plane
// whose name begins with want, and none to one that begins with not ("": any).
func follows(t *testing.T, b *bed.Bed, namespace, want, not string) {
	t.Helper()
	bed.Eventually(t, 60*time.Second, "proxies of "+namespace+" at "+want, func() error {
		args := []string{"proxy-status"}
		if strings.Contains(want, "canary") {
			args = append(args, "--revision", "canary")
		}
		out, err := b.TryLateen(args...)
		if err != nil {
			return err
		}
		n := 0
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			if len(f) == 0 || !strings.HasSuffix(f[0], "."+namespace) {
				continue
			}
			n++
			if !strings.Contains(line, " "+want) || not != "" && strings.Contains(line, " "+not) {
				return fmt.Errorf("%s", strings.TrimSpace(line))
			}
		}
		if n == 0 {
			return fmt.Errorf("no proxy of the namespace in:\n%s", out)
		}
		return nil
	})
}
