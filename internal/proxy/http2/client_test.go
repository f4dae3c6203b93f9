package http2_test

import (
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

func open(t testing.TB, c *http2.ClientConn) stream.Exchange {
	t.Helper()
	x, err := c.Open(&stream.Stream{})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func sent(t testing.TB, c *http2.ClientConn) stream.Exchange {
	t.Helper()
	x := open(t, c)
	if err := x.Send(benchRequest(), nil, true); err != nil {
		t.Fatal(err)
	}
	return x
}

// What the server says it did not do may be sent again, and nothing else.
func TestDelivery(t *testing.T) {
	t.Run("REFUSED_STREAM", func(t *testing.T) {
		p, c := server(t, http2.ClientOptions{})
		x := sent(t, c)
		p.raw(xhttp2.FrameRSTStream, 0, 1, word(7))
		if _, err := x.Receive(); codeOf(err) != stream.UpstreamRemoteReset || x.Delivery() != stream.Refused {
			t.Errorf("%v, %v", err, x.Delivery())
		}
		if !x.Release() {
			t.Error("the connection is spent")
		}
	})
	t.Run("GOAWAY", func(t *testing.T) {
		gone := make(chan struct{})
		p, c := server(t, http2.ClientOptions{Gone: func() { close(gone) }})
		first, second, unsent := sent(t, c), sent(t, c), open(t, c)
		p.ok(p.fr.WriteGoAway(1, xhttp2.ErrCodeNo, []byte("bye")))
		if _, err := second.Receive(); codeOf(err) != stream.UpstreamReset || !strings.Contains(err.Error(), "bye") || second.Delivery() != stream.Refused {
			t.Errorf("%v, %v", err, second.Delivery())
		}
		<-gone
		if c.Free() != 0 || c.Reusable() {
			t.Error("still usable")
		}
		p.headers(1, true, ":status", "200")
		if r, err := first.Receive(); err != nil || r.Status != 200 {
			t.Errorf("the first: %v", err)
		}
		if err, d := unsent.Send(benchRequest(), nil, true), unsent.Delivery(); err == nil || d != stream.Unsent {
			t.Errorf("unsent: %v, %v", err, d)
		}
		for _, x := range []stream.Exchange{first, second, unsent} {
			if x.Release() {
				t.Error("reusable")
			}
		}
		waitClosed(t, p)
	})
	t.Run("reset", func(t *testing.T) {
		p, c := server(t, http2.ClientOptions{})
		x := sent(t, c)
		p.raw(xhttp2.FrameRSTStream, 0, 1, word(2))
		if _, err := x.Receive(); codeOf(err) != stream.UpstreamRemoteReset || x.Delivery() != stream.Maybe {
			t.Errorf("%v, %v", err, x.Delivery())
		}
	})
	t.Run("closed", func(t *testing.T) {
		p, c := server(t, http2.ClientOptions{})
		x := sent(t, c)
		p.read() // the request
		p.end.Close()
		if _, err := x.Receive(); codeOf(err) != stream.UpstreamReset || x.Delivery() != stream.Maybe {
			t.Errorf("%v, %v", err, x.Delivery())
		}
	})
	t.Run("never written", func(t *testing.T) {
		a, b := pipe.New()
		c := http2.NewClientConn(a, http2.ClientOptions{})
		defer c.Close(stream.Reason{})
		b.Reset()
		x, err := c.Open(&stream.Stream{})
		if err != nil {
			return // it was noticed before
		}
		err = x.Send(benchRequest(), nil, true)
		if err == nil {
			_, err = x.Receive()
		}
		for end := time.Now().Add(5 * time.Second); x.Delivery() != stream.Unsent && time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
		if codeOf(err) != stream.UpstreamReset || x.Delivery() != stream.Unsent {
			t.Errorf("%v, %v", err, x.Delivery())
		}
	})
}

func waitClosed(t *testing.T, p *peer) {
	t.Helper()
	for {
		if _, err := p.fr.ReadFrame(); err != nil {
			return
		}
	}
}

// Free follows the server's limit; what is over it is not opened.
func TestFree(t *testing.T) {
	p, c := server(t, http2.ClientOptions{MaxStreams: 5})
	if n := c.Free(); n != 5 {
		t.Errorf("%d free", n)
	}
	p.ok(p.fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: 2}))
	for c.Free() != 2 {
		time.Sleep(time.Millisecond)
	}
	x, y := sent(t, c), open(t, c)
	if _, err := c.Open(&stream.Stream{}); err == nil || c.Free() != 0 {
		t.Error("a third was opened")
	}
	y.Release()
	if c.Free() != 1 {
		t.Errorf("%d free after one was given back", c.Free())
	}
	p.headers(1, true, ":status", "204")
	if r, err := x.Receive(); err != nil || r.Status != 204 {
		t.Fatal(r, err)
	}
	if c.Free() != 2 || !x.Release() || c.Free() != 2 {
		t.Errorf("%d free", c.Free())
	}
}

