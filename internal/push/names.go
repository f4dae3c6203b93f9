package push

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Names is the table of mesh DNS: fully qualified host names ("reviews.default.
// svc.cluster.local") and their addresses: the virtual address of a service, or
// the addresses of a headless service's endpoints, sorted. It is immutable.
type Names struct {
	Version int64                   `json:"version"` // changes with the table
	Hosts   map[string][]netip.Addr `json:"hosts"`
}

// Names returns the current table, and a channel that is closed when it changes.
func (e *Engine) Names() (Names, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.names, e.renamed
}

// setNames publishes the names of a snapshot if they differ from before.
func (e *Engine) setNames(snap *mesh.Snapshot) {
	hosts := map[string][]netip.Addr{}
	for _, h := range snap.AllHosts() {
		if _, taken := hosts[h.Name]; taken || h.Service.Entry != nil && !h.Addr.IsValid() {
			continue // an entry without an address is the world's to resolve
		}
		if h.Service.Alias != "" {
			if t, ok := snap.Host(h.Service.Alias); ok {
				hosts[h.Name] = addresses(t)
			}
			continue
		}
		hosts[h.Name] = addresses(h)
		if h.Service.Headless() {
			podNames(hosts, h)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.names.Version > 0 && maps.EqualFunc(hosts, e.names.Hosts, slices.Equal) {
		return
	}
	e.names = Names{Version: e.names.Version + 1, Hosts: hosts}
	close(e.renamed)
	e.renamed = make(chan struct{})
}

// podNames adds the names of a headless service's pods: "pod.service.namespace…", as
// Kubernetes gives them to those of StatefulSets.
func podNames(hosts map[string][]netip.Addr, h *mesh.Host) {
	for _, p := range h.Ports {
		for i := range p.Endpoints {
			e := &p.Endpoints[i]
			if name := e.Workload.Name + "." + h.Name; e.Addr.Addr().IsValid() && !slices.Contains(hosts[name], e.Addr.Addr()) {
				hosts[name] = append(hosts[name], e.Addr.Addr())
			}
		}
	}
}

func addresses(h *mesh.Host) []netip.Addr {
	if e := h.Service.Entry; e != nil && len(e.Addresses) > 0 {
		var list []netip.Addr
		for _, p := range e.Addresses {
			if p.IsSingleIP() {
				list = append(list, p.Addr())
			}
		}
		return list
	}
	if h.Addr.IsValid() {
		return []netip.Addr{h.Addr}
	}
	var list []netip.Addr
	for _, p := range h.Ports {
		for i := range p.Endpoints {
			list = append(list, p.Endpoints[i].Addr.Addr())
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}
