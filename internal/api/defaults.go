package api

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Default fills in what a Kubernetes API server fills in and a mesh reads
// (protocols, target ports, replicas, probe periods), so that later stages see
// one form. Istio's kinds have no defaults of this sort. Decode calls it; it
// changes o and is idempotent.
func Default(o *Object) {
	switch v := o.Spec.(type) {
	case *corev1.Service:
		defaultService(v)
	case *appsv1.Deployment:
		defaultDeployment(v)
	case *corev1.Secret:
		if v.Type == "" {
			v.Type = corev1.SecretTypeOpaque
		}
		for key, text := range v.StringData {
			if v.Data == nil {
				v.Data = map[string][]byte{}
			}
			v.Data[key] = []byte(text)
		}
		v.StringData = nil
	}
}

func defaultService(s *corev1.Service) {
	setDefault(&s.Spec.Type, corev1.ServiceTypeClusterIP)
	setDefault(&s.Spec.SessionAffinity, corev1.ServiceAffinityNone)
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		setDefault(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == (intstr.IntOrString{}) {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
}

func defaultDeployment(d *appsv1.Deployment) {
	setPointer(&d.Spec.Replicas, 1)
	pod := &d.Spec.Template.Spec
	setDefault(&pod.RestartPolicy, corev1.RestartPolicyAlways)
	setPointer(&pod.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	for _, list := range [][]corev1.Container{pod.InitContainers, pod.Containers} {
		for i := range list {
			c := &list[i]
			for j := range c.Ports {
				setDefault(&c.Ports[j].Protocol, corev1.ProtocolTCP)
			}
			for _, p := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe, c.StartupProbe} {
				defaultProbe(p)
			}
		}
	}
}

func defaultProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	setDefault(&p.TimeoutSeconds, 1)
	setDefault(&p.PeriodSeconds, 10)
	setDefault(&p.SuccessThreshold, 1)
	setDefault(&p.FailureThreshold, 3)
	if p.HTTPGet != nil {
		setDefault(&p.HTTPGet.Path, "/")
		setDefault(&p.HTTPGet.Scheme, corev1.URISchemeHTTP)
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func setPointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
