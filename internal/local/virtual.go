package local

import (
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/internal/registry"
)

// service reads what a virtual address needs of a Service; ok is false for
// those without one.
func service(s *corev1.Service) (out registry.Service, ok bool) {
	if s.Spec.ClusterIP == corev1.ClusterIPNone || len(s.Spec.Selector) == 0 {
		return out, false
	}
	out = registry.Service{Name: s.Name, Namespace: s.Namespace, Selector: s.Spec.Selector, PublishNotReady: s.Spec.PublishNotReadyAddresses}
	for _, p := range s.Spec.Ports {
		sp := registry.ServicePort{Name: p.Name, Number: uint16(p.Port), TargetNumber: uint16(p.TargetPort.IntVal)}
		switch {
		case p.TargetPort.Type == intstr.String:
			sp.TargetName = p.TargetPort.StrVal
		case sp.TargetNumber == 0:
			sp.TargetNumber = sp.Number
		}
		out.Ports = append(out.Ports, sp)
	}
	return out, true
}

// endpoint picks an endpoint for a service's virtual address, for workloads
// without a proxy.
func (m *mesh) endpoint(dst netip.AddrPort) (netip.AddrPort, bool) {
	for _, s := range m.sources.virtual() {
		addrs, _ := m.runtime.names.Lookup(s.Name + "." + s.Namespace + ".svc." + trustDomain)
		if len(addrs) != 1 || addrs[0] != dst.Addr() {
			continue
		}
		for i := range s.Ports {
			if s.Ports[i].Number != dst.Port() {
				continue
			}
			if list := registry.NewIndex(m.sup.Workloads()).Endpoints(&s, &s.Ports[i]); len(list) > 0 {
				return list[rand.N(len(list))].Addr, true
			}
		}
	}
	return netip.AddrPort{}, false
}
