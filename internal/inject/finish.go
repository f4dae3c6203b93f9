package inject

import (
	"maps"
	"slices"

	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
)

// Annotations by which Prometheus finds metrics, and what the proxy is told of
// those that the application had.
const (
	annotationScrape     = "prometheus.io/scrape"
	annotationScrapePort = "prometheus.io/port"
	annotationScrapePath = "prometheus.io/path"
	mergedMetricsPath    = "/stats/prometheus"

	envScrape  = "ISTIO_PROMETHEUS_ANNOTATIONS"
	envProbers = "ISTIO_KUBE_APP_PROBERS"
	envNetwork = "ISTIO_META_NETWORK"
	envCluster = "ISTIO_META_CLUSTER_ID"
)

// scrape is the JSON of ISTIO_PROMETHEUS_ANNOTATIONS.
type scrape struct {
	Scrape string `json:"scrape"`
	Path   string `json:"path"`
	Port   string `json:"port"`
}

// finish does what no template can: it looks at all containers of the result.
func (w *work) finish(pod, added *corev1.Pod) error {
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	proxy := findProxy(pod)
	if proxy != nil {
		for _, name := range slices.Sorted(maps.Keys(w.request.Env)) {
			if name != envNetwork { // the pod's label wins, see contract
				setVariable(proxy, name, w.request.Env[name])
			}
		}
		if network := variable(proxy, envNetwork); network != "" {
			if _, ok := pod.Labels[label.TopologyNetwork.Name]; !ok {
				pod.Labels[label.TopologyNetwork.Name] = network
			}
		}
		if err := w.mergeMetrics(pod, proxy); err != nil {
			return err
		}
		if err := w.rewriteProbes(pod, proxy); err != nil {
			return err
		}
	}
	maps.Copy(pod.Annotations, w.config.InjectedAnnotations)
	w.order(pod)
	text, err := compactJSON(w.statusOf(added))
	pod.Annotations[annotation.SidecarStatus.Name] = text
	return err
}

// statusOf lists what the templates have. Absent lists are null, as in Istio.
func (w *work) statusOf(added *corev1.Pod) status {
	s := status{Revision: w.revision}
	for _, c := range added.Spec.InitContainers {
		s.InitContainers = append(s.InitContainers, c.Name)
	}
	for _, c := range added.Spec.Containers {
		s.Containers = append(s.Containers, c.Name)
	}
	for _, v := range added.Spec.Volumes {
		s.Volumes = append(s.Volumes, v.Name)
	}
	for _, p := range added.Spec.ImagePullSecrets {
		s.ImagePullSecrets = append(s.ImagePullSecrets, p.Name)
	}
	return s
}

// mergeMetrics points Prometheus at the agent, which serves the application's
// metrics together with the proxy's, unless merging is off or the application is
// not to be scraped.
func (w *work) mergeMetrics(pod *corev1.Pod, proxy *corev1.Container) error {
	on := w.mesh.GetEnablePrometheusMerge().GetValue()
	if v, ok := w.original.Annotations[annotation.PrometheusMergeMetrics.Name]; ok {
		on = isTrue(v)
	}
	a := w.bare.Annotations
	port := excludeInboundPort(w.proxy.StatusPort, "")
	if !on || port == "" || a[annotationScrape] == "false" || a[annotationScrapePort] == port {
		return nil
	}
	app := scrape{Scrape: a[annotationScrape], Path: a[annotationScrapePath], Port: a[annotationScrapePort]}
	if app != (scrape{}) {
		text, err := compactJSON(app)
		if err != nil {
			return err
		}
		setVariable(proxy, envScrape, text)
	}
	pod.Annotations[annotationScrape] = "true"
	pod.Annotations[annotationScrapePort] = port
	pod.Annotations[annotationScrapePath] = mergedMetricsPath
	return nil
}

func setVariable(c *corev1.Container, name, value string) {
	for i := range c.Env {
		if c.Env[i].Name == name {
			c.Env[i] = corev1.EnvVar{Name: name, Value: value}
			return
		}
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value})
}

// order puts the containers where they must start. A native sidecar comes before
// the other init containers, which then can use the mesh, and after the one that
// redirects. An ordinary one comes last, for kubectl's sake, or first to hold the
// application; then redirection comes after all other init containers, which could
// not reach anything otherwise.
func (w *work) order(pod *corev1.Pod) {
	s := &pod.Spec
	if find(s.InitContainers, ProxyContainer) != nil {
		moveFirst(s.InitContainers, ProxyContainer)
		moveFirst(s.InitContainers, InitContainer)
		moveFirst(s.InitContainers, ValidationContainer)
		return
	}
	moveFirst(s.InitContainers, ValidationContainer)
	moveLast(s.InitContainers, InitContainer)
	if w.hold() {
		moveFirst(s.Containers, ProxyContainer)
	} else {
		moveLast(s.Containers, ProxyContainer)
	}
}

func rank(list []corev1.Container, rank func(name string) int) {
	slices.SortStableFunc(list, func(a, b corev1.Container) int { return rank(a.Name) - rank(b.Name) })
}

func moveFirst(list []corev1.Container, name string) {
	rank(list, func(n string) int {
		if n == name {
			return 0
		}
		return 1
	})
}

func moveLast(list []corev1.Container, name string) {
	rank(list, func(n string) int {
		if n == name {
			return 1
		}
		return 0
	})
}
