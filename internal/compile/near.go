package compile

import (
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// Labels of failoverPriority with a meaning of their own (Istio,
// LocalityLoadBalancerSetting).
const (
	labelRegion  = "topology.kubernetes.io/region"
	labelZone    = "topology.kubernetes.io/zone"
	labelSubzone = "topology.istio.io/subzone"
	labelCluster = "topology.istio.io/cluster"
	labelNode    = "kubernetes.io/hostname"
)

// caller is where a proxy is.
type caller struct {
	locality registry.Locality
	node     string
}

// callerOf finds where a proxy is: where the registry has its workload. A proxy
// that the registry does not know has no place.
func callerOf(snap *mesh.Snapshot, node Node) caller {
	for _, ip := range node.IPs {
		if w := snap.Workloads().At(node.Namespace, ip); w != nil {
			return caller{w.Locality, w.Node}
		}
	}
	return caller{}
}

// placing is how the endpoints of one cluster are ordered and shared for a caller.
type placing struct {
	caller
	label   func(key string) string // of the caller
	setting *mesh.LocalitySetting
	share   *mesh.Distribution // nil: each place counts by its endpoints
	order   bool               // by nearness
}

// localities finds what says how places count: the policy's setting, else what the
// service prefers, else the mesh's setting. Order needs outlier detection, which tells
// that endpoints fail, but where a service asks for it (Istio, "Locality Load
// Balancing" and "Traffic Distribution").
func (c *compiler) localities(h *mesh.Host, t *mesh.TrafficPolicy) (s *mesh.LocalitySetting, order bool) {
	switch prefer := h.Service.Distribution; {
	case t.Balance != nil && t.Balance.Locality != nil:
		return t.Balance.Locality, t.Outlier != nil
	case prefer != registry.Anywhere:
		return preferring(prefer), true
	}
	return defaultLocality(c.snap.Settings()), t.Outlier != nil
}

// placing is how a host's endpoints are ordered and shared for the client. Where that
// one is does not matter before a setting says so, and is not asked then.
func (c *compiler) placing(h *mesh.Host, t *mesh.TrafficPolicy) placing {
	p := placing{label: c.client.Label}
	p.setting, p.order = c.localities(h, t)
	switch {
	case p.setting.Disabled:
		return placing{}
	case len(p.setting.Distribute) > 0:
		p.caller, p.order = c.client.Place(), false
		for i := range p.setting.Distribute {
			if d := &p.setting.Distribute[i]; inPlace(p.locality, d.From) {
				p.share = d
				break
			}
		}
	case p.order:
		p.caller = c.client.Place()
	}
	return p
}

// defaultLocality is the mesh's setting: on where nothing says so.
func defaultLocality(m *mesh.Settings) *mesh.LocalitySetting {
	if l := m.Locality; l != nil {
		return l
	}
	return &mesh.LocalitySetting{}
}

// preferring is a service's traffic distribution as a setting.
func preferring(d registry.Distribution) *mesh.LocalitySetting {
	labels := []string{labelRegion, labelZone, labelSubzone}
	if d == registry.SameNode {
		labels = append(labels, labelNode)
	}
	return &mesh.LocalitySetting{Priority: labels}
}

// rank orders an endpoint; 0 is called first.
func (p *placing) rank(w *registry.Workload) uint32 {
	switch {
	case !p.order:
		return 0
	case len(p.setting.Priority) == 0:
		return p.distance(w)
	case len(p.setting.Failover) == 0:
		return p.apart(w)
	}
	const distances = 5
	return p.apart(w)*distances + p.distance(w)
}

// apart counts the labels of failoverPriority from the first one on that the endpoint
// does not share.
func (p *placing) apart(w *registry.Workload) uint32 {
	labels := p.setting.Priority
	for i, label := range labels {
		key, want, given := strings.Cut(label, "=")
		if !given {
			want = p.own(key)
		}
		if labelOf(key, func(k string) string { return w.Labels[k] }, w.Locality, w.Node) != want {
			return uint32(len(labels) - i)
		}
	}
	return 0
}

// own is a label of the caller.
func (p *placing) own(key string) string { return labelOf(key, p.label, p.locality, p.node) }

func labelOf(key string, label func(string) string, at registry.Locality, node string) string {
	switch key {
	case labelRegion:
		return at.Region
	case labelZone:
		return at.Zone
	case labelSubzone:
		return at.Subzone
	case labelCluster:
		return clusterID
	case labelNode:
		return node
	}
	return label(key)
}

// distance is 0 within the caller's subzone, 1 in its zone, 2 in its region, 3 in the
// region to which that one fails over, or in any other where nothing says so, and 4
// elsewhere. Of a caller that has no place nothing is far.
func (p *placing) distance(w *registry.Workload) uint32 {
	from, to := p.locality, w.Locality
	switch {
	case from == registry.Locality{}, from == to:
		return 0
	case from.Region == to.Region && from.Zone == to.Zone:
		return 1
	case from.Region == to.Region:
		return 2
	}
	for _, f := range p.setting.Failover {
		if f.From == from.Region {
			if f.To != to.Region {
				return 4
			}
			break
		}
	}
	return 3
}

// distribute gives the places their shares, and drops those without one.
func (p *placing) distribute(list []ir.LocalityEndpoints) []ir.LocalityEndpoints {
	if p.share == nil {
		return list
	}
	shared := make([]bool, len(list))
	for _, to := range mostSpecific(p.share.To) {
		var at []int
		total := 0
		for i := range list {
			l := &list[i]
			if !shared[i] && inPlace(registry.Locality{Region: l.Region, Zone: l.Zone, Subzone: l.Subzone}, to.place) {
				shared[i] = true
				at = append(at, i)
				total += len(l.Endpoints)
			}
		}
		for _, i := range at {
			list[i].Weight = uint32(math.Ceil(float64(len(list[i].Endpoints)) * float64(to.weight) / float64(total)))
		}
	}
	out := list[:0]
	for i := range list {
		if shared[i] && list[i].Weight > 0 {
			out = append(out, list[i])
		}
	}
	return out
}

// placeWeight is a place's share in per cent.
type placeWeight struct {
	place  string
	weight uint32
}

// mostSpecific lists places, those with fewer wildcards first: a place has one share.
func mostSpecific(to map[string]uint32) []placeWeight {
	var out []placeWeight
	for _, place := range slices.Sorted(maps.Keys(to)) {
		out = append(out, placeWeight{place, to[place]})
	}
	slices.SortStableFunc(out, func(a, b placeWeight) int { return namedParts(b.place) - namedParts(a.place) })
	return out
}

func namedParts(place string) int {
	n := 0
	for part := range strings.SplitSeq(place, "/") {
		if part != "" && part != "*" {
			n++
		}
	}
	return n
}

// inPlace reports whether a locality lies in a place "region/zone/subzone", whose
// parts may be "*" or left out.
func inPlace(l registry.Locality, place string) bool {
	region, rest, _ := strings.Cut(place, "/")
	zone, subzone, _ := strings.Cut(rest, "/")
	return (region == "*" || region == l.Region) &&
		(zone == "*" || zone == "" || zone == l.Zone) &&
		(subzone == "*" || subzone == "" || subzone == l.Subzone)
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
