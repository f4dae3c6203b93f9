package http2_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// message is one message on a stream, as events told it.
type message struct {
	method, scheme, authority, path, protocol, status string
	fields                                            []string // "name: value", without Host and Cookie
	cookie                                            string   // crumbs joined
	content                                           []byte
	trailers                                          []string
	end                                               bool // it is there to its end
}

// reference is what the foreign framer and decoder make of a conversation: the
// messages by stream, up to the first breach that ends the connection.
func reference(in []byte) map[uint32]*message {
	fr := xhttp2.NewFramer(nil, bytes.NewReader(withoutPriorityUpdates(in)))
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	fr.MaxHeaderListSize = 1 << 20
	fr.SetMaxReadFrameSize(16384)
	all := map[uint32]*message{}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			var se xhttp2.StreamError
			if errors.As(err, &se) {
				continue // what is malformed has no event
			}
			return all
		}
		m := all[f.Header().StreamID]
		switch f := f.(type) {
		case *xhttp2.MetaHeadersFrame:
			switch {
			case m == nil:
				all[f.StreamID] = first(f)
			case m.status != "" && m.status[0] == '1':
				all[f.StreamID] = first(f) // an interim head was before
			case !m.end:
				m.trailers = lines(f.RegularFields(), nil)
			}
			all[f.StreamID].end = all[f.StreamID].end || f.StreamEnded()
		case *xhttp2.DataFrame:
			if m != nil && !m.end {
				m.content = append(m.content, f.Data()...)
				m.end = f.StreamEnded()
			}
		}
	}
}

// withoutPriorityUpdates takes out what the foreign framer knows as PRIORITY_UPDATE
// (RFC 9218 §7.1), and ends the connection for in some places. To us it is a frame of
// an unknown type, to be ignored: we make nothing of priorities.
func withoutPriorityUpdates(in []byte) (out []byte) {
	const priorityUpdate = 0x10
	for len(in) >= 9 {
		n := 9 + int(in[0])<<16 + int(in[1])<<8 + int(in[2])
		if n > len(in) {
			break
		}
		if in[3] != priorityUpdate || n > 9+16384 {
			out = append(out, in[:n]...)
		}
		in = in[n:]
	}
	return append(out, in...)
}

func first(f *xhttp2.MetaHeadersFrame) *message {
	m := &message{method: f.PseudoValue("method"), scheme: f.PseudoValue("scheme"), authority: f.PseudoValue("authority"),
		path: f.PseudoValue("path"), status: f.PseudoValue("status"), protocol: f.PseudoValue("protocol")}
	m.fields = lines(f.RegularFields(), m)
	return m
}

// lines gives fields in order; those that a request holds elsewhere go to m.
func lines(fields []hpack.HeaderField, m *message) (all []string) {
	for _, h := range fields {
		switch {
		case m != nil && h.Name == "cookie":
			m.cookie = strings.TrimPrefix(m.cookie+"; "+h.Value, "; ")
		case h.Name == "host":
			if m != nil && m.authority == "" {
				m.authority = h.Value
			}
		default:
			all = append(all, h.Name+": "+h.Value)
		}
	}
	return all
}

func headLines(h *stream.Head, m *message) (all []string) {
	for name, value := range h.All() {
		if m != nil && string(name) == "cookie" {
			m.cookie = string(value)
			continue
		}
		if string(name) != "host" {
			all = append(all, string(name)+": "+string(value))
		}
	}
	return all
}

