package behave

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// client2 speaks HTTP/2.
type client2 struct {
	*net.TCPConn
	f    *http2.Framer
	enc  *hpack.Encoder
	buf  bytes.Buffer
	next uint32
}

func newClient2(c *net.TCPConn) (*client2, error) {
	x := &client2{TCPConn: c, next: 1}
	x.enc = hpack.NewEncoder(&x.buf)
	x.f = http2.NewFramer(c, c)
	x.f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_, err := io.WriteString(c, http2.ClientPreface)
	return x, err
}

func (c *client2) local() string { return c.LocalAddr().String() }
func (c *client2) close()        { c.Close() }

func (c *client2) block(method, path string, more ...string) []byte {
	c.buf.Reset()
	fields := append([]string{":method", method, ":scheme", "http", ":path", path, ":authority", "behave"}, more...)
	for i := 0; i < len(fields); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // into memory
	}
	return bytes.Clone(c.buf.Bytes())
}

// request begins a stream.
func (c *client2) request(end bool, method, path string, more ...string) uint32 {
	id := c.next
	c.next += 2
	_ = c.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block(method, path, more...), EndHeaders: true, EndStream: end}) // a lost proxy shows in reading
	return id
}

func (c *client2) play(script, path string, post bool, arrived func()) seen {
	if script == "zero-window" {
		_ = c.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	} else {
		_ = c.f.WriteSettings()
	}
	switch script {
	case "":
		if !post {
			return c.read(c.request(true, "GET", path))
		}
		id := c.request(false, "POST", path, "content-length", "5")
		_ = c.f.WriteData(id, true, []byte("hello"))
		return c.read(id)
	case "half-body":
		return c.read(c.half(path))
	case "half-body-reset":
		c.half(path)
		arrived()
		return c.reset()
	case "half-body-fin":
		id := c.half(path)
		arrived()
		return c.fin(id)
	case "half-body-cancel":
		id := c.half(path)
		arrived()
		return c.cancel(id)
	case "short-body":
		id := c.half(path)
		_ = c.f.WriteData(id, true, []byte("and no more"))
		return c.read(id)
	case "reset":
		c.request(true, "GET", path)
		arrived()
		return c.reset()
	case "fin":
		id := c.request(true, "GET", path)
		arrived()
		return c.fin(id)
	case "cancel":
		id := c.request(true, "GET", path)
		arrived()
		return c.cancel(id)
	case "half-head-reset":
		_ = c.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block("GET", path)[:10]})
		return c.reset()
	case "garbage":
		_, _ = io.WriteString(c, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
		return c.read(1)
	case "bad-block":
		_ = c.f.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff})
		return c.read(1)
	case "no-path":
		c.buf.Reset()
		_ = c.enc.WriteField(hpack.HeaderField{Name: ":method", Value: "GET"})
		_ = c.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.buf.Bytes(), EndHeaders: true, EndStream: true})
		c.next += 2
		return c.read(1)
	case "connection-header":
		return c.read(c.request(true, "GET", path, "connection", "close"))
	case "big-head":
		return c.bigHead(path)
	case "zero-window":
		return c.zeroWindow(c.request(true, "GET", path))
	case "idle":
		s := c.read(1)
		s.more = "closed" // with or without a GOAWAY, at once or after a while
		return s
	}
	return seen{answer: "no script " + script}
}

func (c *client2) half(path string) uint32 {
	id := c.request(false, "POST", path, "content-length", "1000")
	_ = c.f.WriteData(id, false, []byte("half"))
	return id
}

func (c *client2) reset() seen {
	time.Sleep(30 * time.Millisecond)
	_ = c.SetLinger(0)
	c.Close()
	return seen{answer: "-"}
}

func (c *client2) fin(id uint32) seen {
	time.Sleep(30 * time.Millisecond)
	_ = c.CloseWrite()
	s := c.read(id)
	s.again = false
	return s
}

func (c *client2) cancel(id uint32) seen {
	time.Sleep(30 * time.Millisecond)
	_ = c.f.WriteRSTStream(id, http2.ErrCodeCancel)
	return seen{answer: "-", again: true}
}

// bigHead sends a head of 70 KiB.
func (c *client2) bigHead(path string) seen {
	block := c.block("GET", path, "x-big", strings.Repeat("x", 90<<10))
	c.next += 2
	_ = c.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:16000], EndStream: true})
	for block = block[16000:]; len(block) > 0; block = block[min(16000, len(block)):] {
		_ = c.f.WriteContinuation(1, len(block) <= 16000, block[:min(16000, len(block))])
	}
	return c.read(1)
}

// zeroWindow takes the head, waits, and then opens the window.
func (c *client2) zeroWindow(id uint32) seen {
	time.Sleep(100 * time.Millisecond)
	_ = c.f.WriteWindowUpdate(id, 1<<20)
	s := c.read(id)
	s.more = "after the window opened"
	_ = c.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 65535})
	return s
}

// read reads the answer of a stream.
func (c *client2) read(id uint32) seen {
	s := seen{answer: "none", again: true}
	begun := false
	cut := func(how string) seen {
		if begun {
			s.answer += " cut"
		}
		s.more = how
		return s
	}
	for {
		f, err := c.f.ReadFrame()
		if _, ok := errors.AsType[http2.StreamError](err); ok {
			continue
		}
		if err != nil {
			s.again = false
			return cut("closed" + late(err))
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = c.f.WriteSettingsAck()
			}
		case *http2.GoAwayFrame:
			s.again = false
			if f.ErrCode != http2.ErrCodeNo || c.next == 1 { // nothing is under way
				return cut("GOAWAY " + f.ErrCode.String())
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return cut("RST_STREAM " + f.ErrCode.String())
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			if v := f.PseudoValue("status"); v == "103" {
				s.more = "after 103"
			} else if v != "" && v[0] != '1' {
				s.answer, begun = v, true
				for _, h := range f.RegularFields() {
					if h.Name == "x-lateen-reason" {
						s.reason, _, _ = strings.Cut(h.Value, ":")
					}
				}
			}
			if f.StreamEnded() {
				return s
			}
		case *http2.DataFrame:
			if n := uint32(f.Header().Length); n > 0 {
				_ = c.f.WriteWindowUpdate(0, n)
				_ = c.f.WriteWindowUpdate(f.StreamID, n)
			}
			if f.StreamID == id && f.StreamEnded() {
				return s
			}
		}
	}
}

func (c *client2) follow(path string) bool {
	s := c.read(c.request(true, "GET", path))
	return s.answer == "200"
}
