package supervise

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Annotations of Istio that change how a pod is made.
const (
	injectKey    = "sidecar.istio.io/inject" // "false", as a label or an annotation: no proxy
	templatesKey = "inject.istio.io/templates"
	proxyName    = "istio-proxy"
)

// template is a Deployment's pod template, read for this machine. It is
// immutable.
type template struct {
	hash       string
	spec       PodSpec // without name, address and UID
	init, main []corev1.Container
	grace      int64 // seconds
}

// readTemplate reads a Deployment. The error says that its pods cannot run here; the
// verdicts name what is left out.
func readTemplate(d *appsv1.Deployment, at verdict.Origin, on Machine) (*template, []verdict.Status, error) {
	pod := &d.Spec.Template
	text, err := json.Marshal(pod)
	if err != nil {
		return nil, nil, fmt.Errorf("pod template: %w", err)
	}
	sum := sha256.Sum256(text)
	t := &template{hash: hex.EncodeToString(sum[:8]), grace: 30}
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		t.grace = *g
	}
	t.spec = PodSpec{
		Namespace: at.Namespace, Owner: d.Name, ServiceAccount: pod.Spec.ServiceAccountName,
		Labels: pod.Labels, Annotations: pod.Annotations, Injected: true,
		Gateway: pod.Annotations[templatesKey] == "gateway",
	}
	if t.spec.ServiceAccount == "" {
		t.spec.ServiceAccount = "default"
	}
	if pod.Labels[injectKey] == "false" || pod.Annotations[injectKey] == "false" {
		t.spec.Injected = false
	}
	r := &reader{at: at.At("spec.template"), on: on, t: t}
	r.security(pod.Spec.SecurityContext)
	r.volumes(&pod.Spec)
	t.init = r.containers(pod.Spec.InitContainers, "spec.initContainers")
	t.main = r.containers(pod.Spec.Containers, "spec.containers")
	if len(r.fatal) > 0 {
		return nil, append(r.statuses, r.fatal...), fmt.Errorf("%s", r.fatal[0].Message)
	}
	return t, r.statuses, nil
}

// reader collects verdicts while a template is read.
type reader struct {
	at       verdict.Origin
	on       Machine
	t        *template
	statuses []verdict.Status
	fatal    []verdict.Status
}

func (r *reader) note(code verdict.Code, path, format string, args ...any) {
	r.statuses = append(r.statuses, verdict.Status{Origin: r.at.At(path), Code: code, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) fail(path, format string, args ...any) {
	r.fatal = append(r.fatal, verdict.Status{Origin: r.at.At(path), Code: verdict.Unsupported, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) security(s *corev1.PodSecurityContext) {
	if s != nil {
		r.runAs("spec.securityContext", s.RunAsUser, s.RunAsGroup)
	}
}

// runAs takes over a user and group, where the machine has others than one.
func (r *reader) runAs(at string, user, group *int64) {
	if r.on.OneUser && (user != nil || group != nil) {
		r.note(verdict.Differs, at+".runAsUser", "the mesh of an ordinary user has no other users: its processes run as the one who started it")
	}
	if user != nil {
		r.t.spec.RunAsUser = user
	}
	if group != nil {
		r.t.spec.RunAsGroup = group
	}
}

// containers checks containers and leaves the proxy's own out: a gateway's
// manifest names it with the image "auto".
func (r *reader) containers(list []corev1.Container, path string) []corev1.Container {
	var out []corev1.Container
	for i := range list {
		c, at := &list[i], fmt.Sprintf("%s[%d]", path, i)
		if c.Name == proxyName || r.t.spec.Gateway {
			if c.Image != "auto" && c.Image != "" {
				r.note(verdict.Differs, at+".image", "the mesh's own proxy runs instead of %s", c.Image)
			}
			r.ports(c)
			continue
		}
		if _, _, err := program(c, r.t.spec.Annotations, func(s string) string { return s }); err != nil {
			r.fail(at+".image", "%s", err)
		}
		r.ports(c)
		r.container(c, at)
		out = append(out, *c)
	}
	return out
}

func (r *reader) ports(c *corev1.Container) {
	for _, p := range c.Ports {
		proto := string(p.Protocol)
		if proto == "" {
			proto = "TCP"
		}
		r.t.spec.Ports = append(r.t.spec.Ports, registry.Port{Name: p.Name, Number: uint16(p.ContainerPort), Protocol: proto})
	}
}

// container notes what of a container does not act on one machine.
func (r *reader) container(c *corev1.Container, at string) {
	if len(c.Resources.Limits) > 0 {
		r.note(verdict.NotActedOn, at+".resources.limits", "processes on one machine have no limits of their own")
	}
	if c.Lifecycle != nil {
		r.note(verdict.NotActedOn, at+".lifecycle", "hooks are not run on one machine yet")
	}
	if s := c.SecurityContext; s != nil {
		r.runAs(at+".securityContext", s.RunAsUser, s.RunAsGroup)
	}
	for i, e := range c.Env {
		if e.ValueFrom != nil && e.ValueFrom.ResourceFieldRef != nil {
			r.fail(fmt.Sprintf("%s.env[%d].valueFrom.resourceFieldRef", at, i), "resources of a container are not known on one machine")
		}
	}
}

// volumes turns emptyDir volumes into scratch directories; containers of a pod do
// not share them.
func (r *reader) volumes(pod *corev1.PodSpec) {
	empty := map[string]bool{}
	for i, v := range pod.Volumes {
		if v.EmptyDir != nil || v.VolumeSource == (corev1.VolumeSource{}) {
			empty[v.Name] = true
			continue
		}
		r.note(verdict.NotActedOn, fmt.Sprintf("spec.volumes[%d]", i), "only emptyDir volumes are mounted on one machine; the host's own files are seen instead")
	}
	for i, c := range pod.Containers {
		for j, m := range c.VolumeMounts {
			switch {
			case !empty[m.Name]:
			case r.on.Exists != nil && !r.on.Exists(m.MountPath):
				r.note(verdict.NotActedOn, fmt.Sprintf("spec.containers[%d].volumeMounts[%d]", i, j), "%s does not exist on this machine, so nothing is mounted there", m.MountPath)
			default:
				r.t.spec.Scratch = append(r.t.spec.Scratch, m.MountPath)
			}
		}
	}
}
