package http2_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// peer is the other end of a connection, frame by frame, written with a foreign
// framer.
type peer struct {
	t     testing.TB
	end   *pipe.End
	fr    *xhttp2.Framer
	buf   bytes.Buffer
	enc   *hpack.Encoder
	done  chan stream.Reason // Serve's, where the peer is a client
	drain func()
}

func newPeer(t testing.TB, end *pipe.End) *peer {
	p := &peer{t: t, end: end, fr: xhttp2.NewFramer(end, end), done: make(chan stream.Reason, 1)}
	p.fr.AllowIllegalWrites = true
	p.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.buf)
	return p
}

// client is a raw client of a server under test; the handshake is made.
func client(t testing.TB, o http2.ServerOptions, h stream.HandlerFunc) *peer {
	t.Helper()
	p, _ := rawClient(t, o, h)
	p.must(p.end.Write([]byte(xhttp2.ClientPreface)))
	p.ok(p.fr.WriteSettings())
	p.greeted()
	return p
}

// rawClient has sent nothing yet.
func rawClient(t testing.TB, o http2.ServerOptions, h stream.HandlerFunc) (*peer, *http2.ServerConn) {
	t.Helper()
	a, b := pipe.New()
	p := newPeer(t, a)
	c := http2.NewServerConn(b, &stream.Conn{}, o)
	go func() { p.done <- c.Serve(h) }()
	t.Cleanup(func() {
		a.Close()
		p.reason()
	})
	return p, c
}

// server is a raw server of a client under test.
func server(t testing.TB, o http2.ClientOptions) (*peer, *http2.ClientConn) {
	t.Helper()
	p, c := rawServer(t, o)
	p.ok(p.fr.WriteSettings())
	p.greeted()
	return p, c
}

// rawServer has read the preface and sent nothing yet.
func rawServer(t testing.TB, o http2.ClientOptions) (*peer, *http2.ClientConn) {
	t.Helper()
	a, b := pipe.New()
	p := newPeer(t, b)
	c := http2.NewClientConn(a, o)
	t.Cleanup(func() {
		c.Close(stream.Reason{})
		b.Close()
	})
	preface := make([]byte, len(xhttp2.ClientPreface))
	p.must(io.ReadFull(b, preface))
	return p, c
}

func (p *peer) must(_ int, err error) { p.t.Helper(); p.ok(err) }

func (p *peer) ok(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// greeted reads until our settings were acknowledged, and acknowledges theirs.
func (p *peer) greeted() {
	p.t.Helper()
	for {
		f, err := p.fr.ReadFrame()
		p.ok(err)
		if s, ok := f.(*xhttp2.SettingsFrame); ok {
			if s.IsAck() {
				return
			}
			p.ok(p.fr.WriteSettingsAck())
		}
	}
}

// block encodes fields, given as name, value, name, value.
func (p *peer) block(fields ...string) []byte {
	p.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		p.ok(p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return bytes.Clone(p.buf.Bytes())
}

func (p *peer) headers(id uint32, end bool, fields ...string) {
	p.t.Helper()
	p.ok(p.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: p.block(fields...), EndStream: end, EndHeaders: true}))
}

var getFields = []string{":method", "GET", ":scheme", "http", ":authority", "test", ":path", "/"}

func (p *peer) get(id uint32, more ...string) {
	p.t.Helper()
	p.headers(id, true, append(getFields[:8:8], more...)...)
}

func (p *peer) post(id uint32, more ...string) {
	p.t.Helper()
	p.headers(id, false, append([]string{":method", "POST", ":scheme", "http", ":authority", "test", ":path", "/"}, more...)...)
}

// read returns the next frame that says something: settings and windows are passed
// over.
func (p *peer) read() xhttp2.Frame {
	p.t.Helper()
	p.ok(p.end.SetReadDeadline(time.Now().Add(10 * time.Second)))
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			p.t.Fatalf("read: %v", err)
		}
		switch f.(type) {
		case *xhttp2.SettingsFrame, *xhttp2.WindowUpdateFrame:
			continue
		}
		return f
	}
}

// verdict reads until a stream is reset or the connection ends: "stream 1
// PROTOCOL_ERROR", "connection PROTOCOL_ERROR".
func (p *peer) verdict() string {
	p.t.Helper()
	if err := p.end.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err.Error()
	}
	for {
		f, err := p.fr.ReadFrame()
		switch f := f.(type) {
		case *xhttp2.RSTStreamFrame:
			if f.ErrCode != xhttp2.ErrCodeNo {
				return fmt.Sprintf("stream %d %v", f.StreamID, f.ErrCode)
			}
		case *xhttp2.GoAwayFrame:
			return fmt.Sprintf("connection %v", f.ErrCode)
		}
		if err != nil {
			return "closed: " + err.Error()
		}
	}
}

// response reads a response's head and content, as "200 content".
func (p *peer) response(id uint32) string {
	p.t.Helper()
	got := ""
	for {
		switch f := p.read().(type) {
		case *xhttp2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			if s := f.PseudoValue("status"); s != "" {
				got += s
			}
			for _, h := range f.RegularFields() {
				if h.Name == "x-show" {
					got += " " + h.Value
				}
			}
			if f.StreamEnded() {
				return got
			}
		case *xhttp2.DataFrame:
			if f.StreamID != id {
				continue
			}
			got += " " + string(f.Data())
			if f.StreamEnded() {
				return got
			}
		case *xhttp2.RSTStreamFrame:
			return got + " " + f.ErrCode.String()
		case *xhttp2.GoAwayFrame:
			return got + " GOAWAY " + f.ErrCode.String()
		}
	}
}

func (p *peer) reason() stream.Reason {
	p.t.Helper()
	select {
	case r := <-p.done:
		p.done <- r
		return r
	case <-time.After(10 * time.Second):
		p.t.Fatal("Serve did not return")
		return stream.Reason{}
	}
}

// show answers with what the request was.
func show(s *stream.Stream) (*stream.Response, error) {
	r := &s.Request
	got := fmt.Sprintf("%s %s %s %s", r.Method, r.Scheme, r.Authority, r.Path)
	for n, v := range r.All() {
		got += fmt.Sprintf("|%s=%s", n, v)
	}
	if r.Body != nil {
		b, err := readAll(r.Body)
		if err != nil {
			return nil, err
		}
		got += fmt.Sprintf("|%d:%s", r.Length, b)
		if t := r.Body.Trailers(); t != nil {
			for n, v := range t.All() {
				got += fmt.Sprintf("|%s=%s", n, v)
			}
		}
	}
	return &stream.Response{Status: 200, Length: int64(len(got)), Body: stream.NewBody([]byte(got))}, nil
}

func codeOf(err error) stream.Code {
	var r stream.Reason
	if errors.As(err, &r) {
		return r.Code
	}
	return stream.Internal
}
