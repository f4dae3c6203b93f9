package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/kube/bed"
	"github.com/lateen-mesh/lateen/test/kube/cluster"
)

// TestFaults breaks one thing after the other in one mesh, under load, and counts.
// "No failed request" means none: neither at the gateway nor inside the mesh.
func TestFaults(t *testing.T) {
	b := bed.UseFull(t)
	install(t, b)
	f := &faults{b: b, url: bookinfo(t, b, "bookinfo")}
	for _, c := range []struct {
		name string
		run  func(*testing.T, *faults)
	}{
		{"ControlPlaneKilled", controlPlaneKilled},
		{"APIServerAway", apiServerAway},
		{"EtcdRestart", etcdRestart},
		{"RollingRestart", rollingRestart},
		{"SidecarKilled", sidecarKilled},
		{"SidecarOutOfMemory", sidecarOutOfMemory},
		{"JobCompletes", jobCompletes},
		{"WebhookDown", webhookDown},
		{"NodeDrain", nodeDrain},
	} {
		t.Run(c.name, func(t *testing.T) {
			bed.Use(t) // notes the outcome
			b.LogsOnFailure(t, "bookinfo")
			c.run(t, f)
		})
	}
}

// faults is the mesh that they all break.
type faults struct {
	b   *bed.Bed
	url string
}

// page is the load from outside: the product page through the gateway.
func (f *faults) page(rate float64) bed.Load {
	return bed.Load{URL: f.url + "/productpage", Rate: rate, Workers: 32}
}

// inside is a load in the mesh: a pod with a sidecar asks productpage directly,
// which crosses four services.
func (f *faults) inside(t *testing.T, name string, rate float64) *bed.PodLoad {
	t.Helper()
	p := f.b.StartPodLoad(t, "bookinfo", name, bed.Load{URL: "http://productpage:9080/productpage", Rate: rate, Workers: 32}, nil)
	t.Cleanup(func() {
		if _, err := f.b.TryKubectl("delete", "pod", "-n", "bookinfo", name, "--wait=false", "--ignore-not-found"); err != nil {
			t.Error(err)
		}
	})
	return p
}

// component stops one of Kubernetes' components for some time. Whatever happens,
// it runs again when the test ends.
func (f *faults) component(t *testing.T, name string, grace, away time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := f.b.Cluster.Stop(ctx, name, grace); err != nil {
		t.Fatal(err)
	}
	time.Sleep(away)
	if err := f.b.Cluster.Start(ctx, name); err != nil {
		t.Fatal(err)
	}
}

// controlPlaneKilled kills all replicas at once, the hard way. While there is none,
// a sidecar that is killed comes back with the configuration that it kept, and a pod
// that cannot be without the injector waits for it.
func controlPlaneKilled(t *testing.T, f *faults) {
	b := f.b
	outside, inside := b.StartLoad(t, f.page(50)), f.inside(t, "load-control", 50)
	before := inside.Report(t)
	back := func() {
		b.Kubectl(t, "scale", "-n", system, "deployment/istiod", "--replicas=2")
		b.Rollout(t, system)
		b.Kubectl(t, "scale", "-n", system, "deployment/istio-ingressgateway", "--replicas=1")
	}
	t.Cleanup(back) // the next test needs it, whatever became of this one
	b.Kubectl(t, "scale", "-n", system, "deployment/istiod", "--replicas=0")
	b.Kubectl(t, "delete", "pods", "-n", system, "-l", "app=istiod", "--grace-period=0", "--force")
	// The processes die a little after their pods are gone from the API server, and
	// would still tell that the pod below is not ready.
	time.Sleep(5 * time.Second)
	ratings := b.Pod(t, "bookinfo", "app=ratings").Name
	b.Signal(t, "bookinfo", ratings, "istio-proxy", "SIGKILL")
	b.Kubectl(t, "scale", "-n", system, "deployment/istio-ingressgateway", "--replicas=2")
	recovered(t, b, ratings, "ratings")
	b.WaitStatus(t, 20*time.Second, 200, f.url+"/api/v1/products/0/ratings")
	bed.Eventually(t, 20*time.Second, "the second gateway to wait for the injector", func() error {
		out, err := b.TryKubectl("get", "replicasets", "-n", system, "-l", "istio=ingressgateway", "-o", `jsonpath={.items[*].status.conditions[?(@.type=="ReplicaFailure")].reason}`)
		if err == nil && !strings.Contains(out, "FailedCreate") {
			err = fmt.Errorf("no failure to create it: %q", out)
		}
		return err
	})
	back()
	time.Sleep(3 * time.Second)
	outside.Stop(t).NoFailure(t, 500)
	inside.Report(t).Since(before).NoFailure(t, 500)
	// And it works again: a change arrives.
	b.Apply(t, "bookinfo", b.Sample(t, "bookinfo/virtual-service-reviews-v3.yaml"))
	onlyVersion(t, b, bed.Load{URL: f.url + "/productpage", Match: stars}, "red")
	b.Kubectl(t, "delete", "virtualservice", "-n", "bookinfo", "reviews")
}