// differs says where ours holds what the reference does not. We may be stricter, and
// take a message in part only; what we take is the same.
func (ours *message) differs(theirs *message) string {
	switch {
	case theirs == nil:
		return "the reference has no such message"
	case ours.method != theirs.method, ours.authority != theirs.authority, ours.status != theirs.status, ours.protocol != theirs.protocol:
		return "pseudo-headers"
	case (ours.method != "CONNECT" || ours.protocol != "") && (ours.scheme != theirs.scheme || ours.path != theirs.path):
		return "scheme or path"
	case !slices.Equal(ours.fields, theirs.fields) || ours.cookie != theirs.cookie:
		return "fields"
	case !bytes.HasPrefix(theirs.content, ours.content):
		return "content"
	case ours.end && (!theirs.end || len(ours.content) != len(theirs.content)):
		return "end"
	case ours.end && !slices.Equal(ours.trailers, theirs.trailers):
		return "trailers"
	}
	return ""
}

// FuzzRequests: every request that the server's codec hands to its handler is one
// that the frames hold by the reading of another implementation, with the same
// fields, content, trailers and end.
func FuzzRequests(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		var mu sync.Mutex
		got := map[uint32]*message{}
		a, b := pipe.New()
		c := http2.NewServerConn(b, &stream.Conn{}, http2.ServerOptions{Limits: limits(t), Upgrades: []string{"websocket"}})
		done := make(chan stream.Reason, 1)
		go func() {
			done <- c.Serve(stream.HandlerFunc(func(s *stream.Stream) (*stream.Response, error) {
				m := requested(s)
				mu.Lock()
				got[uint32(s.ID)] = m
				mu.Unlock()
				return &stream.Response{Status: 204}, nil
			}))
		}()
		defer watchdog()()
		feed(a, xhttp2.ClientPreface, in)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("Serve did not return")
		}
		theirs := reference(in)
		for id, m := range got {
			if why := m.differs(theirs[id]); why != "" {
				t.Fatalf("stream %d: %s\nours   %+v\ntheirs %+v", id, why, m, theirs[id])
			}
		}
	})
}

func requested(s *stream.Stream) *message {
	r := &s.Request
	m := &message{method: string(r.Method), scheme: string(r.Scheme), authority: string(r.Authority), path: string(r.Path), protocol: r.Upgrade, end: r.Body == nil}
	if r.Upgrade != "" {
		m.method = "CONNECT" // which HTTP/1.1 says as GET
	}
	m.fields = headLines(&r.Head, m)
	if r.Body != nil {
		var err error
		m.content, err = readAll(r.Body)
		m.end = err == nil
		if h := r.Body.Trailers(); h != nil {
			m.trailers = headLines(h, nil)
		}
	}
	return m
}

// FuzzResponses is FuzzRequests for the client's codec.
func FuzzResponses(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := pipe.New()
		c := http2.NewClientConn(a, http2.ClientOptions{Limits: limits(t)})
		got := make([]*message, 2)
		var wg sync.WaitGroup
		for i := range got {
			x, err := c.Open(&stream.Stream{})
			if err != nil {
				t.Fatal(err)
			}
			r := benchRequest()
			if err := x.Send(r, nil, true); err != nil { // in order: streams 1 and 3
				t.Fatal(err)
			}
			wg.Go(func() {
				defer x.Release()
				got[i] = answered(x)
			})
		}
		defer watchdog()()
		feed(b, "", in)
		wg.Wait()
		c.Close(stream.Reason{})
		theirs := reference(in)
		for i, m := range got {
			if m == nil {
				continue
			}
			if why := m.differs(theirs[uint32(2*i+1)]); why != "" {
				t.Fatalf("stream %d: %s\nours   %+v\ntheirs %+v", 2*i+1, why, m, theirs[uint32(2*i+1)])
			}
		}
	})
}

func answered(x stream.Exchange) *message {
	for {
		r, err := x.Receive()
		if err != nil {
			return nil
		}
		if r.Status < 200 {
			continue
		}
		m := &message{status: fmt.Sprint(r.Status), end: r.Body == nil}
		m.fields = headLines(&r.Head, nil)
		if r.Body == nil {
			return m
		}
		m.content, err = readAll(r.Body)
		m.end = err == nil
		if h := r.Body.Trailers(); h != nil {
			m.trailers = headLines(h, nil)
		}
		return m
	}
}
