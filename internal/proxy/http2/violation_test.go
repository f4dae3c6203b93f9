package http2_test

import (
	"encoding/binary"
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// waits serves until its stream is reset.
func waits(s *stream.Stream) (*stream.Response, error) {
	<-s.Done()
	r, _ := s.ResetReason()
	return nil, r
}

// raw writes a frame as it is. The other side may have closed meanwhile.
func (p *peer) raw(t xhttp2.FrameType, flags xhttp2.Flags, id uint32, payload string) {
	_ = p.fr.WriteRawFrame(t, flags, id, []byte(payload))
}

func word(v uint32) string { return string(binary.BigEndian.AppendUint32(nil, v)) }

func setting(id uint16, v uint32) string {
	return string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, id), v))
}

// What a client does wrong, and what it is told: the stream or the connection ends,
// with which code. Stream 1 is open and waits.
func TestClientViolations(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*peer)
		want string
	}{
		{"DATA on stream 0", func(p *peer) { p.raw(xhttp2.FrameData, 0, 0, "x") }, "connection PROTOCOL_ERROR"},
		{"DATA on an idle stream", func(p *peer) { p.raw(xhttp2.FrameData, 0, 3, "x") }, "connection PROTOCOL_ERROR"},
		{"DATA padded too long", func(p *peer) { p.raw(xhttp2.FrameData, xhttp2.FlagDataPadded, 1, "\x05abc") }, "connection PROTOCOL_ERROR"},
		{"DATA padded, empty", func(p *peer) { p.raw(xhttp2.FrameData, xhttp2.FlagDataPadded, 1, "") }, "connection FRAME_SIZE_ERROR"},
		{"DATA beyond the stream's window", func(p *peer) {
			for range 5 {
				p.raw(xhttp2.FrameData, 0, 1, strings.Repeat("x", 16384))
			}
		}, "stream 1 FLOW_CONTROL_ERROR"},
		{"DATA after END_STREAM", func(p *peer) {
			p.raw(xhttp2.FrameData, xhttp2.FlagDataEndStream, 1, "x")
			p.raw(xhttp2.FrameData, 0, 1, "x")
		}, "stream 1 STREAM_CLOSED"},
		{"DATA after RST_STREAM", func(p *peer) {
			p.raw(xhttp2.FrameRSTStream, 0, 1, word(8))
			p.raw(xhttp2.FrameData, 0, 1, "x")
		}, "stream 1 STREAM_CLOSED"},
		{"frame too large", func(p *peer) { p.raw(xhttp2.FrameData, 0, 1, strings.Repeat("x", 16385)) }, "connection FRAME_SIZE_ERROR"},
		{"HEADERS on stream 0", func(p *peer) { p.get(0) }, "connection PROTOCOL_ERROR"},
		{"HEADERS with an even id", func(p *peer) { p.get(2) }, "connection PROTOCOL_ERROR"},
		{"HEADERS with a lower id", func(p *peer) { p.get(7); p.get(5) }, "connection PROTOCOL_ERROR"},
		{"HEADERS after RST_STREAM", func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, word(8)); p.get(1) }, "connection STREAM_CLOSED"},
		{"trailers that do not end", func(p *peer) { p.headers(1, false, "x", "y") }, "stream 1 PROTOCOL_ERROR"},
		{"trailers with a pseudo-header", func(p *peer) { p.headers(1, true, ":path", "/") }, "stream 1 PROTOCOL_ERROR"},
		{"HEADERS that depend on themselves", func(p *peer) {
			p.ok(p.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 3, BlockFragment: p.block(getFields...), EndStream: true, EndHeaders: true,
				Priority: xhttp2.PriorityParam{StreamDep: 3}}))
		}, "stream 3 PROTOCOL_ERROR"},
		{"broken block", func(p *peer) { p.raw(xhttp2.FrameHeaders, xhttp2.FlagHeadersEndHeaders, 3, "\x80") }, "connection COMPRESSION_ERROR"},
		{"CONTINUATION alone", func(p *peer) { p.raw(xhttp2.FrameContinuation, 4, 1, "") }, "connection PROTOCOL_ERROR"},
		{"block interrupted", func(p *peer) { p.raw(xhttp2.FrameHeaders, 0, 3, ""); p.raw(xhttp2.FramePing, 0, 0, "12345678") }, "connection PROTOCOL_ERROR"},
		{"CONTINUATION of another stream", func(p *peer) { p.raw(xhttp2.FrameHeaders, 0, 3, ""); p.raw(xhttp2.FrameContinuation, 4, 1, "") }, "connection PROTOCOL_ERROR"},
		{"CONTINUATION flood", func(p *peer) {
			p.raw(xhttp2.FrameHeaders, 0, 3, "")
			for range 40 {
				p.raw(xhttp2.FrameContinuation, 0, 3, "")
			}
		}, "connection ENHANCE_YOUR_CALM"},
		{"CONTINUATION too large", func(p *peer) {
			p.raw(xhttp2.FrameHeaders, 0, 3, "")
			for range 20 {
				p.raw(xhttp2.FrameContinuation, 0, 3, strings.Repeat("x", 16000))
			}
		}, "connection ENHANCE_YOUR_CALM"},
		{"RST_STREAM on stream 0", func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 0, word(8)) }, "connection PROTOCOL_ERROR"},
		{"RST_STREAM on an idle stream", func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 9, word(8)) }, "connection PROTOCOL_ERROR"},
		{"RST_STREAM of a wrong size", func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, "abc") }, "connection FRAME_SIZE_ERROR"},
		{"PRIORITY of a wrong size", func(p *peer) { p.raw(xhttp2.FramePriority, 0, 1, "abc") }, "stream 1 FRAME_SIZE_ERROR"},
		{"PRIORITY on itself", func(p *peer) { p.raw(xhttp2.FramePriority, 0, 1, word(1)+"x") }, "stream 1 PROTOCOL_ERROR"},
		{"PRIORITY on stream 0", func(p *peer) { p.raw(xhttp2.FramePriority, 0, 0, word(1)+"x") }, "connection PROTOCOL_ERROR"},
		{"SETTINGS on a stream", func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 1, "") }, "connection PROTOCOL_ERROR"},
		{"SETTINGS of a wrong size", func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, "abc") }, "connection FRAME_SIZE_ERROR"},
		{"SETTINGS acknowledged with content", func(p *peer) { p.raw(xhttp2.FrameSettings, 1, 0, setting(1, 1)) }, "connection FRAME_SIZE_ERROR"},
		{"ENABLE_PUSH 2", func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(2, 2)) }, "connection PROTOCOL_ERROR"},
		{"INITIAL_WINDOW_SIZE too large", func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(4, 1<<31)) }, "connection FLOW_CONTROL_ERROR"},
		{"INITIAL_WINDOW_SIZE overflow", func(p *peer) {
			p.raw(xhttp2.FrameWindowUpdate, 0, 1, word(1<<30))
			p.raw(xhttp2.FrameSettings, 0, 0, setting(4, 1<<31-1))
		}, "connection FLOW_CONTROL_ERROR"},
		{"MAX_FRAME_SIZE too small", func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(5, 100)) }, "connection PROTOCOL_ERROR"},
		{"PUSH_PROMISE", func(p *peer) { p.raw(xhttp2.FramePushPromise, 4, 1, word(2)) }, "connection PROTOCOL_ERROR"},
		{"PING on a stream", func(p *peer) { p.raw(xhttp2.FramePing, 0, 1, "12345678") }, "connection PROTOCOL_ERROR"},
		{"PING of a wrong size", func(p *peer) { p.raw(xhttp2.FramePing, 0, 0, "1234567") }, "connection FRAME_SIZE_ERROR"},
		{"GOAWAY on a stream", func(p *peer) { p.raw(xhttp2.FrameGoAway, 0, 1, word(0)+word(0)) }, "connection PROTOCOL_ERROR"},
		{"WINDOW_UPDATE of 0", func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 0, word(0)) }, "connection PROTOCOL_ERROR"},
		{"WINDOW_UPDATE of 0 on a stream", func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 1, word(0)) }, "stream 1 PROTOCOL_ERROR"},
		{"window overflow", func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 0, word(1<<31-1)) }, "connection FLOW_CONTROL_ERROR"},
		{"window overflow on a stream", func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 1, word(1<<31-1)) }, "stream 1 FLOW_CONTROL_ERROR"},
		{"WINDOW_UPDATE on an idle stream", func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 9, word(1)) }, "connection PROTOCOL_ERROR"},
		{"WINDOW_UPDATE of a wrong size", func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 1, "abc") }, "connection FRAME_SIZE_ERROR"},
		{"too many streams", func(p *peer) {
			for id := uint32(3); id <= 9; id += 2 {
				p.get(id)
			}
		}, "stream 9 REFUSED_STREAM"},
		{"content longer than declared", func(p *peer) { p.post(3, "content-length", "2"); p.raw(xhttp2.FrameData, 0, 3, "abc") }, "stream 3 PROTOCOL_ERROR"},
		{"content shorter than declared", func(p *peer) { p.post(3, "content-length", "2"); p.raw(xhttp2.FrameData, 1, 3, "a") }, "stream 3 PROTOCOL_ERROR"},
		{"unknown frame is ignored", func(p *peer) { p.raw(0x42, 0, 1, "hello"); p.raw(xhttp2.FrameData, 0, 0, "x") }, "connection PROTOCOL_ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := client(t, http2.ServerOptions{MaxStreams: 4, Limits: http2.Limits{StreamWindow: 65535}}, waits)
			p.post(1)
			go tt.do(p)
			if got := p.verdict(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A malformed request ends its stream and nothing else.
func TestMalformedRequests(t *testing.T) {
	for _, tt := range []struct{ name, fields string }{
		{"upper case", ":method GET :scheme http :authority a :path / X-Up 1"},
		{"no token as a name", ":method GET :scheme http :authority a :path / x(y 1"},
		{"connection", ":method GET :scheme http :authority a :path / connection close"},
		{"keep-alive", ":method GET :scheme http :authority a :path / keep-alive 1"},
		{"proxy-connection", ":method GET :scheme http :authority a :path / proxy-connection 1"},
		{"transfer-encoding", ":method GET :scheme http :authority a :path / transfer-encoding chunked"},
		{"upgrade", ":method GET :scheme http :authority a :path / upgrade h2c"},
		{"te", ":method GET :scheme http :authority a :path / te gzip"},
		{"no method", ":scheme http :authority a :path /"},
		{"no path", ":method GET :scheme http :authority a"},
		{"no scheme", ":method GET :authority a :path /"},
		{"empty path", ":method GET :scheme http :authority a :path \u0000"},
		{"relative path", ":method GET :scheme http :authority a :path x"},
		{"fragment", ":method GET :scheme http :authority a :path /#x"},
		{"path twice", ":method GET :scheme http :authority a :path / :path /"},
		{"late pseudo-header", ":method GET :scheme http :authority a x 1 :path /"},
		{"unknown pseudo-header", ":method GET :scheme http :authority a :path / :x 1"},
		{"status", ":method GET :scheme http :authority a :path / :status 200"},
		{"user information", ":method GET :scheme http :authority u@a :path /"},
		{"host differs", ":method GET :scheme http :authority a :path / host b"},
		{"two hosts", ":method GET :scheme http :path / host a host a"},
		{"control character", ":method GET :scheme http :authority a :path / x a\x01b"},
		{"method", ":method G(T :scheme http :authority a :path /"},
		{"two lengths", ":method GET :scheme http :authority a :path / content-length 0 content-length 0"},
		{"bad length", ":method GET :scheme http :authority a :path / content-length +1"},
		{"length without content", ":method GET :scheme http :authority a :path / content-length 5"},
		{"CONNECT with path", ":method CONNECT :scheme http :authority a :path /"},
		{"CONNECT without authority", ":method CONNECT"},
		{":protocol not offered", ":method CONNECT :protocol websocket :scheme http :authority a :path /"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen := make(chan stream.Outcome, 1)
			p := client(t, http2.ServerOptions{Observers: []stream.Observer{told(seen)}}, show)
			fields := strings.Fields(tt.fields)
			for i := range fields {
				fields[i] = strings.Trim(fields[i], "\u0000")
			}
			p.headers(1, true, fields...)
			if got := p.verdict(); got != "stream 1 PROTOCOL_ERROR" {
				t.Errorf("got %q", got)
			}
			if o := <-seen; o.Reason.Code != stream.DownstreamProtocol || o.Status != 0 {
				t.Errorf("outcome %+v", o)
			}
			p.get(3)
			if got := p.response(3); got != "200 GET http test /" {
				t.Errorf("the next request got %q", got)
			}
		})
	}
}

type told chan stream.Outcome

func (c told) Done(_ *stream.Stream, o *stream.Outcome) { c <- *o }

// What a server does wrong, and what the exchange and the server are told.
func TestServerViolations(t *testing.T) {
	ok := []string{":status", "200"}
	for _, tt := range []struct {
		name string
		do   func(*peer)
		want string
		code stream.Code
	}{
		{"DATA before the head", func(p *peer) { p.raw(xhttp2.FrameData, 0, 1, "x") }, "stream 1 PROTOCOL_ERROR", stream.UpstreamProtocol},
		{"no status", func(p *peer) { p.headers(1, true, "x", "y") }, "stream 1 PROTOCOL_ERROR", stream.UpstreamProtocol},
		{"status of two digits", func(p *peer) { p.headers(1, true, ":status", "20") }, "stream 1 PROTOCOL_ERROR", stream.UpstreamProtocol},
		{"status 101", func(p *peer) { p.headers(1, false, ":status", "101") }, "stream 1 PROTOCOL_ERROR", stream.UpstreamProtocol},
		{"1xx that ends", func(p *peer) { p.headers(1, true, ":status", "103") }, "stream 1 PROTOCOL_ERROR", stream.UpstreamProtocol},
		{"connection field", func(p *peer) { p.headers(1, true, ":status", "200", "connection", "close") }, "stream 1 PROTOCOL_ERROR", stream.UpstreamProtocol},
		{"request pseudo-header", func(p *peer) { p.headers(1, true, ":status", "200", ":path", "/") }, "stream 1 PROTOCOL_ERROR", stream.UpstreamProtocol},
		{"too many 1xx", func(p *peer) {
			for range 20 {
				p.headers(1, false, ":status", "103")
			}
		}, "stream 1 ENHANCE_YOUR_CALM", stream.UpstreamProtocol},
		{"head too large", func(p *peer) { p.headers(1, true, ":status", "200", "x", strings.Repeat("x", 6000)) }, "stream 1 CANCEL", stream.UpstreamProtocol},
		{"content shorter", func(p *peer) {
			p.headers(1, false, append(ok, "content-length", "5")...)
			p.raw(xhttp2.FrameData, 1, 1, "x")
		}, "stream 1 PROTOCOL_ERROR", stream.UpstreamProtocol},
		{"RST_STREAM", func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, word(2)); p.raw(xhttp2.FrameData, 0, 0, "") }, "connection PROTOCOL_ERROR", stream.UpstreamRemoteReset},
		{"PUSH_PROMISE", func(p *peer) { p.raw(xhttp2.FramePushPromise, 4, 1, word(2)) }, "connection PROTOCOL_ERROR", stream.UpstreamProtocol},
		{"ENABLE_PUSH", func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(2, 1)) }, "connection PROTOCOL_ERROR", stream.UpstreamProtocol},
		{"HEADERS on an idle stream", func(p *peer) { p.headers(3, true, ok...) }, "connection PROTOCOL_ERROR", stream.UpstreamProtocol},
		{"HEADERS on an even stream", func(p *peer) { p.headers(2, true, ok...) }, "connection PROTOCOL_ERROR", stream.UpstreamProtocol},
		{"broken block", func(p *peer) { p.raw(xhttp2.FrameHeaders, 4, 1, "\x80") }, "connection COMPRESSION_ERROR", stream.UpstreamProtocol},
		{"garbage", func(p *peer) { p.must(p.end.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))) }, "connection FRAME_SIZE_ERROR", stream.UpstreamProtocol},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, c := server(t, http2.ClientOptions{Limits: http2.Limits{MaxHeadBytes: 5000}})
			x, err := c.Open(&stream.Stream{})
			p.ok(err)
			p.ok(x.Send(benchRequest(), nil, true))
			go tt.do(p)
			if got := p.verdict(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			for err == nil {
				var r *stream.Response
				if r, err = x.Receive(); err == nil && r.Status >= 200 {
					_, err = readAll(r.Body)
				}
			}
			if codeOf(err) != tt.code {
				t.Errorf("the exchange got %v", err)
			}
			if d := x.Delivery(); d != stream.Maybe {
				t.Errorf("delivery %v", d)
			}
			x.Release()
		})
	}
}

// Before its first frame a client can be wrong too.
func TestPreface(t *testing.T) {
	for _, tt := range []struct{ name, sent, want string }{
		{"HTTP/1.1", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "connection PROTOCOL_ERROR"},
		{"no SETTINGS", xhttp2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", "connection PROTOCOL_ERROR"},
		{"SETTINGS acknowledged first", xhttp2.ClientPreface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00", "connection PROTOCOL_ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := rawClient(t, http2.ServerOptions{}, show)
			p.must(p.end.Write([]byte(tt.sent)))
			if got := p.verdict(); got != tt.want {
				t.Errorf("got %q", got)
			}
			if r := p.reason(); r.Code != stream.DownstreamProtocol {
				t.Errorf("reason %v", r)
			}
		})
	}
}