// apiServerAway takes the API server away for a minute.
func apiServerAway(t *testing.T, f *faults) {
	f.b.ComponentLogsOnFailure(t, cluster.APIServer, cluster.Kubelet)
	outside, inside := f.b.StartLoad(t, f.page(50)), f.inside(t, "load-api", 50)
	before := inside.Report(t)
	f.component(t, cluster.APIServer, 10*time.Second, time.Minute)
	time.Sleep(10 * time.Second)
	outside.Stop(t).NoFailure(t, 3000)
	inside.Report(t).Since(before).NoFailure(t, 3000)
	f.stillConfigurable(t)
}

// etcdRestart kills etcd and starts it again.
func etcdRestart(t *testing.T, f *faults) {
	f.b.ComponentLogsOnFailure(t, cluster.Etcd, cluster.APIServer)
	outside, inside := f.b.StartLoad(t, f.page(50)), f.inside(t, "load-etcd", 50)
	before := inside.Report(t)
	f.component(t, cluster.Etcd, 0, 5*time.Second)
	time.Sleep(10 * time.Second)
	outside.Stop(t).NoFailure(t, 600)
	inside.Report(t).Since(before).NoFailure(t, 600)
	f.stillConfigurable(t)
}

// stillConfigurable applies a route and sees it at work, then removes it.
func (f *faults) stillConfigurable(t *testing.T) {
	t.Helper()
	b := f.b
	bed.Eventually(t, time.Minute, "the API server to accept a change", func() error {
		_, err := b.TryKubectl("get", "deployments", "-n", "bookinfo")
		return err
	})
	b.Apply(t, "bookinfo", b.Sample(t, "bookinfo/virtual-service-reviews-v3.yaml"))
	onlyVersion(t, b, bed.Load{URL: f.url + "/productpage", Match: stars}, "red")
	b.Kubectl(t, "delete", "virtualservice", "-n", "bookinfo", "reviews")
}

// rollingRestart restarts every deployment of Bookinfo again and again.
func rollingRestart(t *testing.T, f *faults) {
	const times = 10
	b := f.b
	names := strings.Fields(b.Kubectl(t, "get", "deployments", "-n", "bookinfo", "-o", "name"))
	outside, inside := b.StartLoad(t, f.page(20)), f.inside(t, "load-restart", 20)
	before := inside.Report(t)
	for range times {
		b.Kubectl(t, append([]string{"rollout", "restart", "-n", "bookinfo"}, names...)...)
		b.Rollout(t, "bookinfo", names...)
	}
	time.Sleep(3 * time.Second)
	outside.Stop(t).NoFailure(t, 500)
	inside.Report(t).Since(before).NoFailure(t, 500)
}

