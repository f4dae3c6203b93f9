package http2_test

import (
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Padding takes credit like content does, and gives it back: a stream can carry any
// amount of it.
func TestPaddingReturnsCredit(t *testing.T) {
	p := client(t, http2.ServerOptions{Limits: http2.Limits{StreamWindow: 65535}}, show)
	p.post(1)
	go func() {
		for range 600 { // 600 × 256 bytes of padding: twice the window and more
			_ = p.fr.WriteDataPadded(1, false, []byte("x"), make([]byte, 255))
		}
		_ = p.fr.WriteData(1, true, nil)
	}()
	if got := p.response(1); !strings.HasPrefix(got, "200 POST http test /|-1:xxx") {
		t.Errorf("got %.40q", got)
	}
}

// getBlock is a request that touches no table: GET http / of authority a.
const getBlock = "\x82\x86\x84\x01\x01a"

// Floods end the connection (and not before what honest peers do).
func TestFloods(t *testing.T) {
	for _, tt := range []struct {
		name string
		n    int
		f    func(p *peer, i int)
	}{
		{"PING", 5000, func(p *peer, _ int) { p.raw(xhttp2.FramePing, 0, 0, "12345678") }},
		{"SETTINGS", 5000, func(p *peer, _ int) { p.raw(xhttp2.FrameSettings, 0, 0, "") }},
		{"PRIORITY", 5000, func(p *peer, _ int) { p.raw(xhttp2.FramePriority, 0, 7, word(1)+"x") }},
		{"unknown", 5000, func(p *peer, _ int) { p.raw(0x77, 0, 0, "") }},
		{"empty DATA", 5000, func(p *peer, _ int) { p.raw(xhttp2.FrameData, 0, 1, "") }},
		{"WINDOW_UPDATE", 9000, func(p *peer, _ int) { p.raw(xhttp2.FrameWindowUpdate, 0, 0, word(1)) }},
		{"rapid reset", 1000, func(p *peer, i int) {
			p.raw(xhttp2.FrameHeaders, 4, uint32(2*i+3), getBlock)
			p.raw(xhttp2.FrameRSTStream, 0, uint32(2*i+3), word(8))
		}},
		{"made us reset", 1000, func(p *peer, i int) {
			p.raw(xhttp2.FrameHeaders, 4, uint32(2*i+3), getBlock)
			p.raw(xhttp2.FrameWindowUpdate, 0, uint32(2*i+3), word(0))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := client(t, http2.ServerOptions{}, waits)
			p.post(1)
			verdict := make(chan string)
			go func() {
				for {
					v := p.verdict()
					if !strings.HasPrefix(v, "stream") {
						verdict <- v
						return
					}
				}
			}()
			fr := xhttp2.NewFramer(p.end, nil) // p.fr reads meanwhile
			fr.AllowIllegalWrites = true
			q := &peer{t: t, end: p.end, fr: fr}
			for i := range tt.n {
				tt.f(q, i)
			}
			if v := <-verdict; v != "connection ENHANCE_YOUR_CALM" {
				t.Errorf("got %q", v)
			}
		})
	}
	t.Run("honest", func(t *testing.T) {
		p := client(t, http2.ServerOptions{}, show)
		for i := range 3000 {
			id := uint32(2*i + 1)
			p.get(id)
			if got := p.response(id); got != "200 GET http test /" {
				t.Fatalf("request %d got %q", i, got)
			}
		}
	})
}

// A handler that panics costs its stream an answer, nothing more.
func TestPanic(t *testing.T) {
	p := client(t, http2.ServerOptions{}, func(s *stream.Stream) (*stream.Response, error) {
		if s.Request.Has(stream.N("x")) {
			panic("defect")
		}
		return show(s)
	})
	p.get(1, "x", "1")
	if got := p.response(1); !strings.HasPrefix(got, "500") {
		t.Errorf("got %q", got)
	}
	p.get(3)
	if got := p.response(3); got != "200 GET http test /" {
		t.Errorf("then %q", got)
	}
}
