package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/kube/forward"
)

// Names and ports of the mesh's parts in a cluster, as Istio has them.
const (
	planeLabel     = "app=istiod"
	revisionLabel  = "istio.io/rev"
	proxyContainer = "istio-proxy"

	pagesPort   = 15014 // of the control plane; open to loopback, where port-forwards come from
	adminPort   = 15000 // of a proxy
	metricsPort = 15020 // of a proxy
)

// clusterHome is the mesh in a cluster. Everything goes through the API server:
// the control plane's pages and the proxies' are reached by port-forward, so that
// the rights of the caller's kubeconfig decide.
type clusterHome struct {
	// immutable
	client   *kube.Client
	forward  *forward.Forwarder
	revision string // "": all
	context  kube.Context
	atEnd    func(f func()) // has f called when the command ends

	mu         sync.Mutex
	planes     []replica                  // guarded by mu; nil until asked for
	transports map[string]*http.Transport // guarded by mu; by "NAMESPACE/POD:PORT"
}

func openCluster(ctx context.Context, o kube.Options, revision string) (*clusterHome, error) {
	c, err := kube.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	at, err := kube.CurrentContext(o)
	if err != nil {
		return nil, err
	}
	atEnd := func(f func()) { context.AfterFunc(ctx, f) }
	return &clusterHome{atEnd: atEnd, client: c, forward: forward.New(c), revision: revision, context: at, transports: map[string]*http.Transport{}}, nil
}

// transport gives the transport to a port of a pod; its connections end with the
// command.
func (h *clusterHome) transport(namespace, pod string, port int) *http.Transport {
	key := fmt.Sprintf("%s/%s:%d", namespace, pod, port)
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.transports[key]
	if t == nil {
		t = h.forward.Transport(namespace, pod, port)
		h.transports[key] = t
		h.atEnd(t.CloseIdleConnections)
	}
	return t
}

// where names the cluster for messages.
func (h *clusterHome) where() string {
	if h.context.Name == "" {
		return "the cluster"
	}
	return "the cluster of the context " + h.context.Name
}

// planePods lists the control plane's pods of the revision, ready ones first.
func (h *clusterHome) planePods(ctx context.Context) ([]corev1.Pod, error) {
	selector := planeLabel
	if h.revision != "" {
		selector += "," + revisionLabel + "=" + h.revision
	}
	list, err := h.client.Typed().CoreV1().Pods(h.client.Namespace()).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("looking for the control plane in %s: %w", h.where(), err)
	}
	return list.Items, nil
}

// Planes implements home.
func (h *clusterHome) Planes(ctx context.Context) ([]replica, error) {
	h.mu.Lock()
	known := h.planes
	h.mu.Unlock()
	if known != nil {
		return known, nil
	}
	pods, err := h.planePods(ctx)
	if err != nil {
		return nil, err
	}
	var planes []replica
	for _, p := range pods {
		if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			planes = append(planes, replica{p.Name, meshapi.NewClientOver(h.transport(p.Namespace, p.Name, pagesPort))})
		}
	}
	if len(planes) == 0 {
		return nil, h.noPlane(len(pods))
	}
	slices.SortFunc(planes, func(a, b replica) int { return cmp.Compare(a.name, b.name) })
	h.mu.Lock()
	defer h.mu.Unlock()
	h.planes = planes
	return planes, nil
}

// noPlane says that no control plane can be asked.
func (h *clusterHome) noPlane(pods int) error {
	of := ""
	if h.revision != "" {
		of = " of the revision " + h.revision
	}
	if pods > 0 {
		return fmt.Errorf("no replica of the control plane%s is running in the namespace %s of %s; `lateen doctor` looks why", of, h.client.Namespace(), h.where())
	}
	return fmt.Errorf("no control plane%s in the namespace %s of %s: install one with `lateen install`, or name its namespace with -i", of, h.client.Namespace(), h.where())
}

