package mesh

// Effective gives the traffic policy of a port of a subset ("" for the whole
// host). Set fields of the subset replace the host's; the policy of a port
// replaces, field by field, what the level it stands in says (Istio,
// PortTrafficPolicy: it does not inherit what it leaves out; connection pools and
// the like then have their defaults).
func (p *Policy) Effective(subset string, port uint16) TrafficPolicy {
	if p == nil {
		return TrafficPolicy{}
	}
	out := atPort(&p.Traffic, port)
	s := p.Subset(subset)
	if s == nil {
		return out
	}
	sub := atPort(&s.Policy, port)
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
	return out
}

func atPort(t *TrafficPolicy, port uint16) TrafficPolicy {
	for i := range t.Ports {
		if t.Ports[i].Port == port {
			return t.Ports[i].Policy
		}
	}
	out := *t
	out.Ports = nil
	return out
}
