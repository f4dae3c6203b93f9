package http2

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http2/hpack"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// side is what differs between client and server.
type side interface {
	// head takes a complete header block of a stream; st is nil where the table does
	// not have it. It is called by the reader, without locks.
	head(st *strm, id uint32, end bool, block []byte) error
	// lost is told, without locks, that st's life number gen was ended by the peer
	// or by the connection.
	lost(st *strm, gen uint64, r stream.Reason)
	// reason says why a stream or the connection ended: protocol tells a breach of
	// the protocol by the peer from its leaving.
	reason(protocol bool, detail string) stream.Reason
	// empty is told, under mu, that the last stream has left the table.
	empty()
}

// conn is what both sides share.
type conn struct {
	// immutable
	t      rawio.Transport
	side   side
	client bool
	l      *Limits

	// of the reader
	src    source
	dec    hpack.Decoder
	parser headParser
	cont   continuation
	budget budget
	sawSet bool // the peer's first frame was SETTINGS

	wdone chan struct{} // closed when the writer has ended for good

	mu        sync.Mutex
	now       time.Time        // guarded by mu: the reader's last clock reading
	streams   map[uint32]*strm // guarded by mu: open and half-closed ones
	running   int              // guarded by mu: goroutines of a server's streams
	lingering int              // guarded by mu: streams of a client that wait for their end alone
	past      history          // guarded by mu: streams that were closed lately
	lastID    uint32           // guarded by mu: the peer's highest (server), ours (client)

	peer          peerSettings // guarded by mu
	peerKnown     bool         // guarded by mu
	maxStreamsSet bool         // guarded by mu
	settingsAcked bool         // guarded by mu

	sendWin  int64    // guarded by mu: of the connection
	recvWin  int64    // guarded by mu
	recvBack int64    // guarded by mu: received, not yet returned
	waiters  waitList // guarded by mu
	earned   int      // guarded by mu: WINDOW_UPDATEs that cost the peer nothing

	writer writer // guarded by mu
	crew   crew   // guarded by mu: of a server

	enc   hpack.Encoder // guarded by mu
	block []byte        // guarded by mu: a header block in the making

	clock clock // guarded by mu

	stopped bool          // guarded by mu: no further stream, frame or byte
	reason  stream.Reason // guarded by mu: why stopped
	clean   bool          // guarded by mu: the peer closed with nothing under way
}

func (c *conn) init(t rawio.Transport, s side, client bool, l *Limits) {
	c.t, c.side, c.client, c.l = t, s, client, l
	c.src.t = t
	c.streams = map[uint32]*strm{}
	c.peer = initialSettings()
	c.sendWin, c.recvWin = initialWindow, initialWindow
	c.now = l.Now()
	c.wdone = make(chan struct{})
	c.writer.cond.L = &c.mu
	c.parser.limits(l)
}

// greet queues our settings, behind the preface on the client's side.
func (c *conn) greet(settings []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.reserve(len(preface) + 2*frameHeaderLen + len(settings) + 4)
	if c.client {
		b = append(b, preface...)
	}
	b = appendFrameHeader(b, len(settings), frameSettings, 0, 0)
	b = append(b, settings...)
	if more := int64(c.l.ConnWindow) - initialWindow; more > 0 {
		b = appendWord(b, frameWindowUpdate, 0, uint32(more))
		c.recvWin += more
	}
	c.set(b)
	if c.l.SettingsTimeout > 0 {
		c.clock.settings = c.now.Add(c.l.SettingsTimeout)
		c.arm(c.clock.settings)
	}
	if c.l.KeepAlive > 0 {
		c.clock.heard = c.now
		c.arm(c.now.Add(c.l.KeepAlive))
	}
	c.wake()
}

// read serves the peer's frames until the connection ends, and stops it. It is
// the root of the reading goroutine: a defect ends one connection.
func (c *conn) read() {
	defer func() {
		if p := recover(); p != nil {
			c.l.Log.Error("panic in a connection", "panic", p, "stack", string(debug.Stack()))
			c.stop(codeInternal, stream.Reason{Code: stream.Internal, Detail: fmt.Sprint("panic: ", p)}, "")
		}
		c.src.drop()
	}()
	err := c.readPreface()
	for err == nil {
		err = c.readFrames()
	}
	var p *connError
	switch {
	case errors.As(err, &p):
		c.stop(p.code, c.side.reason(true, p.Error()), p.detail)
	case err == io.EOF:
		r := c.side.reason(false, "connection closed")
		c.mu.Lock()
		c.clean = len(c.streams) == 0
		if !c.client && c.clean && c.running == 0 {
			r = stream.Reason{} // nothing was lost
		}
		c.mu.Unlock()
		c.stop(codeNo, r, "")
	default:
		c.stop(codeNo, c.side.reason(false, err.Error()), "")
	}
}

