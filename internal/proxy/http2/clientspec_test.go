package http2_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// clientCase is one thing that a server does to a client whose request is on stream
// 1, by the rules of RFC 9113 (section numbers) and RFC 7541 (HPACK).
type clientCase struct {
	name string
	do   func(p *peer)
	// want is what the exchange comes to: "200 content|trailer=value", or the reason's
	// code and what is known of the delivery.
	want string
	// told is what the server is told: "stream 1 CODE", "connection CODE", or "" for
	// nothing. But after the second the connection serves another exchange.
	told   string
	upload bool // the request is a POST that goes on, not a GET
	head   bool // the request is a HEAD
	drops  bool // the connection takes no further exchange, and the server is not told why
}

const (
	broken  = "upstream_protocol maybe"
	reset   = "upstream_remote_reset maybe"
	gone    = "upstream_reset maybe"
	refused = "upstream_reset refused"
)

var ok200 = []string{":status", "200"}

// answer sends a whole response.
func (p *peer) answer(content string) {
	p.headers(1, false, ok200...)
	p.raw(xhttp2.FrameData, xhttp2.FlagDataEndStream, 1, content)
}

// block writes HEADERS on stream 1 with a block made by hand.
func (p *peer) blockOf(flags xhttp2.Flags, raw string) {
	p.raw(xhttp2.FrameHeaders, flags|xhttp2.FlagHeadersEndHeaders, 1, raw)
}

const status200 = "\x88"

func times(n int, f func()) {
	for range n {
		f()
	}
}

