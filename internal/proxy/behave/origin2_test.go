package behave

import (
	"bytes"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// conn2 is an origin's connection of HTTP/2.
type conn2 struct {
	*net.TCPConn
	f   *http2.Framer
	enc *hpack.Encoder
	buf bytes.Buffer
}

func (c *conn2) block(fields ...string) []byte {
	c.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // into memory
	}
	return bytes.Clone(c.buf.Bytes())
}

func (c *conn2) headers(id uint32, end bool, fields ...string) {
	_ = c.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block(fields...), EndHeaders: true, EndStream: end}) // a lost proxy shows in reading
}

// rest lets what was sent arrive before what follows.
func (c *conn2) rest() { time.Sleep(20 * time.Millisecond) }

func (c *conn2) data(id uint32, end bool, text string) { _ = c.f.WriteData(id, end, []byte(text)) }

// reset ends the connection with RST once what was sent has left.
func (c *conn2) reset() bool {
	time.Sleep(20 * time.Millisecond)
	_ = c.SetLinger(0)
	return false
}

func (c *conn2) ok(id uint32) bool {
	c.headers(id, false, ":status", "200", "content-length", "2")
	c.data(id, true, "ok")
	return true
}

func rstStream(code http2.ErrCode) func(*conn2, uint32) bool {
	return func(c *conn2, id uint32) bool { return c.f.WriteRSTStream(id, code) == nil }
}

// scripts2 play the main request once its end has come (early ones: its head);
// true goes on with the connection.
var scripts2 = map[string]func(c *conn2, id uint32) bool{
	"ok":  (*conn2).ok,
	"rst": func(c *conn2, _ uint32) bool { return c.reset() },
	"fin": func(*conn2, uint32) bool { return false },
	"rst-length": func(c *conn2, id uint32) bool {
		c.headers(id, false, ":status", "200", "content-length", "10")
		c.data(id, false, "xxx")
		return c.reset()
	},
	"fin-length": func(c *conn2, id uint32) bool {
		c.headers(id, false, ":status", "200", "content-length", "10")
		c.data(id, false, "xxx")
		time.Sleep(20 * time.Millisecond)
		return false
	},
	"short-length": func(c *conn2, id uint32) bool {
		c.headers(id, false, ":status", "200", "content-length", "10")
		c.rest()
		c.data(id, true, "xxx")
		return true
	},
	"long-length": func(c *conn2, id uint32) bool {
		c.headers(id, false, ":status", "200", "content-length", "1")
		c.rest()
		c.data(id, true, "xxx")
		return true
	},
	"refused":   rstStream(http2.ErrCodeRefusedStream),
	"internal":  rstStream(http2.ErrCodeInternal),
	"cancelled": rstStream(http2.ErrCodeCancel),
	"protocol":  rstStream(http2.ErrCodeProtocol),
	"no-error":  rstStream(http2.ErrCodeNo),
	"calm":      rstStream(http2.ErrCodeEnhanceYourCalm),
	"rst-body": func(c *conn2, id uint32) bool {
		c.headers(id, false, ":status", "200")
		c.data(id, false, "xxx")
		return c.f.WriteRSTStream(id, http2.ErrCodeInternal) == nil
	},
	"goaway": func(c *conn2, id uint32) bool { // not taken
		_ = c.f.WriteGoAway(0, http2.ErrCodeNo, nil)
		time.Sleep(20 * time.Millisecond)
		return false
	},
	"goaway-ok": func(c *conn2, id uint32) bool { _ = c.f.WriteGoAway(id, http2.ErrCodeNo, nil); return c.ok(id) },
	"goaway-bad": func(c *conn2, id uint32) bool {
		_ = c.f.WriteGoAway(id, http2.ErrCodeProtocol, nil)
		time.Sleep(20 * time.Millisecond)
		return false
	},
	"push": func(c *conn2, id uint32) bool {
		_ = c.f.WritePushPromise(http2.PushPromiseParam{StreamID: id, PromiseID: 2, EndHeaders: true, BlockFragment: c.block(":method", "GET", ":scheme", "http", ":path", "/pushed", ":authority", "x")})
		return c.ok(id)
	},
	"garbage": func(c *conn2, _ uint32) bool {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
		return true
	},
	"bad-window": func(c *conn2, _ uint32) bool {
		_ = c.f.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, []byte{0, 0, 0, 0})
		return true
	},
	"bad-block": func(c *conn2, id uint32) bool {
		_ = c.f.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, id, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		return true
	},
	"no-status":  func(c *conn2, id uint32) bool { c.headers(id, true, "server", "x"); return true },
	"upper-case": func(c *conn2, id uint32) bool { c.headers(id, true, ":status", "200", "X-Upper", "x"); return true },
	"big-head": func(c *conn2, id uint32) bool {
		block := c.block(":status", "200", "x-big", strings.Repeat("x", 90<<10))
		_ = c.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:16000], EndStream: true})
		for block = block[16000:]; len(block) > 0; block = block[min(16000, len(block)):] {
			_ = c.f.WriteContinuation(id, len(block) <= 16000, block[:min(16000, len(block))])
		}
		return true
	},
	"never": func(*conn2, uint32) bool { return true },
	"stall": func(c *conn2, id uint32) bool {
		c.headers(id, false, ":status", "200", "content-length", "10")
		c.data(id, false, "xxx")
		return true
	},
	"slow": func(c *conn2, id uint32) bool { time.Sleep(slowness); return c.ok(id) },
	"early": func(c *conn2, id uint32) bool {
		c.headers(id, false, ":status", "413", "content-length", "2")
		c.data(id, true, "no")
		return true
	},
	"early-reset": func(c *conn2, id uint32) bool { // RFC 9113 section 8.1: NO_ERROR after a complete answer
		c.headers(id, false, ":status", "413", "content-length", "2")
		c.data(id, true, "no")
		return c.f.WriteRSTStream(id, http2.ErrCodeNo) == nil
	},
	"hint": func(c *conn2, id uint32) bool {
		c.headers(id, false, ":status", "103", "link", "</a>")
		return c.ok(id)
	},
	"trailers": func(c *conn2, id uint32) bool {
		c.headers(id, false, ":status", "200")
		c.data(id, false, "ok")
		c.headers(id, true, "x-trailer", "t")
		return true
	},
	"large": func(c *conn2, id uint32) bool { // in the window that the proxy gave, and no more: 32 KiB
		c.headers(id, false, ":status", "200")
		c.data(id, false, strings.Repeat("l", 16<<10))
		c.data(id, true, strings.Repeat("l", 16<<10))
		return true
	},
	"503": func(c *conn2, id uint32) bool { c.headers(id, true, ":status", "503"); return true },
}

