package upstream

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/proxy/balance"
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// originalDstHost is the field of original_dst_lb_config.use_http_header.
var originalDstHost = stream.N("x-envoy-original-dst-host")

// Steps is told of the blocking steps of a try, so that the try can be given up.
// A *stream.Stream is one.
type Steps interface{ Enter(stream.Canceler) }

// Tried is the memory of one exchange over its tries. The zero value is ready.
type Tried struct {
	Priority uint8
	// Steps cancels a wait for a connection; nil: the stream itself does.
	Steps Steps
	// Avoid is how often another endpoint is looked for in place of one that was
	// tried (host_selection_retry_max_attempts); 0: tried ones are as good as others.
	Avoid int
	// HashSet and Hash are the consistent-hash key.
	HashSet bool
	Hash    uint64

	hosts []*config.Endpoint
	req   balance.Request // here, since a picker's policy keeps it from the stack
}

// Reset forgets everything but memory.
func (t *Tried) Reset() {
	clear(t.hosts)
	*t = Tried{hosts: t.hosts[:0]}
}

// Acquire chooses an endpoint, checks the breakers and takes a connection to it
// for one try of s: a pooled one, or a new one. It fills in s.Upstream. An error
// is a *stream.Reply, or the reason with which the try was given up.
func (h *Handle) Acquire(s *stream.Stream, t *Tried) (Lease, error) {
	v := h.view.Load()
	s.Upstream.Cluster = h.name
	if v == nil {
		return Lease{}, h.missing()
	}
	s.Upstream.ClusterNode = v.cfg
	if why := unsupported(v.cfg); why != "" {
		return Lease{}, stream.NewReply(0, stream.Reason{Code: stream.UnsupportedProtocol, Detail: why})
	}
	tg, err := h.choose(v, s, t)
	if err != nil {
		return Lease{}, err
	}
	up := &s.Upstream
	up.Endpoint, up.Host, up.TLS, up.ConnectTime = tg.endpoint, tg.endpoint.Addr, nil, 0
	c, err := h.take(v, tg, s, t)
	if err != nil {
		return Lease{}, err
	}
	h.stats.RqTotal.Add(1)
	h.stats.RqActive.Add(1)
	tg.host.stats.RqTotal.Add(1)
	up.TLS, up.Local = c.tls, c.local
	return Lease{conn: c, host: tg.host, priority: t.Priority & 1}, nil
}

// choose picks the endpoint of a try.
func (h *Handle) choose(v *view, s *stream.Stream, t *Tried) (*target, error) {
	if v.cfg.Type == config.ClusterOriginalDst {
		var header []byte
		if v.cfg.UseHTTPHeader {
			header = s.Request.Get(originalDstHost)
		}
		return h.original(v, s.Conn, header)
	}
	tg := h.pick(v, t)
	if tg == nil {
		return nil, h.none()
	}
	t.hosts = append(t.hosts, tg.endpoint)
	return tg, nil
}

func (h *Handle) pick(v *view, t *Tried) *target {
	t.req = balance.Request{Random: h.m.o.Rand(), Hash: t.Hash, HasHash: t.HashSet}
	if t.Avoid > 0 {
		t.req.Tried, t.req.Attempts = t.hosts, t.Avoid
	}
	b := v.picker.Pick(&t.req)
	if b == nil {
		return nil
	}
	tg, _ := b.Load.(*target)
	return tg
}

func (h *Handle) none() *stream.Reply {
	h.stats.NoneHealthy.Add(1)
	return stream.NewReply(0, stream.Reason{Code: stream.NoHealthyUpstream, Detail: "cluster " + h.name + " has no endpoint to choose"})
}

// original makes the target of an ORIGINAL_DST cluster: where the client meant to
// go.
func (h *Handle) original(v *view, c *stream.Conn, header []byte) (*target, error) {
	var addr netip.AddrPort
	if len(header) > 0 {
		a, err := netip.ParseAddrPort(string(header))
		if err != nil {
			return nil, stream.NewReply(0, stream.Reason{
				Code: stream.NoHealthyUpstream, Detail: fmt.Sprintf("%s %q is not an address", originalDstHost, header)})
		}
		addr = a
	} else if c != nil {
		addr = c.Local
	}
	if !addr.IsValid() {
		return nil, h.none()
	}
	h.mu.Lock()
	x := h.host(addr)
	tg := x.original
	if tg == nil || tg.link != v.links.normal {
		tg = &target{host: x, endpoint: &config.Endpoint{Addr: addr, Weight: 1}, link: v.links.normal}
		x.original = tg
	}
	h.mu.Unlock()
	return tg, nil
}

