package router

import (
	"bytes"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Fields that only the router reads or writes.
var (
	fieldRqTimeout       = stream.N("x-envoy-upstream-rq-timeout-ms")
	fieldPerTryTimeout   = stream.N("x-envoy-upstream-rq-per-try-timeout-ms")
	fieldMaxRetries      = stream.N("x-envoy-max-retries")
	fieldRetryOn         = stream.N("x-envoy-retry-on")
	fieldRetryGRPCOn     = stream.N("x-envoy-retry-grpc-on")
	fieldRateLimited     = stream.N("x-envoy-ratelimited")
	fieldAttemptCountOut = stream.EnvoyAttemptCount
	// fieldDelivery tells the peer's proxy that a request was provably not delivered.
	// It is only believed and only sent inside mutual TLS, and never passed on.
	fieldDelivery = stream.N("x-lateen-delivery")
)

// Values of x-lateen-delivery: nobody listens, so that the request may be repeated
// for a moment; or the proxy itself did not take it, as under overload.
const (
	deliveredNone    = "none"
	deliveredRefused = "refused"
)

// prepare makes the request what the destination shall see, and reads the limits.
func (c *call) prepare() error {
	c.readLimits()
	req := &c.s.Request
	// One that came over HTTP/2 may be refused by an endpoint that is about to leave,
	// and is sent again then, without a policy too.
	mux := req.Proto == stream.HTTP2
	keep := c.policy.left > 0 || len(c.route.Forward.Mirrors) > 0 || mux
	if err := c.upload.begin(req.Body, req.Length, keep, mux); err != nil {
		return c.stoppedError(clientReason(err))
	}
	c.setTimeoutHeader()
	c.requestHeaders()
	c.hash()
	c.rewriteHost()
	c.rewritePath()
	c.keepPrivate()
	if req.ExpectContinue {
		// The client gets its 100 from the codec; the endpoint need not send another.
		req.Del(stream.Expect)
	}
	if c.limits.max > 0 {
		c.maxTimer.Arm(c.limits.max)
	}
	c.mirror()
	return nil
}

// keepPrivate takes what proxies of the mesh tell each other out of a request that
// leaves it.
func (c *call) keepPrivate() {
	if cfg := c.cluster.Config(); cfg != nil && cfg.Metadata.External {
		c.s.Request.Del(stream.EnvoyPeerMetadata)
		c.s.Request.Del(stream.EnvoyPeerMetadataID)
	}
}

// readLimits takes time-outs and the retry policy from the route and, where Envoy
// honours them, from the request's own fields. At a gateway these were removed
// from what clients sent.
func (c *call) readLimits() {
	fwd := c.route.Forward
	c.limits = limits{route: fwd.Timeout, idle: fwd.IdleTimeout, max: fwd.MaxDuration}
	if fwd.GRPCTimeout.On || fwd.GRPCDuration.On {
		c.readDeadline()
	}
	c.policy = policyOf(fwd.Retry)
	if fwd.Retry != nil {
		c.limits.try, c.limits.tryIdle = fwd.Retry.PerTryTimeout, fwd.Retry.PerTryIdle
		c.tried.PriorityEvery = fwd.Retry.PriorityEvery
		if fwd.Retry.AvoidPrevious {
			c.tried.Avoid = max(fwd.Retry.HostAttempts, 1)
		}
	}
	if c.limits.tryIdle > 0 && (c.limits.idle == 0 || c.limits.tryIdle < c.limits.idle) {
		c.limits.idle = c.limits.tryIdle
	}
	if hasOverrides(&c.s.Request.Head) {
		c.readOverrides(&c.s.Request.Head)
	}
	if c.limits.route > 0 && c.limits.try >= c.limits.route {
		c.limits.try = 0 // the route's passes first
	}
}

// hasOverrides looks for any of the router's fields in one pass.
func hasOverrides(h *stream.Head) bool {
	for i := range h.Len() {
		name, _ := h.At(i)
		if len(name) >= len("x-envoy-retry-on") && (name[0] == 'x' || name[0] == 'X') && (name[8] == 'u' || name[8] == 'U' || name[8] == 'm' || name[8] == 'M' || name[8] == 'r' || name[8] == 'R') &&
			stream.EqualFold(name[:8], "x-envoy-") {
			return true
		}
	}
	return false
}

func (c *call) readOverrides(h *stream.Head) {
	trusted := c.s.Conn == nil || c.s.Conn.Dir != stream.Gateway
	if ms, ok := millis(h.Get(fieldRqTimeout)); ok && trusted {
		c.limits.route = ms
	}
	if ms, ok := millis(h.Get(fieldPerTryTimeout)); ok && trusted {
		c.limits.try = ms
	}
	if trusted {
		c.policy.override(h)
	}
	for _, n := range []stream.Name{fieldRqTimeout, fieldPerTryTimeout, fieldMaxRetries, fieldRetryOn, fieldRetryGRPCOn} {
		h.Del(n)
	}
}

func millis(v []byte) (time.Duration, bool) {
	if v == nil {
		return 0, false
	}
	n, err := strconv.ParseUint(string(v), 10, 32)
	return time.Duration(n) * time.Millisecond, err == nil
}

// setTimeoutHeader tells the destination how long it has.
func (c *call) setTimeoutHeader() {
	d := c.limits.route
	if c.limits.try > 0 && (d == 0 || c.limits.try < d) {
		d = c.limits.try
	}
	if d <= 0 || c.r.set.suppressEnvoyHeaders {
		return
	}
	c.scratch = strconv.AppendInt(c.scratch[:0], d.Milliseconds(), 10)
	c.s.Request.Set(stream.EnvoyExpectedRqTime, c.scratch)
	if c.route.Forward.GRPCTimeout.On && isGRPC(&c.s.Request) {
		c.s.Request.Set(fieldGRPCTimeout, appendGRPCTimeout(c.scratch[:0], d))
	}
}

// requestHeaders makes the route's changes: most specific first, or last where the
// table says so.
func (c *call) requestHeaders() {
	h := &c.s.Request.Head
	if c.dest != nil && !c.route.ClusterOpsLast {
		c.applyOps(&c.dest.RequestHeaders, h)
	}
	if len(c.route.RequestHeaders) > 0 {
		match.ApplyHeaders(c.route.RequestHeaders, h, &c.src)
	}
	if c.dest != nil && c.route.ClusterOpsLast {
		c.applyOps(&c.dest.RequestHeaders, h)
	}
}

func (c *call) applyOps(ops *config.HeaderOps, h *stream.Head) {
	if len(ops.Add) > 0 || len(ops.Remove) > 0 {
		match.ApplyHeaders([]config.HeaderOps{*ops}, h, &c.src)
	}
}

// rewriteHost applies host_rewrite_literal; auto_host_rewrite follows when the
// endpoint is known.
func (c *call) rewriteHost() {
	to := c.route.Forward.HostRewrite
	if c.dest != nil && c.dest.HostRewrite != "" {
		to = c.dest.HostRewrite
	}
	if to != "" {
		c.setHost(to)
	}
}

func (c *call) setHost(to string) {
	req := &c.s.Request
	if string(req.Authority) == to {
		return
	}
	if c.route.Forward.AppendXFH {
		c.appendForwardedHost(req)
	}
	// The old authority is a view into the head: it must not be written over.
	req.Authority = append([]byte(nil), to...)
	if req.Has(stream.Host) {
		req.Set(stream.Host, req.Authority)
	}
}

func (c *call) appendForwardedHost(req *stream.Request) {
	c.scratch = append(c.scratch[:0], req.Get(stream.ForwardedHost)...)
	if len(c.scratch) > 0 {
		c.scratch = append(c.scratch, ',')
	}
	c.scratch = append(c.scratch, req.Authority...)
	req.Set(stream.ForwardedHost, c.scratch)
}

// rewritePath applies prefix and regular-expression rewrites, and leaves the path
// that came in x-envoy-original-path.
func (c *call) rewritePath() {
	if !match.RewritesPath(c.route) {
		return
	}
	req := &c.s.Request
	c.scratch = match.RewritePath(c.scratch[:0], c.route, req.Path)
	if bytes.Equal(c.scratch, req.Path) {
		return
	}
	if !c.r.set.suppressEnvoyHeaders {
		req.Set(stream.EnvoyOriginalPath, req.Path)
	}
	req.Path = append([]byte(nil), c.scratch...)
}

// countAttempt tells the destination which try this is.
func (c *call) countAttempt() {
	if c.route.AttemptCount {
		c.scratch = strconv.AppendInt(c.scratch[:0], int64(c.s.Upstream.Attempts), 10)
		c.s.Request.Set(fieldAttemptCountOut, c.scratch)
	}
	if c.s.Upstream.Attempts > 1 {
		c.nextTry()
	}
}

// chosen applies what depends on the endpoint.
func (c *call) chosen() {
	if !c.route.Forward.AutoHostRewrite {
		return
	}
	if ep, ok := c.s.Upstream.Endpoint.(*config.Endpoint); ok && ep.Hostname != "" {
		c.setHost(ep.Hostname)
	}
}
