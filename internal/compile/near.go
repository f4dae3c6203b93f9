package compile

import (
	"slices"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// caller is where a proxy is.
type caller struct {
	locality registry.Locality
	node     string
}

// callerOf finds where a proxy is: where the registry has its workload. A proxy
// that the registry does not know has no place, and prefers nothing.
func callerOf(snap *mesh.Snapshot, node Node) caller {
	for _, ip := range node.IPs {
		if w := snap.Workloads().At(node.Namespace, ip); w != nil {
			return caller{w.Locality, w.Node}
		}
	}
	return caller{}
}

// distance ranks an endpoint by a service's preference; 0 is the nearest. Beyond
// what is preferred, nearer localities come first (Istio, "Traffic Distribution"):
// same subzone, zone, region, then the rest.
func (c caller) distance(w *registry.Workload, prefer registry.Distribution) uint32 {
	if prefer == registry.Anywhere {
		return 0
	}
	if prefer == registry.SameNode && c.node != "" && w.Node == c.node {
		return 0
	}
	l := w.Locality
	switch {
	case c.locality == registry.Locality{}:
		return 1 // nothing is known of distances
	case l == c.locality:
		return 1
	case l.Region == c.locality.Region && l.Zone == c.locality.Zone:
		return 2
	case l.Region == c.locality.Region:
		return 3
	}
	return 4
}

// closeGaps renumbers priorities, so that the first is 0 and each follows the one
// before: Envoy refuses assignments with gaps.
func closeGaps(list []ir.LocalityEndpoints) {
	var used []uint32
	for i := range list {
		used = append(used, list[i].Priority)
	}
	slices.Sort(used)
	used = slices.Compact(used)
	for i := range list {
		at, _ := slices.BinarySearch(used, list[i].Priority)
		list[i].Priority = uint32(at)
	}
}