// take finds a connection to the target: an idle one, else a new one where the
// breakers allow it, else whatever is given back.
func (h *Handle) take(v *view, tg *target, s *stream.Stream, t *Tried) (*conn, error) {
	lim, prio := &v.cfg.Breakers[t.Priority&1], t.Priority&1
	want := wishOf(s, tg.link)
	h.mu.Lock()
	u := &h.usage[prio]
	if u.requests >= lim.MaxRequests {
		h.mu.Unlock()
		return nil, h.overflow("max_requests", lim.MaxRequests)
	}
	for {
		c := tg.host.takeIdle(tg.link, want)
		if c == nil {
			break
		}
		if c.cc.Reusable() {
			h.attach(c, u)
			h.mu.Unlock()
			return c, nil
		}
		h.detach(c)
		closeLater(c, stream.Reason{Code: stream.UpstreamReset, Detail: "stale idle connection"})
	}
	if u.pending >= lim.MaxPending {
		h.mu.Unlock()
		return nil, h.overflow("max_pending_requests", lim.MaxPending)
	}
	u.pending++
	h.stats.RqPendingTotal.Add(1)
	h.stats.RqPendingActive.Add(1)
	return h.waitOrDial(v, tg, s, t, want)
}

// attach counts a request on the connection. Called with mu held.
func (h *Handle) attach(c *conn, u *usage) {
	u.requests++
	c.host.active.Add(1)
	c.served++
}

// waitOrDial gets a connection for a request that is counted as pending. It is
// called with mu held and releases it.
func (h *Handle) waitOrDial(v *view, tg *target, s *stream.Stream, t *Tried, want wish) (*conn, error) {
	prio := t.Priority & 1
	u, lim := &h.usage[prio], &v.cfg.Breakers[prio]
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	steps := t.Steps
	if steps == nil {
		steps = s
	}
	var c *conn
	var err error
	if h.room(u, lim) {
		u.conns++
		tg.host.dialing++
		h.mu.Unlock()
		steps.Enter(cancelFunc(cancel))
		c, err = h.open(ctx, v, tg, want, prio)
	} else {
		h.stats.CxOverflow.Add(1)
		w := &waiter{target: tg, wish: want, priority: prio, got: make(chan grant, 1)}
		h.waiters = append(h.waiters, w)
		h.mu.Unlock()
		steps.Enter(cancelFunc(cancel))
		c, err = h.await(ctx, v, w)
	}
	steps.Enter(nil)
	if err == nil && c.served == 0 {
		s.Upstream.ConnectTime = c.took
	}

	h.mu.Lock()
	u.pending--
	h.stats.RqPendingActive.Add(-1)
	over := err == nil && u.requests >= lim.MaxRequests
	if err == nil && !over {
		h.attach(c, u)
	}
	h.mu.Unlock()
	switch {
	case over:
		h.give(c, true)
		return nil, h.overflow("max_requests", lim.MaxRequests)
	case err != nil:
		h.stats.RqPendingFail.Add(1)
		return nil, h.failed(s, tg, err)
	}
	return c, nil
}

// room reports whether another connection may be made. At the limit, an idle
// connection to another endpoint makes room. Called with mu held.
func (h *Handle) room(u *usage, lim *config.Breakers) bool {
	if u.conns < lim.MaxConnections {
		return true
	}
	for _, x := range h.hosts {
		for i, c := range x.idle {
			if &h.usage[c.priority] != u {
				continue
			}
			x.dropIdle(i)
			h.detach(c)
			h.settle(x)
			closeLater(c, stream.Reason{Code: stream.UpstreamOverflow, Detail: "idle connection made room for another endpoint"})
			return u.conns < lim.MaxConnections
		}
	}
	return false
}

// overflow is the answer when a breaker is open.
func (h *Handle) overflow(which string, limit uint32) *stream.Reply {
	h.stats.RqPendingOverflow.Add(1)
	r := stream.NewReply(0, stream.Reason{
		Code: stream.UpstreamOverflow, Detail: fmt.Sprintf("%s of %d reached in cluster %s", which, limit, h.name)})
	r.Headers = append(r.Headers, [2]string{stream.EnvoyOverloaded.String(), "true"})
	return r
}

// cancelFunc lets a context's cancel be a stream.Canceler.
type cancelFunc context.CancelCauseFunc

// Cancel implements stream.Canceler.
func (f cancelFunc) Cancel(r stream.Reason) { f(r) }
