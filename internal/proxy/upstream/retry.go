package upstream

import "math"

// The retry budget where a cluster sets neither a budget nor max_retries: a share
// of the requests under way, and a floor. Istio leaves retries unlimited; a mesh
// that retries without bound turns an overload into an outage.
const (
	budgetPercent = 20
	budgetFloor   = 10
)

// StartRetry takes a place for one retry of the priority; false if the budget or
// max_retries is used up. Each true is ended by EndRetry.
func (h *Handle) StartRetry(priority uint8) bool {
	v := h.view.Load()
	if v == nil {
		return false
	}
	b := &v.cfg.Breakers[priority&1]
	h.mu.Lock()
	defer h.mu.Unlock()
	u := &h.usage[priority&1]
	limit := b.MaxRetries
	switch {
	case b.HasBudget:
		limit = max(b.RetryFloor, uint32(b.RetryBudget/100*float64(h.considered(b, u, priority))))
	case limit == math.MaxUint32 && !h.m.o.UnlimitedRetries:
		limit = share(budgetPercent, u, budgetFloor)
	}
	if u.retries >= limit {
		h.stats.RqRetryOverflow.Add(1)
		return false
	}
	u.retries++
	h.stats.RqRetry.Add(1)
	return true
}

func share(percent float64, u *usage, floor uint32) uint32 {
	return max(floor, uint32(percent/100*float64(u.requests+u.pending)))
}

// EndRetry gives back what StartRetry took.
func (h *Handle) EndRetry(priority uint8) {
	h.mu.Lock()
	h.usage[priority&1].retries--
	h.mu.Unlock()
}