func (o *origin) serve2(nc net.Conn, n int, script string) {
	c := &conn2{TCPConn: nc.(*net.TCPConn)}
	c.enc = hpack.NewEncoder(&c.buf)
	c.f = http2.NewFramer(nc, nc)
	c.f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(nc, preface); err != nil || c.f.WriteSettings() != nil {
		return
	}
	main := map[uint32]bool{}
	for {
		f, err := c.f.ReadFrame()
		if _, ok := err.(http2.StreamError); ok {
			continue
		}
		if err != nil {
			return
		}
		ended := false
		id := f.Header().StreamID
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() && c.f.WriteSettingsAck() != nil {
				return
			}
		case *http2.PingFrame:
			if !f.IsAck() && c.f.WritePing(true, f.Data) != nil {
				return
			}
		case *http2.MetaHeadersFrame:
			if _, seen := main[id]; !seen {
				main[id] = o.saw(f.PseudoValue("path"), n)
				if main[id] && strings.HasPrefix(script, "early") && !scripts2[script](c, id) {
					return
				}
			}
			ended = f.StreamEnded()
		case *http2.DataFrame:
			ended = f.StreamEnded()
			if n := uint32(f.Header().Length); n > 0 {
				_ = c.f.WriteWindowUpdate(0, n)
				_ = c.f.WriteWindowUpdate(id, n)
			}
		}
		if !ended || main[id] && strings.HasPrefix(script, "early") {
			continue
		}
		play := scripts2["ok"]
		if main[id] {
			play = scripts2[script]
		}
		if !play(c, id) {
			return
		}
	}
}
