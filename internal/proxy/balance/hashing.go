package balance

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// ring is Envoy's ring-hash balancer (ketama): the same entries for the same
// hosts, so that mixed proxies agree.
type ring []ringEntry

type ringEntry struct {
	hash uint64
	host *Host
}

// newRing places each host by its weight: at least smallest entries in all, scaled
// so that the lightest host gets a whole number of them, at most largest.
func newRing(hosts []*Host, smallest, largest uint64) ring {
	smallest, largest = max(smallest, 1), max(largest, uint64(len(hosts)))
	shares := normalized(hosts)
	lightest := slices.Min(shares)
	scale := min(math.Ceil(lightest*float64(smallest))/lightest, float64(largest))
	r := make(ring, 0, int(math.Ceil(scale)))
	placed, target := 0.0, 0.0
	for i, h := range hosts {
		key := append(hashKey(nil, h), '_')
		target += scale * shares[i]
		for n := int64(0); placed < target; n++ {
			r = append(r, ringEntry{xxhash.Sum64(strconv.AppendInt(key, n, 10)), h})
			placed++
		}
	}
	slices.SortStableFunc(r, func(a, b ringEntry) int { return cmp.Compare(a.hash, b.hash) })
	return r
}

// choose takes the first entry at or after the key; each further attempt the one
// behind.
func (r ring) choose(req *Request, bits uint64, attempt int) *Host {
	if req.HasHash {
		bits = req.Hash
	}
	i, _ := slices.BinarySearchFunc(r, bits, func(e ringEntry, h uint64) int { return cmp.Compare(e.hash, h) })
	return r[(i+attempt)%len(r)].host
}

// hashKey is the text by which a host is placed: its address and port.
func hashKey(dst []byte, h *Host) []byte { return h.Addr.AppendTo(dst) }

// normalized gives weights that sum up to 1.
func normalized(hosts []*Host) []float64 {
	sum := 0.0
	for _, h := range hosts {
		sum += h.weight()
	}
	out := make([]float64, len(hosts))
	for i, h := range hosts {
		out[i] = h.weight() / sum
	}
	return out
}

// maglev is Envoy's Maglev table.
type maglev []*Host

// seat is one host while a table is filled: its permutation of the table, and how
// its weight paces its turns.
type seat struct {
	host               *Host
	key                string
	offset, skip, next uint64
	weight, target     float64
}

func newMaglev(hosts []*Host, size uint64) maglev {
	shares := normalized(hosts)
	heaviest := slices.Max(shares)
	seats := make([]seat, len(hosts))
	for i, h := range hosts {
		key := hashKey(nil, h)
		seeded := xxhash.NewWithSeed(1)
		// A digest's Write never fails.
		_, _ = seeded.Write(key)
		seats[i] = seat{
			host: h, key: string(key), weight: shares[i],
			offset: xxhash.Sum64(key) % size, skip: seeded.Sum64()%(size-1) + 1,
		}
	}
	// The order decides who gets a contested place.
	slices.SortStableFunc(seats, func(a, b seat) int { return cmp.Compare(a.key, b.key) })
	table := make(maglev, size)
	filled := uint64(0)
	for round := 1.0; filled < size; round++ {
		for i := range seats {
			s := &seats[i]
			if filled == size || round*s.weight < s.target {
				continue
			}
			s.target += heaviest
			table[s.claim(table)] = s.host
			filled++
		}
	}
	return table
}

// claim returns the next free place of the host's permutation.
func (s *seat) claim(table maglev) uint64 {
	size := uint64(len(table))
	for {
		at := (s.offset + s.skip*s.next) % size
		s.next++
		if table[at] == nil {
			return at
		}
	}
}

func (t maglev) choose(req *Request, bits uint64, attempt int) *Host {
	if req.HasHash {
		bits = req.Hash
	}
	if attempt > 0 {
		bits ^= -uint64(attempt)
	}
	return t[bits%uint64(len(t))]
}