// sidecarKilled kills one sidecar: only its pod suffers, and the sidecar comes back.
func sidecarKilled(t *testing.T, f *faults) {
	b := f.b
	b.Kubectl(t, "scale", "-n", "bookinfo", "deployment/details-v1", "--replicas=2")
	b.Rollout(t, "bookinfo", "deployment/details-v1")
	defer b.Kubectl(t, "scale", "-n", "bookinfo", "deployment/details-v1", "--replicas=1")
	outside := b.StartLoad(t, f.page(50))
	time.Sleep(2 * time.Second)
	pods, err := b.Pods("bookinfo", "app=details")
	if err != nil || len(pods) != 2 {
		t.Fatalf("%d pods of details: %v", len(pods), err)
	}
	b.Signal(t, "bookinfo", pods[0].Name, "istio-proxy", "SIGKILL")
	recovered(t, b, pods[0].Name, "details")
	time.Sleep(3 * time.Second)
	r := outside.Stop(t)
	bed.Note(t, "%s", r)
	// Requests that the killed process had in its hands are lost, as on any machine
	// that dies; the page answers 200 without its details then. More is a fault.
	if r.Failed > 0 || r.Sent < 200 {
		t.Errorf("%s", r)
	}
}

// recovered waits until a pod has a restarted sidecar, is ready, and its
// application was left alone.
func recovered(t *testing.T, b *bed.Bed, name, container string) {
	t.Helper()
	bed.Eventually(t, 60*time.Second, "recovery of "+name, func() error {
		pods, err := b.Pods("bookinfo", "")
		if err != nil {
			return err
		}
		for _, p := range pods {
			switch {
			case p.Name != name:
				for c, n := range p.Restarts {
					if c == "istio-proxy" && n > 0 && !p.Deleting {
						return fmt.Errorf("pod %s was restarted too", p.Name)
					}
				}
			case p.Restarts["istio-proxy"] < 1 || p.Ready != p.Want:
				return fmt.Errorf("%d restarts, %d/%d ready", p.Restarts["istio-proxy"], p.Ready, p.Want)
			case p.Restarts[container] > 0:
				return fmt.Errorf("its application was restarted")
			}
		}
		return nil
	})
}

// hog fills the memory of a container's cgroup ($1 is one of its processes) up to
// 8 MB below a limit of 128 MB, and cannot be killed for it: the kernel takes the
// container's own process.
const hog = `
cg=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' /proc/$1/cgroup)
[ -d "$cg" ] && [ "$cg" != /sys/fs/cgroup/memory ] || cg=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$1/cgroup)
echo -1000 >/proc/self/oom_score_adj
echo $$ >$cg/cgroup.procs
head -c 120M /dev/zero | tail -c 120M | wc -c
`

// sidecarOutOfMemory lets the kernel kill a sidecar for its memory. The rest of
// the mesh does not notice, and the pod recovers.
func sidecarOutOfMemory(t *testing.T, f *faults) {
	b := f.b
	outside := b.StartLoad(t, f.page(50))
	greedy := b.StartPodLoad(t, "bookinfo", "greedy", bed.Load{URL: "http://details:9080/details/0", Rate: 20}, map[string]string{
		"sidecar.istio.io/proxyMemory": "64Mi", "sidecar.istio.io/proxyMemoryLimit": "128Mi",
		"sidecar.istio.io/proxyCPU": "10m", "sidecar.istio.io/proxyCPULimit": "1",
	})
	t.Cleanup(func() { b.TryKubectl("delete", "pod", "-n", "bookinfo", "greedy", "--wait=false") })
	b.OnNode(t, "sh", "-c", hog, "hog", b.Processes(t, "bookinfo", "greedy", "istio-proxy")[0])
	recovered(t, b, "greedy", "load")
	why := b.Kubectl(t, "get", "pod", "-n", "bookinfo", "greedy", "-o",
		`jsonpath={.status.initContainerStatuses[?(@.name=="istio-proxy")].lastState.terminated.reason}{.status.containerStatuses[?(@.name=="istio-proxy")].lastState.terminated.reason}`)
	if why != "OOMKilled" {
		t.Errorf("the sidecar ended for the reason %q, want OOMKilled: the test did something else", why)
	}
	before := greedy.Report(t)
	time.Sleep(3 * time.Second)
	greedy.Report(t).Since(before).NoFailure(t, 30)
	outside.Stop(t).NoFailure(t, 100)
}

const job = `apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {app: once}}
    spec:
      restartPolicy: Never
      containers:
      - name: once
        image: lateen/load:dev
        imagePullPolicy: IfNotPresent
        args: [-url, "http://details:9080/details/0", -duration, 2s, -rate, "20"]
`

