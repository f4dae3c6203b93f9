package streamtest

import "github.com/lateen-mesh/lateen/internal/proxy/stream"

// muxClient is a mux as its client sees it.
type muxClient mux

func (c *muxClient) m() *mux { return (*mux)(c) }

func (c *muxClient) Open(*stream.Stream) (stream.Exchange, error) {
	m := c.m()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.spent || m.closed {
		return nil, errNoMore
	}
	f := &flow{m: m}
	if m.flows == nil {
		m.flows = map[*flow]bool{}
	}
	m.flows[f] = true
	return f, nil
}

func (c *muxClient) Free() int {
	if !c.Reusable() {
		return 0
	}
	return 1 << 20
}

func (c *muxClient) Reusable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.spent && !c.closed && !c.draining
}

func (c *muxClient) Drain() {
	m := c.m()
	m.change(func() { m.spent = true })
}

func (c *muxClient) Close(r stream.Reason) { c.m().shut(r) }

// shut ends the connection for both sides.
func (m *mux) shut(r stream.Reason) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return
	}
	m.closed, m.spent, m.reason = true, true, r
	var streams []*stream.Stream
	for f := range m.flows {
		if f.stream != nil {
			streams = append(streams, f.stream)
		}
	}
	m.cond.Broadcast()
	m.mu.Unlock()
	for _, s := range streams {
		s.Reset(errGone)
	}
}

func (f *flow) Send(r *stream.Request, first []byte, end bool) error {
	f.m.change(func() {
		q := &f.request
		q.CopyFrom(&r.Head)
		q.Method, q.Scheme = append(q.Method, r.Method...), append(q.Scheme, r.Scheme...)
		q.Authority, q.Path = append(q.Authority, r.Authority...), append(q.Path, r.Path...)
		q.Proto, q.Length, q.Upgrade, q.ExpectContinue = stream.HTTP2, r.Length, r.Upgrade, r.ExpectContinue
		if !end || len(first) > 0 {
			q.Body = &laneBody{f: f, l: &f.up, stop: f.serverStop}
		}
		if q.Upgrade != "" {
			q.Body = nil
		}
		if f.delivery = stream.Maybe; f.m.draining {
			f.delivery = stream.Refused
			return
		}
		f.m.queue = append(f.m.queue, f)
	})
	if r.Upgrade != "" {
		end = false // the tunnel goes the same way
	}
	return f.Write(first, end)
}

func (f *flow) Write(p []byte, end bool) error {
	err := f.m.put(&f.up, p, f.clientStop)
	if err == nil && end {
		f.m.change(func() { f.up.end, f.whole = true, true })
	}
	return err
}

func (f *flow) Trailers(h *stream.Head) error {
	f.m.change(func() {
		if h != nil {
			f.up.trailers = &stream.Head{}
			f.up.trailers.CopyFrom(h)
		}
		f.up.end, f.whole = true, true
	})
	return nil
}

func (f *flow) Receive() (*stream.Response, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	for {
		if len(f.interim) > 0 {
			r := f.interim[0]
			f.interim = f.interim[1:]
			return r, nil
		}
		if f.final != nil && !f.canceled {
			f.received = true
			return f.final, nil
		}
		if err := f.clientStop(); err != nil {
			return nil, err
		}
		f.m.cond.Wait()
	}
}

func (f *flow) Cancel(r stream.Reason) {
	var s *stream.Stream
	f.m.change(func() {
		if f.canceled || !f.m.flows[f] {
			return
		}
		f.canceled, f.reason, s = true, r, f.stream
	})
	if s != nil {
		s.Reset(errGone)
	}
}

func (f *flow) Delivery() stream.Delivery {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.delivery
}

func (f *flow) Release() bool {
	f.m.mu.Lock()
	done := f.received && f.down.end && f.whole
	f.m.mu.Unlock()
	if !done {
		f.Cancel(stream.Reason{Code: stream.None, Detail: "released"})
	}
	f.m.change(func() { delete(f.m.flows, f) })
	return (*muxClient)(f.m).Reusable()
}