// What requests look like on the wire.
func TestRequestHeads(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    func(*stream.Request)
		want string
	}{
		{"case and connection", func(r *stream.Request) {
			for _, n := range []string{"Host", "X-Case", "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Content-Length"} {
				r.AddRaw([]byte(n), []byte("v"))
			}
			r.AddRaw([]byte("TE"), []byte("trailers"))
			r.Length = 3
		}, ":method=GET;:scheme=http;:authority=a;:path=/;x-case=v;te=trailers;content-length=3;"},
		{"te", func(r *stream.Request) { r.AddString(stream.TE, "gzip"); r.Length = -1 }, ":method=GET;:scheme=http;:authority=a;:path=/;"},
		{"CONNECT", func(r *stream.Request) { r.Method, r.Path = []byte("CONNECT"), nil }, ":method=CONNECT;:authority=a;"},
		{"upgrade", func(r *stream.Request) { r.Upgrade = "websocket" }, ":method=CONNECT;:protocol=websocket;:scheme=http;:authority=a;:path=/;"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, c := server(t, http2.ClientOptions{})
			p.ok(p.fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingEnableConnectProtocol, Val: 1}))
			p.greeted()
			r := &stream.Request{Method: []byte("GET"), Scheme: []byte("http"), Authority: []byte("a"), Path: []byte("/")}
			tt.f(r)
			x := open(t, c)
			p.ok(x.Send(r, nil, false))
			got := ""
			for _, h := range p.read().(*xhttp2.MetaHeadersFrame).Fields {
				got += h.Name + "=" + h.Value + ";"
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	t.Run("upgrade not offered", func(t *testing.T) {
		_, c := server(t, http2.ClientOptions{})
		r := benchRequest()
		r.Upgrade = "websocket"
		x := open(t, c)
		if err := x.Send(r, nil, false); codeOf(err) != stream.UnsupportedProtocol || x.Delivery() != stream.Unsent {
			t.Errorf("%v, %v", err, x.Delivery())
		}
	})
}

// A whole answer is good even if the server then wants no more of the request, or
// leaves.
func TestAnswerThenReset(t *testing.T) {
	p, c := server(t, http2.ClientOptions{})
	x := open(t, c)
	r := benchRequest()
	r.Length = -1
	p.ok(x.Send(r, []byte("some"), false))
	p.headers(1, false, ":status", "413")
	p.ok(p.fr.WriteData(1, true, []byte("too much")))
	p.raw(xhttp2.FrameRSTStream, 0, 1, word(0))
	var err error
	for end := time.Now().Add(5 * time.Second); err == nil && time.Now().Before(end); {
		err = x.Write([]byte("more"), false)
	}
	if codeOf(err) != stream.UpstreamRemoteReset {
		t.Errorf("Write = %v", err)
	}
	p.end.Close()
	resp, err := x.Receive()
	p.ok(err)
	if got, err := readAll(resp.Body); resp.Status != 413 || string(got) != "too much" || err != nil {
		t.Errorf("%d %q %v", resp.Status, got, err)
	}
}

// A cancelled exchange is reset, and what still comes for it is swallowed.
func TestCancelledThenAnswered(t *testing.T) {
	p, c := server(t, http2.ClientOptions{})
	x := sent(t, c)
	x.Cancel(stream.Reason{Code: stream.RouteTimeout})
	p.read() // the request
	if f, ok := p.read().(*xhttp2.RSTStreamFrame); !ok || f.ErrCode != xhttp2.ErrCodeCancel {
		t.Errorf("got %v", f)
	}
	p.headers(1, false, ":status", "200")
	p.ok(p.fr.WriteData(1, false, []byte("late")))
	p.headers(1, true, "late", "1")
	if !x.Release() {
		t.Error("the connection is spent")
	}
	y := sent(t, c)
	p.headers(3, true, ":status", "200")
	if r, err := y.Receive(); err != nil || r.Status != 200 {
		t.Errorf("then %v", err)
	}
}
