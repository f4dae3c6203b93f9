package http2

import (
	"errors"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

var errEnded = errors.New("write after the end of the message")

// sendable says why the stream cannot send. mu is held.
func (st *strm) sendable() error {
	switch {
	case st.err != nil:
		return st.err
	case st.sendOff != nil:
		return st.sendOff
	case st.localEnd:
		return errEnded
	case st.closed:
		return st.c.side.reason(false, "the stream was closed")
	}
	return nil
}

// send queues content as DATA frames and waits for credit and room where there is
// none. hold says that more follows at once: the writer is not woken yet. end ends
// the message. mu is held.
func (st *strm) send(p []byte, end, hold bool) error {
	c := st.c
	for len(p) > 0 {
		if err := st.sendable(); err != nil {
			return st.leave(err)
		}
		n := min(int64(len(p)), initialMaxFrame, st.sendWin, c.sendWin)
		if n <= 0 || c.space() <= 0 {
			st.await()
			continue
		}
		b := c.reserve(int(n) + frameHeaderLen)
		st.tail = tail{batch: c.writer.batch, at: len(b), set: true}
		b = appendFrameHeader(b, int(n), frameData, 0, st.id)
		c.set(append(b, p[:n]...))
		if c.now.After(st.moved) {
			st.moved = c.now
		}
		st.sendWin -= n
		c.sendWin -= n
		c.earned = min(c.earned+updatesPerData, maxEarned)
		p = p[n:]
		c.kick()
	}
	st.c.waiters.remove(st) // something else than its turn may have woken it
	if end {
		return st.finish(nil)
	}
	if !hold {
		c.wake()
	}
	return nil
}

// await waits until the stream may be able to send. mu is held.
func (st *strm) await() {
	c := st.c
	c.wake()
	if st.sendWin > 0 {
		c.waiters.push(st)
	} else {
		c.kick() // it was our turn; the next may have a window
	}
	st.wcond.Wait()
}

// leave gives up a place in the list of those who wait. mu is held.
func (st *strm) leave(err error) error {
	st.c.waiters.remove(st)
	st.c.kick()
	return err
}

// finish ends our direction: with a trailer section, by marking the last DATA frame
// where that is still queued, or with an empty one. mu is held.
func (st *strm) finish(trailers *stream.Head) error {
	c := st.c
	if err := st.sendable(); err != nil {
		return err
	}
	switch {
	case trailers != nil && trailers.Len() > 0:
		c.block = appendHead(c.enc.Begin(c.block[:0]), &c.enc, trailers, headTrailers)
		c.headers(st.id, c.block, true)
	case st.tail.set && st.tail.batch == c.writer.batch && !c.stopped:
		c.writer.b[st.tail.at+4] |= flagEndStream
	default:
		c.set(appendFrameHeader(c.reserve(frameHeaderLen), 0, frameData, flagEndStream, st.id))
	}
	st.ended()
	c.wake()
	return nil
}

// ended notes that our direction has ended. mu is held.
func (st *strm) ended() {
	st.localEnd = true
	if st.remoteEnd {
		st.c.close(st, closedByEnd)
	}
}

// headers queues a header block, in as many frames as it needs. mu is held.
func (c *conn) headers(id uint32, block []byte, end bool) {
	t, flags := frameHeaders, uint8(0)
	if end {
		flags = flagEndStream
	}
	for {
		n := min(len(block), initialMaxFrame)
		if n == len(block) {
			flags |= flagEndHeaders
		}
		b := appendFrameHeader(c.reserve(frameHeaderLen+n), n, t, flags, id)
		c.set(append(b, block[:n]...))
		if block = block[n:]; len(block) == 0 {
			break
		}
		t, flags = frameContinuation, 0
	}
	if cap(c.block) > 64<<10 {
		c.block = nil
	}
}
