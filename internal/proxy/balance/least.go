package balance

import "math"

// leastRequest draws choices hosts and takes the one with the fewest requests
// under way. With unequal weights Envoy picks a host with a share of
// weight / (active+1)^bias; this draws candidates by weight, then one of them by
// 1 / (active+1)^bias, which comes to nearly the same without looking at all
// hosts, and to exactly the same while they are idle.
type leastRequest struct {
	hosts   []*Host
	draw    *alias // draws by weight; nil if the weights are equal
	choices int
	bias    float64
}

// candidates is how many hosts are drawn where weights differ.
const candidates = 8

func newLeastRequest(hosts []*Host, choices int, bias float64) *leastRequest {
	lr := &leastRequest{hosts: hosts, choices: max(choices, 2), bias: bias}
	equal := true
	for _, h := range hosts {
		equal = equal && h.weight() == hosts[0].weight()
	}
	if equal {
		return lr
	}
	lr.draw = newAlias(normalized(hosts))
	return lr
}

func (lr *leastRequest) choose(_ *Request, bits uint64, _ int) *Host {
	if len(lr.hosts) == 1 {
		return lr.hosts[0]
	}
	if lr.draw != nil {
		return lr.chooseWeighted(bits)
	}
	var best *Host
	var least uint32
	for range lr.choices {
		h := lr.hosts[next(&bits)%uint64(len(lr.hosts))]
		if n := active(h); best == nil || n < least {
			best, least = h, n
		}
	}
	return best
}

func (lr *leastRequest) chooseWeighted(bits uint64) *Host {
	var drawn [candidates]*Host
	var sums [candidates]float64
	sum := 0.0
	for i := range drawn {
		drawn[i] = lr.hosts[lr.draw.at(next(&bits))]
		sum += 1 / biased(active(drawn[i]), lr.bias)
		sums[i] = sum
	}
	at := unit(next(&bits)) * sum
	for i := range sums {
		if at < sums[i] {
			return drawn[i]
		}
	}
	return drawn[candidates-1]
}

func active(h *Host) uint32 {
	if h.Load == nil {
		return 0
	}
	return h.Load.Active()
}

func biased(active uint32, bias float64) float64 {
	switch bias {
	case 0:
		return 1
	case 1:
		return float64(active) + 1
	}
	return math.Pow(float64(active)+1, bias)
}

// unit maps random bits to [0, 1).
func unit(bits uint64) float64 { return float64(bits>>11) / (1 << 53) }

// alias draws an index by given shares in constant time (Walker's method): every
// column holds a part of its own index and the rest of another one.
type alias struct {
	own   []float64 // probability of the column's own index
	other []int32
}

func newAlias(shares []float64) *alias {
	n := len(shares)
	a := &alias{own: make([]float64, n), other: make([]int32, n)}
	var small, large []int32
	for i, s := range shares {
		a.own[i], a.other[i] = s*float64(n), int32(i)
		if a.own[i] < 1 {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a.other[s] = l
		if a.own[l] -= 1 - a.own[s]; a.own[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		a.own[i] = 1 // what rounding left over
	}
	return a
}

// at maps random bits to an index: the upper half chooses the column, the lower
// half the part of it.
func (a *alias) at(bits uint64) int {
	i := int((bits >> 32) * uint64(len(a.own)) >> 32)
	if float64(uint32(bits))/(1<<32) < a.own[i] {
		return i
	}
	return int(a.other[i])
}