// jobCompletes runs a job with a sidecar: its first request succeeds, and it ends.
func jobCompletes(t *testing.T, f *faults) {
	f.b.Apply(t, "bookinfo", job)
	t.Cleanup(func() { f.b.TryKubectl("delete", "job", "-n", "bookinfo", "once", "--wait=false") })
	f.b.Kubectl(t, "wait", "-n", "bookinfo", "job/once", "--for=condition=Complete", "--timeout=60s")
	out := f.b.Kubectl(t, "logs", "-n", "bookinfo", "job/once", "-c", "once")
	bed.Note(t, "the job counted %s", strings.TrimSpace(out))
	if f.b.Kubectl(t, "get", "pods", "-n", "bookinfo", "-l", "app=once", "-o", "jsonpath={.items[0].spec.initContainers[*].name}{.items[0].spec.containers[*].name}") == "once" {
		t.Error("the job's pod has no sidecar: it proves nothing")
	}
}

// webhookDown makes a pod while no control plane answers: it starts all the same,
// without a sidecar, and the mesh says so when it is back.
func webhookDown(t *testing.T, f *faults) {
	b := f.b
	outside := b.StartLoad(t, f.page(50))
	b.Kubectl(t, "scale", "-n", system, "deployment/istiod", "--replicas=0")
	b.Kubectl(t, "wait", "-n", system, "pods", "-l", "app=istiod", "--for=delete", "--timeout=60s")
	b.Kubectl(t, "run", "-n", "bookinfo", "slipped", "--image=lateen/load:dev", "--image-pull-policy=IfNotPresent", "--", "-url", "http://details:9080/details/0")
	t.Cleanup(func() { b.TryKubectl("delete", "pod", "-n", "bookinfo", "slipped", "--wait=false") })
	b.Kubectl(t, "wait", "-n", "bookinfo", "pod/slipped", "--for=condition=Ready", "--timeout=60s")
	if p := b.Pod(t, "bookinfo", "run=slipped"); p.Want != 1 {
		t.Errorf("the pod has %d containers, although nobody could inject it", p.Want)
	}
	b.Kubectl(t, "scale", "-n", system, "deployment/istiod", "--replicas=2")
	b.Rollout(t, system, "deployment/istiod")
	bed.Eventually(t, 60*time.Second, "a warning about the pod without sidecar", func() error {
		out, err := b.TryKubectl("get", "events", "-n", "bookinfo", "--field-selector=type=Warning,involvedObject.name=slipped", "-o", "jsonpath={.items[*].reason}")
		if err == nil && out == "" {
			err = fmt.Errorf("there is no event")
		}
		return err
	})
	outside.Stop(t).NoFailure(t, 500)
}

// nodeDrain moves everything off a node under a thousand requests per second.
func nodeDrain(t *testing.T, f *faults) {
	b := f.b
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if err := b.Cluster.AddNode(ctx, 2); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Cluster.RemoveNode(context.Background(), 2); err != nil {
			t.Error(err)
		}
	})
	// Two of each, so that some run on the new node.
	b.Kubectl(t, "scale", "-n", "bookinfo", "deployment", "--all", "--replicas=2")
	b.Rollout(t, "bookinfo")
	b.Kubectl(t, "rollout", "restart", "-n", "bookinfo", "deployment")
	b.Rollout(t, "bookinfo")
	on2, err := b.TryKubectl("get", "pods", "-n", "bookinfo", "--field-selector=spec.nodeName=node2", "-o", "name")
	if err != nil || len(strings.Fields(on2)) < 3 {
		t.Fatalf("too few pods run on the second node: %q %v", on2, err)
	}
	l := f.page(1000)
	l.URL, l.Workers = f.url+"/api/v1/products", 128
	outside := b.StartLoad(t, l)
	time.Sleep(3 * time.Second)
	b.Kubectl(t, "drain", "node2", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
	time.Sleep(3 * time.Second)
	r := outside.Stop(t)
	r.NoFailure(t, 3000)
	bed.Note(t, "%.0f requests per second were sent", float64(r.Sent)/r.Seconds)
	b.Kubectl(t, "scale", "-n", "bookinfo", "deployment", "--all", "--replicas=1")
}
