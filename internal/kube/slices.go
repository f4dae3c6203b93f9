package kube

import (
	"net/netip"
	"reflect"

	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/registry"
)

// slice is what is held of an EndpointSlice; immutable.
type slice struct {
	service   string // key of the Service, "namespace/name"
	ipv6      bool
	fqdn      bool // of names: has no endpoints here, and the Service's author hears of it
	ports     []registry.Port
	endpoints []endpoint
}

// endpoint is one address of a slice.
type endpoint struct {
	addr   netip.Addr
	pod    string // key, "namespace/name"; "" where the slice names none
	node   string
	zone   string
	health registry.Health
}

func (c *Client) sliceKind() kind[*slice] {
	return of(kind[*slice]{
		name: "endpointslices", expect: &discovery.EndpointSlice{}, strip: stripMeta,
		keep: func(old *slice, object any) (*slice, bool) {
			in, ok := object.(*discovery.EndpointSlice)
			if !ok {
				return nil, false
			}
			now, ok := sliceOf(in)
			if ok && old != nil {
				if reflect.DeepEqual(old, now) {
					return old, true
				}
				if reflect.DeepEqual(old.ports, now.ports) {
					now.ports = old.ports
				}
			}
			return now, ok
		},
		same: func(a, b *slice) bool { return a == b },
	}, c.typed.DiscoveryV1().EndpointSlices(metav1.NamespaceAll), "", discovery.LabelServiceName)
}

// sliceOf reduces an EndpointSlice; ok is false where it belongs to no Service.
// Slices of imported services (the Multi-Cluster Services API) carry another label.
func sliceOf(in *discovery.EndpointSlice) (s *slice, ok bool) {
	service := in.Labels[discovery.LabelServiceName]
	if service == "" {
		return nil, false
	}
	s = &slice{service: in.Namespace + "/" + service, ipv6: in.AddressType == discovery.AddressTypeIPv6}
	if in.AddressType != discovery.AddressTypeIPv4 && !s.ipv6 {
		s.fqdn = true
		return s, true
	}
	for _, p := range in.Ports {
		if p.Port == nil || *p.Port < 1 || *p.Port > 65535 {
			continue // no port means that the consumer must know it, which a mesh does not
		}
		port := registry.Port{Number: uint16(*p.Port)}
		if p.Name != nil {
			port.Name = *p.Name
		}
		if p.Protocol != nil {
			port.Protocol = string(*p.Protocol)
		}
		s.ports = append(s.ports, port)
	}
	s.endpoints = make([]endpoint, 0, len(in.Endpoints))
	for i := range in.Endpoints {
		if e, ok := endpointOf(in.Namespace, &in.Endpoints[i]); ok {
			s.endpoints = append(s.endpoints, e)
		}
	}
	return s, true
}

// endpointOf reduces an endpoint. Of several addresses the first counts: they are
// fungible by the API's definition.
func endpointOf(namespace string, in *discovery.Endpoint) (e endpoint, ok bool) {
	if len(in.Addresses) == 0 {
		return e, false
	}
	addr, err := netip.ParseAddr(in.Addresses[0])
	if err != nil {
		return e, false // the API server checks the form
	}
	e = endpoint{addr: addr.Unmap(), health: healthOf(in.Conditions)}
	if in.NodeName != nil {
		e.node = *in.NodeName
	}
	if in.Zone != nil {
		e.zone = *in.Zone
	}
	if t := in.TargetRef; t != nil && t.Kind == "Pod" {
		if t.Namespace != "" {
			namespace = t.Namespace
		}
		e.pod = namespace + "/" + t.Name
	}
	return e, true
}

// healthOf reads the conditions. Ready that is not set means ready; it is true for
// all endpoints of a Service that publishes those that are not ready.
func healthOf(c discovery.EndpointConditions) registry.Health {
	switch {
	case c.Ready == nil || *c.Ready:
		return registry.Healthy
	case c.Terminating != nil && *c.Terminating && (c.Serving == nil || *c.Serving):
		return registry.Draining
	}
	return registry.Unready
}
