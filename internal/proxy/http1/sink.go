package http1

import (
	"sync"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// sink is a buffered writer of a transport. It borrows its buffer while it holds
// something. Small pieces are gathered by copying, which is cheaper than a vector;
// large ones go out as they are, in one call with what waits before them.
type sink struct {
	t   rawio.Transport
	buf *rawio.Buffer
	b   []byte // what waits; it may outgrow buf
	n   int64  // bytes written or tried
}

// vectors are borrowed for the calls that need one: a connection that waits has
// none. They hold no state.
var vectors = sync.Pool{New: func() any { return new([3][]byte) }}

// head returns the buffer to append to; set gives it back.
func (s *sink) head() []byte {
	if s.buf == nil {
		s.buf = rawio.GetBuffer(rawio.SmallBuffer)
		s.b = s.buf.B[:0]
	}
	return s.b
}

func (s *sink) set(b []byte) { s.b = b }

// str appends a string.
func (s *sink) str(v string) { s.set(append(s.head(), v...)) }

// add writes p behind what waits: by copy where it fits, else at once. p is not
// kept.
func (s *sink) add(p []byte) error {
	if b := s.head(); len(b)+len(p) <= cap(b) {
		s.set(append(b, p...))
		return nil
	}
	return s.direct(p, nil)
}

// chunk writes p as one chunk of the chunked coding.
func (s *sink) chunk(p []byte) error {
	b := s.head()
	b = appendHex(b, len(p))
	b = append(b, "\r\n"...)
	if len(b)+len(p)+2 <= cap(b) {
		b = append(b, p...)
		s.set(append(b, "\r\n"...))
		return nil
	}
	s.set(b)
	return s.direct(p, crlf)
}

var crlf = []byte("\r\n")

// direct writes what waits, p and end in one call.
func (s *sink) direct(p, end []byte) error {
	vec := vectors.Get().(*[3][]byte)
	*vec = [3][]byte{s.b, p, end}
	n, err := s.t.WriteBuffers(vec[:])
	s.n += n
	*vec = [3][]byte{}
	vectors.Put(vec)
	s.drop()
	return err
}

// flush writes what waits and gives the buffer back.
func (s *sink) flush() error {
	if len(s.b) == 0 {
		s.drop()
		return nil
	}
	n, err := s.t.Write(s.b)
	s.n += int64(n)
	s.drop()
	return err
}

// drop forgets what waits.
func (s *sink) drop() {
	s.buf.Release()
	s.buf, s.b = nil, nil
}

func appendHex(b []byte, n int) []byte {
	const digits = "0123456789abcdef"
	shift := 0
	for n>>shift >= 16 {
		shift += 4
	}
	for ; shift >= 0; shift -= 4 {
		b = append(b, digits[n>>shift&15])
	}
	return b
}
