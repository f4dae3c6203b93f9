package http2_test

import (
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

var blockCases = []clientCase{
	{name: "§6.2 HEADERS on stream 0", do: func(p *peer) { p.headers(0, true, ok200...) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§5.1 HEADERS on an idle stream", do: func(p *peer) { p.headers(3, true, ok200...) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.2 padded", do: func(p *peer) { p.blockOf(xhttp2.FlagHeadersPadded|1, "\x03"+status200+"\x00\x00\x00") }, want: "200"},
	{name: "§6.2 padding longer than the frame", do: func(p *peer) { p.blockOf(xhttp2.FlagHeadersPadded|1, "\x05"+status200) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.2 padded and empty", do: func(p *peer) { p.blockOf(xhttp2.FlagHeadersPadded|1, "") }, want: broken, told: "connection FRAME_SIZE_ERROR"},
	{name: "§6.2 with a priority", do: func(p *peer) { p.blockOf(xhttp2.FlagHeadersPriority|1, word(3)+"\x10"+status200) }, want: "200"},
	{name: "§6.2 too short for its priority", do: func(p *peer) { p.blockOf(xhttp2.FlagHeadersPriority|1, "\x00\x00") }, want: broken, told: "connection FRAME_SIZE_ERROR"},
	{name: "§6.10 CONTINUATION", do: func(p *peer) {
		p.raw(xhttp2.FrameHeaders, 1, 1, "")
		p.raw(xhttp2.FrameContinuation, 0, 1, "\x48\x03")
		p.raw(xhttp2.FrameContinuation, 0, 1, "2")
		p.raw(xhttp2.FrameContinuation, 4, 1, "00")
	}, want: "200"},
	{name: "§6.10 CONTINUATION alone", do: func(p *peer) { p.raw(xhttp2.FrameContinuation, 4, 1, status200) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.10 CONTINUATION after a whole block", do: func(p *peer) { p.headers(1, false, ok200...); p.raw(xhttp2.FrameContinuation, 4, 1, "") }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.10 CONTINUATION of another stream", do: func(p *peer) { p.raw(xhttp2.FrameHeaders, 0, 1, ""); p.raw(xhttp2.FrameContinuation, 4, 3, "") }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.10 DATA within a block", do: func(p *peer) { p.raw(xhttp2.FrameHeaders, 0, 1, status200); p.raw(xhttp2.FrameData, 1, 1, "x") }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.10 HEADERS within a block", do: func(p *peer) { p.raw(xhttp2.FrameHeaders, 0, 1, ""); p.headers(1, true, ok200...) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.10 RST_STREAM within a block", do: func(p *peer) { p.raw(xhttp2.FrameHeaders, 0, 1, ""); p.raw(xhttp2.FrameRSTStream, 0, 1, word(8)) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.10 PING within a block", do: func(p *peer) { p.raw(xhttp2.FrameHeaders, 0, 1, ""); p.raw(xhttp2.FramePing, 0, 0, "12345678") }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "flood of CONTINUATION", do: func(p *peer) {
		p.raw(xhttp2.FrameHeaders, 0, 1, status200)
		times(100, func() { p.raw(xhttp2.FrameContinuation, 0, 1, "") })
	}, want: broken, told: "connection ENHANCE_YOUR_CALM"},
	{name: "CONTINUATION without end", do: func(p *peer) {
		p.raw(xhttp2.FrameHeaders, 0, 1, status200)
		times(100, func() { p.raw(xhttp2.FrameContinuation, 0, 1, strings.Repeat("\x00", 16384)) })
	}, want: broken, told: "connection ENHANCE_YOUR_CALM"},
	{name: "§6.2 HEADERS after the end", do: func(p *peer) { p.answer(""); p.headers(1, true, "x", "y") }, want: "200 ", told: "connection STREAM_CLOSED"},
	{name: "§6.2 HEADERS after RST_STREAM", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, word(8)); p.headers(1, true, ok200...) }, want: reset, told: "connection STREAM_CLOSED"},

	{name: "RFC 7541 §2.3.3 index 0", do: func(p *peer) { p.blockOf(1, "\x80") }, want: broken, told: "connection COMPRESSION_ERROR"},
	{name: "RFC 7541 §2.3.3 index beyond the tables", do: func(p *peer) { p.blockOf(1, "\xbf") }, want: broken, told: "connection COMPRESSION_ERROR"},
	{name: "RFC 7541 §5.1 integer too large", do: func(p *peer) { p.blockOf(1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x0f") }, want: broken, told: "connection COMPRESSION_ERROR"},
	{name: "RFC 7541 §5.2 truncated string", do: func(p *peer) { p.blockOf(1, status200+"\x00\x05ab") }, want: broken, told: "connection COMPRESSION_ERROR"},
	{name: "RFC 7541 §5.2 truncated field", do: func(p *peer) { p.blockOf(1, status200+"\x00\x01a") }, want: broken, told: "connection COMPRESSION_ERROR"},
	{name: "RFC 7541 §5.2 Huffman padding of zeros", do: func(p *peer) { p.blockOf(1, status200+"\x00\x01a\x81\x00") }, want: broken, told: "connection COMPRESSION_ERROR"},
	{name: "RFC 7541 §5.2 Huffman padding too long", do: func(p *peer) { p.blockOf(1, status200+"\x00\x01a\x82\x1f\xff") }, want: broken, told: "connection COMPRESSION_ERROR"},
	{name: "RFC 7541 §5.2 Huffman EOS", do: func(p *peer) { p.blockOf(1, status200+"\x00\x01a\x84\xff\xff\xff\xff") }, want: broken, told: "connection COMPRESSION_ERROR"},
	{name: "RFC 7541 §6.3 table larger than allowed", do: func(p *peer) { p.blockOf(1, "\x3f\xe2\x1f"+status200) }, want: broken, told: "connection COMPRESSION_ERROR"},
	{name: "RFC 7541 §4.2 table size in the middle", do: func(p *peer) { p.blockOf(1, status200+"\x20") }, want: broken, told: "connection COMPRESSION_ERROR"},
	{name: "RFC 7541 §4.2 table sizes at the beginning", do: func(p *peer) { p.blockOf(1, "\x20\x3f\xe1\x1f"+status200) }, want: "200"},
	{name: "RFC 7541 §2.3.2 a field out of the table", do: func(p *peer) {
		p.blockOf(0, "\x40\x01a\x01b\xbe") // a=b twice, and no status
	}, want: broken, told: "stream 1 PROTOCOL_ERROR"},
	{name: "HPACK bomb", do: func(p *peer) { // an entry of 4 KiB, a thousand times
		p.blockOf(1, status200+"\x40\x01x\x7f\xa1\x1e"+strings.Repeat("x", 4000)+strings.Repeat("\xbe", 5000))
	}, want: broken, told: "connection ENHANCE_YOUR_CALM"},
}

// malformed is a head that ends its stream and nothing else (§8.1.1).
func malformed(name string, fields ...string) clientCase {
	return clientCase{name: name, want: broken, told: "stream 1 PROTOCOL_ERROR", do: func(p *peer) { p.headers(1, true, fields...) }}
}

func odd(name, want string, fields ...string) clientCase {
	return clientCase{name: name, want: want, do: func(p *peer) { p.headers(1, true, fields...) }}
}

var headCases = []clientCase{
	malformed("§8.3.2 no :status", "x", "y"),
	malformed("§8.3.2 an empty head"),
	malformed("§8.3 :status twice", ":status", "200", ":status", "200"),
	malformed("§8.3.2 :status of two digits", ":status", "20"),
	malformed("§8.3.2 :status of four digits", ":status", "2000"),
	malformed("§8.3.2 :status of letters", ":status", "abc"),
	malformed("§8.3.2 :status with a sign", ":status", "+20"),
	malformed("§8.3.2 :status empty", ":status", ""),
	malformed("§8.3.2 :status 099", ":status", "099"),
	malformed("§8.6 :status 101", ":status", "101"),
	malformed("§8.3 pseudo-header of requests", ":status", "200", ":path", "/"),
	malformed("§8.3 unknown pseudo-header", ":status", "200", ":odd", "1"),
	malformed("§8.3 pseudo-header behind a field", "x", "y", ":status", "200"),
	malformed("§8.2.1 upper case", ":status", "200", "X-Up", "1"),
	malformed("§8.2.1 a space in a name", ":status", "200", "a b", "1"),
	malformed("§8.2.1 a colon in a name", ":status", "200", "a:b", "1"),
	malformed("§8.2.1 a control character in a name", ":status", "200", "a\x01", "1"),
	malformed("§8.2.1 non-ASCII in a name", ":status", "200", "a\xe4", "1"),
	malformed("§8.2.1 an empty name", ":status", "200", "", "1"),
	malformed("§8.2.1 CR in a value", ":status", "200", "x", "a\rb"),
	malformed("§8.2.1 LF in a value", ":status", "200", "x", "a\nset-cookie: b"),
	malformed("§8.2.1 NUL in a value", ":status", "200", "x", "a\x00"),
	malformed("§8.2.1 a space before a value", ":status", "200", "x", " a"),
	malformed("§8.2.1 a tab behind a value", ":status", "200", "x", "a\t"),
	malformed("§8.2.2 connection", ":status", "200", "connection", "close"),
	malformed("§8.2.2 keep-alive", ":status", "200", "keep-alive", "5"),
	malformed("§8.2.2 proxy-connection", ":status", "200", "proxy-connection", "close"),
	malformed("§8.2.2 transfer-encoding", ":status", "200", "transfer-encoding", "chunked"),
	malformed("§8.2.2 upgrade", ":status", "200", "upgrade", "h2c"),
	malformed("§8.1.1 content-length of an empty body", ":status", "200", "content-length", "5"),
	malformed("§8.1.1 content-length twice", ":status", "200", "content-length", "0", "content-length", "0"),
	malformed("§8.1.1 content-length negative", ":status", "200", "content-length", "-1"),
	malformed("§8.1.1 content-length of a sign", ":status", "200", "content-length", "+0"),
	malformed("§8.1.1 content-length empty", ":status", "200", "content-length", ""),
	malformed("§8.1 interim head that ends", ":status", "103"),
	odd("a status of no meaning", "299", ":status", "299"),
	odd("obs-text in a value", "200", ":status", "200", "x", "\xe4"),
	odd("a tab in a value", "200", ":status", "200", "x", "a\tb"),
	odd("an empty value", "200", ":status", "200", "x", ""),
	odd("304 with the length of a 200", "304", ":status", "304", "content-length", "99"),
	odd("204", "204", ":status", "204"),
	{name: "HEAD with the length of a GET", head: true, want: "200", do: func(p *peer) { p.headers(1, true, ":status", "200", "content-length", "99") }},
	{name: "§8.1.1 HEAD with content", head: true, want: broken, told: "stream 1 PROTOCOL_ERROR", do: func(p *peer) { p.answer("x") }},
	{name: "HEAD that ends by DATA", head: true, want: "200", do: func(p *peer) { p.answer("") }},
	{name: "§8.1.1 204 with content", want: broken, told: "stream 1 PROTOCOL_ERROR", do: func(p *peer) {
		p.headers(1, false, ":status", "204")
		p.raw(xhttp2.FrameData, 1, 1, "x")
	}},
	{name: "§8.1.1 content longer than declared", want: broken, told: "stream 1 PROTOCOL_ERROR", do: func(p *peer) {
		p.headers(1, false, ":status", "200", "content-length", "2")
		p.raw(xhttp2.FrameData, 1, 1, "abc")
	}},
	{name: "§8.1.1 content shorter than declared", want: broken, told: "stream 1 PROTOCOL_ERROR", do: func(p *peer) {
		p.headers(1, false, ":status", "200", "content-length", "9")
		p.raw(xhttp2.FrameData, 1, 1, "abc")
	}},
	{name: "§8.1.1 content shorter than declared, with trailers", want: broken, told: "stream 1 PROTOCOL_ERROR", do: func(p *peer) {
		p.headers(1, false, ":status", "200", "content-length", "9")
		p.raw(xhttp2.FrameData, 0, 1, "abc")
		p.headers(1, true, "x", "y")
	}},
	{name: "content as long as declared", want: "200 abc", do: func(p *peer) {
		p.headers(1, false, ":status", "200", "content-length", "3")
		p.raw(xhttp2.FrameData, 0, 1, "abc")
		p.raw(xhttp2.FrameData, 1, 1, "")
	}},
	{name: "§8.1 interim heads", want: "200 abc", do: func(p *peer) {
		p.headers(1, false, ":status", "100")
		p.headers(1, false, ":status", "103", "link", "</a>")
		p.answer("abc")
	}},
	{name: "interim heads without end", want: broken, told: "stream 1 ENHANCE_YOUR_CALM", do: func(p *peer) {
		times(40, func() { p.headers(1, false, ":status", "103") })
	}},
	{name: "§8.1 trailers", want: "200 abc|x=y", do: func(p *peer) {
		p.headers(1, false, ok200...)
		p.raw(xhttp2.FrameData, 0, 1, "abc")
		p.headers(1, true, "x", "y")
	}},
	{name: "§8.1 trailers without content", want: "200 |x=y", do: func(p *peer) { p.headers(1, false, ok200...); p.headers(1, true, "x", "y") }},
	{name: "§8.1 trailers that do not end", want: broken, told: "stream 1 PROTOCOL_ERROR", do: func(p *peer) { p.headers(1, false, ok200...); p.headers(1, false, "x", "y") }},
	{name: "§8.1 a pseudo-header in trailers", want: broken, told: "stream 1 PROTOCOL_ERROR", do: func(p *peer) { p.headers(1, false, ok200...); p.headers(1, true, ok200...) }},
	{name: "§8.1 upper case in trailers", want: broken, told: "stream 1 PROTOCOL_ERROR", do: func(p *peer) { p.headers(1, false, ok200...); p.headers(1, true, "X", "y") }},
	{name: "§8.1 connection in trailers", want: broken, told: "stream 1 PROTOCOL_ERROR", do: func(p *peer) { p.headers(1, false, ok200...); p.headers(1, true, "connection", "close") }},
	{name: "§8.1 content-length in trailers", want: broken, told: "stream 1 PROTOCOL_ERROR", do: func(p *peer) { p.headers(1, false, ok200...); p.headers(1, true, "content-length", "0") }},
	{name: "§10.5.1 head too large", want: broken, told: "stream 1 CANCEL", do: func(p *peer) { p.headers(1, true, ":status", "200", "x", strings.Repeat("x", 6000)) }},
	{name: "§10.5.1 too many fields", want: broken, told: "stream 1 CANCEL", do: func(p *peer) {
		fields := []string{":status", "200"}
		times(101, func() { fields = append(fields, "x", "") })
		p.headers(1, true, fields...)
	}},
	{name: "§10.5.1 trailers too large", want: broken, told: "stream 1 ENHANCE_YOUR_CALM", do: func(p *peer) {
		p.headers(1, false, ok200...)
		p.headers(1, true, "x", strings.Repeat("x", 6000))
	}},
}

// The tables of HPACK stay in step though nobody wants the block any more (RFC 9113
// §4.3).
func TestClientDecodesForCancelled(t *testing.T) {
	p, c := server(t, http2.ClientOptions{})
	gone, x := sent(t, c), sent(t, c)
	gone.Cancel(stream.Reason{Code: stream.RouteTimeout})
	p.blockOf(1, status200+"\x40\x01a\x01b") // a=b goes into the table
	p.raw(xhttp2.FrameHeaders, 5, 3, status200+"\xbe")
	r, err := x.Receive()
	if err != nil || string(r.Get(stream.N("a"))) != "b" {
		t.Errorf("%+v, %v", r, err)
	}
	gone.Release()
	x.Release()
}

// What we send stays within both windows, however they move.
func TestClientSendsWithinWindows(t *testing.T) {
	p, c := server(t, http2.ClientOptions{})
	p.raw(xhttp2.FrameSettings, 0, 0, setting(4, 0)) // no credit
	p.greeted()
	x := open(t, c)
	r := benchRequest()
	r.Method, r.Length = []byte("POST"), -1
	sending := make(chan error, 1)
	go func() { sending <- x.Send(r, []byte(strings.Repeat("x", 100)), true) }()
	if f, ok := p.read().(*xhttp2.MetaHeadersFrame); !ok || f.StreamEnded() {
		t.Fatalf("got %v", f)
	}
	next := func(want int) {
		t.Helper()
		if f, ok := p.read().(*xhttp2.DataFrame); !ok || len(f.Data()) != want {
			t.Fatalf("got %v, want %d bytes", f, want)
		}
	}
	p.raw(xhttp2.FrameWindowUpdate, 0, 1, word(1))
	next(1)
	p.raw(xhttp2.FrameWindowUpdate, 0, 1, word(9))
	next(9)
	p.raw(xhttp2.FrameSettings, 0, 0, setting(4, 20)) // 20 more for all streams
	next(20)
	p.raw(xhttp2.FrameSettings, 0, 0, setting(4, 0)) // 20 less: the window is -20
	p.greeted()
	p.raw(xhttp2.FrameWindowUpdate, 0, 1, word(20)) // 0: nothing may come
	p.raw(xhttp2.FramePing, 0, 0, "12345678")
	if f, ok := p.read().(*xhttp2.PingFrame); !ok || !f.IsAck() || string(f.Data[:]) != "12345678" {
		t.Fatalf("got %v", f)
	}
	p.raw(xhttp2.FrameWindowUpdate, 0, 1, word(1000))
	next(70)
	p.answer("")
	if err := <-sending; err != nil {
		t.Error(err)
	}
	if got := outcome(x, false); got != "200 " {
		t.Error(got)
	}
	x.Release()
}

// The connection's window is held too: what is over is the connection's end.
func TestClientHoldsConnectionWindow(t *testing.T) {
	p, c := server(t, http2.ClientOptions{Limits: http2.Limits{ConnWindow: 65535, StreamWindow: 1 << 20}})
	x := sent(t, c)
	go func() {
		p.headers(1, false, ok200...)
		times(20, func() { p.raw(xhttp2.FrameData, 0, 1, strings.Repeat("x", 16384)) })
	}()
	// The connection's credit comes back as data arrives, so that one slow reader does
	// not stop the others: the stream's window bounds what waits.
	r, err := x.Receive()
	p.ok(err)
	got := 0
	for got < 20*16384 {
		b, err := r.Body.Next()
		p.ok(err)
		got += len(b)
	}
	x.Release()
}

// Before its settings a server can be wrong too.
func TestServerPreface(t *testing.T) {
	for _, tt := range []struct{ name, sent, want string }{
		{"PING first", "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", "connection PROTOCOL_ERROR"},
		{"acknowledgement first", "\x00\x00\x00\x04\x01\x00\x00\x00\x00", "connection PROTOCOL_ERROR"},
		{"the client's preface", xhttp2.ClientPreface, "connection FRAME_SIZE_ERROR"},
		{"SSH", "SSH-2.0-OpenSSH_9.6\r\n", "connection FRAME_SIZE_ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, c := rawServer(t, http2.ClientOptions{})
			x := sent(t, c)
			p.must(p.end.Write([]byte(tt.sent)))
			if got := p.verdict(); got != tt.want {
				t.Errorf("got %q", got)
			}
			if got := outcome(x, false); got != broken {
				t.Errorf("the exchange: %s", got)
			}
			x.Release()
		})
	}
}
