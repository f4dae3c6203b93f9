package proxy_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// script is an endpoint whose frames a test writes by hand. on is called with every
// HEADERS frame: n counts them over all connections, from 1.
func script(t *testing.T, on func(f *http2.Framer, id uint32, n int)) netip.AddrPort {
	t.Helper()
	l := loopback(t)
	var wg sync.WaitGroup
	var n atomic.Int32
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			wg.Go(func() { play(c, &n, on) })
		}
	})
	t.Cleanup(func() { l.Close() })
	return netip.MustParseAddrPort(l.Addr().String())
}

func play(c net.Conn, n *atomic.Int32, on func(f *http2.Framer, id uint32, n int)) {
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	f := http2.NewFramer(c, c)
	_ = f.WriteSettings()
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch fr := fr.(type) {
		case *http2.SettingsFrame:
			if !fr.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			on(f, fr.StreamID, int(n.Add(1)))
		}
	}
}

// okHead is a header block; it changes no table.
func okHead(status string) []byte {
	var b bytes.Buffer
	_ = hpack.NewEncoder(&b).WriteField(hpack.HeaderField{Name: ":status", Value: status, Sensitive: true})
	return b.Bytes()
}

func answerEmpty(f *http2.Framer, id uint32) {
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: okHead("200"), EndHeaders: true, EndStream: true})
}

// TestEndpointRefuses: what an endpoint says that it did not act on is sent again
// without a policy, whatever the method; what it may have acted on is not.
func TestEndpointRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		second func(f *http2.Framer, id uint32)
		status int
		reason string
		tries  int32
	}{
		"REFUSED_STREAM": {func(f *http2.Framer, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, 200, "", 3},
		"GOAWAY":         {func(f *http2.Framer, id uint32) { _ = f.WriteGoAway(id-2, http2.ErrCodeNo, nil) }, 200, "", 3},
		"CANCEL":         {func(f *http2.Framer, id uint32) { _ = f.WriteRSTStream(id, http2.ErrCodeCancel) }, 503, "upstream_remote_reset", 2},
		"no status": {func(f *http2.Framer, id uint32) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x10, 1, 'a', 1, 'b'}, EndHeaders: true, EndStream: true})
		}, 502, "upstream_protocol", 2},
	} {
		for _, down := range []string{"h1", "h2"} {
			t.Run(name+"/"+down, func(t *testing.T) {
				var tries atomic.Int32
				h := newHop(t, combination{down, "h2"}, script(t, func(f *http2.Framer, id uint32, n int) {
					if tries.Store(int32(n)); n == 2 {
						c.second(f, id)
						return
					}
					answerEmpty(f, id)
				}), "")
				for i := range 2 {
					resp := h.do(t, "POST", "/", strings.NewReader("once"))
					if want := []int{200, c.status}[i]; resp.StatusCode != want {
						t.Errorf("answer %d: %d, %s", i, resp.StatusCode, resp.Header.Get("X-Lateen-Reason"))
					}
					if why := resp.Header.Get("X-Lateen-Reason"); i == 1 && !strings.HasPrefix(why, c.reason) {
						t.Errorf("reason %q", why)
					}
					readAll(t, resp.Body)
				}
				if tries.Load() != c.tries {
					t.Errorf("%d tries, want %d", tries.Load(), c.tries)
				}
			})
		}
	}
}

// TestEndpointEndsTheUpload: RST_STREAM with NO_ERROR behind a whole answer only says
// that the rest of the request is not wanted (RFC 9113 §8.1).
func TestEndpointEndsTheUpload(t *testing.T) {
	for _, down := range []string{"h1", "h2"} {
		t.Run(down, func(t *testing.T) {
			h := newHop(t, combination{down, "h2"}, script(t, func(f *http2.Framer, id uint32, _ int) {
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: okHead("200"), EndHeaders: true})
				_ = f.WriteData(id, true, []byte("enough"))
				_ = f.WriteRSTStream(id, http2.ErrCodeNo)
			}), "")
			up, in := io.Pipe()
			go in.Write([]byte("some"))
			resp := h.do(t, "POST", "/", up)
			if got := readAll(t, resp.Body); resp.StatusCode != http.StatusOK || got != "enough" {
				t.Errorf("%d %q", resp.StatusCode, got)
			}
			in.Close()
		})
	}
}
