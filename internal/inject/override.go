package inject

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"istio.io/api/annotation"
	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

// moveProxy moves a user's own istio-proxy container to the list that the
// templates have it in.
func moveProxy(pod, added *corev1.Pod) {
	from, to := &pod.Spec.Containers, &pod.Spec.InitContainers
	switch {
	case find(added.Spec.InitContainers, ProxyContainer) != nil:
	case find(added.Spec.Containers, ProxyContainer) != nil:
		from, to = to, from
	default:
		return
	}
	if c := find(*from, ProxyContainer); c != nil {
		*to = append(*to, *c.DeepCopy())
		*from = slices.DeleteFunc(*from, func(c corev1.Container) bool { return c.Name == ProxyContainer })
	}
}

// override lays what users wrote about containers of the templates over these, and
// notes it in an annotation for the next injection.
func (w *work) override(pod, added *corev1.Pod) (*corev1.Pod, error) {
	var used overrides
	users := w.bare.Spec
	all := append(slices.Clone(users.Containers), users.InitContainers...)
	for _, list := range []struct {
		templates []corev1.Container
		init      bool
	}{{added.Spec.Containers, false}, {added.Spec.InitContainers, true}} {
		for _, c := range list.templates {
			own := find(all, c.Name)
			if own == nil {
				continue
			}
			if find(users.InitContainers, c.Name) != nil {
				used.InitContainers = append(used.InitContainers, *own.DeepCopy())
			} else {
				used.Containers = append(used.Containers, *own.DeepCopy())
			}
			var err error
			if pod, err = overrideContainer(pod, *own.DeepCopy(), list.init); err != nil {
				return nil, err
			}
		}
	}
	if !w.earlier.injected && !used.empty() {
		text, err := compactJSON(used)
		if err != nil {
			return nil, err
		}
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[annotation.ProxyOverrides.Name] = text
	}
	w.adjustUser(pod)
	return pod, nil
}

// completeImages prepares the containers that the templates have.
func completeImages(pod, added *corev1.Pod) {
	for _, lists := range [][2][]corev1.Container{{pod.Spec.Containers, added.Spec.Containers}, {pod.Spec.InitContainers, added.Spec.InitContainers}} {
		for i := range lists[0] {
			if find(lists[1], lists[0][i].Name) != nil {
				completeImage(&lists[0][i])
			}
		}
	}
}

// completeImage leaves the image "auto" to the template, and with it the policy that
// the API server gave the container since "auto" has no tag.
func completeImage(c *corev1.Container) {
	if c.Image != AutoImage {
		return
	}
	c.Image = ""
	if c.ImagePullPolicy == corev1.PullAlways {
		c.ImagePullPolicy = ""
	}
}

func overrideContainer(pod *corev1.Pod, own corev1.Container, init bool) (*corev1.Pod, error) {
	completeImage(&own)
	list := "containers"
	if init {
		list = "initContainers"
	}
	text, err := json.Marshal(map[string]any{"spec": map[string]any{list: []corev1.Container{own}}})
	if err != nil {
		return nil, err
	}
	out, err := merge(pod, text)
	if err != nil {
		return nil, fmt.Errorf("container %s cannot be merged with the template's: %w", own.Name, err)
	}
	return out, nil
}

// adjustUser makes the redirection spare the user that a user's own istio-proxy
// container runs as. With TPROXY the proxy must be root, whatever was written.
func (w *work) adjustUser(pod *corev1.Pod) {
	if proxy := findProxy(pod); w.tproxy() && proxy != nil && proxy.SecurityContext != nil {
		var root int64
		proxy.SecurityContext.RunAsUser = &root
	}
	user := w.userID()
	if user == 0 {
		return
	}
	for _, name := range []string{InitContainer, ValidationContainer} {
		c := find(pod.Spec.InitContainers, name)
		if c == nil {
			continue
		}
		if name == ValidationContainer && c.SecurityContext != nil {
			c.SecurityContext.RunAsUser = &user // it checks as the user whose traffic passes
		}
		if i := slices.Index(c.Args, "-u"); i >= 0 && i+1 < len(c.Args) {
			c.Args[i+1] = strconv.FormatInt(user, 10)
		}
	}
}

func (w *work) tproxy() bool {
	return w.proxy.InterceptionMode == meshconfig.ProxyConfig_TPROXY
}
