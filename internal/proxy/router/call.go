package router

import (
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/config/format"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/timer"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
)

// call is one forwarded exchange over all its tries. It is pooled: it serves until
// the observers of its stream have run.
type call struct {
	r *Router // immutable

	// of the stream's goroutine
	s        *stream.Stream
	route    *config.Route
	dest     *config.WeightedCluster // nil for cluster_header routes
	cluster  *upstream.Handle
	tried    upstream.Tried
	policy   policy
	patience patience
	limits   limits
	src      format.Source
	scratch  []byte
	resp     stream.Response
	trailers stream.Head
	cookies  [][]byte // of hash policies that issue them
	// of the try under way
	lease upstream.Lease
	ex    stream.Exchange
	body  stream.Body    // the answer's body, as the codec gave it
	cut   *stream.Reason // why it was cut short
	done  bool           // no try is under way
	retry bool           // a place in the retry budget is held

	counted bool // the route's time-out runs since before the first try; fixed from then on

	upload  upload
	shadows []*shadow // mirrors that wait for the body

	routeTimer, tryTimer, idleTimer, maxTimer timer.Timer

	// mu is taken after the stream's lock and a timer's, and before an exchange's.
	mu      sync.Mutex
	step    stream.Canceler // guarded by mu: what the stream's goroutine waits in
	stopped bool            // guarded by mu: the try is given up
	whole   bool            // guarded by mu: and so is the exchange
	why     stream.Reason   // guarded by mu
	headed  bool            // guarded by mu: the answer's head is on its way to the client
	sent    bool            // guarded by mu: the request was sent to its end
	sentAt  time.Time       // guarded by mu
}

// limits are the time-outs in force; 0: none.
type limits struct {
	route, try, tryIdle, idle, max time.Duration
}

func newCall(r *Router) *call {
	c := &call{r: r}
	q := r.o.Timer
	c.routeTimer.Init(q, func() { c.expire(stream.RouteTimeout, true) })
	c.tryTimer.Init(q, func() { c.expire(stream.PerTryTimeout, false) })
	c.idleTimer.Init(q, func() { c.expire(stream.IdleTimeout, true) })
	c.maxTimer.Init(q, func() { c.expire(stream.MaxDuration, true) })
	c.upload.init(c)
	return c
}

func (c *call) start(s *stream.Stream, route *config.Route, dest *config.WeightedCluster, h *upstream.Handle) {
	c.s, c.route, c.dest, c.cluster = s, route, dest, h
	c.src = format.Source{Stream: s}
	c.done, c.retry = true, false
	c.tried.Priority = route.Forward.Priority
	c.tried.Steps = c
	c.mu.Lock()
	c.stopped, c.whole, c.why, c.headed, c.sent, c.sentAt = false, false, stream.Reason{}, false, false, time.Time{}
	c.mu.Unlock()
}

// Recycle implements stream.Recycler: the exchange and its observers are through.
func (c *call) Recycle() {
	c.finish(stream.Reason{Code: stream.DownstreamGone, Detail: "the answer was not read to its end"})
	c.resp.Head.Reset()
	c.resp = stream.Response{Head: c.resp.Head}
	c.tried.Reset()
	c.upload.reset()
	c.trailers.Reset()
	c.s, c.route, c.dest, c.cluster, c.ex, c.body, c.cookies, c.cut, c.shadows = nil, nil, nil, nil, nil, nil, nil, nil, nil
	c.lease, c.src, c.policy, c.patience = upstream.Lease{}, format.Source{}, policy{}, patience{}
	c.r.calls.Put(c)
}

// Enter implements upstream.Steps: the stream's goroutine is about to wait in step.
func (c *call) Enter(step stream.Canceler) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step = step
	if c.stopped && step != nil {
		step.Cancel(c.why)
	}
}

// Cancel implements stream.Canceler: the stream was reset.
func (c *call) Cancel(r stream.Reason) { c.stop(r, true) }

// stop gives the try up, or with whole the exchange. The first reason stays, but a
// reason for the whole exchange replaces one for the try.
func (c *call) stop(r stream.Reason, whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped && (c.whole || !whole) {
		return
	}
	c.stopped, c.whole, c.why = true, whole, r
	if c.step != nil {
		c.step.Cancel(r)
	}
}

// verdict tells whether and why the try was given up.
func (c *call) verdict() (why stream.Reason, stopped, whole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why, c.stopped, c.whole
}

// nextTry clears what stopped the former try.
func (c *call) nextTry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.whole {
		c.stopped, c.why = false, stream.Reason{}
	}
}

// expire is called by timers. Before the answer began, the try or exchange is given
// up and answered; later the stream can only be reset.
func (c *call) expire(code stream.Code, whole bool) {
	c.mu.Lock()
	headed, s := c.headed, c.s
	c.mu.Unlock()
	r := stream.Reason{Code: code, Detail: c.limitText(code)}
	if !headed {
		c.stop(r, whole)
		return
	}
	if code != stream.PerTryTimeout { // a try's time-out ends with the answer's head
		s.Reset(r)
	}
}

func (c *call) limitText(code stream.Code) string {
	switch code {
	case stream.RouteTimeout:
		return "the route's time-out of " + c.limits.route.String()
	case stream.PerTryTimeout:
		return "the try's time-out of " + c.limits.try.String()
	case stream.IdleTimeout:
		return "nothing moved for " + c.limits.idle.String()
	}
	return "the maximum duration of " + c.limits.max.String()
}

// countRoute starts the route's time-out where the request is complete already: it
// counts from there, whether or not there is a connection yet.
func (c *call) countRoute() {
	if c.counted = c.upload.whole && c.limits.route > 0; c.counted {
		c.routeTimer.Arm(c.limits.route)
	}
}

// uploaded is called when the last byte of the request was sent (or is about to be
// with the head): Envoy's time-outs count from there.
func (c *call) uploaded() {
	now := c.r.o.Now()
	c.mu.Lock()
	again := c.sent
	c.sent, c.sentAt = true, now
	headed := c.headed
	c.mu.Unlock()
	if c.limits.route > 0 && !again && !c.counted {
		c.routeTimer.Arm(c.limits.route)
	}
	if c.limits.try > 0 && !headed {
		c.tryTimer.Arm(c.limits.try)
	}
}

// moved puts the idle time-out off.
func (c *call) moved() {
	if c.limits.idle > 0 {
		c.idleTimer.Arm(c.limits.idle)
	}
}

// stopTimers disarms all time-outs. No lock may be held.
func (c *call) stopTimers() {
	if c.limits.route > 0 {
		c.routeTimer.Stop()
	}
	if c.limits.try > 0 {
		c.tryTimer.Stop()
	}
	if c.limits.idle > 0 {
		c.idleTimer.Stop()
	}
	if c.limits.max > 0 {
		c.maxTimer.Stop()
	}
}
