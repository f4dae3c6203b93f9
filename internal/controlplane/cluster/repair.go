package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

const (
	repairPeriod = 5 * time.Second
	// maxEvictions of one round: a webhook that was down for long must not restart
	// half of the cluster at once.
	maxEvictions = 5
	// tagLabel names the tag that a webhook configuration is of.
	tagLabel = "istio.io/tag"
	// missingReason is the reason of events on pods.
	missingReason = "SidecarMissing"
)

// repair finds pods that should have a proxy of this revision and have none: they
// were made while no webhook answered, and are outside of the mesh. They are
// reported, and evicted where that is configured, so that their owners make new
// ones. The leader runs it.
type repair struct {
	// immutable
	o         Options
	client    *kube.Client
	injection *injection
	missing   *prometheus.GaugeVec
	log       *slog.Logger

	mu        sync.Mutex
	workloads []registry.Workload // guarded by mu
	said      []verdict.Status    // guarded by mu; the slice is replaced
	told      map[string]bool     // guarded by mu: UIDs of pods that have an event
}

func newRepair(o Options, client *kube.Client, i *injection, to prometheus.Registerer) *repair {
	r := &repair{
		o: o, client: client, injection: i, log: ops.Scope(o.Log, "repair"), told: map[string]bool{},
		missing: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "lateen_pods_without_proxy", Help: "Pods that should have a proxy and have none."}, []string{"namespace"}),
	}
	to.MustRegister(r.missing)
	return r
}

// setWorkloads takes all workloads of the mesh.
func (r *repair) setWorkloads(list []registry.Workload) {
	bare := slices.Clone(list)
	bare = slices.DeleteFunc(bare, func(w registry.Workload) bool { return w.Proxied || spared(w.Namespace, r.o.Namespace) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.workloads = bare
}

// spared are the namespaces whose pods are never touched: the cluster's own and the
// control plane's.
func spared(namespace, system string) bool {
	return namespace == system || strings.HasPrefix(namespace, "kube-")
}

// verdicts are those of the last round.
func (r *repair) verdicts() []verdict.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said
}

// round looks at all workloads once.
func (r *repair) round(ctx context.Context) error {
	injector := r.injection.current.Load()
	if injector == nil {
		return nil
	}
	r.mu.Lock()
	bare := r.workloads
	r.mu.Unlock()
	var tags []string
	if len(bare) > 0 {
		var err error
		if tags, err = ownTags(ctx, r.o, r.client); err != nil {
			return err
		}
	}
	var said []verdict.Status
	counts, seen, evicted := map[string]int{}, map[string]bool{}, 0
	for i := range bare {
		pod, why, err := r.lacks(ctx, injector, tags, &bare[i])
		if err != nil {
			return err
		}
		if pod == nil {
			continue
		}
		counts[pod.Namespace]++
		seen[string(pod.UID)] = true
		said = append(said, verdict.Status{
			Origin: verdict.Origin{Ref: verdict.Ref{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name}}, Code: verdict.Waiting,
			Message: "the pod should have a proxy (" + why + ") and has none: it is outside of the mesh until it is made anew",
		})
		r.tell(ctx, pod, why)
		if r.o.RepairDelete && evicted < maxEvictions && r.evict(ctx, pod) {
			evicted++
		}
	}
	r.missing.Reset()
	for ns, n := range counts {
		r.missing.WithLabelValues(ns).Set(float64(n))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = said
	maps.DeleteFunc(r.told, func(uid string, _ bool) bool { return !seen[uid] })
	return nil
}

// lacks reports whether the pod of a workload should have a proxy and has none, and
// why it should; nil where all is well, or the pod is going.
func (r *repair) lacks(ctx context.Context, injector *inject.Injector, tags []string, w *registry.Workload) (*corev1.Pod, string, error) {
	ns, ok := r.injection.namespace(w.Namespace)
	if !ok || !injector.Wants(ns, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name, Labels: w.Labels, Annotations: w.Annotations}}, tags).Inject {
		return nil, "", nil // without asking the API server: these are most
	}
	pod, err := r.client.Typed().CoreV1().Pods(w.Namespace).Get(ctx, w.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, "", nil // gone, or no pod: a WorkloadEntry
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading Pod %s/%s: %w", w.Namespace, w.Name, err)
	}
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed || proxied(pod) {
		return nil, "", nil
	}
	d := injector.Wants(ns, pod, tags)
	if !d.Inject {
		return nil, "", nil
	}
	return pod, d.Message, nil
}

// proxied reports whether a pod has a proxy.
func proxied(pod *corev1.Pod) bool {
	is := func(c corev1.Container) bool { return c.Name == inject.ProxyContainer }
	return slices.ContainsFunc(pod.Spec.Containers, is) || slices.ContainsFunc(pod.Spec.InitContainers, is)
}

// tell makes an event on the pod, once.
func (r *repair) tell(ctx context.Context, pod *corev1.Pod, why string) {
	uid := string(pod.UID)
	r.mu.Lock()
	known := r.told[uid]
	r.told[uid] = true
	r.mu.Unlock()
	if known {
		return
	}
	r.log.Warn("a pod has no proxy and should", "namespace", pod.Namespace, "pod", pod.Name, "why", why)
	now := metav1.Now()
	_, err := r.client.Typed().CoreV1().Events(pod.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: pod.Name + ".", Namespace: pod.Namespace},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Reason:         missingReason, Type: corev1.EventTypeWarning, Source: corev1.EventSource{Component: "lateen"},
		Message:        "the pod should have a proxy and has none, since no injector answered when it was made: delete the pod, so that it is made anew",
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil {
		r.log.Warn("no event was made for a pod without a proxy", "namespace", pod.Namespace, "pod", pod.Name, "err", err)
	}
}

// evict removes a pod that its controller will make anew; disruption budgets hold.
func (r *repair) evict(ctx context.Context, pod *corev1.Pod) bool {
	if metav1.GetControllerOf(pod) == nil {
		return false // nobody would make another
	}
	err := r.client.Typed().CoreV1().Pods(pod.Namespace).EvictV1(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: metav1.NewPreconditionDeleteOptions(string(pod.UID)),
	})
	if err != nil {
		r.log.Warn("a pod without a proxy was not evicted; it is tried again", "namespace", pod.Namespace, "pod", pod.Name, "err", err)
		return false
	}
	r.log.Info("a pod without a proxy was evicted", "namespace", pod.Namespace, "pod", pod.Name)
	return true
}

// ownTags lists the tags that stand for this revision.
func ownTags(ctx context.Context, o Options, client *kube.Client) ([]string, error) {
	list, err := client.Typed().AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{
		LabelSelector: label.IoIstioRev.Name + "=" + o.Revision + "," + tagLabel,
	})
	if err != nil {
		return nil, fmt.Errorf("listing revision tags: %w", err)
	}
	var tags []string
	for i := range list.Items {
		tags = append(tags, list.Items[i].Labels[tagLabel])
	}
	return tags, nil
}
