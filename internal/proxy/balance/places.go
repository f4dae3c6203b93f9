package balance

import (
	"slices"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// places spreads requests over localities by their weights, then over the hosts of
// the chosen one (Envoy, "Locality weighted load balancing").
type places struct {
	draw *alias
	of   []chooser
}

func (p *places) choose(r *Request, bits uint64, attempt int) *Host {
	return p.of[p.draw.at(next(&bits))].choose(r, next(&bits), attempt)
}

// weighted wraps the constructor of a policy for clusters whose localities have
// weights: all are the hosts of the priority, by which the availability of a locality
// is told, chosen those that the group consists of.
func weighted(c *config.Cluster, build func([]*Host) chooser, overprovisioning uint32) func(all, chosen []*Host) chooser {
	if !c.Weighted {
		return func(_, chosen []*Host) chooser { return build(chosen) }
	}
	hashes := c.Policy == config.RingHash || c.Policy == config.Maglev
	return func(all, chosen []*Host) chooser {
		groups := byPlace(chosen)
		if hashes {
			// One table over all: each locality has its share of it.
			for _, g := range groups {
				sum := 0.0
				for _, h := range g {
					h.scale = 0
					sum += h.weight()
				}
				for _, h := range g {
					h.scale = float64(h.PlaceWeight) / sum
				}
			}
			chosen = slices.DeleteFunc(slices.Clone(chosen), func(h *Host) bool { return h.PlaceWeight == 0 })
			if len(chosen) == 0 {
				return nil
			}
			return build(chosen)
		}
		total := map[int]int{}
		for _, h := range all {
			total[h.Place]++
		}
		var shares []float64
		p := &places{}
		sum := 0.0
		for _, g := range groups {
			share := float64(g[0].PlaceWeight) * float64(available(len(g), total[g[0].Place], overprovisioning))
			if share > 0 {
				shares = append(shares, share)
				p.of = append(p.of, build(g))
				sum += share
			}
		}
		if len(p.of) == 0 {
			return nil // no locality has a weight: there is no host to choose
		}
		if len(p.of) == 1 {
			return p.of[0]
		}
		for i := range shares {
			shares[i] /= sum
		}
		p.draw = newAlias(shares)
		return p
	}
}

// byPlace groups hosts by locality, in the order of localities.
func byPlace(hosts []*Host) [][]*Host {
	var places []int
	for _, h := range hosts {
		places = append(places, h.Place)
	}
	slices.Sort(places)
	places = slices.Compact(places)
	out := make([][]*Host, len(places))
	for _, h := range hosts {
		i, _ := slices.BinarySearch(places, h.Place)
		out[i] = append(out[i], h)
	}
	return out
}
