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
		hosts[h.Name] = addresses(h)
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

func addresses(h *mesh.Host) []netip.Addr {
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