var frameCases = []clientCase{
	{name: "an answer", do: func(p *peer) { p.answer("abc") }, want: "200 abc"},
	{name: "§4.1 unknown frame type is ignored", do: func(p *peer) { p.raw(0x42, 0xff, 1, "x"); p.raw(0xff, 0, 0, ""); p.answer("") }, want: "200 "},
	{name: "§4.1 undefined flags are ignored", do: func(p *peer) {
		p.headers(1, false, ok200...)
		p.raw(xhttp2.FrameData, 0xf6&^xhttp2.FlagDataPadded|xhttp2.FlagDataEndStream, 1, "abc")
	}, want: "200 abc"},
	{name: "§4.1 reserved bit of the stream id is ignored", do: func(p *peer) { p.headers(1, false, ok200...); p.raw(xhttp2.FrameData, 1, 1|1<<31, "abc") }, want: "200 abc"},
	{name: "§4.2 DATA larger than we allow", do: func(p *peer) {
		p.headers(1, false, ok200...)
		p.raw(xhttp2.FrameData, 0, 1, strings.Repeat("x", 16385))
	}, want: broken, told: "connection FRAME_SIZE_ERROR"},
	{name: "§4.2 HEADERS larger than we allow", do: func(p *peer) { p.blockOf(1, strings.Repeat("\x88", 16385)) }, want: broken, told: "connection FRAME_SIZE_ERROR"},
	{name: "§4.2 largest DATA", do: func(p *peer) { p.answer(strings.Repeat("x", 16384)) }, want: "200 " + strings.Repeat("x", 16384)},
	{name: "§5.5 unknown frame within a header block", do: func(p *peer) { p.raw(xhttp2.FrameHeaders, 0, 1, status200); p.raw(0x42, 0, 1, "") }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§3.4 HTTP/1.1 in place of a preface", do: func(p *peer) { p.must(p.end.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))) }, want: broken, told: "connection FRAME_SIZE_ERROR"},
	{name: "the connection ends in a frame", do: func(p *peer) {
		p.must(p.end.Write([]byte("\x00\x00\x05\x00\x00\x00\x00\x00\x01ab")))
		p.ok(p.end.CloseWrite())
	}, want: gone, drops: true},
	{name: "the connection ends", do: func(p *peer) { p.ok(p.end.CloseWrite()) }, want: gone, drops: true},
	{name: "the connection breaks", do: func(p *peer) { p.read(); p.end.Reset() }, want: gone, drops: true},
	{name: "the connection ends within the content", do: func(p *peer) {
		p.headers(1, false, ok200...)
		p.raw(xhttp2.FrameData, 0, 1, "abc")
		p.ok(p.end.CloseWrite())
	}, want: gone, drops: true},

	{name: "§6.1 DATA on stream 0", do: func(p *peer) { p.raw(xhttp2.FrameData, 0, 0, "x") }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§5.1 DATA on an idle stream", do: func(p *peer) { p.raw(xhttp2.FrameData, 0, 3, "x") }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§5.1.1 DATA on a stream of the server's", do: func(p *peer) { p.raw(xhttp2.FrameData, 0, 2, "x") }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§8.1 DATA before the head", do: func(p *peer) { p.raw(xhttp2.FrameData, 0, 1, "x") }, want: broken, told: "stream 1 PROTOCOL_ERROR"},
	{name: "§8.1 DATA after an interim head", do: func(p *peer) { p.headers(1, false, ":status", "103"); p.raw(xhttp2.FrameData, 0, 1, "x") }, want: broken, told: "stream 1 PROTOCOL_ERROR"},
	{name: "§6.1 padding as long as the frame", do: func(p *peer) {
		p.headers(1, false, ok200...)
		p.raw(xhttp2.FrameData, xhttp2.FlagDataPadded, 1, "\x03abc")
	}, want: "200 ", told: "stays open"},
	{name: "§6.1 padding longer than the frame", do: func(p *peer) {
		p.headers(1, false, ok200...)
		p.raw(xhttp2.FrameData, xhttp2.FlagDataPadded, 1, "\x04abc")
	}, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.1 padded and empty", do: func(p *peer) { p.headers(1, false, ok200...); p.raw(xhttp2.FrameData, xhttp2.FlagDataPadded, 1, "") }, want: broken, told: "connection FRAME_SIZE_ERROR"},
	{name: "§6.1 padded", do: func(p *peer) {
		p.headers(1, false, ok200...)
		p.raw(xhttp2.FrameData, xhttp2.FlagDataPadded|1, 1, "\x05abc\x00\x00\x00\x00\x00")
	}, want: "200 abc"},
	{name: "empty DATA", do: func(p *peer) {
		p.headers(1, false, ok200...)
		times(50, func() { p.raw(xhttp2.FrameData, 0, 1, "") })
		p.raw(xhttp2.FrameData, 1, 1, "x")
	}, want: "200 x"},
	{name: "empty DATA ends", do: func(p *peer) { p.headers(1, false, ok200...); p.raw(xhttp2.FrameData, 1, 1, "") }, want: "200 "},
	{name: "flood of empty DATA", do: func(p *peer) {
		p.headers(1, false, ok200...)
		times(5000, func() { p.raw(xhttp2.FrameData, 0, 1, "") })
	}, want: broken, told: "connection ENHANCE_YOUR_CALM"},
	{name: "§5.1 DATA after the end", do: func(p *peer) { p.answer(""); p.raw(xhttp2.FrameData, 0, 1, "x") }, want: "200 ", told: "connection STREAM_CLOSED"},
	{name: "§5.1 DATA after the end, while we send", upload: true, do: func(p *peer) { p.answer(""); p.raw(xhttp2.FrameData, 0, 1, "x") }, want: broken, told: "stream 1 STREAM_CLOSED"},
	{name: "§5.1 DATA after RST_STREAM", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, word(2)); p.raw(xhttp2.FrameData, 0, 1, "x") }, want: reset, told: "stream 1 STREAM_CLOSED"},
	{name: "§6.9.1 DATA beyond the stream's window", do: func(p *peer) {
		p.headers(1, false, ok200...)
		times(5, func() { p.raw(xhttp2.FrameData, 0, 1, strings.Repeat("x", 16384)) })
	}, want: broken, told: "stream 1 FLOW_CONTROL_ERROR"},

	{name: "§6.3 PRIORITY is ignored", do: func(p *peer) {
		p.raw(xhttp2.FramePriority, 0, 1, word(3)+"x")
		p.raw(xhttp2.FramePriority, 0, 9, word(3)+"x")
		p.answer("")
	}, want: "200 "},
	{name: "§6.3 PRIORITY of a wrong size", do: func(p *peer) { p.raw(xhttp2.FramePriority, 0, 1, "abc") }, want: broken, told: "stream 1 FRAME_SIZE_ERROR"},
	{name: "§6.3 PRIORITY on stream 0", do: func(p *peer) { p.raw(xhttp2.FramePriority, 0, 0, word(1)+"x") }, want: broken, told: "connection PROTOCOL_ERROR"},

	{name: "§6.6 PUSH_PROMISE though we disabled it", do: func(p *peer) { p.raw(xhttp2.FramePushPromise, 4, 1, word(2)+"\x82\x86\x84\x01\x01a") }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.6 PUSH_PROMISE on stream 0", do: func(p *peer) { p.raw(xhttp2.FramePushPromise, 4, 0, word(2)) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§8.4 HEADERS on a stream of the server's", do: func(p *peer) { p.headers(2, true, ok200...) }, want: broken, told: "connection PROTOCOL_ERROR"},

	{name: "§6.7 PING on a stream", do: func(p *peer) { p.raw(xhttp2.FramePing, 0, 1, "12345678") }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.7 PING of a wrong size", do: func(p *peer) { p.raw(xhttp2.FramePing, 0, 0, "123456789") }, want: broken, told: "connection FRAME_SIZE_ERROR"},
	{name: "§6.7 answer to no PING", do: func(p *peer) { p.raw(xhttp2.FramePing, 1, 0, "12345678"); p.answer("") }, want: "200 "},
	{name: "flood of PING", do: func(p *peer) { times(5000, func() { p.raw(xhttp2.FramePing, 0, 0, "12345678") }) }, want: broken, told: "connection ENHANCE_YOUR_CALM"},

	{name: "§6.9 WINDOW_UPDATE of 0", do: func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 0, word(0)) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.9 WINDOW_UPDATE of 0 on a stream", do: func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 1, word(0)) }, want: broken, told: "stream 1 PROTOCOL_ERROR"},
	{name: "§6.9 WINDOW_UPDATE of a wrong size", do: func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 1, "abc") }, want: broken, told: "connection FRAME_SIZE_ERROR"},
	{name: "§5.1 WINDOW_UPDATE on an idle stream", do: func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 3, word(1)) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.9.1 the connection's window overflows", do: func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 0, word(1<<31-1)) }, want: broken, told: "connection FLOW_CONTROL_ERROR"},
	{name: "§6.9.1 the stream's window overflows", do: func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 1, word(1<<31-1)) }, want: broken, told: "stream 1 FLOW_CONTROL_ERROR"},
	{name: "§6.9 WINDOW_UPDATE on a closed stream", do: func(p *peer) { p.answer(""); p.raw(xhttp2.FrameWindowUpdate, 0, 1, word(9)) }, want: "200 "},
	{name: "§6.9 reserved bit of the increment", do: func(p *peer) { p.raw(xhttp2.FrameWindowUpdate, 0, 0, word(1<<31|1)); p.answer("") }, want: "200 "},
	{name: "flood of WINDOW_UPDATE", do: func(p *peer) { times(9000, func() { p.raw(xhttp2.FrameWindowUpdate, 0, 0, word(1)) }) }, want: broken, told: "connection ENHANCE_YOUR_CALM"},
	{name: "flood of unknown frames", do: func(p *peer) { times(5000, func() { p.raw(0x42, 0, 0, "") }) }, want: broken, told: "connection ENHANCE_YOUR_CALM"},
}

