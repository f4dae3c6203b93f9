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
	// PriorityEvery leaves the priorities of tried endpoints out after so many tries
	// (previous_priorities); 0: never.
	PriorityEvery int

	hosts []*config.Endpoint
	seen  uint64          // the priorities tried, as bits
	skip  uint64          // those left out
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
	for range maxMoves {
		l, err := h.try(s, t)
		if err != errMoved {
			return l, err
		}
	}
	return Lease{}, h.none()
}

// maxMoves bounds how often a request follows the changes of a cluster.
const maxMoves = 100

// try is Acquire for one view of the cluster. Its error is errMoved where that was
// replaced before there was a connection.
func (h *Handle) try(s *stream.Stream, t *Tried) (Lease, error) {
	v := h.view.Load()
	up := &s.Upstream
	up.Cluster = h.name
	if v == nil {
		return Lease{}, h.missing()
	}
	up.ClusterNode = v.cfg
	tg, err := h.target(v, s, t)
	if err != nil {
		return Lease{}, err
	}
	up.Endpoint, up.Host, up.TLS, up.ConnectTime = tg.endpoint, tg.endpoint.Addr, nil, 0
	l, err := h.lease(v, tg, s, t)
	if err != nil {
		return Lease{}, err
	}
	h.stats.RqTotal.Add(1)
	h.stats.RqActive.Add(1)
	tg.host.active.Add(1)
	tg.host.stats.RqTotal.Add(1)
	up.TLS, up.Local = l.conn.tls, l.conn.local
	return l, nil
}

// maxOpens bounds how many connections are tried that turn out to take no exchange
// and have never answered one. Those that have were kept, and closed by the endpoint
// meanwhile: there may be any number, and each is tried only once.
const maxOpens = 8

// lease takes connections to the target until one takes the exchange.
func (h *Handle) lease(v *view, tg *target, s *stream.Stream, t *Tried) (Lease, error) {
	l := Lease{host: tg.host, priority: t.Priority & 1}
	want := wishOf(v.cfg, s, tg.link)
	for fresh := 0; fresh < maxOpens; {
		p, err := h.take(v, tg, s, t, &want)
		if err != nil {
			return l, err
		}
		l.conn, l.answers = p.conn, p.answers
		var openErr error
		if l.ex, openErr = p.conn.cc.Open(s); openErr == nil {
			return l, nil
		}
		h.refused(p, l.priority)
		if p.answers == 0 {
			fresh++
		}
	}
	return l, stream.NewReply(0, stream.Reason{
		Code: stream.UpstreamReset, Detail: fmt.Sprintf("%d connections to %s took no request", maxOpens, tg.endpoint.Addr)})
}

// target picks the endpoint of a try.
func (h *Handle) target(v *view, s *stream.Stream, t *Tried) (*target, error) {
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
	if n := len(t.hosts); t.PriorityEvery > 0 && n > 0 && n%t.PriorityEvery == 0 {
		t.skip = t.seen
	}
	t.req.Skip = t.skip
	b := v.picker.Pick(&t.req)
	if b == nil {
		return nil
	}
	t.seen |= 1 << min(b.Priority, 63)
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

// take finds a connection to the target: one with a place, else a new one where the
// breakers allow it, else whatever is given back.
func (h *Handle) take(v *view, tg *target, s *stream.Stream, t *Tried, want *wish) (taken, error) {
	lim, prio := &v.cfg.Breakers[t.Priority&1], t.Priority&1
	h.mu.Lock()
	u := &h.usage[prio]
	if lim.RetryInterval > 0 {
		h.recent[prio].add(h.m.o.Now(), lim.RetryInterval)
	}
	if u.requests >= lim.MaxRequests {
		h.mu.Unlock()
		return taken{}, h.overflow("max_requests", lim.MaxRequests)
	}
	if p := tg.host.find(tg.link, want); p != nil {
		if got, ok := h.place(v, p); ok {
			if got.conn.mux && got.conn.active > crowd {
				h.grow(v, tg, p, prio)
			}
			u.requests++
			h.mu.Unlock()
			return got, nil
		}
	}
	if h.moved(h.view.Load(), tg, want.speak) {
		h.mu.Unlock()
		return taken{}, errMoved
	}
	if u.pending >= lim.MaxPending {
		h.mu.Unlock()
		return taken{}, h.overflow("max_pending_requests", lim.MaxPending)
	}
	u.pending++
	h.stats.RqPendingTotal.Add(1)
	h.stats.RqPendingActive.Add(1)
	return h.waitOrDial(v, tg, s, t, want)
}

// refused takes a request off a connection that did not take its exchange: it has
// ended meanwhile, or its endpoint has lowered the limit, of which we are told at
// any moment.
func (h *Handle) refused(p taken, priority uint8) {
	c := p.conn
	usable := c.mux && c.cc.Reusable()
	h.mu.Lock()
	h.usage[priority].requests--
	if usable && c.epoch == p.epoch {
		c.limit = 0
	}
	h.give(c, usable)
}

// waitOrDial gets a connection for a request that is counted as pending. It is
// called with mu held and releases it.
func (h *Handle) waitOrDial(v *view, tg *target, s *stream.Stream, t *Tried, want *wish) (taken, error) {
	prio := t.Priority & 1
	u, lim := &h.usage[prio], &v.cfg.Breakers[prio]
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	steps := t.Steps
	if steps == nil {
		steps = s
	}
	p := tg.host.pool(tg.link, want)
	w := &waiter{view: v, target: tg, pool: p, priority: prio, got: make(chan grant, 1)}
	switch shares := p.shares(); {
	case shares && p.waiting < p.promised():
		h.enqueue(w) // a connection is being made
	case !h.room(u, lim, p):
		h.stats.CxOverflow.Add(1)
		h.enqueue(w)
	case shares:
		h.enqueue(w)
		h.dialShared(v, tg, p, prio)
	default:
		u.conns++
		p.dials++
		w.give(grant{})
	}
	h.mu.Unlock()
	steps.Enter(cancelFunc(cancel))
	got, err := h.await(ctx, w)
	steps.Enter(nil)

	h.mu.Lock()
	u.pending--
	h.stats.RqPendingActive.Add(-1)
	if err != nil {
		h.mu.Unlock()
		if err == errMoved {
			return taken{}, err
		}
		h.stats.RqPendingFail.Add(1)
		return taken{}, h.failed(s, tg, err)
	}
	if u.requests >= lim.MaxRequests {
		h.give(got.conn, true)
		return taken{}, h.overflow("max_requests", lim.MaxRequests)
	}
	u.requests++
	if got.answers == 0 {
		s.Upstream.ConnectTime = got.conn.took
	}
	h.mu.Unlock()
	return got, nil
}

// room reports whether another connection may be made for a pool. At the limit, an
// unused connection of another one makes room. Called with mu held.
func (h *Handle) room(u *usage, lim *config.Breakers, p *pool) bool {
	if u.conns < lim.MaxConnections {
		return true
	}
	for _, x := range h.hosts {
		for _, other := range x.pools {
			for _, c := range other.unused() {
				if other == p || &h.usage[c.priority] != u || !h.retireConn(c) {
					continue
				}
				closeLater(c, placeTaken)
				return u.conns < lim.MaxConnections
			}
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
