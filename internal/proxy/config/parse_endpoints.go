package config

import (
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// ParseEndpoints makes the node of a cluster's endpoints.
func ParseEndpoints(m *endpointv3.ClusterLoadAssignment, _ Deps) (*Endpoints, error) {
	s := root("endpoints", m.GetClusterName())
	if err := strict(s, m); err != nil {
		return nil, err
	}
	es, hosts, err := parseAssignment(s, m)
	if err == nil && len(hosts) > 0 {
		err = s.errorf("endpoint %s is a name: addresses are needed here", hosts[0].Host)
	}
	if err != nil {
		return nil, err
	}
	return es, nil
}

// parseAssignment reads an assignment that strict has checked. Endpoints that are
// names to resolve are returned apart.
func parseAssignment(s *scope, m *endpointv3.ClusterLoadAssignment) (*Endpoints, []DNSHost, error) {
	es := &Endpoints{Name: m.GetClusterName(), Overprovisioning: uint32Or(m.GetPolicy().GetOverprovisioningFactor(), 140)}
	if es.Overprovisioning == 0 {
		return nil, nil, s.at("policy").at("overprovisioning_factor").errorf("must be above 0")
	}
	var err error
	if es.Hash, err = hash(s, m); err != nil {
		return nil, nil, err
	}
	var hosts []DNSHost
	for i, lm := range m.GetEndpoints() {
		at := s.item("endpoints", i)
		if lm.GetPriority() > 128 {
			return nil, nil, at.at("priority").errorf("%d is above 128", lm.GetPriority())
		}
		l := Locality{
			Region: lm.GetLocality().GetRegion(), Zone: lm.GetLocality().GetZone(), Subzone: lm.GetLocality().GetSubZone(),
			Weight: lm.GetLoadBalancingWeight().GetValue(), Priority: lm.GetPriority(),
		}
		for j, em := range lm.GetLbEndpoints() {
			e, name, err := parseEndpoint(at.item("lb_endpoints", j), em)
			if err != nil {
				return nil, nil, err
			}
			if name != "" {
				hosts = append(hosts, DNSHost{Host: name, Port: e.Addr.Port(), Priority: l.Priority, Template: *e})
				continue
			}
			l.Endpoints = append(l.Endpoints, e)
		}
		es.Localities = append(es.Localities, l)
	}
	return es, hosts, nil
}

// parseEndpoint reads one endpoint; name is set where its address is one.
func parseEndpoint(s *scope, m *endpointv3.LbEndpoint) (e *Endpoint, name string, err error) {
	em := m.GetEndpoint()
	host, port, err := parseHostPort(s.at("endpoint").at("address"), em.GetAddress())
	if err != nil {
		return nil, "", err
	}
	e = &Endpoint{
		Hostname:    em.GetHostname(),
		Weight:      uint32Or(m.GetLoadBalancingWeight(), 1),
		SocketMatch: stringMap(m.GetMetadata().GetFilterMetadata()["envoy.transport_socket_match"]),
		Workload:    text(m.GetMetadata().GetFilterMetadata()["istio"], "workload"),
		Identity:    text(m.GetMetadata().GetFilterMetadata()["lateen"], "identity"),
	}
	if e.Weight == 0 {
		return nil, "", s.at("load_balancing_weight").errorf("must be above 0")
	}
	if e.Health, err = parseHealth(m.GetHealthStatus()); err != nil {
		return nil, "", s.at("health_status").errorf("%w", err)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		e.Addr = netip.AddrPortFrom(ip.Unmap(), port)
		return e, "", nil
	}
	if host == "" {
		return nil, "", s.at("endpoint").at("address").errorf("is empty")
	}
	e.Addr = netip.AddrPortFrom(netip.Addr{}, port)
	if e.Hostname == "" {
		e.Hostname = host
	}
	return e, host, nil
}

func parseHealth(h corev3.HealthStatus) (Health, error) {
	switch h {
	case corev3.HealthStatus_UNKNOWN:
		return HealthUnknown, nil
	case corev3.HealthStatus_HEALTHY:
		return Healthy, nil
	case corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_TIMEOUT:
		return Unhealthy, nil
	case corev3.HealthStatus_DRAINING:
		return Draining, nil
	case corev3.HealthStatus_DEGRADED:
		return Degraded, nil
	}
	return 0, fmt.Errorf("value %d is not known", h)
}
