package http2

import (
	"io"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// strm is what a stream is on both sides: two windows, a queue of received
// content, and why it ended. It is the Body of the message that it receives. All
// fields are guarded by the connection's mu, unless they say otherwise.
type strm struct {
	c   *conn
	id  uint32 // 0: not opened
	gen uint64 // counts the lives of a pooled object

	// receiving
	rcond     sync.Cond
	in        queue
	recvWin   int64
	recvBack  int64 // consumed, not yet returned
	left      int64 // content that the declared length still allows; -1: any
	remoteEnd bool
	given     bool // the reader gave the content up
	givenFor  stream.Reason
	eof       bool // Next has returned io.EOF
	hasTrail  bool
	trailers  stream.Head
	received  int64     // content bytes read by Next
	endAt     time.Time // when remoteEnd was met
	moved     time.Time // when a byte last went either way; of servers

	// sending
	wcond    sync.Cond
	sendWin  int64
	localEnd bool
	queued   bool // in conn.waiters
	next     *strm
	sendOff  error // writes fail, reads go on: the peer wants no more
	tail     tail

	// both
	err     error // why calls fail; nil while they do not
	soft    bool  // err came from outside: what arrived before is read first
	closed  bool  // out of the table
	refused bool  // the peer said that it did not act
	lingers bool  // in the table for nothing but the end, see exchange.abandon; of clients

	client *exchange     // whose stream it is, on a client
	server *serverStream // whose stream it is, on a server

	// of servers
	begun  time.Time
	timed  bool         // the request's time has passed, and the stream was told
	before func() error // is called under mu before Next waits; of servers
}

// tail is where the last DATA frame lies in the queue, to be marked as the last.
type tail struct {
	batch uint32
	at    int
	set   bool
}

// begin makes a stream ready for a new life. mu is held, or nobody knows it yet.
func (st *strm) begin(c *conn, id uint32) {
	st.c, st.id = c, id
	st.rcond.L, st.wcond.L = &c.mu, &c.mu
	st.recvWin, st.recvBack, st.left = int64(c.l.StreamWindow), 0, -1
	st.remoteEnd, st.given, st.eof, st.hasTrail, st.received = false, false, false, false, 0
	st.givenFor = stream.Reason{}
	st.endAt, st.moved = time.Time{}, time.Time{}
	st.sendWin, st.localEnd, st.sendOff, st.tail = c.peer.window, false, nil, tail{}
	st.err, st.soft, st.closed, st.refused, st.lingers = nil, false, false, false, false
}

// fail makes all calls fail. The first reason stays. mu is held.
func (st *strm) fail(r error) {
	if st.err == nil {
		st.err = r
	}
	st.soft = false
	st.rcond.Broadcast()
	st.wcond.Broadcast()
}

// cut is fail for what comes from outside: an answer that has arrived whole is
// still good, and the part that has arrived is read before the error. mu is held.
func (st *strm) cut(r error) {
	switch {
	case !st.c.client:
		st.fail(r)
		return
	case !st.remoteEnd:
		again := st.err != nil
		st.fail(r)
		st.soft = !again
		return
	}
	if st.sendOff == nil {
		st.sendOff = r
	}
	st.wcond.Broadcast()
}

// Next implements stream.Body.
func (st *strm) Next() ([]byte, error) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := st.in.release(); n > 0 {
		st.consumed(n)
	}
	for {
		switch {
		case st.eof:
			return nil, io.EOF
		case st.err != nil && (!st.soft || st.in.empty()):
			return nil, st.err
		case st.given:
			return nil, st.givenFor
		case !st.in.empty():
			p := st.in.take()
			st.received += int64(len(p))
			return p, nil
		case st.remoteEnd:
			st.eof = true
			return nil, io.EOF
		case st.closed:
			return nil, c.side.reason(false, "the stream was closed")
		}
		if st.before != nil {
			if err := st.before(); err != nil {
				return nil, err
			}
		}
		st.rcond.Wait()
	}
}

// Buffered implements stream.Body.
func (st *strm) Buffered() (n int, complete bool) {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if st.err != nil {
		return 0, false
	}
	return st.in.n, st.remoteEnd
}

// Trailers implements stream.Body. They are there as soon as the content was read, if
// they have come by then.
func (st *strm) Trailers() *stream.Head {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if !st.hasTrail || !st.eof && !(st.remoteEnd && st.in.empty()) {
		return nil
	}
	return &st.trailers
}

// Close implements stream.Body. What still comes is dropped, and its credit kept:
// the peer soon stops.
func (st *strm) Close(r stream.Reason) {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if st.given || st.eof {
		return
	}
	st.given, st.givenFor = true, r
	st.in.drop()
	st.rcond.Broadcast()
}

// data takes in content, pad bytes of padding with it. mu is held.
func (st *strm) data(p []byte, pad int, end bool) error {
	if st.remoteEnd {
		return &streamError{st.id, codeStreamClosed, "DATA after the end of the stream"}
	}
	n := int64(len(p) + pad)
	if n > st.recvWin {
		return &streamError{st.id, codeFlowControl, "DATA beyond the stream's window"}
	}
	st.recvWin -= n
	if st.left >= 0 {
		if st.left -= int64(len(p)); st.left < 0 {
			return &streamError{st.id, codeProtocol, "content longer than its declared length"}
		}
	}
	st.moved = st.c.now
	if !st.given && st.err == nil {
		st.in.add(p)
	}
	if end {
		if err := st.end(); err != nil {
			return err
		}
	} else if pad > 0 {
		st.consumed(pad)
	}
	st.rcond.Signal()
	return nil
}

// end takes in the end of the peer's direction. mu is held.
func (st *strm) end() error {
	if st.left > 0 {
		return &streamError{st.id, codeProtocol, "content shorter than its declared length"}
	}
	st.remoteEnd, st.endAt = true, st.c.now
	st.rcond.Signal()
	if st.localEnd {
		st.c.close(st, closedByEnd)
	}
	return nil
}

// trail takes in a trailer section, swapping it for an empty one. mu is held.
func (st *strm) trail(h *stream.Head) error {
	st.trailers, *h = *h, st.trailers
	st.hasTrail = st.trailers.Len() > 0
	return st.end()
}
