package proxy

// heed lets the overload monitor see this proxy, and free what it can. stop ends
// that.
func (p *Proxy) heed() (stop func()) {
	m := p.opts.Overload
	uncount := m.CountConnections(func() (used, most int64) {
		return p.listeners.Stats().Active.Load(), int64(p.opts.MaxConnections)
	})
	unhelp := m.Help(p.clusters.Shrink)
	return func() {
		unhelp()
		uncount()
	}
}

// Connections is the number of connections of clients that are open.
func (p *Proxy) Connections() int { return int(max(p.listeners.Stats().Active.Load(), 0)) }
