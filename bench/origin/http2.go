package origin

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// http2 answers HTTP/2 with prior knowledge. Only the first requests of a
// connection are decoded, to know those for /echo: all others get the same
// answer, and its header block uses no dynamic table, so nothing of HPACK needs
// to be kept.
type http2 struct {
	answer  func(c *conn, id uint32, body []byte)
	prefix  int // bytes of an answer's content before its body
	preface bool
	decoder *hpack.Decoder // nil after the first requests
	block   []byte         // a header block of the first requests, until it is whole
	decoded int
	echo    map[uint32][]byte // answers of streams that asked for an echo
	window  int               // what may be sent on the connection
	waiting []uint32          // streams whose answer waits for the window
	taken   int               // received bytes of bodies that were not given back
}

// decodedRequests is how many requests of a connection are decoded.
const decodedRequests = 8

func newHTTP2(answer func(*conn, uint32, []byte), prefix int) *http2 {
	return &http2{answer: answer, prefix: prefix, window: 65535, decoder: hpack.NewDecoder(4096, nil), echo: map[uint32][]byte{}}
}

const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Types and flags of frames, RFC 9113 section 6.
const (
	frameData, frameHeaders, frameSettings                  = 0, 1, 4
	framePing, frameWindow, frameContinuation               = 6, 8, 9
	flagEndStream, flagAck, flagEndHeaders, flagPadded      = 1, 1, 4, 8
	flagPriority                                       byte = 0x20
)

var errPreface = errors.New("not HTTP/2")

func (h *http2) receive(c *conn, in []byte) (int, error) {
	used := 0
	if !h.preface {
		if len(in) < len(clientPreface) {
			return 0, nil
		}
		if string(in[:len(clientPreface)]) != clientPreface {
			return 0, errPreface
		}
		h.preface = true
		used = len(clientPreface)
		// SETTINGS_MAX_CONCURRENT_STREAMS 1000, and a large window for bodies.
		c.send(frame(frameSettings, 0, 0, []byte{0, 3, 0, 0, 3, 0xe8}))
		c.send(windowUpdate(1 << 24))
	}
	for {
		rest := in[used:]
		if len(rest) < 9 {
			break
		}
		n := int(rest[0])<<16 | int(rest[1])<<8 | int(rest[2])
		if len(rest) < 9+n {
			break
		}
		id := binary.BigEndian.Uint32(rest[5:]) & (1<<31 - 1)
		if err := h.frame(c, rest[3], rest[4], id, rest[9:9+n]); err != nil {
			return 0, err
		}
		used += 9 + n
	}
	if h.taken >= 1<<20 {
		c.send(windowUpdate(h.taken))
		h.taken = 0
	}
	return used, nil
}

func (h *http2) frame(c *conn, kind, flags byte, id uint32, body []byte) error {
	switch kind {
	case frameHeaders, frameContinuation:
		if err := h.headers(kind, flags, id, body); err != nil {
			return err
		}
		if kind == frameHeaders && flags&flagEndStream != 0 {
			h.reply(c, id)
		}
	case frameData:
		h.taken += len(body)
		if flags&flagEndStream != 0 {
			h.reply(c, id)
		}
	case frameSettings:
		if flags&flagAck == 0 {
			c.send(frame(frameSettings, flagAck, 0, nil))
		}
	case framePing:
		if flags&flagAck == 0 {
			c.send(frame(framePing, flagAck, 0, body))
		}
	case frameWindow:
		if id == 0 && len(body) == 4 {
			h.window += int(binary.BigEndian.Uint32(body))
			waiting := h.waiting
			h.waiting = nil
			for _, id := range waiting {
				h.reply(c, id)
			}
		}
	}
	return nil
}

// headers decodes the first requests.
func (h *http2) headers(kind, flags byte, id uint32, body []byte) error {
	if h.decoder == nil {
		return nil
	}
	if kind == frameHeaders {
		if flags&flagPadded != 0 {
			body = body[1 : len(body)-int(body[0])]
		}
		if flags&flagPriority != 0 {
			body = body[5:]
		}
	}
	if h.block = append(h.block, body...); flags&flagEndHeaders == 0 {
		return nil
	}
	fields, err := h.decoder.DecodeFull(h.block)
	if err != nil {
		return err
	}
	var text strings.Builder
	asked := false
	for _, f := range fields {
		asked = asked || f.Name == ":path" && strings.HasSuffix(f.Value, "/echo")
		text.WriteString(f.Name + ": " + f.Value + "\r\n")
	}
	if asked {
		h.echo[id] = []byte(text.String())
	}
	h.block = h.block[:0]
	if h.decoded++; h.decoded == decodedRequests {
		h.decoder = nil
	}
	return nil
}

func (h *http2) reply(c *conn, id uint32) {
	body := smallBody
	if len(h.echo) > 0 && h.echo[id] != nil {
		body = h.echo[id]
	}
	n := h.prefix + len(body)
	if h.window < n {
		h.waiting = append(h.waiting, id)
		return
	}
	h.window -= n
	delete(h.echo, id)
	h.answer(c, id, body)
}

var (
	smallBody = bytes.Repeat([]byte{'x'}, SmallBody)
	// :status 200 and content-type, without a dynamic table (RFC 7541 appendix A:
	// 8 and 31; 0x0f 0x10 is a literal never put into the table, with name 31).
	plainHead = append([]byte{0x88, 0x0f, 0x10, 10}, "text/plain"...)
	grpcHead  = append([]byte{0x88, 0x0f, 0x10, 16}, "application/grpc"...)
	grpcTail  = append(append([]byte{0x00, 11}, "grpc-status"...), 1, '0')
)

func plainAnswer(c *conn, id uint32, body []byte) {
	c.pending = appendFrame(c.pending, frameHeaders, flagEndHeaders, id, plainHead)
	c.pending = appendFrame(c.pending, frameData, flagEndStream, id, body)
}

// grpcPrefix is the length of what stands before a message: compression and size.
const grpcPrefix = 5

func grpcAnswer(c *conn, id uint32, body []byte) {
	c.pending = appendFrame(c.pending, frameHeaders, flagEndHeaders, id, grpcHead)
	c.pending = appendHeader(c.pending, frameData, 0, id, grpcPrefix+len(body))
	c.pending = binary.BigEndian.AppendUint32(append(c.pending, 0), uint32(len(body))) // not compressed
	c.pending = append(c.pending, body...)
	c.pending = appendFrame(c.pending, frameHeaders, flagEndHeaders|flagEndStream, id, grpcTail)
}

func appendHeader(to []byte, kind, flags byte, id uint32, n int) []byte {
	to = append(to, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	return binary.BigEndian.AppendUint32(to, id)
}

func appendFrame(to []byte, kind, flags byte, id uint32, body []byte) []byte {
	return append(appendHeader(to, kind, flags, id, len(body)), body...)
}

func frame(kind, flags byte, id uint32, body []byte) []byte {
	return appendFrame(nil, kind, flags, id, body)
}

func windowUpdate(n int) []byte {
	return frame(frameWindow, 0, 0, binary.BigEndian.AppendUint32(nil, uint32(n)))
}