var settingsCases = []clientCase{
	{name: "§6.5 SETTINGS on a stream", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 1, "") }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.5 SETTINGS of a wrong size", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, "abc") }, want: broken, told: "connection FRAME_SIZE_ERROR"},
	{name: "§6.5 acknowledgement with content", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 1, 0, setting(1, 1)) }, want: broken, told: "connection FRAME_SIZE_ERROR"},
	{name: "§6.5.2 unknown setting is ignored", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(0xfff0, 7)); p.answer("") }, want: "200 "},
	{name: "§6.5.2 ENABLE_PUSH 1 from a server", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(2, 1)) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.5.2 ENABLE_PUSH 2", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(2, 2)) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.5.2 ENABLE_PUSH 0", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(2, 0)); p.answer("") }, want: "200 "},
	{name: "§6.5.2 INITIAL_WINDOW_SIZE too large", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(4, 1<<31)) }, want: broken, told: "connection FLOW_CONTROL_ERROR"},
	{name: "§6.5.2 largest INITIAL_WINDOW_SIZE", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(4, 1<<31-1)); p.answer("") }, want: "200 "},
	{name: "§6.9.2 INITIAL_WINDOW_SIZE overflows a stream's window", do: func(p *peer) {
		p.raw(xhttp2.FrameWindowUpdate, 0, 1, word(1<<30))
		p.raw(xhttp2.FrameSettings, 0, 0, setting(4, 1<<31-1))
	}, want: broken, told: "connection FLOW_CONTROL_ERROR"},
	{name: "§6.5.2 MAX_FRAME_SIZE too small", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(5, 16383)) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.5.2 MAX_FRAME_SIZE too large", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(5, 1<<24)) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.5.2 MAX_FRAME_SIZE at its bounds", do: func(p *peer) {
		p.raw(xhttp2.FrameSettings, 0, 0, setting(5, 16384)+setting(5, 1<<24-1))
		p.answer("")
	}, want: "200 "},
	{name: "RFC 8441 §3 ENABLE_CONNECT_PROTOCOL 2", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(8, 2)) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "RFC 8441 §3 ENABLE_CONNECT_PROTOCOL taken back", do: func(p *peer) {
		p.raw(xhttp2.FrameSettings, 0, 0, setting(8, 1))
		p.raw(xhttp2.FrameSettings, 0, 0, setting(8, 0))
	}, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "RFC 9218 §2.1 NO_RFC7540_PRIORITIES", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(9, 1)); p.answer("") }, want: "200 "},
	{name: "§6.5.3 the last of equal settings holds", do: func(p *peer) {
		p.raw(xhttp2.FrameSettings, 0, 0, setting(3, 0)+setting(3, 100))
		p.answer("")
	}, want: "200 "},
	{name: "flood of SETTINGS", do: func(p *peer) { times(5000, func() { p.raw(xhttp2.FrameSettings, 0, 0, "") }) }, want: broken, told: "connection ENHANCE_YOUR_CALM"},
	{name: "flood of acknowledgements", do: func(p *peer) { times(5000, func() { p.raw(xhttp2.FrameSettings, 1, 0, "") }) }, want: broken, told: "connection ENHANCE_YOUR_CALM"},
	{name: "RFC 7541 §4.2 HEADER_TABLE_SIZE 0", do: func(p *peer) {
		p.fr.ReadMetaHeaders.SetMaxDynamicTableSize(0) // what we encode then must not use the table
		p.raw(xhttp2.FrameSettings, 0, 0, setting(1, 0))
		p.answer("")
	}, want: "200 "},
	{name: "RFC 7541 §4.2 HEADER_TABLE_SIZE huge", do: func(p *peer) { p.raw(xhttp2.FrameSettings, 0, 0, setting(1, 1<<32-1)); p.answer("") }, want: "200 "},
}

