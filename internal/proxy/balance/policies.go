package balance

import (
	"container/heap"
	"math"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// Warmth is the share of its weight that an endpoint of that age gets. Envoy:
// max(min_weight_percent, (age/window)^(1/aggression)).
func Warmth(s *config.SlowStart, age time.Duration) float64 {
	if s == nil || age >= s.Window {
		return 1
	}
	factor := max(age, time.Second).Seconds() / s.Window.Seconds()
	return min(1, max(s.MinPercent/100, math.Pow(factor, 1/s.Aggression)))
}

// weight is what a host counts for; never 0.
func (h *Host) weight() float64 {
	w := float64(max(h.Weight, 1))
	if h.Warmth > 0 {
		w *= h.Warmth
	}
	if h.scale > 0 {
		w *= h.scale
	}
	return w
}

// random ignores weights, as Envoy's does.
type random []*Host

func (hosts random) choose(_ *Request, bits uint64, _ int) *Host {
	return hosts[bits%uint64(len(hosts))]
}

// roundRobin walks a schedule in which every host appears by its weight, as evenly
// spread as possible. The first request's random bits decide where it begins, so
// that many proxies do not begin with the same host.
type roundRobin struct {
	schedule []*Host
	at       atomic.Uint64
}

// longestSchedule bounds the memory of a schedule; more finely graded weights are
// rounded.
const longestSchedule = 8192

func newRoundRobin(hosts []*Host) *roundRobin {
	weights := wholeWeights(hosts)
	if weights == nil {
		return &roundRobin{schedule: hosts}
	}
	return &roundRobin{schedule: spread(hosts, weights)}
}

func (rr *roundRobin) choose(_ *Request, bits uint64, _ int) *Host {
	rr.at.CompareAndSwap(0, bits%uint64(len(rr.schedule))+1)
	return rr.schedule[rr.at.Add(1)%uint64(len(rr.schedule))]
}

// wholeWeights scales weights to small integers; nil if they are all equal.
func wholeWeights(hosts []*Host) []uint64 {
	equal, fraction := true, false
	sum := 0.0
	for _, h := range hosts {
		w := h.weight()
		equal = equal && w == hosts[0].weight()
		fraction = fraction || w != math.Trunc(w)
		sum += w
	}
	if equal {
		return nil
	}
	scale := 1.0
	if fraction {
		scale = 100
	}
	out := make([]uint64, len(hosts))
	divisor := uint64(0)
	for i, h := range hosts {
		out[i] = uint64(max(1, math.Round(h.weight()*scale)))
		divisor = gcd(divisor, out[i])
	}
	if shrink := longestSchedule * float64(divisor) / (sum * scale); shrink < 1 {
		for i := range out {
			out[i] = uint64(max(1, math.Round(float64(out[i])/float64(divisor)*shrink)))
		}
		return out
	}
	for i := range out {
		out[i] /= divisor
	}
	return out
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// spread makes a schedule by earliest deadline first: the k-th turn of a host with
// weight w is due at k/w.
func spread(hosts []*Host, weights []uint64) []*Host {
	total := uint64(0)
	q := make(turns, len(hosts))
	for i, w := range weights {
		total += w
		q[i] = turn{due: 1 / float64(w), step: 1 / float64(w), host: i}
	}
	heap.Init(&q)
	out := make([]*Host, 0, total)
	for range total {
		out = append(out, hosts[q[0].host])
		q[0].due += q[0].step
		heap.Fix(&q, 0)
	}
	return out
}

type turn struct {
	due, step float64
	host      int
}

// turns is a heap of turns by due time, then by position.
type turns []turn

func (q turns) Len() int { return len(q) }
func (q turns) Less(i, j int) bool {
	return q[i].due < q[j].due || q[i].due == q[j].due && q[i].host < q[j].host
}
func (q turns) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *turns) Push(x any)   { *q = append(*q, x.(turn)) }
func (q *turns) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}
