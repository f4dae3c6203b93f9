package http2

import "encoding/binary"

// windowUpdate takes in the peer's credit (RFC 9113 §6.9).
func (c *conn) windowUpdate(f *frame) error {
	if len(f.payload) != 4 {
		return fatal(codeFrameSize, "WINDOW_UPDATE of a wrong size")
	}
	n := int64(binary.BigEndian.Uint32(f.payload) & maxWindow)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.earned > 0 {
		c.earned--
	} else if err := c.budget.take(c.l.Now, 1); err != nil {
		return err
	}
	if f.id == 0 {
		if n == 0 {
			return fatal(codeProtocol, "WINDOW_UPDATE of 0")
		}
		if c.sendWin += n; c.sendWin > maxWindow {
			return fatal(codeFlowControl, "the connection's window overflows")
		}
		c.kick()
		return nil
	}
	st := c.streams[f.id]
	if st == nil {
		return c.late(f)
	}
	if n == 0 {
		return &streamError{f.id, codeProtocol, "WINDOW_UPDATE of 0"}
	}
	if st.sendWin += n; st.sendWin > maxWindow {
		return &streamError{f.id, codeFlowControl, "the stream's window overflows"}
	}
	st.wcond.Signal()
	return nil
}

// Every DATA frame that we send entitles the peer to a number of updates; only
// those beyond cost its budget.
const (
	updatesPerData = 10
	maxEarned      = 10000
)

// receive takes n bytes of flow-controlled content out of the connection's window,
// and returns its credit at once in steps of half a window. mu is held.
func (c *conn) receive(n int) error {
	if int64(n) > c.recvWin {
		return fatal(codeFlowControl, "DATA beyond the connection's window")
	}
	c.recvWin -= int64(n)
	c.recvBack += int64(n)
	if 2*c.recvBack >= int64(c.l.ConnWindow) {
		c.set(appendWord(c.reserve(frameHeaderLen+4), frameWindowUpdate, 0, uint32(c.recvBack)))
		c.recvWin += c.recvBack
		c.recvBack = 0
	}
	return nil
}

// consumed returns a stream's credit, in steps of half a window. mu is held.
func (st *strm) consumed(n int) {
	c := st.c
	st.recvBack += int64(n)
	if st.remoteEnd || st.closed || c.stopped || 2*st.recvBack < int64(c.l.StreamWindow) {
		return
	}
	c.set(appendWord(c.reserve(frameHeaderLen+4), frameWindowUpdate, st.id, uint32(st.recvBack)))
	st.recvWin += st.recvBack
	st.recvBack = 0
	c.wake()
}

// waitList holds the streams that wait for the connection, first come first
// served: for its window, or for room in the queue.
type waitList struct{ first, last *strm }

func (l *waitList) push(st *strm) {
	if st.queued {
		return
	}
	st.queued, st.next = true, nil
	if l.last == nil {
		l.first = st
	} else {
		l.last.next = st
	}
	l.last = st
}

func (l *waitList) pop() *strm {
	st := l.first
	if st == nil {
		return nil
	}
	if l.first = st.next; l.first == nil {
		l.last = nil
	}
	st.next, st.queued = nil, false
	return st
}

// remove takes a stream out that has given up.
func (l *waitList) remove(st *strm) {
	if !st.queued {
		return
	}
	var prev *strm
	for at := l.first; at != nil; prev, at = at, at.next {
		if at != st {
			continue
		}
		if prev == nil {
			l.first = st.next
		} else {
			prev.next = st.next
		}
		if l.last == st {
			l.last = prev
		}
		break
	}
	st.next, st.queued = nil, false
}

// kick lets the next waiting stream go on, if the connection can take anything.
// That one kicks the next when it has had its turn. mu is held.
func (c *conn) kick() {
	if c.sendWin <= 0 || c.space() <= 0 {
		return
	}
	if st := c.waiters.pop(); st != nil {
		st.wcond.Signal()
	}
}