var endCases = []clientCase{
	{name: "§6.4 RST_STREAM on stream 0", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 0, word(8)) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.4 RST_STREAM on an idle stream", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 3, word(8)) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.4 RST_STREAM of a wrong size", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, "abc") }, want: broken, told: "connection FRAME_SIZE_ERROR"},
	{name: "§8.7 REFUSED_STREAM", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, word(7)) }, want: "upstream_remote_reset refused"},
	{name: "§8.1 NO_ERROR without an answer", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, word(0)) }, want: reset},
	{name: "§7 PROTOCOL_ERROR", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, word(1)) }, want: reset},
	{name: "§7 INTERNAL_ERROR", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, word(2)) }, want: reset},
	{name: "§7 CANCEL", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, word(8)) }, want: reset},
	{name: "§7 ENHANCE_YOUR_CALM", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, word(11)) }, want: reset},
	{name: "§7 HTTP_1_1_REQUIRED", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, word(13)) }, want: reset},
	{name: "§7 unknown code", do: func(p *peer) { p.raw(xhttp2.FrameRSTStream, 0, 1, word(0xdead)) }, want: reset},
	{name: "RST_STREAM within the content", do: func(p *peer) {
		p.headers(1, false, ok200...)
		p.raw(xhttp2.FrameData, 0, 1, "abc")
		p.raw(xhttp2.FrameRSTStream, 0, 1, word(2))
	}, want: reset},
	{name: "RST_STREAM after the end", do: func(p *peer) { p.answer("abc"); p.raw(xhttp2.FrameRSTStream, 0, 1, word(2)) }, want: "200 abc"},
	{name: "§8.1 an early answer, then NO_ERROR", upload: true, do: func(p *peer) { p.answer("abc"); p.raw(xhttp2.FrameRSTStream, 0, 1, word(0)) }, want: "200 abc"},
	{name: "RST_STREAM twice", do: func(p *peer) {
		p.raw(xhttp2.FrameRSTStream, 0, 1, word(8))
		p.raw(xhttp2.FrameRSTStream, 0, 1, word(8))
	}, want: reset},

	{name: "§6.8 GOAWAY before the stream", do: func(p *peer) { p.raw(xhttp2.FrameGoAway, 0, 0, word(0)+word(0)) }, want: refused, drops: true},
	{name: "§6.8 GOAWAY before the stream, with an error", do: func(p *peer) { p.raw(xhttp2.FrameGoAway, 0, 0, word(0)+word(11)+"too many") }, want: refused, drops: true},
	{name: "§6.8 GOAWAY behind the stream", do: func(p *peer) { p.raw(xhttp2.FrameGoAway, 0, 0, word(1)+word(0)); p.answer("abc") }, want: "200 abc", drops: true},
	{name: "§6.8 GOAWAY in two steps", do: func(p *peer) {
		p.raw(xhttp2.FrameGoAway, 0, 0, word(1<<31-1)+word(0))
		p.raw(xhttp2.FrameGoAway, 0, 0, word(1)+word(0))
		p.answer("abc")
	}, want: "200 abc", drops: true},
	{name: "§6.8 GOAWAY in two steps that takes it back", do: func(p *peer) {
		p.raw(xhttp2.FrameGoAway, 0, 0, word(1<<31-1)+word(0))
		p.raw(xhttp2.FrameGoAway, 0, 0, word(0)+word(0))
	}, want: refused, drops: true},
	{name: "§6.8 GOAWAY, then the end", do: func(p *peer) {
		p.raw(xhttp2.FrameGoAway, 0, 0, word(1)+word(0))
		p.ok(p.end.CloseWrite())
	}, want: gone, drops: true},
	{name: "§6.8 GOAWAY on a stream", do: func(p *peer) { p.raw(xhttp2.FrameGoAway, 0, 1, word(0)+word(0)) }, want: broken, told: "connection PROTOCOL_ERROR"},
	{name: "§6.8 GOAWAY of a wrong size", do: func(p *peer) { p.raw(xhttp2.FrameGoAway, 0, 0, word(0)) }, want: broken, told: "connection FRAME_SIZE_ERROR"},
	{name: "§6.8 GOAWAY with a reserved bit", do: func(p *peer) { p.raw(xhttp2.FrameGoAway, 0, 0, word(1|1<<31)+word(0)); p.answer("") }, want: "200 ", drops: true},
}

