package inject

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
)

// status is the annotation sidecar.istio.io/status: what an injection added, in
// Istio's form.
type status struct {
	InitContainers   []string `json:"initContainers"`
	Containers       []string `json:"containers"`
	Volumes          []string `json:"volumes"`
	ImagePullSecrets []string `json:"imagePullSecrets"`
	Revision         string   `json:"revision"`
}

// overrides is the annotation proxy.istio.io/overrides: the containers that a user
// wrote and that a template has too, as the user wrote them.
type overrides struct {
	Containers     []corev1.Container `json:"containers,omitempty"`
	InitContainers []corev1.Container `json:"initContainers,omitempty"`
}

func (o overrides) empty() bool { return len(o.Containers) == 0 && len(o.InitContainers) == 0 }

// earlier is what an injection before this one left in the pod.
type earlier struct {
	injected  bool
	status    status
	overrides overrides
	probers   map[string]json.RawMessage // of ISTIO_KUBE_APP_PROBERS
	scrape    string                     // ISTIO_PROMETHEUS_ANNOTATIONS
}

// readEarlier reads the annotations of an earlier injection.
func readEarlier(pod *corev1.Pod) (earlier, error) {
	var e earlier
	if text, ok := pod.Annotations[annotation.ProxyOverrides.Name]; ok {
		if err := json.Unmarshal([]byte(text), &e.overrides); err != nil {
			return e, userError("annotation %s: %w", annotation.ProxyOverrides.Name, err)
		}
	}
	text, ok := pod.Annotations[annotation.SidecarStatus.Name]
	if !ok {
		return e, nil
	}
	if err := json.Unmarshal([]byte(text), &e.status); err != nil {
		return e, userError("annotation %s: %w", annotation.SidecarStatus.Name, err)
	}
	e.injected = true
	if proxy := findProxy(pod); proxy != nil {
		e.scrape = variable(proxy, envScrape)
		if text := variable(proxy, envProbers); text != "" {
			if err := json.Unmarshal([]byte(text), &e.probers); err != nil {
				return e, userError("container %s: %s: %w", proxy.Name, envProbers, err)
			}
		}
	}
	return e, nil
}

// strip gives two pods without what an earlier injection added. The one for the
// templates' eyes (bare) has the user's own containers as they were first. The one
// that is patched (base) keeps those as they are now, with what other webhooks did to
// them since.
func (e *earlier) strip(pod *corev1.Pod) (bare, base *corev1.Pod) {
	bare = pod.DeepCopy()
	if !e.injected {
		return bare, pod.DeepCopy()
	}
	bare.Spec.Containers = restore(bare.Spec.Containers, e.status.Containers, e.overrides.Containers)
	bare.Spec.InitContainers = restore(bare.Spec.InitContainers, e.status.InitContainers, e.overrides.InitContainers)
	e.restoreScrape(bare)
	delete(bare.Annotations, annotation.SidecarStatus.Name)
	base = bare.DeepCopy()
	own := append(slices.Clone(e.overrides.Containers), e.overrides.InitContainers...)
	gone := func(c corev1.Container) bool {
		return slices.Contains(append(slices.Clone(e.status.Containers), e.status.InitContainers...), c.Name) && find(own, c.Name) == nil
	}
	base.Spec.Containers = slices.DeleteFunc(pod.DeepCopy().Spec.Containers, gone)
	base.Spec.InitContainers = slices.DeleteFunc(pod.DeepCopy().Spec.InitContainers, gone)
	return bare, base
}

// restore takes injected containers away, or gives them the form that their user
// wrote, in their places; a user's container that now is in another list comes last.
func restore(now []corev1.Container, injected []string, users []corev1.Container) []corev1.Container {
	var out []corev1.Container
	for _, c := range now {
		switch own := find(users, c.Name); {
		case own != nil:
			out = append(out, *own.DeepCopy())
		case !slices.Contains(injected, c.Name):
			out = append(out, c)
		}
	}
	for _, u := range users {
		if find(out, u.Name) == nil {
			out = append(out, *u.DeepCopy())
		}
	}
	return out
}

// restoreScrape undoes the change of the annotations for Prometheus.
func (e *earlier) restoreScrape(pod *corev1.Pod) {
	if pod.Annotations[annotationScrapePath] != mergedMetricsPath {
		return
	}
	for _, name := range []string{annotationScrape, annotationScrapePort, annotationScrapePath} {
		delete(pod.Annotations, name)
	}
	var was scrape
	if e.scrape == "" || json.Unmarshal([]byte(e.scrape), &was) != nil {
		return
	}
	for name, v := range map[string]string{annotationScrape: was.Scrape, annotationScrapePort: was.Port, annotationScrapePath: was.Path} {
		if v != "" {
			pod.Annotations[name] = v
		}
	}
}

// find returns the container of a name, or nil.
func find(list []corev1.Container, name string) *corev1.Container {
	if i := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == name }); i >= 0 {
		return &list[i]
	}
	return nil
}

// findProxy returns the proxy among all containers, or nil.
func findProxy(pod *corev1.Pod) *corev1.Container {
	return cmp.Or(find(pod.Spec.Containers, ProxyContainer), find(pod.Spec.InitContainers, ProxyContainer))
}

// variable is the plain value of an environment variable.
func variable(c *corev1.Container, name string) string {
	for _, e := range c.Env {
		if e.Name == name {
			return strings.TrimSpace(e.Value)
		}
	}
	return ""
}
