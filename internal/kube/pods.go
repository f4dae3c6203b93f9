package kube

import (
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"time"

	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/registry"
)

// pod is what is held of a Pod that has an address and has not ended; immutable.
type pod struct {
	workload    registry.Workload // without Serves; Locality only where the pod says it itself
	hostNetwork bool              // its address is the node's
	others      []netip.Addr      // further addresses, of the other family
}

func (c *Client) podKind() kind[*pod] {
	return of(kind[*pod]{
		name: "pods", expect: &corev1.Pod{}, strip: stripPod,
		keep: func(old *pod, object any) (*pod, bool) {
			in, ok := object.(*corev1.Pod)
			if !ok {
				return nil, false
			}
			now, ok := podOf(in)
			if ok && old != nil {
				now.share(old)
				if reflect.DeepEqual(old, now) {
					return old, true
				}
			}
			return now, ok
		},
		same: func(a, b *pod) bool { return a == b },
	}, c.typed.CoreV1().Pods(metav1.NamespaceAll), "", "")
}

// stripPod drops, while a list streams in, the large parts that podOf does not read.
func stripPod(object any) {
	p, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	stripMeta(p)
	p.Spec.Volumes, p.Spec.Affinity, p.Spec.Tolerations = nil, nil, nil
	p.Status.ContainerStatuses, p.Status.InitContainerStatuses, p.Status.EphemeralContainerStatuses = nil, nil, nil
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			list[i] = corev1.Container{Ports: list[i].Ports, RestartPolicy: list[i].RestartPolicy}
		}
	}
}

// podOf reduces a Pod; ok is false where it is no workload (yet, or any more).
func podOf(in *corev1.Pod) (p *pod, ok bool) {
	addrs := podAddrs(in)
	if len(addrs) == 0 || in.Status.Phase == corev1.PodSucceeded || in.Status.Phase == corev1.PodFailed {
		return nil, false
	}
	w := registry.Workload{
		Name: in.Name, Namespace: in.Namespace, ServiceAccount: in.Spec.ServiceAccountName, Node: in.Spec.NodeName,
		Labels: in.Labels, Annotations: meshAnnotations(in.Annotations), Addr: addrs[0],
		Ports: podPorts(&in.Spec), Ready: in.DeletionTimestamp == nil && podReady(in), Proxied: proxied(in),
		Locality: localityLabel(in.Labels, in.Annotations),
	}
	w.Owner, w.OwnerKind = owner(in)
	return &pod{workload: w, hostNetwork: in.Spec.HostNetwork, others: addrs[1:]}, true
}

// share lets a changed pod hold the unchanged parts of what was held before.
func (p *pod) share(old *pod) {
	if reflect.DeepEqual(p.workload.Labels, old.workload.Labels) {
		p.workload.Labels = old.workload.Labels
	}
}

func podAddrs(in *corev1.Pod) []netip.Addr {
	ips := make([]string, 0, 2)
	for _, ip := range in.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	if len(ips) == 0 && in.Status.PodIP != "" {
		ips = append(ips, in.Status.PodIP)
	}
	var out []netip.Addr
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip); err == nil { // the API server checks their form
			out = append(out, a.Unmap())
		}
	}
	return out
}

func podReady(in *corev1.Pod) bool {
	for i := range in.Status.Conditions {
		if c := &in.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// podPorts lists the declared ports of the containers, native sidecars included.
func podPorts(spec *corev1.PodSpec) []registry.Port {
	var out []registry.Port
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.ContainerPort > 0 && p.ContainerPort <= 65535 {
				out = append(out, registry.Port{Name: p.Name, Number: uint16(p.ContainerPort), Protocol: string(p.Protocol)})
			}
		}
	}
	for i := range spec.Containers {
		add(&spec.Containers[i])
	}
	for i := range spec.InitContainers {
		if r := spec.InitContainers[i].RestartPolicy; r != nil && *r == corev1.ContainerRestartPolicyAlways {
			add(&spec.InitContainers[i])
		}
	}
	return out
}

// proxied tells whether a mesh proxy stands before the pod: the label that the
// injector sets says it, or whoever sets it by hand; else the injector's mark.
func proxied(in *corev1.Pod) bool {
	if mode, ok := in.Labels[label.SecurityTlsMode.Name]; ok {
		return mode == "istio"
	}
	return in.Annotations[annotation.SidecarStatus.Name] != ""
}

// meshAnnotations keeps those that are the mesh's, without the injector's mark,
// which is large and told by proxied.
func meshAnnotations(all map[string]string) map[string]string {
	var out map[string]string
	for k, v := range all {
		if domain, _, ok := strings.Cut(k, "/"); ok && k != annotation.SidecarStatus.Name && (strings.HasSuffix(domain, "istio.io") || strings.HasSuffix(domain, "lateen.dev")) {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = v
		}
	}
	return out
}

// cronRun is the suffix that a CronJob gives its Jobs: the scheduled time, in
// minutes, or in seconds by older versions.
var cronRun = regexp.MustCompile(`-\d{8,10}$`)

// owner names the controller that people know: the Deployment behind a ReplicaSet,
// the CronJob behind a Job. Both are told from names, as Kubernetes forms them, so
// that ReplicaSets and Jobs need not be watched.
func owner(in *corev1.Pod) (name, kind string) {
	ref := metav1.GetControllerOfNoCopy(in)
	if ref == nil {
		return in.Name, "Pod"
	}
	switch ref.Kind {
	case "ReplicaSet":
		if hash := in.Labels["pod-template-hash"]; hash != "" {
			if d, ok := strings.CutSuffix(ref.Name, "-"+hash); ok {
				return d, "Deployment"
			}
		}
	case "Job":
		if cron := cronRun.ReplaceAllString(ref.Name, ""); cron != ref.Name && plausibleRun(ref.Name[len(cron)+1:]) {
			return cron, "CronJob"
		}
	}
	return ref.Name, ref.Kind
}

// plausibleRun tells a scheduled time from other digits: it lies after the year
// 2000.
func plausibleRun(digits string) bool {
	unit := time.Minute
	if len(digits) > 9 {
		unit = time.Second
	}
	var n int64
	for _, d := range digits {
		n = n*10 + int64(d-'0')
	}
	return time.Unix(n*int64(unit/time.Second), 0).Year() >= 2000
}
