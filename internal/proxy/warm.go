package proxy

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

const (
	// warmLimit is how long a route table waits for clusters that warm, before it
	// acts without their endpoints.
	warmLimit = 10 * time.Second
	// removalGrace is how long a removed cluster is kept while something names it:
	// the routes that no longer do are on the way.
	removalGrace = 10 * time.Second
)

// settleAgain is how often deadlines are looked at while something waits.
const settleAgain = 500 * time.Millisecond

// settleLoop brings into force what waited, when a cluster became ready or a
// deadline passed. While nothing waits, it sleeps.
func (p *Proxy) settleLoop(ctx context.Context) {
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
		case <-again:
		}
		p.state.mu.Lock()
		p.settle(time.Now())
		again = nil
		if p.waiting() {
			again = time.After(settleAgain)
		}
		p.state.mu.Unlock()
	}
}

// waiting reports whether a deadline may pass, or a socket become free. Called
// with state.mu held.
func (p *Proxy) waiting() bool {
	s := &p.state
	if len(s.removing) > 0 || s.gotCDS && p.ready.Err() != nil {
		return true
	}
	for _, t := range s.tables {
		if t.pending != nil {
			return true
		}
	}
	for _, l := range s.listeners {
		if l.unbound != nil {
			return true
		}
	}
	return false
}

// settle makes before it breaks: tables whose clusters are warm come into force,
// then listeners whose tables are there, then what nothing names is removed.
// Called with state.mu held.
func (p *Proxy) settle(now time.Time) {
	s := &p.state
	warming := map[string]bool{}
	for _, name := range p.clusters.Warming() {
		warming[name] = true
	}
	for _, t := range s.tables {
		if t.pending == nil {
			continue
		}
		if now.After(t.deadline) || s.gotCDS && !namesAny(t.pending, warming) {
			t.table.Store(t.pending)
			t.pending = nil
		}
	}
	waits := p.activate()
	p.removeClusters(now)
	p.tellReady(now, waits, len(warming))
}

// activate puts the listeners in force whose route tables are there. One that
// waits leaves the version before it. It returns what is waited for.
func (p *Proxy) activate() (waits []string) {
	s := &p.state
	next := map[string]*config.Listener{}
	changed := false
	for _, name := range slices.Sorted(maps.Keys(s.listeners)) {
		node, ok := s.listeners[name].node.(*config.Listener)
		if !ok {
			continue // refused, and there was none before
		}
		old := s.active[name]
		if table := p.missingTable(node); table != "" {
			waits = append(waits, name+" for the routes "+table)
			node = old
		}
		if node != nil {
			next[name] = node
		}
		changed = changed || node != old
	}
	if !changed && len(next) == len(s.active) {
		return waits
	}
	set := make([]*config.Listener, 0, len(next))
	for _, name := range slices.Sorted(maps.Keys(next)) {
		set = append(set, next[name])
	}
	failed := p.listeners.Apply(set)
	for name := range next {
		err := failed[name]
		if err != nil {
			waits = append(waits, name+": "+err.Error())
		}
		r := s.listeners[name]
		if err != nil && r.unbound == nil {
			p.log.Error("listener not in force", "listener", name, "err", err)
			r.failedAt = time.Now()
		}
		r.unbound = err
		if err == nil {
			continue
		}
		if old := s.active[name]; old != nil {
			next[name] = old
		} else {
			delete(next, name)
		}
	}
	s.active = next
	p.wantByListeners()
	return waits
}

// missingTable names a route table that a listener needs and that is not there.
func (p *Proxy) missingTable(l *config.Listener) string {
	for _, fc := range allChains(l) {
		if fc.HTTP == nil || fc.HTTP.RouteName == "" {
			continue
		}
		if t := p.state.tables[fc.HTTP.RouteName]; t == nil || t.Table() == nil {
			return fc.HTTP.RouteName
		}
	}
	return ""
}

func allChains(l *config.Listener) []*config.FilterChain {
	if l.DefaultChain == nil {
		return l.Chains
	}
	return append(slices.Clone(l.Chains), l.DefaultChain)
}

