package http1

import (
	"bytes"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// source is a buffered reader of a transport. It borrows its buffer when there is
// something to read and gives it back when it was read.
type source struct {
	t    rawio.Transport
	buf  *rawio.Buffer // nil when nothing is buffered
	r, w int           // buf.B[r:w] is unread
	pace rawio.Pace    // of a body's reads
}

func (s *source) buffered() []byte {
	if s.buf == nil {
		return nil
	}
	return s.buf.B[s.r:s.w]
}

// take consumes n buffered bytes and returns them: a view until the next fill.
func (s *source) take(n int) []byte {
	p := s.buf.B[s.r : s.r+n : s.r+n]
	s.r += n
	return p
}

// release gives the buffer back if all of it was read.
func (s *source) release() {
	if s.r == s.w {
		s.drop()
	}
}

// drop gives the buffer back with what it holds.
func (s *source) drop() {
	s.buf.Release()
	s.buf, s.r, s.w = nil, 0, 0
}

// fill reads once into an empty source, in a buffer for about want bytes: as large
// as the flow deserves. A source that waits holds none.
func (s *source) fill(want int64) error {
	s.drop()
	size := rawio.SmallBuffer
	body := want > rawio.SmallBuffer
	if body {
		size = int(min(want, int64(s.pace.Size())))
	}
	b, n, err := rawio.ReadLazy(s.t, size)
	if err != nil {
		return err
	}
	if body && size == s.pace.Size() {
		s.pace.Read(n)
	}
	s.buf, s.r, s.w = b, 0, n
	return nil
}

// more reads once behind what is buffered, with a larger buffer where needed.
func (s *source) more() error {
	if s.buf == nil || s.r == s.w {
		return s.fill(0)
	}
	if s.w == len(s.buf.B) {
		old := s.buffered()
		next := rawio.GetBuffer(max(2*len(old), rawio.SmallBuffer))
		n := copy(next.B, old)
		s.drop()
		s.buf, s.w = next, n
	}
	n, err := s.t.Read(s.buf.B[s.w:])
	s.w += n
	return err
}

// head returns a whole head, its empty line included, and consumes it; nil means
// that more has to be read. scanned is what earlier calls have looked through.
func (s *source) head(limit int, scanned *int) ([]byte, error) {
	p := s.buffered()
	if i := bytes.Index(p[max(0, *scanned-3):], headEnd); i >= 0 {
		n := max(0, *scanned-3) + i + len(headEnd)
		if n > limit {
			return nil, errHeadTooLarge
		}
		return s.take(n), nil
	}
	if err := checkPart(p, *scanned); err != nil {
		return nil, err
	}
	*scanned = len(p)
	if len(p) >= limit {
		return nil, errHeadTooLarge
	}
	return nil, nil
}

// checkPart finds what can be refused before the head is complete: a bare LF,
// which would let a sender that ends lines so wait for ever, and NUL, which no
// HTTP begins with.
func checkPart(p []byte, from int) error {
	for i := from; i < len(p); i++ {
		nl := bytes.IndexByte(p[i:], '\n')
		if nl < 0 {
			break
		}
		if i += nl; i == 0 || p[i-1] != '\r' {
			return errBareLF
		}
	}
	if bytes.IndexByte(p[from:], 0) >= 0 {
		return errFieldValue
	}
	return nil
}
