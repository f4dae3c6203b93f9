package http1

import (
	"io"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// work is what a connection needs while it serves a request. One that waits has
// none: idle connections are many, and their memory is what a mesh costs at rest.
type work struct {
	out     sink
	stream  stream.Stream
	body    body
	f       framing
	outcome stream.Outcome
}

// works hold memory, no state: Recycle, start and reset clear what an exchange left.
var works = sync.Pool{New: func() any { return new(work) }}

// takeUp borrows what an exchange needs.
func (c *ServerConn) takeUp() {
	if c.work != nil {
		return
	}
	w := works.Get().(*work)
	w.out.t = c.t
	w.body.owner, w.body.src = &c.codec, &c.src
	w.body.maxHead, w.body.maxHeaders = c.o.MaxHeadBytes, c.o.MaxHeaders
	w.stream.Codec = &c.codec
	c.work = w
}

// layDown gives it back. The last exchange ended well: nobody works for it.
func (c *ServerConn) layDown() {
	w := c.work
	if w == nil {
		return
	}
	c.work = nil
	w.out.drop()
	w.out = sink{}
	w.body.start(noBody, 0)
	w.body.owner, w.body.src = nil, nil
	w.f.reset()
	w.outcome = stream.Outcome{}
	w.stream.Codec = nil
	works.Put(w)
}

// waited is how a time without a request ended.
type waited uint8

const (
	ready  waited = iota // a request has begun to arrive
	over                 // the connection is to end; why tells the reason
	parked               // Step returns, and is called again
)

// parkAfter is how long a connection waits with its goroutine: a busy client's
// costs no system call more, and an idle one's no stack.
const parkAfter = 2 * time.Second

// await waits for the first byte of the next request, on the goroutine that is
// there, and after parkAfter without one if it may.
func (c *ServerConn) await(wake func()) waited {
	switch {
	case c.away:
		c.away = false
		c.o.Watch.Rest(c.t)
	case len(c.src.buffered()) > 0:
		return ready
	default:
		c.src.drop()
		c.layDown()
		if !c.beginWait(wake != nil && c.o.Watch != nil && rawio.RawConn(c.t) != nil) {
			return over
		}
	}
	for {
		err := c.src.fill(0)
		if err != nil && c.dozes() {
			if c.park(wake) {
				return parked
			}
			continue
		}
		if c.endWait(err) {
			return ready
		}
		return over
	}
}

func (c *ServerConn) beginWait(mayPark bool) bool {
	after := c.o.IdleTimeout
	if mayPark = mayPark && (after <= 0 || after > parkAfter); mayPark {
		after = parkAfter
	}
	c.mu.Lock()
	c.waiting = !c.closed && !c.draining
	c.dozing, c.doze = mayPark, false
	wait := c.waiting
	if !wait {
		c.why = c.endReason()
	}
	c.mu.Unlock()
	if wait && after > 0 {
		c.quiet.Set(c.now.Add(after))
	}
	return wait
}

func (c *ServerConn) endWait(err error) bool {
	c.quiet.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
	if err == nil && (c.draining || c.doze) && !c.closed {
		// The request was faster than Drain, or the time to park: the deadline is past.
		err = c.t.SetReadDeadline(time.Time{})
	}
	switch {
	case err == nil:
		return true
	case c.closed || c.draining:
		c.why = c.endReason()
	case c.expired:
		c.why = stream.Reason{Code: stream.IdleTimeout, Detail: "no request"}
	case err != io.EOF:
		c.why = stream.Reason{Code: stream.DownstreamGone, Detail: err.Error()}
	}
	return false
}

// dozes reports whether the wait was interrupted so that the connection is parked,
// and makes it able to read again.
func (c *ServerConn) dozes() bool {
	c.mu.Lock()
	doze := c.doze && !c.closed && !c.draining && !c.expired && c.t.SetReadDeadline(time.Time{}) == nil
	c.doze = false
	c.mu.Unlock()
	if doze && c.o.IdleTimeout > 0 {
		c.quiet.Set(c.now.Add(c.o.IdleTimeout))
	}
	return doze
}

// park lets the connection wait without a goroutine, unless something has come
// meanwhile. From then on c is its wakers': the watch, the alarm, Drain and Close.
func (c *ServerConn) park(wake func()) bool {
	if rawio.Unread(c.t) {
		return false
	}
	c.mu.Lock()
	if c.closed || c.draining || c.expired {
		c.mu.Unlock()
		return false
	}
	c.wake, c.away = wake, true
	c.mu.Unlock()
	if c.o.Watch.Await(c.t, c.readable) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wake == nil {
		return true // somebody was faster
	}
	c.wake, c.away = nil, false
	return false
}

// readable is told by the watch.
func (c *ServerConn) readable() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rouse()
}

// rouse lets a parked connection go on. It is called with mu held.
func (c *ServerConn) rouse() {
	if wake := c.wake; wake != nil {
		c.wake = nil
		wake()
	}
}

// passed is called by the alarm for time in which nothing happens.
func (c *ServerConn) passed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.active:
		c.stream.Reset(stream.Reason{Code: stream.IdleTimeout})
		return
	case !c.waiting:
		return
	case c.dozing:
		c.dozing, c.doze = false, true
	default:
		c.expired = true
	}
	_ = c.t.SetReadDeadline(rawio.Past) // as in expire
	c.rouse()
}
