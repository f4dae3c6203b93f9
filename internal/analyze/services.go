package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// deploymentPorts finds Services that disagree about the ports of a workload.
func deploymentPorts(w *world) {
	for i := range w.workloads {
		x := &w.workloads[i]
		protocols := map[int32]map[registry.Protocol]bool{} // by port
		at := map[int32][]string{}                          // services, by port
		ports := map[string]map[int32]bool{}                // by target
		to := map[string][]string{}                         // services, by target
		for _, s := range w.servicesOf(x) {
			for j := range s.Spec.Ports {
				p := &s.Spec.Ports[j]
				app := ""
				if p.AppProtocol != nil {
					app = *p.AppProtocol
				}
				protocol, _ := registry.ProtocolOf(string(p.Protocol), app, p.Name)
				target := cmp.Or(p.TargetPort.StrVal, fmt.Sprint(cmp.Or(p.TargetPort.IntVal, p.Port)))
				add(protocols, p.Port, protocol)
				add(ports, target, p.Port)
				at[p.Port], to[target] = append(at[p.Port], s.Name), append(to[target], s.Name)
			}
		}
		for _, port := range slices.Sorted(maps.Keys(protocols)) {
			if len(protocols[port]) > 1 {
				w.sayWorkload("IST0116", x, list(at[port]), port)
			}
		}
		for _, target := range slices.Sorted(maps.Keys(ports)) {
			if len(ports[target]) > 1 {
				var numbers []string
				for _, n := range slices.Sorted(maps.Keys(ports[target])) {
					numbers = append(numbers, fmt.Sprint(n))
				}
				w.sayWorkload("IST0137", x, list(to[target]), target, strings.Join(numbers, ", "))
			}
		}
	}
}

func add[K, V comparable](m map[K]map[V]bool, k K, v V) {
	if m[k] == nil {
		m[k] = map[V]bool{}
	}
	m[k][v] = true
}

// list joins texts, each once.
func list(of []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(of))), ", ")
}

// servicePorts finds ports of Services that declare no protocol.
func servicePorts(w *world) {
	each(w, func(o *api.Object, s *corev1.Service) {
		if strings.HasPrefix(o.Meta.Namespace, "kube-") {
			return
		}
		external := s.Spec.Type == corev1.ServiceTypeExternalName
		for i := range s.Spec.Ports {
			p := &s.Spec.Ports[i]
			path := fmt.Sprintf("spec.ports[%d].name", i)
			app := ""
			if p.AppProtocol != nil {
				app = *p.AppProtocol
			}
			protocol, _ := registry.ProtocolOf(string(p.Protocol), app, p.Name)
			switch {
			case protocol == registry.UDP:
			case external && (protocol == registry.TCP || protocol == registry.Auto):
				w.say("IST0150", o, path, p.Name)
			case protocol == registry.Auto:
				w.say("IST0118", o, path, p.Name, p.Port, cmp.Or(p.TargetPort.StrVal, fmt.Sprint(cmp.Or(p.TargetPort.IntVal, p.Port))))
			}
		}
	})
}

// entryAddresses finds ports of TCP of hosts that have no address.
func entryAddresses(w *world) {
	each(w, func(o *api.Object, se *networking.ServiceEntry) {
		if len(se.Addresses) > 0 || se.Location == networking.ServiceEntry_MESH_INTERNAL && se.WorkloadSelector != nil {
			return
		}
		for i, p := range se.Ports {
			switch strings.ToUpper(p.Protocol) {
			case "", "TCP", "MONGO", "MYSQL", "REDIS":
				w.say("IST0134", o, fmt.Sprintf("spec.ports[%d].protocol", i), p.Number, cmp.Or(p.Protocol, "none"))
			}
		}
	})
}
