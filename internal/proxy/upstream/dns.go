package upstream

import (
	"context"
	"net/netip"
	"reflect"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// dnsRefreshDefault is Envoy's default dns_refresh_rate.
const dnsRefreshDefault = 5 * time.Second

// dnsRefresh resolves one version of a cluster until it is stopped.
type dnsRefresh struct {
	cfg  *config.Cluster
	stop context.CancelFunc
}

// sameDNS reports whether two versions resolve the same names in the same way.
func sameDNS(a, b *config.Cluster) bool {
	return a.Type == b.Type && a.DNSFamily == b.DNSFamily && reflect.DeepEqual(a.DNS, b.DNS)
}

// startDNS ends the refresh of the former version and starts that of cfg, if it
// needs one. Called with build held.
func (h *Handle) startDNS(cfg *config.Cluster, known *config.Endpoints) {
	h.stopDNS()
	if cfg.Type != config.ClusterStrictDNS && cfg.Type != config.ClusterLogicalDNS {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &dnsRefresh{cfg: cfg, stop: stop}
	h.dns = r
	h.m.spawn(func() { h.resolveLoop(ctx, r, known) })
}

func (h *Handle) stopDNS() {
	if h.dns != nil {
		h.dns.stop()
		h.dns = nil
	}
}

// resolveLoop resolves, publishes what changed, and waits for the records to age.
func (h *Handle) resolveLoop(ctx context.Context, r *dnsRefresh, last *config.Endpoints) {
	for {
		eps, ttl, err := h.resolve(ctx, r.cfg, last)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			h.stats.UpdateFailure.Add(1)
			h.m.o.Log.Warn("name of a cluster does not resolve", "cluster", h.name, "error", err)
		}
		if last == nil || !sameAddrs(last, eps) {
			last = eps
			h.resolved(r, eps)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(ttl):
		}
	}
}

// resolved publishes the endpoints of a refresh that is still the current one.
func (h *Handle) resolved(r *dnsRefresh, eps *config.Endpoints) {
	h.build.Lock()
	if h.dns != r {
		h.build.Unlock()
		return
	}
	ready := h.warming
	err := h.publish(r.cfg, eps)
	if err == nil {
		h.warming = false
	}
	h.build.Unlock()
	if err != nil {
		h.m.o.Log.Error("resolved endpoints cannot be used", "cluster", h.name, "error", err)
	} else if ready {
		h.m.o.Observer.ClusterReady(h.name)
	}
}

// resolve looks up every name. A name that fails keeps the addresses that it had
// in last; the error is that of the last one that failed.
func (h *Handle) resolve(ctx context.Context, cfg *config.Cluster, last *config.Endpoints) (*config.Endpoints, time.Duration, error) {
	ttl := cfg.DNSRefresh
	if ttl <= 0 {
		ttl = dnsRefreshDefault
	}
	var failure error
	loc := config.Locality{}
	for i := range cfg.DNS {
		d := &cfg.DNS[i]
		addrs, t, err := h.lookup(ctx, d.Host)
		if err != nil {
			failure = err
			loc.Endpoints = append(loc.Endpoints, keep(last, d)...)
			continue
		}
		if t > 0 && t < ttl {
			ttl = max(t, time.Second)
		}
		addrs = ofFamily(addrs, cfg.DNSFamily)
		if cfg.Type == config.ClusterLogicalDNS && len(addrs) > 1 {
			addrs = addrs[:1]
		}
		for _, a := range addrs {
			ep := d.Template
			ep.Addr = netip.AddrPortFrom(a.Unmap(), d.Port)
			if ep.Hostname == "" {
				ep.Hostname = d.Host
			}
			ep.Weight = max(ep.Weight, 1)
			loc.Endpoints = append(loc.Endpoints, &ep)
		}
	}
	return &config.Endpoints{Name: cfg.Name, Localities: []config.Locality{loc}}, ttl, failure
}

func (h *Handle) lookup(ctx context.Context, name string) ([]netip.Addr, time.Duration, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, 0, nil
	}
	return h.m.o.Resolver.Lookup(ctx, name)
}

// keep gives the endpoints that last held for the name.
func keep(last *config.Endpoints, d *config.DNSHost) []*config.Endpoint {
	if last == nil {
		return nil
	}
	var list []*config.Endpoint
	for i := range last.Localities {
		for _, ep := range last.Localities[i].Endpoints {
			if ep.Hostname == d.Host || d.Template.Hostname != "" && ep.Hostname == d.Template.Hostname {
				list = append(list, ep)
			}
		}
	}
	return list
}

// ofFamily filters addresses as dns_lookup_family asks.
func ofFamily(addrs []netip.Addr, f config.DNSFamily) []netip.Addr {
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		if a.Unmap().Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	switch f {
	case config.DNSV4Only:
		return v4
	case config.DNSV6Only:
		return v6
	case config.DNSV4Preferred:
		if len(v4) > 0 {
			return v4
		}
		return v6
	case config.DNSAll:
		return addrs
	}
	if len(v6) > 0 {
		return v6
	}
	return v4
}

func sameAddrs(a, b *config.Endpoints) bool {
	x, y := addrSet(a), addrSet(b)
	if len(x) != len(y) {
		return false
	}
	for k := range x {
		if !y[k] {
			return false
		}
	}
	return true
}

func addrSet(e *config.Endpoints) map[netip.AddrPort]bool {
	set := map[netip.AddrPort]bool{}
	for i := range e.Localities {
		for _, ep := range e.Localities[i].Endpoints {
			set[ep.Addr] = true
		}
	}
	return set
}