func (c *conn) readPreface() error {
	if c.client {
		return nil
	}
	for !c.src.ready(len(preface)) {
		if err := c.fill(); err != nil {
			return err
		}
		p := c.src.buffered()
		if n := min(len(p), len(preface)); string(p[:n]) != preface[:n] {
			return fatal(codeProtocol, "invalid connection preface")
		}
	}
	c.src.r += len(preface)
	return nil
}

// readFrames reads once and handles the frames that are complete.
func (c *conn) readFrames() error {
	var f frame
	for {
		ok, err := c.src.next(&f)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := c.frame(&f); err != nil {
			var s *streamError
			if !errors.As(err, &s) {
				return err
			}
			if err := c.resetStream(s); err != nil {
				return err
			}
		}
	}
	c.flush()
	return c.fill()
}

func (c *conn) fill() error {
	if b, ok := c.side.(batcher); ok {
		b.batch()
	}
	err := c.src.fill()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return c.reason
	}
	c.now = c.l.Now()
	c.clock.heard, c.clock.pinged = c.now, false
	return err
}

// batcher is a side that starts what one read has brought all at once.
type batcher interface{ batch() }

// stop ends the connection: its streams fail with the reason, and a GOAWAY goes
// out behind what is queued. Further calls do nothing.
func (c *conn) stop(code errCode, r stream.Reason, debug string) {
	c.mu.Lock()
	lost := c.stopLocked(code, r, debug)
	c.mu.Unlock()
	c.tell(lost, r)
}

// loss is a stream that was ended from outside, to be told without locks.
type loss struct {
	st  *strm
	gen uint64
}

func (c *conn) stopLocked(code errCode, r stream.Reason, debug string) []loss {
	if c.stopped {
		return nil
	}
	c.stopped, c.reason = true, r
	last := c.lastID
	if c.client {
		last = 0
	}
	c.set(appendGoAway(c.reserve(frameHeaderLen+8+len(debug)), last, code, debug))
	lost := make([]loss, 0, len(c.streams))
	for _, st := range c.streams {
		lost = append(lost, loss{st, st.gen})
		st.cut(r)
		st.closed = true
	}
	clear(c.streams)
	c.disarm()
	c.writer.closing = true
	c.wake()
	// Nobody who waits for the peer's end may wait for ever: the writer has a little
	// time, the reader ends now. Deadlines fail only on a closed transport, whose
	// users are awake already.
	_ = c.t.SetDeadline(time.Now().Add(closeTime))
	_ = c.t.SetReadDeadline(rawio.Past)
	return lost
}

func (c *conn) tell(lost []loss, r stream.Reason) {
	for _, l := range lost {
		c.side.lost(l.st, l.gen, r)
	}
}

// resetStream ends a stream for the peer's breach of the protocol. Its error says
// that there were too many of them: making us reset streams is an attack too.
func (c *conn) resetStream(e *streamError) error {
	r := c.side.reason(true, e.Error())
	c.mu.Lock()
	st := c.streams[e.id]
	c.rst(e.id, e.code)
	var lost []loss
	if st != nil {
		lost = append(lost, loss{st, st.gen})
		st.fail(r)
		c.close(st, closedByUs)
	} else {
		c.past.add(e.id, closedByUs)
	}
	c.mu.Unlock()
	c.tell(lost, r)
	if s, ok := c.side.(resetCounter); ok && lost != nil {
		return s.countReset()
	}
	return c.budget.take(c.l.Now, 1)
}

// rst queues a RST_STREAM. mu is held.
func (c *conn) rst(id uint32, code errCode) {
	if !c.stopped {
		c.set(appendWord(c.reserve(frameHeaderLen+4), frameRSTStream, id, uint32(code)))
	}
}

// close takes a stream out of the table. What it has received can still be read.
// mu is held.
func (c *conn) close(st *strm, how closure) {
	if st.closed || st.id == 0 {
		return
	}
	st.closed = true
	delete(c.streams, st.id)
	if st.lingers {
		c.lingering--
	}
	c.past.add(st.id, how)
	if len(c.streams) == c.lingering {
		c.side.empty()
	}
}