// TestClientConformance is what h2spec is for servers: every MUST of RFC 9113 that
// concerns a client, and what a hostile server might do.
func TestClientConformance(t *testing.T) {
	groups := map[string][]clientCase{"frames": frameCases, "settings": settingsCases, "ends": endCases, "blocks": blockCases, "heads": headCases}
	total := 0
	for name, cases := range groups {
		total += len(cases)
		t.Run(name, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, c.run)
			}
		})
	}
	if total < 140 {
		t.Errorf("only %d cases", total)
	}
}

func (c clientCase) run(t *testing.T) {
	p, conn := server(t, http2.ClientOptions{Limits: http2.Limits{MaxHeadBytes: 5000, StreamWindow: 65535}})
	// Whoever waits in vain fails.
	defer time.AfterFunc(15*time.Second, func() { conn.Close(stream.Reason{Code: stream.Internal, Detail: "the case takes too long"}) }).Stop()
	x := open(t, conn)
	r := benchRequest()
	switch {
	case c.upload:
		r.Method, r.Length = []byte("POST"), -1
		p.ok(x.Send(r, []byte("some"), false))
	case c.head:
		r.Method = []byte("HEAD")
		p.ok(x.Send(r, nil, true))
	default:
		p.ok(x.Send(r, nil, true))
	}
	done := make(chan struct{})
	go func() { defer close(done); c.do(p) }()
	if c.told != "" && c.told != "stays open" {
		if told := p.verdict(); told != c.told {
			t.Fatalf("the server is told %q, want %q", told, c.told)
		}
	}
	if got := outcome(x, c.told == "stays open"); got != c.want {
		t.Errorf("got  %.200q\nwant %.200q", got, c.want)
	}
	<-done
	x.Release()
	if dead := c.drops || strings.HasPrefix(c.told, "connection"); dead {
		eventually(t, "the connection takes another exchange", func() bool { return !conn.Reusable() && conn.Free() == 0 })
		return
	}
	another(t, p, conn)
}

