package mesh

// ShapesCalls reports whether some policy for a host says more than how its clusters
// are: what of a request decides the endpoint, or for how long relayed connections may
// be idle. These stand in routes and listeners.
func (s *Snapshot) ShapesCalls(host string) bool {
	x := s.policies
	for _, ns := range x.namespaces(host) {
		for _, p := range x.exact[[2]string{ns, host}] {
			if p.shapesCalls() {
				return true
			}
		}
		for _, p := range x.wild[ns] {
			if hostMatches(p.Host, host) && p.shapesCalls() {
				return true
			}
		}
	}
	return false
}

func (p *Policy) shapesCalls() bool {
	if shapes(&p.Traffic) {
		return true
	}
	for _, s := range p.Subsets {
		if shapes(&s.Policy) {
			return true
		}
	}
	return false
}

func shapes(t *TrafficPolicy) bool {
	if t.Balance != nil && t.Balance.Hash != nil || t.Pool != nil && t.Pool.TCPIdle > 0 {
		return true
	}
	for i := range t.Ports {
		if shapes(&t.Ports[i].Policy) {
			return true
		}
	}
	return false
}
