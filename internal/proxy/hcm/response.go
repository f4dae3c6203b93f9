package hcm

import (
	"io"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// local makes the response of an answer that the proxy gives itself. It is the
// only place that does.
func (h *handler) local(s *stream.Stream, reply *stream.Reply) *stream.Response {
	resp := &stream.Response{Status: reply.Status, Local: reply}
	for _, f := range reply.Headers {
		resp.AddRaw([]byte(f[0]), []byte(f[1]))
	}
	switch {
	case stream.IsGRPC(s.Request.Get(stream.ContentType)):
		localGRPC(s, resp, reply)
	case reply.Body != "":
		resp.Body, resp.Length = &text{rest: []byte(reply.Body)}, int64(len(reply.Body))
		if !resp.Has(stream.ContentType) {
			resp.AddString(stream.ContentType, "text/plain")
		}
	}
	if h.tells && telling(reply.Reason.Code) {
		resp.Add(reasonName, fieldText(reply.Reason.Error()))
	}
	return resp
}

// telling leaves out reasons that the configuration's author wanted.
func telling(c stream.Code) bool {
	return c != stream.None && c != stream.DirectResponse && c != stream.Redirect
}

// fieldText makes a text fit for a field value (RFC 9110 §5.5).
func fieldText(s string) []byte {
	const limit = 512
	out := make([]byte, 0, min(len(s), limit))
	for i := 0; i < len(s) && len(out) < limit; i++ {
		c := s[i]
		if c < ' ' || c >= 0x7f {
			c = ' '
		}
		out = append(out, c)
	}
	return out
}

// finish edits the fields of every response.
func (h *handler) finish(r *stream.Response) {
	if h.server != nil {
		r.Set(stream.Server, h.server)
	} else if r.Local != nil && !r.Has(stream.Server) {
		r.AddString(stream.Server, "envoy")
	}
	if !r.Has(stream.Date) {
		r.Add(stream.Date, h.now())
	}
	if h.edge { // what is for the mesh alone ends here
		r.Del(stream.EnvoyPeerMetadata)
		r.Del(stream.EnvoyPeerMetadataID)
		r.Del(reasonName)
	}
}

// dateText is the value of a Date field for one second.
type dateText struct {
	second int64
	text   []byte
}

// now gives the value of the Date field, made once a second.
func (m *Manager) now() []byte {
	t := m.opts.Now()
	d := m.date.Load()
	if d == nil || d.second != t.Unix() {
		d = &dateText{second: t.Unix(), text: []byte(t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"))}
		m.date.Store(d)
	}
	return d.text
}

// text is a body in memory.
type text struct{ rest []byte }

// Next implements stream.Body.
func (t *text) Next() ([]byte, error) {
	if len(t.rest) == 0 {
		return nil, io.EOF
	}
	b := t.rest
	t.rest = nil
	return b, nil
}

// Buffered implements stream.Body.
func (t *text) Buffered() (int, bool) { return len(t.rest), true }

// Trailers implements stream.Body.
func (t *text) Trailers() *stream.Head { return nil }

// Close implements stream.Body.
func (t *text) Close(stream.Reason) { t.rest = nil }
