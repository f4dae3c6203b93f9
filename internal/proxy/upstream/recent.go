package upstream

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// recentSlots is in how many parts an interval is counted: a request is forgotten
// when its part is over, at most a fraction of the interval too early or too late.
const recentSlots = 16

// recent counts requests that began within an interval.
type recent struct {
	slots [recentSlots]uint32
	at    int64 // number of the newest slot since the Unix epoch
	sum   uint32
}

// advance forgets what is older than the interval.
func (r *recent) advance(now time.Time, interval time.Duration) {
	slot := now.UnixNano() / max(int64(interval)/recentSlots, 1)
	if slot-r.at >= recentSlots || slot < r.at {
		*r = recent{at: slot}
		return
	}
	for ; r.at < slot; r.at++ {
		i := (r.at + 1) % recentSlots
		r.sum -= r.slots[i]
		r.slots[i] = 0
	}
}

func (r *recent) add(now time.Time, interval time.Duration) {
	r.advance(now, interval)
	r.slots[r.at%recentSlots]++
	r.sum++
}

// considered is the number of requests of which a retry budget is a share: those under
// way, or where the budget has an interval, those that began within it. Called with mu
// held.
func (h *Handle) considered(b *config.Breakers, u *usage, priority uint8) uint32 {
	if b.RetryInterval <= 0 {
		return u.requests + u.pending
	}
	r := &h.recent[priority&1]
	r.advance(h.m.o.Now(), b.RetryInterval)
	return max(r.sum, u.requests+u.pending)
}
