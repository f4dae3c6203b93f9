package validate

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

func (c *checker) service(s *corev1.Service) {
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		if len(s.Spec.Ports) == 0 && s.Spec.ClusterIP != corev1.ClusterIPNone {
			c.fail("spec.ports", "a service needs at least one port")
		}
	case corev1.ServiceTypeExternalName:
		c.host("spec.externalName", s.Spec.ExternalName, false)
	default:
		c.fail("spec.type", "%q is not one of ClusterIP, NodePort, LoadBalancer, ExternalName", s.Spec.Type)
	}
	if ip := s.Spec.ClusterIP; ip != "" && ip != corev1.ClusterIPNone && !isIP(ip) {
		c.fail("spec.clusterIP", "%q is not an IP address or None", ip)
	}
	if a := s.Spec.SessionAffinity; a != "" && a != corev1.ServiceAffinityNone && a != corev1.ServiceAffinityClientIP {
		c.fail("spec.sessionAffinity", "%q is not None or ClientIP", a)
	}
	c.labels("spec.selector", s.Spec.Selector)
	names, numbers := map[string]bool{}, map[string]bool{}
	for i := range s.Spec.Ports {
		c.servicePort(at("spec.ports", i), &s.Spec.Ports[i], len(s.Spec.Ports) > 1, names, numbers)
	}
}

// servicePort checks one port; names and numbers are those of the ports before.
func (c *checker) servicePort(path string, p *corev1.ServicePort, several bool, names, numbers map[string]bool) {
	c.port(path+".port", int64(p.Port))
	switch {
	case p.Name == "" && several:
		c.fail(path+".name", "a service with several ports needs a name for each")
	case p.Name != "" && !isLabel(p.Name):
		c.fail(path+".name", "%q is not a valid port name; use %s", p.Name, labelRule)
	case p.Name != "" && names[p.Name]:
		c.fail(path+".name", "the port name %q is used twice", p.Name)
	}
	names[p.Name] = true
	c.protocol(path+".protocol", p.Protocol)
	number := fmt.Sprintf("%d/%s", p.Port, p.Protocol)
	if numbers[number] {
		c.fail(path+".port", "port %s is listed twice", number)
	}
	numbers[number] = true
	if p.TargetPort.Type == intstr.Int && p.TargetPort.IntVal == p.Port {
		return // the default, or reported above
	}
	if p.TargetPort.Type == intstr.Int {
		c.port(path+".targetPort", int64(p.TargetPort.IntVal))
	} else {
		c.portName(path+".targetPort", p.TargetPort.StrVal)
	}
}

func (c *checker) protocol(path string, p corev1.Protocol) {
	all := []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
	if p != "" && !slices.Contains(all, p) {
		c.fail(path, "%q is not one of TCP, UDP, SCTP", p)
	}
}

// portName checks the name of a container's port (an IANA service name).
func (c *checker) portName(path, name string) {
	if len(validation.IsValidPortName(name)) > 0 {
		c.fail(path, "%q is not a valid port name; use at most 15 lower-case letters, digits and '-', with at least one letter", name)
	}
}

// dataKeys checks the keys of a Secret or ConfigMap, which become file names.
func (c *checker) dataKeys(path string, keys []string) {
	for _, k := range keys {
		if len(validation.IsConfigMapKey(k)) > 0 {
			c.fail(key(path, k), "%q is not a valid key; use letters, digits, '-', '_' and '.'", k)
		}
	}
}
