package http2

import (
	"encoding/binary"
	"io"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// source reads frames from a transport. It borrows its buffer when there is
// something to read and gives it back when it was read.
type source struct {
	t    rawio.Transport
	buf  *rawio.Buffer
	r, w int  // buf.B[r:w] is unread
	full bool // the last read filled its buffer: there is more
	skip int  // bytes of the last frame, consumed by the next call
}

func (s *source) buffered() []byte {
	if s.buf == nil {
		return nil
	}
	return s.buf.B[s.r:s.w]
}

// ready reports whether n bytes are buffered.
func (s *source) ready(n int) bool { return s.w-s.r >= n }

// next parses the frame that is buffered. ok is false where more has to be read.
func (s *source) next(f *frame) (ok bool, err error) {
	s.r += s.skip
	s.skip = 0
	if !s.ready(frameHeaderLen) {
		return false, nil
	}
	p := s.buffered()
	n := int(p[0])<<16 | int(p[1])<<8 | int(p[2])
	if n > initialMaxFrame {
		return false, fatal(codeFrameSize, "frame larger than allowed")
	}
	if len(p) < frameHeaderLen+n {
		return false, nil
	}
	f.typ, f.flags = frameType(p[3]), p[4]
	f.id = binary.BigEndian.Uint32(p[5:]) & maxStreamID
	f.payload = p[frameHeaderLen : frameHeaderLen+n : frameHeaderLen+n]
	s.skip = frameHeaderLen + n
	return true, nil
}

// fill reads once behind what is buffered.
func (s *source) fill() error {
	if s.r == s.w {
		size := rawio.SmallBuffer
		if s.full {
			size = rawio.LargeBuffer
		}
		s.drop()
		b, n, err := rawio.ReadLazy(s.t, size)
		if err != nil {
			return err
		}
		s.buf, s.w = b, n
		s.full = n == len(b.B)
		return nil
	}
	// The rest of a frame moves to the front of a buffer that holds several.
	if s.r > 0 || s.w == len(s.buf.B) {
		old := s.buffered()
		if len(s.buf.B) >= rawio.LargeBuffer {
			s.w = copy(s.buf.B, old)
		} else {
			next := rawio.GetBuffer(rawio.LargeBuffer)
			n := copy(next.B, old)
			s.drop()
			s.buf, s.w = next, n
		}
		s.r = 0
	}
	n, err := s.t.Read(s.buf.B[s.w:])
	s.w += n
	s.full = s.w == len(s.buf.B)
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// drop gives the buffer back with what it holds.
func (s *source) drop() {
	s.buf.Release()
	s.buf, s.r, s.w, s.skip = nil, 0, 0, 0
}
