package http2_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// What requests look like to the rest of the proxy.
func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		name, fields string
		content      []string // DATA frames; nil: END_STREAM with the head
		want         string
	}{
		{"plain", ":method GET :scheme https :authority a:80 :path /x?y", nil, "200 GET http a:80 /x?y"},
		{"host alone", ":method GET :scheme http :path / host a", nil, "200 GET http a /"},
		{"host and authority", ":method GET :scheme http :authority A :path / host a", nil, "200 GET http A /"},
		{"cookie crumbs", ":method GET :scheme http :authority a :path / cookie a=1 x 1 cookie b=2 cookie c=3", nil, "200 GET http a /|cookie=a=1; b=2; c=3|x=1"},
		{"te trailers", ":method GET :scheme http :authority a :path / te trailers", nil, "200 GET http a /|te=trailers"},
		{"options *", ":method OPTIONS :scheme http :authority a :path *", nil, "200 OPTIONS http a *"},
		{"empty content", ":method POST :scheme http :authority a :path /", []string{""}, "200 POST http a /|-1:"},
		{"content", ":method POST :scheme http :authority a :path /", []string{"ab", "", "c"}, "200 POST http a /|-1:abc"},
		{"declared length", ":method POST :scheme http :authority a :path / content-length 3", []string{"abc"}, "200 POST http a /|content-length=3|3:abc"},
		{"length 0 with the head", ":method POST :scheme http :authority a :path / content-length 0", nil, "200 POST http a /|content-length=0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := client(t, http2.ServerOptions{}, show)
			p.headers(1, tt.content == nil, strings.Fields(tt.fields)...)
			for i, d := range tt.content {
				p.ok(p.fr.WriteDataPadded(1, i == len(tt.content)-1, []byte(d), make([]byte, i)))
			}
			if got := p.response(1); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("trailers", func(t *testing.T) {
		p := client(t, http2.ServerOptions{}, show)
		p.post(1)
		p.ok(p.fr.WriteData(1, false, []byte("abc")))
		p.headers(1, true, "sum", "9")
		if got := p.response(1); got != "200 POST http test /|-1:abc|sum=9" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("block in pieces", func(t *testing.T) {
		p := client(t, http2.ServerOptions{}, show)
		b := p.block(append(getFields[:8:8], "x", strings.Repeat("v", 2000))...)
		p.ok(p.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:5], EndStream: true}))
		p.ok(p.fr.WriteContinuation(1, false, b[5:900]))
		p.ok(p.fr.WriteContinuation(1, true, b[900:]))
		if got := p.response(1); got != "200 GET http test /|x="+strings.Repeat("v", 2000) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("head too large", func(t *testing.T) {
		p := client(t, http2.ServerOptions{Limits: http2.Limits{MaxHeadBytes: 1000}}, show)
		p.get(1, "x", strings.Repeat("v", 2000))
		if got := p.response(1); got != "431 head too large" {
			t.Errorf("got %q", got)
		}
		p.get(3, "x", "1")
		if got := p.response(3); got != "200 GET http test /|x=1" {
			t.Errorf("then got %q", got)
		}
	})
	t.Run("too many fields", func(t *testing.T) {
		p := client(t, http2.ServerOptions{Limits: http2.Limits{MaxHeaders: 3}}, show)
		p.get(1, "a", "1", "b", "1", "c", "1", "d", "1")
		if got := p.response(1); got != "431 head too large" {
			t.Errorf("got %q", got)
		}
	})
}

// What responses look like on the wire.
func TestResponses(t *testing.T) {
	body := func(n int64) *stream.Response {
		return &stream.Response{Status: 200, Length: n, Body: stream.NewBody([]byte("abc"))}
	}
	for _, tt := range []struct {
		name, method string
		resp         func() *stream.Response
		want         string
	}{
		{"length", "GET", func() *stream.Response { return body(3) }, "200 content-length=3;abc"},
		{"no length", "GET", func() *stream.Response { return body(-1) }, "200 abc"},
		{"wrong length line", "GET", func() *stream.Response { r := body(3); r.AddString(stream.ContentLength, "7"); return r }, "200 content-length=3;abc"},
		{"none", "GET", func() *stream.Response { return &stream.Response{Status: 200} }, "200 content-length=0;"},
		{"HEAD", "HEAD", func() *stream.Response { return &stream.Response{Status: 200, Length: 42} }, "200 content-length=42;"},
		{"HEAD with a body", "HEAD", func() *stream.Response { return body(3) }, "200 content-length=3;"},
		{"204", "GET", func() *stream.Response { r := body(3); r.Status = 204; return r }, "204 "},
		{"304", "GET", func() *stream.Response { return &stream.Response{Status: 304, Length: 9} }, "304 content-length=9;"},
		{"case and connection", "GET", func() *stream.Response {
			r := body(-1)
			for _, kv := range []string{"X-Case", "Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade"} {
				r.AddRaw([]byte(kv), []byte("v"))
			}
			return r
		}, "200 x-case=v;abc"},
		{"too long", "GET", func() *stream.Response { return body(2) }, "200 content-length=2; INTERNAL_ERROR"},
		{"too short", "GET", func() *stream.Response { return body(9) }, "200 content-length=9;abc INTERNAL_ERROR"},
		{"no response", "GET", func() *stream.Response { return nil }, "500 content-type=text/plain;content-length=0;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := client(t, http2.ServerOptions{}, func(*stream.Stream) (*stream.Response, error) { return tt.resp(), nil })
			p.headers(1, true, ":method", tt.method, ":scheme", "http", ":authority", "a", ":path", "/")
			want := strings.Replace(tt.want, "content-type=text/plain;", "", 1)
			if got := p.wire(1); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// wire shows a response with its fields.
func (p *peer) wire(id uint32) string {
	p.t.Helper()
	var b strings.Builder
	for {
		switch f := p.read().(type) {
		case *xhttp2.MetaHeadersFrame:
			fmt.Fprint(&b, f.PseudoValue("status"), " ")
			for _, h := range f.RegularFields() {
				fmt.Fprintf(&b, "%s=%s;", h.Name, h.Value)
			}
			if f.StreamEnded() {
				return b.String()
			}
		case *xhttp2.DataFrame:
			b.Write(f.Data())
			if f.StreamEnded() {
				return b.String()
			}
		case *xhttp2.RSTStreamFrame:
			return b.String() + " " + f.ErrCode.String()
		}
	}
}

// The end is marked on the last DATA frame, and a small response is one write.
func TestFewFrames(t *testing.T) {
	p := client(t, http2.ServerOptions{}, show)
	p.get(1)
	var frames []string
	for end := false; !end; {
		f := p.read()
		frames = append(frames, f.Header().Type.String())
		end = f.Header().Flags.Has(xhttp2.FlagDataEndStream)
	}
	if got := strings.Join(frames, " "); got != "HEADERS DATA" {
		t.Errorf("frames: %s", got)
	}
}

// An answer that does not wait for the request ends it without an error.
func TestEarlyResponse(t *testing.T) {
	p := client(t, http2.ServerOptions{}, func(*stream.Stream) (*stream.Response, error) {
		return &stream.Response{Status: 413}, nil
	})
	p.post(1)
	if got := p.response(1); got != "413" {
		t.Errorf("got %q", got)
	}
	if f, ok := p.read().(*xhttp2.RSTStreamFrame); !ok || f.ErrCode != xhttp2.ErrCodeNo {
		t.Errorf("then %v", f)
	}
	// What was under way is swallowed.
	p.ok(p.fr.WriteData(1, false, make([]byte, 1000)))
	p.headers(1, true, "late", "1")
	p.post(3)
	if got := p.response(3); got != "413" {
		t.Errorf("then %q", got)
	}
}

func TestExpectContinue(t *testing.T) {
	p := client(t, http2.ServerOptions{}, show)
	p.post(1, "expect", "100-continue")
	if f, ok := p.read().(*xhttp2.MetaHeadersFrame); !ok || f.PseudoValue("status") != "100" {
		t.Fatalf("got %v", f)
	}
	p.ok(p.fr.WriteData(1, true, []byte("x")))
	if got := p.response(1); got != "200 POST http test /|expect=100-continue|-1:x" {
		t.Errorf("got %q", got)
	}
}

// A stream that nobody reads stops at its window, and its neighbours go on: the
// connection's credit comes back on receipt.
func TestWindows(t *testing.T) {
	goOn := make(chan struct{})
	p := client(t, http2.ServerOptions{Limits: http2.Limits{StreamWindow: 65535, ConnWindow: 70000}}, func(s *stream.Stream) (*stream.Response, error) {
		if string(s.Request.Path) == "/" {
			<-goOn
		}
		return show(s)
	})
	p.post(1)
	for range 4 {
		p.ok(p.fr.WriteData(1, false, bytes.Repeat([]byte("x"), 16383)))
	}
	credit := uint32(0)
	for credit < 4*16383/2 {
		f, err := p.fr.ReadFrame()
		p.ok(err)
		if w, ok := f.(*xhttp2.WindowUpdateFrame); ok {
			if w.StreamID != 0 {
				t.Fatal("a stream that is not read got credit")
			}
			credit += w.Increment
		}
	}
	p.headers(3, false, ":method", "POST", ":scheme", "http", ":authority", "a", ":path", "/other")
	p.ok(p.fr.WriteData(3, true, []byte("y")))
	if got := p.response(3); got != "200 POST http a /other|-1:y" {
		t.Errorf("the neighbour got %q", got)
	}
	close(goOn)
	for {
		f, err := p.fr.ReadFrame()
		p.ok(err)
		if w, ok := f.(*xhttp2.WindowUpdateFrame); ok && w.StreamID == 1 {
			return
		}
	}
}

// Our own windows: nothing is sent without credit, settings move open streams.
func TestSendsWithinWindows(t *testing.T) {
	p, _ := rawClient(t, http2.ServerOptions{}, func(*stream.Stream) (*stream.Response, error) {
		return &stream.Response{Status: 200, Length: 100, Body: stream.NewBody(make([]byte, 100))}, nil
	})
	p.must(p.end.Write([]byte(xhttp2.ClientPreface)))
	p.ok(p.fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 10}))
	p.greeted()
	p.get(1)
	data := func(want int) {
		t.Helper()
		if f, ok := p.read().(*xhttp2.DataFrame); !ok || len(f.Data()) != want {
			t.Fatalf("got %v, want DATA of %d", f, want)
		}
	}
	p.read() // HEADERS
	data(10)
	p.ok(p.fr.WriteWindowUpdate(1, 5))
	data(5)
	p.ok(p.fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 0}))
	p.ok(p.fr.WriteWindowUpdate(1, 10)) // the window was 0 and became -10
	p.ok(p.fr.WriteWindowUpdate(1, 3))
	data(3)
	p.ok(p.fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1000}))
	data(82)
}

