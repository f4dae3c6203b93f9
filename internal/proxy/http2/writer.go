package http2

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

const (
	// maxQueued is how many bytes wait for the writer before bodies stop adding: a
	// frame more still fits into the largest pooled buffer.
	maxQueued = rawio.LargeBuffer - initialMaxFrame - 8<<10
	// maxStuck is how many may wait at all. Only frames that answer the peer's own
	// come that far, where it sends and does not read (RFC 9113 §10.5).
	maxStuck = 4 << 20
	// closeTime bounds the last writes of a connection, and the wait for its peer.
	closeTime = time.Second
)

// writer is the queue of frames and what its goroutine needs. It is guarded by
// conn.mu.
type writer struct {
	cond    sync.Cond // wakes the goroutine
	buf     *rawio.Buffer
	b       []byte // queued frames, in buf
	batch   uint32 // counts the buffers: which one b is
	tried   uint32 // batches below were handed to the kernel, at least in part
	awake   bool   // the goroutine was told, and has not taken the queue yet
	running bool   // there is a goroutine
	used    bool   // it was told since the last look
	retire  bool   // it ends, and the next frames start another
	closing bool   // it ends for good when the queue is empty
	over    bool   // it has
	broken  bool   // a write failed
}

// reserve returns the queue with room for n bytes, to append to and give to set.
// mu is held.
func (c *conn) reserve(n int) []byte {
	w := &c.writer
	if cap(w.b)-len(w.b) >= n {
		return w.b
	}
	next := rawio.GetBuffer(growth(len(w.b)+n, cap(w.b)))
	b := append(next.B[:0], w.b...)
	w.buf.Release()
	w.buf = next
	return b
}

// growth is the size of a buffer for n bytes that follows one of size have: of the
// next class, so that a busy connection copies once or twice.
func growth(n, have int) int {
	switch {
	case n > rawio.LargeBuffer:
		return max(n, 2*have)
	case n > rawio.MediumBuffer:
		return rawio.LargeBuffer
	case n > rawio.SmallBuffer || have > 0:
		return rawio.MediumBuffer
	}
	return n
}

// set makes b the queue. After the end of the connection nothing is queued.
func (c *conn) set(b []byte) {
	w := &c.writer
	if w.closing || w.broken {
		if w.broken {
			b = b[:0]
		} else {
			b = b[:len(w.b)]
		}
	}
	w.b = b
}

// wake lets the writer take the queue. mu is held.
func (c *conn) wake() {
	w := &c.writer
	if w.awake || w.over {
		return
	}
	w.awake, w.used, w.retire = true, true, false
	if w.running {
		w.cond.Signal()
		return
	}
	w.running = true
	c.keep(c.l.Now())
	go c.write()
}

func (c *conn) wakeIfQueued() {
	if len(c.writer.b) > 0 {
		c.wake()
	}
}

// flush lets the writer take what is queued.
func (c *conn) flush() {
	c.mu.Lock()
	c.wakeIfQueued()
	c.mu.Unlock()
}

// space is how many bytes bodies may add to the queue. mu is held.
func (c *conn) space() int { return maxQueued - len(c.writer.b) }

// write is the writing goroutine. It ends while nothing is written for a while, and
// for good when the connection is stopped and its last frames are out.
func (c *conn) write() {
	c.mu.Lock()
	over := c.writeQueues()
	c.writer.running, c.writer.over = false, over
	c.mu.Unlock()
	if !over {
		return
	}
	if c.client {
		// What could be sent was sent, and the reader wakes.
		_ = c.t.Close()
	}
	close(c.wdone)
}

// writeQueues yields once before it takes the queue, so that streams that are about
// to add to it can, and hands it over in one call. It reports whether the connection
// has ended. mu is held.
func (c *conn) writeQueues() (over bool) {
	w := &c.writer
	for {
		for !w.awake && !w.closing {
			if w.retire {
				w.retire = false
				return false
			}
			w.cond.Wait()
		}
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
		w.awake = false
		if len(w.b) == 0 {
			if w.closing {
				return true
			}
			continue
		}
		if !c.writeQueue() && w.closing {
			return true
		}
	}
}

// writeQueue writes what is queued. mu is held, but not while it writes.
func (c *conn) writeQueue() bool {
	w := &c.writer
	buf, b, batch := w.buf, w.b, w.batch
	w.buf, w.b = nil, nil
	w.batch++
	w.tried = w.batch
	c.kick()
	c.mu.Unlock()
	n, err := c.handOver(b)
	buf.Release()
	if err != nil {
		c.mu.Lock()
		w.broken = true
		if n == 0 {
			w.tried = batch
		}
		c.mu.Unlock()
		c.stop(codeNo, c.side.reason(false, "write: "+err.Error()), "")
	}
	c.mu.Lock()
	if w.broken {
		w.buf.Release()
		w.buf, w.b = nil, nil
	}
	return err == nil
}

// handOver writes to the transport. A defect there ends one connection.
func (c *conn) handOver(b []byte) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.l.Log.Error("panic in a connection", "panic", p, "stack", string(debug.Stack()))
			n, err = len(b), fmt.Errorf("panic: %v", p)
		}
	}()
	return c.t.Write(b)
}

// stuck reports that the peer lets answers to its frames pile up.
func (c *conn) stuck() bool { return len(c.writer.b) > maxStuck }
