package upstream

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// apply takes a new version of the cluster. It comes into force at once if its
// endpoints are known, else when they arrive.
func (h *Handle) apply(cfg *config.Cluster) error {
	h.build.Lock()
	ready, err := h.applyLocked(cfg)
	h.build.Unlock()
	if ready {
		h.m.o.Observer.ClusterReady(h.name)
	}
	return err
}

func (h *Handle) applyLocked(cfg *config.Cluster) (ready bool, err error) {
	if h.next != nil && cfg.Hash != 0 && h.next.Hash == cfg.Hash {
		return false, nil
	}
	// What cannot be built is refused now, not when the endpoints arrive.
	if _, err := newLinks(cfg, h.oldLinks(), &h.m.o); err != nil {
		return false, err
	}
	var eps *config.Endpoints
	switch cfg.Type {
	case config.ClusterStatic:
		eps = cfg.Static
		if eps == nil {
			eps = &config.Endpoints{Name: cfg.Name}
		}
	case config.ClusterEDS:
		eps = h.m.endpointsOf(edsName(cfg))
	case config.ClusterStrictDNS, config.ClusterLogicalDNS:
		if h.m.o.Resolver == nil {
			return false, errors.New("a DNS cluster needs a resolver, and this proxy has none")
		}
		if old := h.view.Load(); h.dns != nil && old != nil && sameDNS(h.next, cfg) {
			eps = old.endpoints
		}
	}
	h.startDNS(cfg, eps)
	if eps == nil && cfg.Type != config.ClusterOriginalDst {
		h.next, h.warming = cfg, true
		return false, nil
	}
	if err := h.publish(cfg, eps); err != nil {
		return false, err
	}
	h.next, h.warming = cfg, false
	return true, nil
}

func (h *Handle) oldLinks() *links {
	if v := h.view.Load(); v != nil {
		return &v.links
	}
	return nil
}

// edsName is the name under which a cluster's endpoints come.
func edsName(cfg *config.Cluster) string {
	if cfg.EDSName != "" {
		return cfg.EDSName
	}
	return cfg.Name
}

// edsName gives the EDS name of the newest version; false if it needs none.
func (h *Handle) edsName() (string, bool) {
	h.build.Lock()
	defer h.build.Unlock()
	if h.next == nil || h.next.Type != config.ClusterEDS {
		return "", false
	}
	return edsName(h.next), true
}

// refresh takes new endpoints for the newest version.
func (h *Handle) refresh(eps *config.Endpoints) error {
	h.build.Lock()
	if h.next == nil {
		h.build.Unlock()
		return nil
	}
	if v := h.view.Load(); v != nil && !h.warming && v.endpoints == eps {
		h.build.Unlock()
		return nil
	}
	if err := h.publish(h.next, eps); err != nil {
		h.stats.UpdateFailure.Add(1)
		h.build.Unlock()
		return err
	}
	ready := h.warming
	h.warming = false
	h.build.Unlock()
	if ready {
		h.m.o.Observer.ClusterReady(h.name)
	}
	return nil
}

// publish makes and publishes a view, and drains what it no longer names. Called
// with build held.
func (h *Handle) publish(cfg *config.Cluster, eps *config.Endpoints) error {
	ls, err := newLinks(cfg, h.oldLinks(), &h.m.o)
	if err != nil {
		return err
	}
	v := &view{cfg: cfg, endpoints: eps, links: ls}
	if err := h.store(v); err != nil {
		return err
	}
	h.stats.UpdateSuccess.Add(1)
	return nil
}

// rebuild publishes the view in force again, after ejections changed. Called with
// build held.
func (h *Handle) rebuild() {
	old := h.view.Load()
	if old == nil {
		return
	}
	v := &view{cfg: old.cfg, endpoints: old.endpoints, links: old.links}
	if err := h.store(v); err != nil {
		// The same input was accepted before.
		h.m.o.Log.Error("cluster cannot be rebuilt", "cluster", h.name, "error", err)
	}
}

// store fills the view and publishes it. Filling may take long (a hash ring), so
// requests go on meanwhile; hosts are not forgotten until it is done.
func (h *Handle) store(v *view) error {
	h.mu.Lock()
	h.filling = true
	h.mu.Unlock()
	err := v.fill(func(a netip.AddrPort) *host {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.host(a)
	}, h.m.o.Now())
	h.mu.Lock()
	h.filling = false
	if err != nil {
		h.mu.Unlock()
		return err
	}
	h.view.Store(v)
	idle := h.retire(v)
	h.grant()
	h.mu.Unlock()
	if v.starting {
		h.armSweep(v.cfg.SlowStart.Window / slowStartSteps)
	}
	closeConns(idle, notServed)
	return nil
}

// retire marks hosts that no view names, forgets those that nothing uses, takes
// connections that must not be used again out of the choice, sends requests that
// wait for such elsewhere, and returns the connections that nobody uses. Called with
// mu held.
func (h *Handle) retire(v *view) []*conn {
	named := make(map[*host]bool)
	if v != nil {
		for _, t := range v.targets {
			named[t.host] = true
			t.host.removed = false
		}
	}
	var gone []*conn
	for _, x := range h.hosts {
		x.removed = !named[x] && (v == nil || !v.anyAddr())
		for c := range x.conns {
			if (x.removed || !v.uses(c.pool)) && h.retireConn(c) {
				gone = append(gone, c)
			}
		}
	}
	h.remaining(func(w *waiter) bool {
		moved := h.moved(v, w.target, w.pool.wish.speak)
		if moved {
			w.give(grant{err: errMoved})
		}
		return moved
	})
	for addr, x := range h.hosts {
		for _, p := range slices.Clone(x.pools) {
			h.settle(p)
		}
		if x.removed && !x.used() {
			h.forget(addr, x)
		}
	}
	return gone
}

// errMoved ends the wait for an endpoint that has left the cluster: another one is
// chosen.
var errMoved = errors.New("the endpoint left the cluster")

// moved reports whether the target is not one of view v any more, or not spoken to in
// this way. Called with mu held.
func (h *Handle) moved(v *view, tg *target, speak tlsctx.Speak) bool {
	return v == nil || tg.host.removed || h.hosts[tg.host.addr] != tg.host || !v.links.has(tg.link) || !speaks(v.cfg, speak)
}

// forget drops the state of an endpoint. Called with mu held.
func (h *Handle) forget(addr netip.AddrPort, x *host) {
	delete(h.hosts, addr)
	if x.out.ejected.Swap(false) {
		h.stats.EjectionsActive.Add(-1)
	}
}

// remove takes the cluster out of force. Requests under way finish.
func (h *Handle) remove() {
	h.build.Lock()
	defer h.build.Unlock()
	h.next, h.warming = nil, false
	h.stopDNS()
	h.mu.Lock()
	h.view.Store(nil)
	idle := h.retire(nil)
	h.mu.Unlock()
	closeConns(idle, stream.Reason{Code: stream.Draining, Detail: "the cluster was removed"})
}

// closeAll resets what is under way; the handle serves no more.
func (h *Handle) closeAll(why stream.Reason) {
	h.mu.Lock()
	h.closed = true
	var all []*conn
	for _, x := range h.hosts {
		for c := range x.conns {
			all = append(all, c)
		}
	}
	h.mu.Unlock()
	closeConns(all, why)
}

// missing is the answer while no version of the cluster is in force.
func (h *Handle) missing() *stream.Reply {
	return stream.NewReply(0, stream.Reason{Code: stream.NoCluster, Detail: "the cluster " + h.name + " does not exist, or has no endpoints yet"})
}
