package upstream

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/timer"
)

// outlierCounts are the consecutive failures of one endpoint.
type outlierCounts struct {
	failures, gateway, local atomic.Uint32
	ejected                  atomic.Bool

	// guarded by cluster.build
	times int       // ejections so far, falling again with good intervals
	until time.Time // while ejected
}

// outlierSweep looks after ejections and slow starts, while there are any.
type outlierSweep struct {
	timer timer.Timer
	armed bool
	ready bool // timer is initialised
}

// observe lets outlier detection see the outcome of a try. Without outlier
// detection it costs one load.
func (h *Handle) observe(x *host, o Outcome) {
	v := h.view.Load()
	if v == nil || v.cfg.Outlier == nil || v.cfg.Type == config.ClusterOriginalDst {
		return
	}
	od, c := v.cfg.Outlier, &x.out
	local, status := localOrigin(o)
	if status == 0 && !local {
		return // the client gave up: says nothing of the endpoint
	}
	if od.SplitLocal {
		if local {
			h.strike(v, x, &c.local, od.ConsecutiveLocal, od.EnforceLocal, "consecutive local origin failures")
			return
		}
		c.local.Store(0)
	} else if local {
		status = 503
	}
	if errs := v.cfg.OutlierErrors; len(errs) > 0 && !local {
		status = matchedStatus(errs, status)
	}
	switch {
	case status < 500:
		c.failures.Store(0)
		c.gateway.Store(0)
		return
	case status >= 502 && status <= 504:
		h.strike(v, x, &c.gateway, od.ConsecutiveGateway, od.EnforceGateway, "consecutive gateway failures")
	default:
		c.gateway.Store(0)
	}
	h.strike(v, x, &c.failures, od.Consecutive5xx, od.Enforce5xx, "consecutive 5xx answers")
}

// localOrigin tells failures that the proxy itself saw from answers of the
// endpoint.
func localOrigin(o Outcome) (local bool, status int) {
	if o.Status > 0 {
		return false, o.Status
	}
	switch o.Reason {
	case stream.ConnectFailure, stream.ConnectTimeout, stream.UpstreamTLS, stream.UpstreamReset, stream.UpstreamRemoteReset,
		stream.UpstreamProtocol, stream.RouteTimeout, stream.PerTryTimeout:
		return true, 0
	}
	return false, 0
}

// matchedStatus is what an answer counts as where a list says which are errors: as it
// is if it is a server's error of the list, as 500 if it is another one of it, and
// else as a success.
func matchedStatus(errs []int, status int) int {
	if _, listed := slices.BinarySearch(errs, status); !listed {
		return 200
	}
	return max(status, 500)
}

// strike counts a failure and ejects the endpoint at the threshold.
func (h *Handle) strike(v *view, x *host, n *atomic.Uint32, threshold, enforce uint32, why string) {
	if threshold == 0 || n.Add(1) < threshold {
		return
	}
	n.Store(0)
	if x.out.ejected.Load() || enforce < 100 && uint32(h.m.o.Rand()%100) >= enforce {
		return
	}
	h.eject(v, x, why)
}

// eject takes the endpoint out of balancing, unless too many are out already.
func (h *Handle) eject(v *view, x *host, why string) {
	od := v.cfg.Outlier
	h.build.Lock()
	if x.out.ejected.Load() || !h.mayEject(od) {
		h.build.Unlock()
		return
	}
	x.out.times++
	span := time.Duration(x.out.times) * od.BaseEjection
	span = min(span, max(od.MaxEjection, od.BaseEjection))
	x.out.until = h.m.o.Now().Add(span)
	x.out.ejected.Store(true)
	h.stats.Ejections.Add(1)
	h.stats.EjectionsActive.Add(1)
	h.rebuild()
	h.armSweep(od.Interval)
	h.build.Unlock()
	h.m.o.Observer.Ejected(h.name, x.addr, true, why)
}

// mayEject holds max_ejection_percent: as in Envoy, the first ejection is always
// allowed where the percentage is not 0. Called with build held.
func (h *Handle) mayEject(od *config.Outlier) bool {
	v := h.view.Load()
	if v == nil || len(v.targets) == 0 {
		return false
	}
	out := 0
	for _, t := range v.targets {
		if t.host.out.ejected.Load() {
			out++
		}
	}
	if od.MaxEjectionPercent > 0 && out == 0 {
		return true
	}
	if uint32((out+1)*100) > od.MaxEjectionPercent*uint32(len(v.targets)) {
		h.stats.EjectionsOverflow.Add(1)
		return false
	}
	return true
}

// slowStartSteps is in how many steps the weight of a new endpoint grows.
const slowStartSteps = 20

// armSweep plans the next look at ejections and slow starts. Called with build
// held.
func (h *Handle) armSweep(after time.Duration) {
	sw := &h.sweep
	if sw.armed {
		return
	}
	if !sw.ready {
		sw.timer.Init(h.m.o.Timer, func() { h.m.spawn(h.sweepOnce) })
		sw.ready = true
	}
	sw.armed = true
	sw.timer.Arm(max(after, 10*time.Millisecond))
}

// sweepOnce brings back endpoints whose time is over, and lets the multiplier of
// those that were good for an interval fall.
func (h *Handle) sweepOnce() {
	h.build.Lock()
	h.sweep.armed = false
	v := h.view.Load()
	if v == nil {
		h.build.Unlock()
		return
	}
	now := h.m.o.Now()
	var back []*host
	pending := false
	for _, t := range v.targets {
		c := &t.host.out
		switch {
		case c.ejected.Load() && (v.cfg.Outlier == nil || !now.Before(c.until)):
			c.ejected.Store(false)
			c.failures.Store(0)
			c.gateway.Store(0)
			c.local.Store(0)
			h.stats.EjectionsActive.Add(-1)
			back = append(back, t.host)
			pending = true
		case c.ejected.Load():
			pending = true
		case c.times > 0:
			c.times--
			pending = pending || c.times > 0
		}
	}
	if len(back) > 0 || v.starting {
		h.rebuild()
	}
	if pending {
		h.armSweep(sweepInterval(v))
	}
	h.build.Unlock()
	for _, x := range back {
		h.m.o.Observer.Ejected(h.name, x.addr, false, "the ejection time is over")
	}
}

// sweepInterval is how often ejections are looked at; Envoy's default is 10 s.
func sweepInterval(v *view) time.Duration {
	if od := v.cfg.Outlier; od != nil && od.Interval > 0 {
		return od.Interval
	}
	return 10 * time.Second
}