func TestExtendedConnect(t *testing.T) {
	o := http2.ServerOptions{Upgrades: []string{"websocket"}}
	echo := func(s *stream.Stream) (*stream.Response, error) {
		if s.Request.Upgrade != "websocket" && string(s.Request.Method) != "CONNECT" {
			return &stream.Response{Status: 400}, nil
		}
		if s.Request.Upgrade != "" && (string(s.Request.Method) != "GET" || string(s.Request.Path) != "/ws") {
			return nil, stream.NewReply(500, stream.Reason{Code: stream.Internal})
		}
		r, w := io.Pipe()
		return &stream.Response{Status: 101, Tunnel: &loop{r, w}}, nil
	}
	for _, tt := range []struct{ name, fields, want string }{
		{"websocket", ":method CONNECT :protocol websocket :scheme http :authority a :path /ws", "200 ping"},
		{"CONNECT", ":method CONNECT :authority a:443", "200 ping"},
		{"not allowed", ":method CONNECT :protocol other :scheme http :authority a :path /ws", "501 protocol of extended CONNECT is not allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := client(t, o, echo)
			p.headers(1, false, strings.Fields(tt.fields)...)
			p.ok(p.fr.WriteData(1, true, []byte("ping")))
			got := p.response(1)
			if got = strings.TrimSpace(got); got != tt.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

type loop struct {
	r *io.PipeReader
	w *io.PipeWriter
}

func (l *loop) Read(p []byte) (int, error)  { return l.r.Read(p) }
func (l *loop) Write(p []byte) (int, error) { return l.w.Write(p) }
func (l *loop) CloseWrite() error           { return l.w.Close() }
func (l *loop) Close() error                { l.r.Close(); return l.w.Close() }

// A drain in two steps: requests that were under way when the first GOAWAY went out
// are served.
func TestDrainInTwoSteps(t *testing.T) {
	p, c := rawClient(t, http2.ServerOptions{DrainTime: time.Minute}, show)
	p.must(p.end.Write([]byte(xhttp2.ClientPreface)))
	p.ok(p.fr.WriteSettings())
	p.greeted()
	p.post(1)
	p.ok(p.fr.WritePing(false, [8]byte{1}))
	p.read() // stream 1 is there
	c.Drain()
	if f, ok := p.read().(*xhttp2.GoAwayFrame); !ok || f.LastStreamID != 1<<31-1 || f.ErrCode != xhttp2.ErrCodeNo {
		t.Fatalf("first %v", f)
	}
	ping, ok := p.read().(*xhttp2.PingFrame)
	if !ok {
		t.Fatal("no PING")
	}
	p.get(3)
	if got := p.response(3); got != "200 GET http test /" {
		t.Errorf("under way: %q", got)
	}
	p.ok(p.fr.WritePing(true, ping.Data))
	if f, ok := p.read().(*xhttp2.GoAwayFrame); !ok || f.LastStreamID != 3 {
		t.Fatalf("second %v", f)
	}
	p.get(5) // is ignored
	p.ok(p.fr.WriteData(1, true, nil))
	if got := p.response(1); got != "200 POST http test /|-1:" {
		t.Errorf("the last: %q", got)
	}
	p.end.Close()
	if r := p.reason(); r.Code != stream.Draining {
		t.Errorf("Serve = %v", r)
	}
}
