package http1

import (
	"io"
	"math"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// bodyKind is how a message's body is delimited.
type bodyKind uint8

const (
	noBody bodyKind = iota
	lengthBody
	chunkedBody
	closeBody // until the connection ends: responses only
)

// bodyOwner is the connection that a body is read from.
type bodyOwner interface {
	// beforeRead is called before a read that may wait.
	beforeRead() error
	// progress is called after bytes came.
	progress()
	// readError says why the body was cut short.
	readError(error) error
	// giveUp wakes a blocked read and ends the connection's reuse.
	giveUp()
}

// body reads a message's content from its connection. One goroutine reads; Close
// may be called by any.
type body struct {
	owner bodyOwner
	src   *source

	mu         sync.Mutex // held while Next reads: whoever has it is the reader
	kind       bodyKind
	left       int64       // lengthBody: bytes to come
	total      int64       // lengthBody: bytes in all; set by start, read by its caller
	chunks     chunkReader // chunkedBody
	maxHead    int
	maxHeaders int
	raw        []byte      // the trailer section as it comes
	trailers   stream.Head // parsed at the end
	n          int64       // content bytes read
	err        error       // io.EOF at the end, or why there is no more
	clock      func() time.Time
	end        time.Time // when the end was met; set where clock is

	closing sync.Mutex
	closed  bool          // guarded by closing
	woke    bool          // guarded by closing: the reader was woken by a past deadline
	reason  stream.Reason // guarded by closing
}

// start begins a body. length counts for lengthBody only.
func (b *body) start(kind bodyKind, length int64) {
	b.kind, b.left, b.total, b.n, b.err = kind, length, length, 0, nil
	b.clock, b.end = nil, time.Time{}
	b.chunks = chunkReader{}
	b.raw = b.raw[:0]
	b.trailers.Reset()
	b.closed, b.woke, b.reason = false, false, stream.Reason{}
	if kind == noBody || kind == lengthBody && length == 0 {
		b.err = io.EOF
	}
}

// Next implements stream.Body.
func (b *body) Next() ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, b.err
	}
	for {
		if r, closed := b.isClosed(); closed {
			b.err = r
			return nil, b.err
		}
		if len(b.src.buffered()) > 0 {
			p, err := b.decode()
			if err != nil {
				b.err = err
				if err != io.EOF {
					b.err = b.owner.readError(err)
				} else {
					b.ended()
				}
				return nil, b.err
			}
			if len(p) > 0 {
				b.n += int64(len(p))
				if b.err != nil {
					b.ended()
				}
				return p, nil
			}
			continue
		}
		if err := b.read(); err != nil {
			b.err = err
			return nil, err
		}
	}
}

func (b *body) ended() {
	if b.clock != nil {
		b.end = b.clock()
	}
}

