package streamtest

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// muxServer is a mux as its server sees it.
type muxServer mux

func (c *muxServer) m() *mux { return (*mux)(c) }

func (c *muxServer) Serve(h stream.Handler) stream.Reason {
	m := c.m()
	var wg sync.WaitGroup
	defer wg.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		switch {
		case m.closed:
			return m.reason
		case len(m.queue) > 0:
			f := m.queue[0]
			m.queue = m.queue[1:]
			m.lastID++
			s := &stream.Stream{ID: m.lastID, Conn: &stream.Conn{}, Start: time.Now(), Codec: f.codec()}
			s.Request = f.request
			f.stream = s
			m.serving++
			wg.Go(func() {
				f.serve(h, s)
				m.change(func() { m.serving-- })
			})
			continue
		case m.draining && m.serving == 0:
			return stream.Reason{Code: stream.Draining}
		}
		m.cond.Wait()
	}
}

func (c *muxServer) Drain() {
	m := c.m()
	m.change(func() { m.draining = true })
}

func (c *muxServer) Close(r stream.Reason) { c.m().shut(r) }

func (f *flow) codec() stream.Codec { return (*flowCodec)(f) }

type flowCodec flow

func (k *flowCodec) Inform(status int, h *stream.Head) error {
	r := &stream.Response{Status: status, Proto: stream.HTTP2}
	if h != nil {
		r.CopyFrom(h)
	}
	f := (*flow)(k)
	f.m.change(func() { f.interim = append(f.interim, r) })
	return nil
}

func (k *flowCodec) Abort(stream.Reason) {
	f := (*flow)(k)
	f.m.change(func() { f.aborted = true })
}

// serve runs one stream.
func (f *flow) serve(h stream.Handler, s *stream.Stream) {
	f.m.mu.Lock()
	late := f.canceled || f.m.closed
	f.m.mu.Unlock()
	if late {
		s.Reset(errGone)
	}
	o := &stream.Outcome{}
	resp, err := h.Handle(s)
	var local *stream.Reply
	if errors.As(err, &local) {
		resp, err = &stream.Response{Status: local.Status, Body: stream.NewBody([]byte(local.Body)), Length: int64(len(local.Body)), Local: local}, nil
	}
	if reset, is := s.ResetReason(); is && !clientLeft(reset.Code) {
		f.m.change(func() { f.aborted = false }) // the handler's answer is wanted
	}
	if err == nil {
		o.Status, o.Response = resp.Status, resp
		err = f.respond(s, resp, o)
		if resp.Body != nil {
			resp.Body.Close(stream.Reason{})
		}
	}
	var r stream.Reason
	if local != nil {
		r = local.Reason
	}
	if err != nil {
		if reset, is := s.ResetReason(); is {
			err = reset
		}
		errors.As(err, &r)
		f.m.change(func() { f.broken = true })
	}
	f.m.mu.Lock()
	o.BytesReceived, o.Reason, o.Duration = f.up.n-int64(len(f.up.buf)), r, max(1, sinceStart(s))
	f.stream = nil
	f.m.mu.Unlock()
	for _, ob := range f.m.observers {
		ob.Done(s, o)
	}
}

// respond passes the response to the client.
func (f *flow) respond(s *stream.Stream, resp *stream.Response, o *stream.Outcome) error {
	final := &stream.Response{Status: resp.Status, Proto: stream.HTTP2, Length: resp.Length}
	final.CopyFrom(&resp.Head)
	if resp.Tunnel != nil {
		final.Tunnel = &laneDuplex{f: f, in: &f.down, out: &f.up, stop: f.clientStop}
	} else if resp.Body != nil {
		final.Body = &laneBody{f: f, l: &f.down, stop: f.clientStop}
	}
	f.m.change(func() {
		f.final = final
		f.down.end = resp.Body == nil && resp.Tunnel == nil
	})
	if resp.Tunnel != nil {
		return f.tunnel(s, resp.Tunnel)
	}
	for resp.Body != nil {
		p, err := resp.Body.Next()
		if err == io.EOF {
			t := resp.Body.Trailers()
			f.m.change(func() {
				if t != nil {
					f.down.trailers = &stream.Head{}
					f.down.trailers.CopyFrom(t)
				}
				f.down.end = true
			})
			return nil
		}
		if err != nil {
			return err
		}
		if err := f.m.put(&f.down, p, f.serverStop); err != nil {
			return err
		}
		o.BytesSent += int64(len(p))
	}
	return nil
}

// tunnel relays until both directions ended.
func (f *flow) tunnel(s *stream.Stream, up stream.Duplex) error {
	down := &laneDuplex{f: f, in: &f.up, out: &f.down, stop: f.serverStop}
	errs := make(chan error, 2)
	for _, d := range [][2]stream.Duplex{{up, down}, {down, up}} {
		go func() {
			_, err := io.Copy(struct{ io.Writer }{d[0]}, struct{ io.Reader }{d[1]})
			errs <- errors.Join(err, d[0].CloseWrite())
		}()
	}
	err := <-errs
	if err != nil {
		_ = down.Close() // wakes the other direction
		_ = up.Close()
	}
	return errors.Join(err, <-errs, up.Close())
}
