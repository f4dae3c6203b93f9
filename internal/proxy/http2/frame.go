package http2

import "encoding/binary"

// frameType is the type of a frame (RFC 9113 §6).
type frameType uint8

const (
	frameData         frameType = 0
	frameHeaders      frameType = 1
	framePriority     frameType = 2
	frameRSTStream    frameType = 3
	frameSettings     frameType = 4
	framePushPromise  frameType = 5
	framePing         frameType = 6
	frameGoAway       frameType = 7
	frameWindowUpdate frameType = 8
	frameContinuation frameType = 9
)

const (
	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	frameHeaderLen  = 9
	initialMaxFrame = 16384
	maxMaxFrame     = 1<<24 - 1
	initialWindow   = 65535
	maxWindow       = 1<<31 - 1
	maxStreamID     = 1<<31 - 1
)

// preface is what every client begins with (RFC 9113 §3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frame is a frame as it was read; payload is a view until the next read.
type frame struct {
	typ     frameType
	flags   uint8
	id      uint32
	payload []byte
}

func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// unpad strips padding and, where HEADERS carry it, the old priority (RFC 9113
// §6.1, §6.2), which is returned.
func (f *frame) unpad() (content, priority []byte, err error) {
	p := f.payload
	pad := 0
	if f.has(flagPadded) {
		if len(p) == 0 {
			return nil, nil, fatal(codeFrameSize, "padded frame without a length")
		}
		pad = int(p[0])
		p = p[1:]
	}
	if f.typ == frameHeaders && f.has(flagPriority) {
		if len(p) < 5 {
			return nil, nil, fatal(codeFrameSize, "HEADERS too short for its priority")
		}
		priority, p = p[:5], p[5:]
	}
	if pad > len(p) {
		return nil, nil, fatal(codeProtocol, "padding longer than the frame")
	}
	return p[:len(p)-pad], priority, nil
}

func appendFrameHeader(b []byte, length int, t frameType, flags uint8, id uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), byte(t), flags,
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

// appendWord appends a frame whose payload is one 32-bit word.
func appendWord(b []byte, t frameType, id, word uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(b, 4, t, 0, id), word)
}

func appendPing(b []byte, flags uint8, data []byte) []byte {
	return append(appendFrameHeader(b, 8, framePing, flags, 0), data...)
}

func appendGoAway(b []byte, last uint32, code errCode, debug string) []byte {
	b = appendFrameHeader(b, 8+len(debug), frameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, debug...)
}
