package stats

import (
	"math/bits"
	"time"
)

// subBits: every power of two is divided into 64 parts, so a value is kept to
// within 1.6 %.
const subBits = 6

// Histogram counts durations in buckets of equal relative width, as HDR
// histograms do. The zero value is empty and ready. Not safe for concurrent use.
type Histogram struct {
	counts [(64 - subBits + 1) << subBits]uint64
	n      uint64
	max    time.Duration
}

func bucket(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)<<subBits + int(v>>shift) - 1<<subBits
}

// lowest is the least value of a bucket.
func lowest(b int) uint64 {
	if b < 1<<subBits {
		return uint64(b)
	}
	shift := b>>subBits - 1
	return uint64(b&(1<<subBits-1)+1<<subBits) << shift
}

// Add counts one duration; negative ones count as 0.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(uint64(d))]++
	h.n++
	h.max = max(h.max, d)
}

// Count is the number of durations.
func (h *Histogram) Count() uint64 { return h.n }

// Max is the longest duration.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile gives the least duration that a part q (0 to 1) of all does not
// exceed, to the width of a bucket.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	want := uint64(q*float64(h.n) + 0.5)
	want = min(max(want, 1), h.n)
	var seen uint64
	for b, c := range h.counts[:] {
		if seen += c; seen >= want {
			return min(time.Duration(lowest(b+1)-1), h.max)
		}
	}
	return h.max
}