// another holds that the connection serves a further exchange.
func another(t *testing.T, p *peer, conn *http2.ClientConn) {
	t.Helper()
	if !conn.Reusable() {
		t.Fatal("the connection takes no other exchange")
	}
	x := sent(t, conn)
	for {
		f := p.read()
		if h, ok := f.(*xhttp2.MetaHeadersFrame); ok && h.StreamID == 3 {
			if h.PseudoValue("path") != "/productpage" {
				t.Errorf("the next request is %v", h.Fields)
			}
			break
		}
		if g, ok := f.(*xhttp2.GoAwayFrame); ok {
			t.Fatalf("GOAWAY %v", g.ErrCode)
		}
	}
	p.headers(3, true, ":status", "204")
	if got := outcome(x, false); got != "204" {
		t.Errorf("another exchange: %s", got)
	}
	x.Release()
}

// outcome says what an exchange came to. unfinished says that its content need not end.
func outcome(x stream.Exchange, unfinished bool) string {
	for {
		r, err := x.Receive()
		if err != nil {
			return failure(x, err)
		}
		if r.Status < 200 && r.Status != 101 {
			continue
		}
		got := fmt.Sprint(r.Status)
		if r.Body == nil {
			return got
		}
		if unfinished {
			return got + " "
		}
		content, err := readAll(r.Body)
		if err != nil {
			return failure(x, err)
		}
		got += " " + string(content)
		if h := r.Body.Trailers(); h != nil {
			for n, v := range h.All() {
				got += fmt.Sprintf("|%s=%s", n, v)
			}
		}
		return got
	}
}

func failure(x stream.Exchange, err error) string {
	return codeOf(err).String() + " " + []string{"unsent", "refused", "maybe"}[x.Delivery()]
}

func eventually(t *testing.T, not string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(not)
		}
	}
}
