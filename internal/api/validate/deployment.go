package validate

import (
	"maps"
	"slices"
	"strings"

	meshconfig "istio.io/api/mesh/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/internal/api"
)

func (c *checker) deployment(d *appsv1.Deployment) {
	if d.Spec.Replicas != nil {
		c.nonNegative("spec.replicas", *d.Spec.Replicas)
	}
	c.selector(d)
	pod := &d.Spec.Template.Spec
	path := "spec.template.spec"
	c.labels("spec.template.metadata.labels", d.Spec.Template.Labels)
	if pod.RestartPolicy != "" && pod.RestartPolicy != corev1.RestartPolicyAlways {
		c.fail(path+".restartPolicy", "%q is not allowed in a Deployment, only Always", pod.RestartPolicy)
	}
	if name := pod.ServiceAccountName; name != "" && !isSubdomain(name) {
		c.fail(path+".serviceAccountName", "%q is not a valid name", name)
	}
	if g := pod.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		c.fail(path+".terminationGracePeriodSeconds", "%d must not be negative", *g)
	}
	if len(pod.Containers) == 0 {
		c.fail(path+".containers", "at least one container is required")
	}
	volumes := map[string]bool{}
	for i, v := range pod.Volumes {
		if volumes[v.Name] {
			c.fail(at(path+".volumes", i)+".name", "the volume %q is defined twice", v.Name)
		}
		volumes[v.Name] = true
	}
	names := map[string]bool{}
	for i := range pod.InitContainers {
		c.container(at(path+".initContainers", i), &pod.InitContainers[i], names, volumes)
	}
	for i := range pod.Containers {
		c.container(at(path+".containers", i), &pod.Containers[i], names, volumes)
	}
}

// selector checks that the Deployment selects its own pods.
func (c *checker) selector(d *appsv1.Deployment) {
	s := d.Spec.Selector
	if s == nil || len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		c.fail("spec.selector", "a selector is required")
		return
	}
	c.labels("spec.selector.matchLabels", s.MatchLabels)
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		c.fail("spec.selector.matchExpressions", "the selector is wrong: %s", err)
		return
	}
	if !selector.Matches(labels.Set(d.Spec.Template.Labels)) {
		c.fail("spec.selector", "the selector %q does not match the labels of spec.template.metadata", selector)
	}
}

func (c *checker) container(path string, k *corev1.Container, names, volumes map[string]bool) {
	switch {
	case !isLabel(k.Name):
		c.fail(path+".name", "%q is not a valid container name; use %s", k.Name, labelRule)
	case names[k.Name]:
		c.fail(path+".name", "the container name %q is used twice", k.Name)
	}
	names[k.Name] = true
	if k.Image == "" {
		c.fail(path+".image", "an image is required")
	}
	ports := map[string]bool{}
	for i, p := range k.Ports {
		pp := at(path+".ports", i)
		c.port(pp+".containerPort", int64(p.ContainerPort))
		c.protocol(pp+".protocol", p.Protocol)
		if p.Name == "" {
			continue
		}
		c.portName(pp+".name", p.Name)
		if ports[p.Name] {
			c.fail(pp+".name", "the port name %q is used twice", p.Name)
		}
		ports[p.Name] = true
	}
	for i, e := range k.Env {
		p := at(path+".env", i)
		if e.Name == "" {
			c.fail(p+".name", "an environment variable needs a name")
		}
		if e.Value != "" && e.ValueFrom != nil {
			c.fail(p+".valueFrom", "only one of value and valueFrom can be set")
		}
	}
	for i, m := range k.VolumeMounts {
		p := at(path+".volumeMounts", i)
		if !volumes[m.Name] {
			c.fail(p+".name", "there is no volume %q", m.Name)
		}
		if m.MountPath == "" {
			c.fail(p+".mountPath", "a path is required")
		}
	}
	c.probe(path+".readinessProbe", k.ReadinessProbe, ports, false)
	c.probe(path+".livenessProbe", k.LivenessProbe, ports, true)
	c.probe(path+".startupProbe", k.StartupProbe, ports, true)
}

// probe checks a probe; one success is enough for those that restart.
func (c *checker) probe(path string, p *corev1.Probe, ports map[string]bool, restarts bool) {
	if p == nil {
		return
	}
	handlers := 0
	for _, set := range []bool{p.HTTPGet != nil, p.TCPSocket != nil, p.Exec != nil, p.GRPC != nil} {
		if set {
			handlers++
		}
	}
	if handlers != 1 {
		c.fail(path, "exactly one of httpGet, tcpSocket, exec and grpc is required")
	}
	if p.HTTPGet != nil {
		c.probePort(path+".httpGet.port", p.HTTPGet.Port, ports)
	}
	if p.TCPSocket != nil {
		c.probePort(path+".tcpSocket.port", p.TCPSocket.Port, ports)
	}
	if p.GRPC != nil {
		c.port(path+".grpc.port", int64(p.GRPC.Port))
	}
	if p.Exec != nil && len(p.Exec.Command) == 0 {
		c.fail(path+".exec.command", "a command is required")
	}
	for _, n := range []struct {
		name  string
		value int32
	}{
		{"initialDelaySeconds", p.InitialDelaySeconds}, {"timeoutSeconds", p.TimeoutSeconds}, {"periodSeconds", p.PeriodSeconds},
		{"successThreshold", p.SuccessThreshold}, {"failureThreshold", p.FailureThreshold},
	} {
		c.nonNegative(path+"."+n.name, n.value)
	}
	if restarts && p.SuccessThreshold > 1 {
		c.fail(path+".successThreshold", "%d must be 1 for this probe", p.SuccessThreshold)
	}
}

func (c *checker) probePort(path string, port intstr.IntOrString, ports map[string]bool) {
	if port.Type == intstr.Int {
		c.port(path, int64(port.IntVal))
	} else if !ports[port.StrVal] {
		c.fail(path, "the container has no port named %q", port.StrVal)
	}
}

func (c *checker) secret(s *corev1.Secret) {
	c.dataKeys("data", slices.Sorted(maps.Keys(s.Data)))
	if s.Type == corev1.SecretTypeTLS {
		for _, k := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if _, ok := s.Data[k]; !ok {
				c.fail("data", "a secret of type %s needs the key %q", s.Type, k)
			}
		}
	}
}

func (c *checker) configMap(m *corev1.ConfigMap) {
	c.dataKeys("data", slices.Sorted(maps.Keys(m.Data)))
	c.dataKeys("binaryData", slices.Sorted(maps.Keys(m.BinaryData)))
	for _, k := range slices.Sorted(maps.Keys(m.BinaryData)) {
		if _, twice := m.Data[k]; twice {
			c.fail(key("binaryData", k), "%q is in data as well", k)
		}
	}
	meta := &c.object.Meta
	if meta.Namespace == api.MeshConfigNamespace && meta.Name == api.MeshConfigMap {
		c.meshConfig(key("data", api.MeshConfigKey), m.Data[api.MeshConfigKey])
	}
}

// meshConfig refuses a mesh's configuration that cannot be read, so that the one
// before it stays in force.
func (c *checker) meshConfig(path, text string) {
	unknown, err := api.DecodeMessage([]byte(text), "", &meshconfig.MeshConfig{})
	if err != nil {
		c.fail(path, "not a MeshConfig: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	for _, u := range unknown {
		c.warn(path, "%s: %s", u.Path, u.Msg)
	}
}
