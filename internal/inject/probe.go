package inject

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Paths on the agent's port that stand for the application's probes and hooks.
const (
	probePrefix = "/app-health/"
	hookPrefix  = "/app-lifecycle/"
)

// prober is one entry of ISTIO_KUBE_APP_PROBERS: what the agent asks in kubelet's
// place. Ports are numbers.
type prober struct {
	HTTPGet        *corev1.HTTPGetAction   `json:"httpGet,omitempty"`
	TCPSocket      *corev1.TCPSocketAction `json:"tcpSocket,omitempty"`
	GRPC           *corev1.GRPCAction      `json:"grpc,omitempty"`
	TimeoutSeconds int32                   `json:"timeoutSeconds,omitempty"`
}

// rewriteProbes sends kubelet's probes of the application to the agent, since
// kubelet has no certificate of the mesh: HTTP, HTTPS, gRPC and TCP probes, and HTTP
// and TCP lifecycle hooks, of all containers that stay. exec probes need none of it.
func (w *work) rewriteProbes(pod *corev1.Pod, proxy *corev1.Container) error {
	on := w.values.flag("sidecarInjectorWebhook.rewriteAppHTTPProbe")
	asked, said := w.original.Annotations[annotation.SidecarRewriteAppHTTPProbers.Name]
	if said {
		on = isTrue(asked)
	}
	if on && w.proxy.StatusPort == 0 {
		w.say(annotation.SidecarRewriteAppHTTPProbers.Name, verdict.NotActedOn, "the agent is switched off (status port 0), so that probes reach the application without it")
		on = false
	}
	if !on {
		return nil
	}
	r := rewriter{work: w, port: w.proxy.StatusPort, probers: map[string]json.RawMessage{}}
	for i := range pod.Spec.Containers {
		r.container(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			r.container(c)
		}
	}
	if r.err != nil || len(r.probers) == 0 {
		return r.err
	}
	text, err := compactJSON(r.probers)
	if err != nil {
		return err
	}
	setVariable(proxy, envProbers, text)
	return nil
}

type rewriter struct {
	*work
	port    int32
	probers map[string]json.RawMessage
	err     error
}

func (r *rewriter) container(c *corev1.Container) {
	if c.Name == ProxyContainer || r.err != nil {
		return
	}
	for _, p := range []struct {
		name  string
		probe *corev1.Probe
	}{{"readyz", c.ReadinessProbe}, {"livez", c.LivenessProbe}, {"startupz", c.StartupProbe}} {
		if p.probe != nil {
			r.probe(c, probePrefix+c.Name+"/"+p.name, p.probe)
		}
	}
	if c.Lifecycle == nil {
		return
	}
	for _, h := range []struct {
		name string
		hook *corev1.LifecycleHandler
	}{{"prestopz", c.Lifecycle.PreStop}, {"poststartz", c.Lifecycle.PostStart}} {
		if h.hook != nil {
			r.hook(c, hookPrefix+c.Name+"/"+h.name, h.hook)
		}
	}
}

func (r *rewriter) probe(c *corev1.Container, path string, p *corev1.Probe) {
	get := r.action(c, path, prober{HTTPGet: p.HTTPGet, TCPSocket: p.TCPSocket, GRPC: p.GRPC, TimeoutSeconds: p.TimeoutSeconds})
	if get != nil {
		p.ProbeHandler = corev1.ProbeHandler{HTTPGet: get}
	}
}

func (r *rewriter) hook(c *corev1.Container, path string, h *corev1.LifecycleHandler) {
	if get := r.action(c, path, prober{HTTPGet: h.HTTPGet, TCPSocket: h.TCPSocket}); get != nil {
		*h = corev1.LifecycleHandler{HTTPGet: get}
	}
}

// action notes what the agent shall do, and gives what kubelet shall do instead;
// nil leaves the probe as it is.
func (r *rewriter) action(c *corev1.Container, path string, p prober) *corev1.HTTPGetAction {
	rewritten := &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(r.port)}
	var port *intstr.IntOrString
	var host string
	switch {
	case p.HTTPGet != nil:
		if before, ok := r.earlier.probers[path]; ok && p.HTTPGet.Path == path {
			r.probers[path] = before // rewritten by an earlier injection
			return rewritten
		}
		p.HTTPGet = p.HTTPGet.DeepCopy()
		port, host = &p.HTTPGet.Port, p.HTTPGet.Host
	case p.TCPSocket != nil:
		p.TCPSocket = p.TCPSocket.DeepCopy()
		port, host = &p.TCPSocket.Port, p.TCPSocket.Host
	case p.GRPC == nil:
		return nil // exec, sleep
	}
	if host != "" && host != "localhost" && host != "127.0.0.1" && host != "::1" {
		r.note(c, verdict.Differs, "the probe %s stays kubelet's own: it asks the host %s", path, host)
		return nil
	}
	if port != nil {
		if err := resolvePort(c, port); err != nil {
			r.note(c, verdict.Invalid, "the probe %s stays kubelet's own: %v", path, err)
			return nil
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		r.err = err
		return nil
	}
	r.probers[path] = text
	return rewritten
}

// note gives a verdict on a container's probe.
func (r *rewriter) note(c *corev1.Container, code verdict.Code, format, path string, detail any) {
	r.verdicts = append(r.verdicts, verdict.Status{
		Origin: r.origin.At("spec.containers[" + c.Name + "]"), Code: code,
		Message: fmt.Sprintf(format, path[strings.LastIndexByte(path, '/')+1:], detail),
	})
}

// resolvePort makes a named port a number.
func resolvePort(c *corev1.Container, port *intstr.IntOrString) error {
	if port.Type == intstr.Int {
		return nil
	}
	i := slices.IndexFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == port.StrVal })
	if i < 0 {
		return fmt.Errorf("the container has no port named %q", port.StrVal)
	}
	*port = intstr.FromInt32(c.Ports[i].ContainerPort)
	return nil
}
