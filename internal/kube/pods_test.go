package kube

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/registry"
)

// comparable lets cmp compare addresses.
var comparable = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})

// runningPod is a ready pod of a Deployment.
func runningPod(namespace, name, ip string) *corev1.Pod {
	yes := true
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, Labels: map[string]string{"app": "a", "pod-template-hash": "7d4b9"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "a-v1-7d4b9", Controller: &yes}},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: "a", NodeName: "node1",
			Containers: []corev1.Container{{Name: "a", Image: "a", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
}

func TestPodOf(t *testing.T) {
	yes, always := true, corev1.ContainerRestartPolicyAlways
	for _, c := range []struct {
		name   string
		change func(*corev1.Pod)
		want   func(*pod) // changes what the plain pod gives; nil: it is not held
	}{
		{"plain", func(p *corev1.Pod) {}, func(p *pod) {}},
		{"no address yet", func(p *corev1.Pod) { p.Status.PodIP, p.Status.PodIPs = "", nil }, nil},
		{"the old field", func(p *corev1.Pod) { p.Status.PodIPs = nil }, func(p *pod) {}},
		{"ended well", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, nil},
		{"failed", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, nil},
		{"not ready", func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }, func(p *pod) { p.workload.Ready = false }},
		{"no condition", func(p *corev1.Pod) { p.Status.Conditions = nil }, func(p *pod) { p.workload.Ready = false }},
		{"being deleted", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }, func(p *pod) { p.workload.Ready = false }},
		{"two families", func(p *corev1.Pod) { p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: "fd00::1"}) },
			func(p *pod) { p.others = []netip.Addr{netip.MustParseAddr("fd00::1")} }},
		{"host network", func(p *corev1.Pod) { p.Spec.HostNetwork = true }, func(p *pod) { p.hostNetwork = true }},
		{"the label of the mesh", func(p *corev1.Pod) { p.Labels["security.istio.io/tlsMode"] = "istio" },
			func(p *pod) { p.workload.Proxied, p.workload.Labels["security.istio.io/tlsMode"] = true, "istio" }},
		{"the mark of the injector", func(p *corev1.Pod) { p.Annotations = map[string]string{"sidecar.istio.io/status": "{}"} }, func(p *pod) { p.workload.Proxied = true }},
		{"the label says no", func(p *corev1.Pod) {
			p.Labels["security.istio.io/tlsMode"] = "disabled"
			p.Annotations = map[string]string{"sidecar.istio.io/status": "{}"}
		}, func(p *pod) { p.workload.Labels["security.istio.io/tlsMode"] = "disabled" }},
		{"annotations", func(p *corev1.Pod) {
			p.Annotations = map[string]string{"traffic.sidecar.istio.io/excludeOutboundPorts": "1", "lateen.dev/proxy": "envoy", "example.com/x": "y", "plain": "z"}
		}, func(p *pod) {
			p.workload.Annotations = map[string]string{"traffic.sidecar.istio.io/excludeOutboundPorts": "1", "lateen.dev/proxy": "envoy"}
		}},
		{"a native sidecar's port", func(p *corev1.Pod) {
			port := []corev1.ContainerPort{{Name: "m", ContainerPort: 9090}}
			p.Spec.InitContainers = []corev1.Container{{Ports: port}, {Ports: port, RestartPolicy: &always}}
		}, func(p *pod) { p.workload.Ports = append(p.workload.Ports, registry.Port{Name: "m", Number: 9090}) }},
		{"locality by label", func(p *corev1.Pod) { p.Labels["istio-locality"] = "r.z.s" }, func(p *pod) {
			p.workload.Locality, p.workload.Labels["istio-locality"] = registry.Locality{Region: "r", Zone: "z", Subzone: "s"}, "r.z.s"
		}},
		{"locality by the newer annotation", func(p *corev1.Pod) { p.Annotations = map[string]string{"topology.istio.io/locality": "r/z.1"} }, func(p *pod) {
			p.workload.Locality, p.workload.Annotations = registry.Locality{Region: "r", Zone: "z.1"}, map[string]string{"topology.istio.io/locality": "r/z.1"}
		}},
		{"no owner", func(p *corev1.Pod) { p.OwnerReferences = nil }, func(p *pod) { p.workload.Owner, p.workload.OwnerKind = "a-1", "Pod" }},
		{"a ReplicaSet of its own", func(p *corev1.Pod) { p.OwnerReferences[0].Name = "a-v1" }, func(p *pod) { p.workload.Owner, p.workload.OwnerKind = "a-v1", "ReplicaSet" }},
		{"a StatefulSet", func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: "db", Controller: &yes}}
		}, func(p *pod) { p.workload.Owner, p.workload.OwnerKind = "db", "StatefulSet" }},
		{"a CronJob", func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: "night-28500000", Controller: &yes}}
		}, func(p *pod) { p.workload.Owner, p.workload.OwnerKind = "night", "CronJob" }},
		{"a Job", func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: "load-12345678", Controller: &yes}}
		}, func(p *pod) { p.workload.Owner, p.workload.OwnerKind = "load-12345678", "Job" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := runningPod("n", "a-1", "10.1.0.1")
			c.change(in)
			stripPod(in) // what is dropped early is not missed
			got, ok := podOf(in)
			if ok != (c.want != nil) {
				t.Fatalf("held: %t", ok)
			}
			if c.want == nil {
				return
			}
			want := &pod{workload: registry.Workload{
				Name: "a-1", Namespace: "n", Owner: "a-v1", OwnerKind: "Deployment", ServiceAccount: "a", Node: "node1", Ready: true,
				Labels: map[string]string{"app": "a", "pod-template-hash": "7d4b9"}, Addr: netip.MustParseAddr("10.1.0.1"),
				Ports: []registry.Port{{Name: "http", Number: 8080, Protocol: "TCP"}},
			}, others: []netip.Addr{}}
			c.want(want)
			if diff := cmp.Diff(want, got, comparable, cmp.AllowUnexported(pod{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