// readyPlane picks a replica that serves.
func (h *clusterHome) readyPlane(ctx context.Context) (string, error) {
	pods, err := h.planePods(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range pods {
		if podReady(&p) {
			return p.Name, nil
		}
	}
	planes, err := h.Planes(ctx)
	if err != nil {
		return "", err
	}
	return planes[0].name, nil
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Config implements home. All replicas read the same objects: one that is ready
// answers.
func (h *clusterHome) Config(ctx context.Context) (*configapi.Client, error) {
	name, err := h.readyPlane(ctx)
	if err != nil {
		return nil, err
	}
	return configapi.NewClientOver(h.transport(h.client.Namespace(), name, pagesPort)), nil
}

// Instance implements home: a pod, a workload's first pod that runs, or the
// beginning of a pod's name up to a dash.
func (h *clusterHome) Instance(ctx context.Context, what, namespace string) (string, error) {
	p, err := h.pod(ctx, what, namespace)
	if err != nil {
		return "", err
	}
	if !hasProxy(p) {
		return "", fmt.Errorf("the pod %s in the namespace %s has no proxy; `lateen check-inject %s.%s` says why", p.Name, p.Namespace, p.Name, p.Namespace)
	}
	return p.Name + "." + p.Namespace, nil
}

// pod finds the pod that a user means.
func (h *clusterHome) pod(ctx context.Context, what, namespace string) (*corev1.Pod, error) {
	kind, name, ok := strings.Cut(what, "/")
	if !ok {
		kind, name = "", what
	}
	if n, ns := splitInstance(name); ns != "" {
		name, namespace = n, ns
	}
	namespace = cmp.Or(namespace, h.context.Namespace, "default")
	if kind == "" || isPod(kind) {
		p, err := h.client.Typed().CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			return p, nil
		}
		if !apierrors.IsNotFound(err) {
			return nil, err
		}
		if kind != "" {
			return nil, fmt.Errorf("no pod %s in the namespace %s", name, namespace)
		}
	}
	selector, err := h.selector(ctx, strings.ToLower(kind), name, namespace)
	if err != nil {
		return nil, err
	}
	list, err := h.client.Typed().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	found := list.Items
	if kind == "" {
		found = slices.DeleteFunc(found, func(p corev1.Pod) bool { return !strings.HasPrefix(p.Name, name+"-") })
	}
	return pickPod(found, what, namespace)
}

func isPod(kind string) bool { return kind == "pod" || kind == "pods" || kind == "po" }

// pickPod prefers what is ready, then what runs.
func pickPod(list []corev1.Pod, what, namespace string) (*corev1.Pod, error) {
	rank := func(p *corev1.Pod) int {
		switch {
		case podReady(p):
			return 0
		case p.Status.Phase == corev1.PodRunning:
			return 1
		}
		return 2
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no pod of %q in the namespace %s; name one as POD.NAMESPACE, or give its namespace with -n", what, namespace)
	}
	slices.SortFunc(list, func(a, b corev1.Pod) int { return cmp.Or(rank(&a)-rank(&b), cmp.Compare(a.Name, b.Name)) })
	return &list[0], nil
}

// selector gives the labels of a workload's or service's pods; "" for all pods,
// where no kind is named.
func (h *clusterHome) selector(ctx context.Context, kind, name, namespace string) (string, error) {
	apps, get := h.client.Typed().AppsV1(), metav1.GetOptions{}
	of := func(s *metav1.LabelSelector, err error) (string, error) {
		if err != nil {
			return "", err
		}
		return metav1.FormatLabelSelector(s), nil
	}
	switch kind {
	case "":
		return "", nil
	case "deployment", "deployments", "deploy":
		w, err := apps.Deployments(namespace).Get(ctx, name, get)
		return of(w.Spec.Selector, err)
	case "statefulset", "statefulsets", "sts":
		w, err := apps.StatefulSets(namespace).Get(ctx, name, get)
		return of(w.Spec.Selector, err)
	case "daemonset", "daemonsets", "ds":
		w, err := apps.DaemonSets(namespace).Get(ctx, name, get)
		return of(w.Spec.Selector, err)
	case "replicaset", "replicasets", "rs":
		w, err := apps.ReplicaSets(namespace).Get(ctx, name, get)
		return of(w.Spec.Selector, err)
	case "job", "jobs":
		w, err := h.client.Typed().BatchV1().Jobs(namespace).Get(ctx, name, get)
		return of(w.Spec.Selector, err)
	case "service", "services", "svc":
		s, err := h.client.Typed().CoreV1().Services(namespace).Get(ctx, name, get)
		if err != nil {
			return "", err
		}
		if len(s.Spec.Selector) == 0 {
			return "", fmt.Errorf("the service %s in the namespace %s selects no pods", name, namespace)
		}
		return labels.Set(s.Spec.Selector).String(), nil
	}
	return "", usage("%q is not a kind with pods: use pod, deployment, statefulset, daemonset, replicaset, job or service", kind)
}

// hasProxy tells whether a pod has a proxy of the mesh: a sidecar, or itself a
// gateway.
func hasProxy(p *corev1.Pod) bool {
	is := func(c corev1.Container) bool { return c.Name == proxyContainer }
	return slices.ContainsFunc(p.Spec.Containers, is) || slices.ContainsFunc(p.Spec.InitContainers, is)
}

// Admin implements home.
func (h *clusterHome) Admin(ctx context.Context, instance, method, path string) ([]byte, error) {
	pod, namespace := splitInstance(instance)
	return callAdmin(ctx, h.transport(namespace, pod, adminPort), instance, method, "http://localhost/"+strings.TrimPrefix(path, "/"))
}

// Explain implements home.
func (h *clusterHome) Explain(env *Env, err error) error {
	var refused *configapi.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return problemsError(env, refused.Problems, refused.Status)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	}
	return err
}