// read waits for more bytes.
func (b *body) read() error {
	if err := b.owner.beforeRead(); err != nil {
		return err
	}
	want := int64(math.MaxInt64)
	if b.kind == lengthBody {
		want = b.left + 1 // what is over must not wait unseen in a transport
	}
	err := b.src.fill(want)
	if err == nil {
		b.owner.progress()
		return nil
	}
	if err == io.EOF && b.kind == closeBody {
		return io.EOF
	}
	if r, closed := b.isClosed(); closed {
		return r
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return b.owner.readError(err)
}

// decode takes the next piece of content out of the buffer. It may return neither
// content nor an error, if what is buffered is framing.
func (b *body) decode() ([]byte, error) {
	switch b.kind {
	case lengthBody:
		p := b.src.take(int(min(b.left, int64(len(b.src.buffered())))))
		if b.left -= int64(len(p)); b.left == 0 {
			b.err = io.EOF // for the next call
		}
		return p, nil
	case closeBody:
		return b.src.take(len(b.src.buffered())), nil
	}
	n, data, trailer, err := b.chunks.next(b.src.buffered(), b.maxHead)
	b.src.take(n)
	b.raw = append(b.raw, trailer...)
	if err == nil && b.chunks.state == chunkDone {
		if err = b.parseTrailers(); err == nil {
			err = io.EOF
		}
	}
	return data, err
}

func (b *body) parseTrailers() error {
	if len(b.raw) <= 2 {
		return nil // the empty line alone
	}
	f := framing{length: -1, trailers: true}
	return parseFields(&b.trailers, b.raw[:len(b.raw)-2], b.maxHeaders, &f)
}

// Buffered implements stream.Body.
func (b *body) Buffered() (n int, complete bool) {
	if b.err != nil {
		return 0, b.err == io.EOF
	}
	p := b.src.buffered()
	switch b.kind {
	case lengthBody:
		return int(min(b.left, int64(len(p)))), b.left <= int64(len(p))
	case closeBody:
		return len(p), false
	}
	c := b.chunks
	for len(p) > 0 && c.state != chunkDone {
		k, data, _, err := c.next(p, b.maxHead)
		if err != nil {
			return n, false
		}
		n += len(data)
		p = p[k:]
	}
	return n, c.state == chunkDone
}

// Trailers implements stream.Body.
func (b *body) Trailers() *stream.Head {
	if b.err != io.EOF || b.trailers.Len() == 0 {
		return nil
	}
	return &b.trailers
}

// Close implements stream.Body.
func (b *body) Close(r stream.Reason) {
	b.closing.Lock()
	again := b.closed
	b.closed = true
	if !again {
		b.reason = r
	}
	b.closing.Unlock()
	if again {
		return
	}
	if b.mu.TryLock() {
		// Nobody reads. Whether the rest is worth reading is the connection's choice.
		b.mu.Unlock()
		return
	}
	b.closing.Lock()
	b.woke = true
	b.closing.Unlock()
	b.owner.giveUp()
}

// woken reports whether Close has left a past deadline behind.
func (b *body) woken() bool {
	b.closing.Lock()
	defer b.closing.Unlock()
	return b.woke
}

func (b *body) isClosed() (stream.Reason, bool) {
	b.closing.Lock()
	defer b.closing.Unlock()
	return b.reason, b.closed
}

// finished reports whether the whole body was read, framing and all. It is false
// while another goroutine reads.
func (b *body) finished() bool {
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	b.settle()
	return b.err == io.EOF
}

// finishable reports whether the rest of the body is little enough to be read for
// the connection's sake. While someone waits for more, only the whole is known.
func (b *body) finishable() bool {
	if !b.mu.TryLock() {
		return b.kind == lengthBody && b.total <= maxDiscard
	}
	defer b.mu.Unlock()
	b.settle()
	if b.err != nil {
		return b.err == io.EOF
	}
	if b.kind == lengthBody {
		return b.left <= maxDiscard
	}
	_, complete := b.Buffered()
	return complete
}

// count is the number of content bytes read, and when the end was met if that was
// timed; add counts a tunnel's bytes.
func (b *body) count() (int64, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n, b.end
}

func (b *body) add(n int64) {
	b.mu.Lock()
	b.n += n
	b.mu.Unlock()
}

// settle takes the end of a body whose content was read to the end but whose end
// was not asked for. It does not wait. mu is held.
func (b *body) settle() {
	if b.err != nil || b.kind != chunkedBody {
		return
	}
	c := b.chunks
	for p := b.src.buffered(); len(p) > 0 && c.state != chunkDone; {
		k, data, _, err := c.next(p, b.maxHead)
		if err != nil || len(data) > 0 {
			return
		}
		p = p[k:]
	}
	for c.state == chunkDone && b.err == nil {
		if _, err := b.decode(); err != nil {
			b.err = err
		}
	}
}

// discard reads and drops the rest, at most limit bytes, and reports whether the
// end was reached. The caller is the only reader now.
func (b *body) discard(limit int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r, closed := b.isClosed(); closed && b.err == error(r) {
		b.err = nil // its reader was woken in the middle, and the rest is as it was
	}
	for b.err == nil && limit >= 0 {
		if len(b.src.buffered()) == 0 {
			if err := b.read0(); err != nil {
				return false
			}
		}
		p, err := b.decode()
		limit -= int64(len(p))
		if err != nil {
			b.err = err
		}
	}
	return b.err == io.EOF
}

// read0 reads without the checks of read: the body was closed, on purpose.
func (b *body) read0() error { return b.src.fill(b.left) }