// wantByListeners subscribes to the routes and secrets that listeners name, those
// in force and those that wait.
func (p *Proxy) wantByListeners() {
	s := &p.state
	tables, secrets := map[string]bool{}, map[string]bool{}
	add := func(l *config.Listener) {
		for _, fc := range allChains(l) {
			if fc.HTTP != nil && fc.HTTP.RouteName != "" {
				tables[fc.HTTP.RouteName] = true
			}
			if fc.TLS != nil {
				adsSecrets(secrets, &fc.TLS.Common)
			}
		}
	}
	for _, l := range s.active {
		add(l)
	}
	for _, r := range s.listeners {
		if l, ok := r.node.(*config.Listener); ok {
			add(l)
		}
	}
	p.want(config.RouteURL, slices.Sorted(maps.Keys(tables)))
	p.want(SecretURL, slices.Sorted(maps.Keys(secrets)))
}

// removeClusters removes what nothing names any more, or too long.
func (p *Proxy) removeClusters(now time.Time) {
	s := &p.state
	if len(s.removing) == 0 {
		return
	}
	var gone []string
	for name, deadline := range s.removing {
		if now.Before(deadline) && p.named(map[string]bool{name: true}) {
			continue
		}
		gone = append(gone, name)
		delete(s.removing, name)
		delete(s.clusters, name)
	}
	if len(gone) == 0 {
		return
	}
	slices.Sort(gone)
	if err := p.clusters.Apply(nil, gone); err != nil {
		p.log.Error("clusters not removed", "err", err)
	}
	p.want(config.EndpointsURL, p.clusters.EDSNames())
	p.metrics.Forget()
}

// named reports whether a route or TCP chain in force, or one that waits, names
// any of the clusters.
func (p *Proxy) named(set map[string]bool) bool {
	s := &p.state
	for _, t := range s.tables {
		if t.Table() != nil && namesAny(t.Table(), set) || t.pending != nil && namesAny(t.pending, set) {
			return true
		}
	}
	for _, l := range s.active {
		if listenerNames(l, set) {
			return true
		}
	}
	for _, r := range s.listeners {
		if l, ok := r.node.(*config.Listener); ok && listenerNames(l, set) {
			return true
		}
	}
	return false
}

func listenerNames(l *config.Listener, set map[string]bool) bool {
	for _, fc := range allChains(l) {
		if fc.HTTP != nil && fc.HTTP.Inline != nil && namesAny(fc.HTTP.Inline, set) {
			return true
		}
		if fc.TCP != nil && anyIn(fc.TCP.Clusters, set) {
			return true
		}
	}
	return false
}

// namesAny reports whether a route table names any of the clusters.
func namesAny(t *config.RouteTable, set map[string]bool) bool {
	if len(set) == 0 {
		return false
	}
	for _, h := range t.Hosts {
		for _, r := range h.Routes {
			if r.Forward == nil {
				continue
			}
			if anyIn(r.Forward.Clusters, set) {
				return true
			}
			for i := range r.Forward.Mirrors {
				if set[r.Forward.Mirrors[i].Cluster.Name] {
					return true
				}
			}
		}
	}
	return false
}

func anyIn(list []config.WeightedCluster, set map[string]bool) bool {
	for i := range list {
		if set[list[i].Cluster.Name] {
			return true
		}
	}
	return false
}

// tellReady notes what the first configuration still waits for. Once ready, later
// changes do not make the proxy unready: what was in force serves on.
//
// Endpoints that do not come hold it up for warmLimit only: their clusters answer
// 503, and all others serve.
func (p *Proxy) tellReady(now time.Time, waits []string, warming int) {
	s := &p.state
	if p.ready.Err() == nil {
		return
	}
	switch {
	case !s.gotCDS:
		p.ready.Set("clusters", "none received yet")
	case warming > 0 && now.Before(s.firstCDS.Add(warmLimit)):
		p.ready.Set("clusters", "waiting for endpoints")
	default:
		p.ready.Set("clusters", "")
	}
	switch {
	case !s.gotLDS:
		p.ready.Set("listeners", "none received yet")
	case len(waits) > 0:
		p.ready.Set("listeners", waits[0])
	default:
		p.ready.Set("listeners", "")
	}
}
