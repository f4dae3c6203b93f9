package mesh

// Effective gives the traffic policy of a port of a subset ("" for the whole
// host). Set fields of the subset replace the host's. The policy of a port replaces
// balancing, connection pool, outlier detection and TLS of what is around it, also
// where it leaves them out: they have their defaults then (Istio, PortTrafficPolicy).
func (p *Policy) Effective(subset string, port uint16) TrafficPolicy {
	if p == nil {
		return TrafficPolicy{}
	}
	out := atPort(p.Traffic, port)
	s := p.Subset(subset)
	if s == nil {
		return out
	}
	sub := &s.Policy
	if sub.Balance != nil {
		out.Balance = sub.Balance
	}
	if sub.Pool != nil {
		out.Pool = sub.Pool
	}
	if sub.Outlier != nil {
		out.Outlier = sub.Outlier
	}
	if sub.TLS != nil {
		out.TLS = sub.TLS
	}
	if sub.Budget != nil {
		out.Budget = sub.Budget
	}
	if sub.Proxy != NoProxyProtocol {
		out.Proxy = sub.Proxy
	}
	out.Ports = sub.Ports
	return atPort(out, port)
}

// atPort gives what holds at a port, without port policies.
func atPort(t TrafficPolicy, port uint16) TrafficPolicy {
	list := t.Ports
	t.Ports = nil
	for i := range list {
		if list[i].Port == port {
			at := &list[i].Policy
			t.Balance, t.Pool, t.Outlier, t.TLS = at.Balance, at.Pool, at.Outlier, at.TLS
			break
		}
	}
	return t
}

// Traffic is Effective with the mesh's connection pool and outlier detection where
// the policy has none (MeshConfig, defaultTrafficPolicy).
func (s *Snapshot) Traffic(p *Policy, subset string, port uint16) TrafficPolicy {
	out := p.Effective(subset, port)
	if out.Pool == nil {
		out.Pool = s.settings.Pool
	}
	if out.Outlier == nil {
		out.Outlier = s.settings.Outlier
	}
	return out
}
