package router

import (
	"bytes"
	"io"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/timer"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
)

// mirrorTimeout bounds a mirrored request where the route has no time-out: nobody
// waits for its answer.
const mirrorTimeout = 15 * time.Second

// mirror starts the route's mirrors if the whole body is there; else the upload
// does when it has ended (mirrorUploaded). A body that outgrows the replay buffer
// is not mirrored.
func (c *call) mirror() {
	for i := range c.route.Forward.Mirrors {
		m := &c.route.Forward.Mirrors[i]
		h, ok := m.Cluster.Handle.(*upstream.Handle)
		if ok && c.r.o.Rand()%1_000_000 < uint64(m.Millionths) {
			// The request is copied now: later tries change it.
			c.shadows = append(c.shadows, c.r.newShadow(c, m, h))
		}
	}
	if c.upload.whole {
		c.startMirrors(c.upload.view, c.upload.trailers)
	}
}

// mirrorUploaded is called by the pump when it has read the body's end.
func (c *call) mirrorUploaded() {
	u := &c.upload
	u.mu.Lock()
	kept, spilled, tr := u.kept, u.spilled, u.trailers
	u.mu.Unlock()
	if spilled && len(c.shadows) > 0 {
		c.r.o.Log.Debug("request is too large to be mirrored", "cluster", c.cluster.Name(), "limit", u.limit)
		return
	}
	c.startMirrors(kept, tr)
}

func (c *call) startMirrors(body []byte, trailers *stream.Head) {
	for _, sh := range c.shadows {
		sh.setBody(body, trailers)
		go sh.run()
	}
	c.shadows = nil
}

// shadow is one mirrored request: a stream of its own, whose answer is dropped.
type shadow struct {
	stream.Stream
	r        *Router
	cluster  *upstream.Handle
	timer    timer.Timer
	body     []byte
	trailers *stream.Head
	priority uint8
	limit    time.Duration
}

// newShadow copies the request as the destination would see it.
func (r *Router) newShadow(c *call, m *config.Mirror, h *upstream.Handle) *shadow {
	from := &c.s.Request
	sh := &shadow{r: r, cluster: h, priority: c.tried.Priority, limit: c.limits.route}
	if sh.limit <= 0 {
		sh.limit = mirrorTimeout
	}
	sh.ID, sh.Conn, sh.Start, sh.UpstreamALPN = c.s.ID, c.s.Conn, r.o.Now(), c.s.UpstreamALPN
	req := &sh.Request
	req.CopyFrom(&from.Head)
	req.Proto, req.Length = from.Proto, from.Length
	req.Method, req.Scheme, req.Path = bytes.Clone(from.Method), bytes.Clone(from.Scheme), bytes.Clone(from.Path)
	req.Authority = bytes.Clone(from.Authority)
	if !m.KeepHost {
		req.Authority = shadowHost(req.Authority)
		if req.Has(stream.Host) {
			req.Set(stream.Host, req.Authority)
		}
	}
	sh.timer.Init(r.o.Timer, func() {
		sh.Reset(stream.Reason{Code: stream.RouteTimeout, Detail: "mirrored request"})
	})
	return sh
}

// setBody copies the body and its trailers.
func (sh *shadow) setBody(body []byte, trailers *stream.Head) {
	sh.body = bytes.Clone(body)
	if sh.Request.Length != 0 {
		sh.Request.Body = stream.NewBody(sh.body)
	}
	if trailers != nil {
		sh.trailers = new(stream.Head)
		sh.trailers.CopyFrom(trailers)
	}
}

// shadowHost appends "-shadow" to the host and keeps the port, as Envoy does.
func shadowHost(authority []byte) []byte {
	host, port := authority, []byte(nil)
	if i := bytes.LastIndexByte(authority, ':'); i >= 0 && !bytes.HasSuffix(authority, []byte("]")) {
		host, port = authority[:i], authority[i:]
	}
	out := append([]byte(nil), host...)
	return append(append(out, "-shadow"...), port...)
}

// run sends the request and reads the answer to its end. It ends at its time-out
// at the latest.
func (sh *shadow) run() {
	sh.timer.Arm(sh.limit)
	defer sh.timer.Drop()
	tried := upstream.Tried{Priority: sh.priority}
	lease, err := sh.cluster.Acquire(&sh.Stream, &tried)
	if err != nil {
		return // counted where it happened
	}
	ex, err := lease.Open(&sh.Stream)
	if err != nil {
		lease.Release(upstream.Outcome{Reason: stream.UpstreamReset})
		return
	}
	sh.Enter(ex)
	status, err := sh.exchange(ex)
	sh.Enter(nil)
	o := upstream.Outcome{Status: status}
	if err != nil {
		o.Status, o.Reason = 0, reasonOf(err).Code
		ex.Cancel(reasonOf(err))
	}
	o.Reusable = ex.Release()
	lease.Release(o)
}

func (sh *shadow) exchange(ex stream.Exchange) (status int, err error) {
	if err := ex.Send(&sh.Request, sh.body, sh.trailers == nil); err != nil {
		return 0, err
	}
	if sh.trailers != nil {
		if err := ex.Trailers(sh.trailers); err != nil {
			return 0, err
		}
	}
	for {
		resp, err := ex.Receive()
		if err != nil {
			return 0, err
		}
		if resp.Status < 200 {
			continue
		}
		return resp.Status, drain(resp.Body)
	}
}

func drain(b stream.Body) error {
	if b == nil {
		return nil
	}
	for {
		if _, err := b.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
