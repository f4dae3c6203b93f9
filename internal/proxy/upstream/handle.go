package upstream

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// Handle is a cluster by name: what config.ClusterRef.Handle holds. It carries the
// run-time state of the name. Safe for concurrent use.
type Handle struct {
	// immutable
	name string
	m    *Manager

	stats ClusterStats
	view  atomic.Pointer[view] // in force; nil while the cluster does not exist

	// build serialises the making of views. It is taken before mu, and after
	// Manager.mu.
	build   sync.Mutex
	next    *config.Cluster // guarded by build: the newest configuration, in force or warming
	warming bool            // guarded by build
	dns     *dnsRefresh     // guarded by build; nil for other types
	sweep   outlierSweep    // guarded by build

	mu      sync.Mutex
	hosts   map[netip.AddrPort]*host // guarded by mu
	usage   [2]usage                 // guarded by mu: by priority
	recent  [2]recent                // guarded by mu: by priority, where a retry budget has an interval
	waiters []*waiter                // guarded by mu: first come, first served
	closed  bool                     // guarded by mu: the manager was closed
	filling bool                     // guarded by mu: a view is being made over hosts
}

// usage is what breakers count, exactly.
type usage struct {
	conns, pending, requests, retries uint32
	yielding                          uint32 // of conns: those that leave for another endpoint's sake
}

// Name is the cluster's name.
func (h *Handle) Name() string { return h.name }

// Stats are the cluster's counters.
func (h *Handle) Stats() *ClusterStats { return &h.stats }

// Config is the node in force; nil while the cluster does not exist, or has never
// got its endpoints.
func (h *Handle) Config() *config.Cluster {
	if v := h.view.Load(); v != nil {
		return v.cfg
	}
	return nil
}

// Endpoints are the endpoints in force; nil if there are none.
func (h *Handle) Endpoints() *config.Endpoints {
	if v := h.view.Load(); v != nil {
		return v.endpoints
	}
	return nil
}

// Hosts lists the endpoints in force, then those that are still draining.
func (h *Handle) Hosts() []HostInfo {
	v := h.view.Load()
	var list []HostInfo
	listed := map[*host]bool{}
	if v != nil && v.endpoints != nil {
		next := 0
		for i := range v.endpoints.Localities {
			loc := &v.endpoints.Localities[i]
			for range loc.Endpoints {
				t := v.targets[next]
				next++
				listed[t.host] = true
				list = append(list, t.host.info(t.endpoint, loc))
			}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.hosts {
		if !listed[x] {
			info := x.info(&config.Endpoint{Addr: x.addr, Weight: 1}, &config.Locality{})
			info.Endpoint.Draining = x.removed
			list = append(list, info)
		}
	}
	return list
}

func (x *host) info(ep *config.Endpoint, loc *config.Locality) HostInfo {
	return HostInfo{
		Endpoint: EndpointInfo{
			Endpoint: ep, Region: loc.Region, Zone: loc.Zone, Subzone: loc.Subzone,
			Priority: loc.Priority, Ejected: x.out.ejected.Load(),
		},
		Stats:    &x.stats,
		RqActive: x.active.Load(),
	}
}

// host finds or makes the run-time state of an endpoint. Called with mu held.
func (h *Handle) host(addr netip.AddrPort) *host {
	x := h.hosts[addr]
	if x == nil {
		if h.hosts == nil {
			h.hosts = make(map[netip.AddrPort]*host)
		}
		x = &host{addr: addr, cluster: h, conns: make(map[*conn]struct{})}
		h.hosts[addr] = x
	}
	return x
}

// limits are the thresholds of a priority; without a view nothing is limited.
func (h *Handle) limits(priority uint8) *config.Breakers {
	if v := h.view.Load(); v != nil {
		return &v.cfg.Breakers[priority&1]
	}
	return &config.Breakers{}
}
