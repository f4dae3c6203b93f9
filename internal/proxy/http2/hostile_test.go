package http2_test

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
)

// hostile is what a client does over and over, as long as it may. Each has stopped
// some server or other: the names are those of the reports.
var hostile = []struct {
	name string
	do   func(p *peer, i int)
}{
	{name: "rapid reset (CVE-2023-44487)", do: func(p *peer, i int) {
		p.raw(xhttp2.FrameHeaders, 5, uint32(2*i+1), getBlock)
		p.raw(xhttp2.FrameRSTStream, 0, uint32(2*i+1), word(8))
	}},
	{name: "made us reset (CVE-2025-8671)", do: func(p *peer, i int) {
		p.raw(xhttp2.FrameHeaders, 4, uint32(2*i+1), getBlock)
		p.raw(xhttp2.FrameWindowUpdate, 0, uint32(2*i+1), word(0))
	}},
	{name: "CONTINUATION flood (CVE-2024-27316)", do: func(p *peer, i int) {
		if i == 0 {
			p.raw(xhttp2.FrameHeaders, 0, 1, "")
		}
		p.raw(xhttp2.FrameContinuation, 0, 1, strings.Repeat("\x00\x01a\x01b", 3000))
	}},
	{name: "CONTINUATION flood, empty", do: func(p *peer, i int) {
		if i == 0 {
			p.raw(xhttp2.FrameHeaders, 0, 1, "")
		}
		p.raw(xhttp2.FrameContinuation, 0, 1, "")
	}},
	{name: "SETTINGS flood (CVE-2019-9515)", do: func(p *peer, _ int) { p.raw(xhttp2.FrameSettings, 0, 0, setting(4, 65535)) }},
	{name: "SETTINGS that change all windows", do: func(p *peer, i int) {
		if i < 50 {
			p.raw(xhttp2.FrameHeaders, 4, uint32(2*i+1), getBlock)
		}
		p.raw(xhttp2.FrameSettings, 0, 0, strings.Repeat(setting(4, 1)+setting(4, 65535), 1000))
	}},
	{name: "PING flood (CVE-2019-9512)", do: func(p *peer, _ int) { p.raw(xhttp2.FramePing, 0, 0, "12345678") }},
	{name: "empty DATA (CVE-2019-9518)", do: func(p *peer, i int) {
		if i == 0 {
			p.raw(xhttp2.FrameHeaders, 4, 1, getBlock)
		}
		p.raw(xhttp2.FrameData, 0, 1, "")
	}},
	{name: "padding only", do: func(p *peer, i int) {
		if i == 0 {
			p.raw(xhttp2.FrameHeaders, 4, 1, getBlock)
		}
		p.raw(xhttp2.FrameData, xhttp2.FlagDataPadded, 1, "\xff"+strings.Repeat("\x00", 255))
	}},
	{name: "PRIORITY flood (CVE-2019-9513)", do: func(p *peer, i int) { p.raw(xhttp2.FramePriority, 0, uint32(2*i+1), word(uint32(2*i+3))+"x") }},
	{name: "WINDOW_UPDATE by one", do: func(p *peer, _ int) { p.raw(xhttp2.FrameWindowUpdate, 0, 0, word(1)) }},
	{name: "HPACK bomb (CVE-2016-6581)", do: func(p *peer, i int) {
		block := strings.Repeat("\xbe", 16000)
		if i == 0 {
			block = "\x40\x01x\x7f\xa1\x1e" + strings.Repeat("x", 4000) + strings.Repeat("\xbe", 4000)
		}
		p.raw(xhttp2.FrameHeaders, 5, uint32(2*i+1), getBlock[:3]+block)
	}},
	{name: "headers without value (CVE-2019-9516)", do: func(p *peer, i int) {
		p.raw(xhttp2.FrameHeaders, 5, uint32(2*i+1), getBlock+strings.Repeat("\x00\x01a\x00", 4000))
	}},
	{name: "GOAWAY flood", do: func(p *peer, _ int) { p.raw(xhttp2.FrameGoAway, 0, 0, word(0)+word(0)) }},
	{name: "unknown frames", do: func(p *peer, _ int) { p.raw(0x77, 0, 0, strings.Repeat("x", 1000)) }},
}

// TestHostileClients: what hostile clients make the server hold is bounded, and what they
// make it do too: they are told to calm down long before they are through. Twenty connections each; their clients read
// nothing but the end.
func TestHostileClients(t *testing.T) {
	const conns = 20
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			const rounds = 3000
			heap := inUse()
			goroutines := runtime.NumGoroutine()
			var wg sync.WaitGroup
			var verdicts sync.Map
			var peak uint64
			for n := range conns {
				p := client(t, http2.ServerOptions{}, waits)
				q := &peer{t: t, end: p.end, fr: xhttp2.NewFramer(p.end, nil)} // p reads meanwhile
				q.fr.AllowIllegalWrites = true
				ended := make(chan struct{})
				wg.Go(func() { defer close(ended); verdicts.Store(n, final(p)) })
				wg.Go(func() {
					for i := range rounds {
						select {
						case <-ended:
							return
						default:
							tt.do(q, i)
						}
					}
					_ = q.end.CloseWrite()
				})
			}
			time.Sleep(50 * time.Millisecond)
			if now := inUse(); now > heap {
				peak = (now - heap) >> 20
			}
			wg.Wait()
			if peak > 64 { // streams are held with their heads, 60 KiB each at most
				t.Errorf("%d MiB for %d connections", peak, conns)
			}
			verdicts.Range(func(_, v any) bool {
				if v != "connection ENHANCE_YOUR_CALM" {
					t.Errorf("a client was told %q", v)
				}
				return true
			})
			eventually(t, "goroutines are left", func() bool { return runtime.NumGoroutine() <= goroutines+2*conns })
		})
	}
}

// final reads until the connection ends, and says how.
func final(p *peer) string {
	for {
		v := p.verdict()
		if !strings.HasPrefix(v, "stream") {
			return v
		}
	}
}

// inUse is the heap in use.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
