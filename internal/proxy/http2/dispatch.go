package http2

import (
	"encoding/binary"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// continuation is a header block whose end has not come yet.
type continuation struct {
	open   bool
	id     uint32
	end    bool // END_STREAM was set
	block  []byte
	frames int
}

// A block in pieces is as large as a head may be, with room for what compression
// costs at worst, and does not come in crumbs (CVE-2024-27316 and its kin).
const maxContinuations = 32

// frame handles one frame.
func (c *conn) frame(f *frame) error {
	if !c.sawSet {
		if f.typ != frameSettings || f.has(flagAck) {
			return fatal(codeProtocol, "the first frame is not SETTINGS")
		}
		c.sawSet = true
	}
	if c.cont.open && (f.typ != frameContinuation || f.id != c.cont.id) {
		return fatal(codeProtocol, "header block interrupted by another frame")
	}
	switch f.typ {
	case frameData:
		return c.data(f)
	case frameHeaders:
		return c.headersFrame(f)
	case frameContinuation:
		return c.continuationFrame(f)
	case frameRSTStream:
		return c.rstFrame(f)
	case frameWindowUpdate:
		return c.windowUpdate(f)
	case framePushPromise:
		return fatal(codeProtocol, "PUSH_PROMISE")
	}
	if f.typ == framePing {
		return c.ping(f)
	}
	if err := c.budget.take(c.l.Now, 5); err != nil {
		return err
	}
	switch f.typ {
	case frameSettings:
		err := c.settings(f)
		if s, ok := c.side.(settler); ok && err == nil && !f.has(flagAck) {
			s.settled()
		}
		return err
	case frameGoAway:
		return c.goAwayFrame(f)
	case framePriority:
		return c.priority(f)
	}
	return nil // unknown types are ignored (RFC 9113 §5.5)
}

func (c *conn) data(f *frame) error {
	if f.id == 0 {
		return fatal(codeProtocol, "DATA on stream 0")
	}
	p, _, err := f.unpad()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.receive(len(f.payload)); err != nil {
		return err
	}
	if len(p) > 0 {
		c.budget.give(1)
	} else if !f.has(flagEndStream) {
		if err := c.budget.take(c.l.Now, 5); err != nil {
			return err
		}
	}
	st := c.streams[f.id]
	if st == nil {
		return c.late(f)
	}
	if c.client && !st.client.final {
		return &streamError{f.id, codeProtocol, "DATA before the response's head"}
	}
	return st.data(p, len(f.payload)-len(p), f.has(flagEndStream))
}

// late judges a frame for a stream that is not in the table (RFC 9113 §5.1). mu is
// held.
func (c *conn) late(f *frame) error {
	if c.isIdle(f.id) {
		return fatal(codeProtocol, "frame on an idle stream")
	}
	how := c.past.find(f.id)
	if how == closedByUs || f.typ == frameRSTStream || f.typ == frameWindowUpdate {
		return nil
	}
	if f.typ != frameData {
		if how == notClosed {
			return fatal(codeProtocol, "HEADERS with a stream id that is too low")
		}
		return fatal(codeStreamClosed, "HEADERS on a closed stream")
	}
	if how == closedByEnd {
		return fatal(codeStreamClosed, "DATA on a closed stream")
	}
	return &streamError{f.id, codeStreamClosed, "DATA on a closed stream"}
}

// isIdle reports whether the stream was not opened yet, or never can be. mu is
// held.
func (c *conn) isIdle(id uint32) bool {
	return id%2 == 0 || id > c.lastID
}

func (c *conn) headersFrame(f *frame) error {
	if f.id == 0 {
		return fatal(codeProtocol, "HEADERS on stream 0")
	}
	block, prio, err := f.unpad()
	if err != nil {
		return err
	}
	if prio != nil && binary.BigEndian.Uint32(prio)&maxStreamID == f.id {
		// The block has to be decoded all the same.
		if err := c.dec.Decode(block, discard{}); err != nil {
			return fatal(codeCompression, err.Error())
		}
		c.mu.Lock()
		c.lastID = max(c.lastID, f.id)
		c.mu.Unlock()
		return &streamError{f.id, codeProtocol, "stream depends on itself"}
	}
	if f.has(flagEndHeaders) {
		return c.complete(f.id, f.has(flagEndStream), block)
	}
	k := &c.cont
	k.open, k.id, k.end, k.frames = true, f.id, f.has(flagEndStream), 0
	k.block = append(k.block[:0], block...)
	return nil
}

func (c *conn) continuationFrame(f *frame) error {
	k := &c.cont
	if !k.open {
		return fatal(codeProtocol, "CONTINUATION without HEADERS")
	}
	if k.frames++; k.frames > maxContinuations || len(k.block)+len(f.payload) > 2*c.l.MaxHeadBytes+initialMaxFrame {
		return fatal(codeEnhanceYourCalm, "header block too large")
	}
	k.block = append(k.block, f.payload...)
	if !f.has(flagEndHeaders) {
		return nil
	}
	k.open = false
	err := c.complete(k.id, k.end, k.block)
	k.block = nil // such blocks are rare, and large
	return err
}

// complete handles a whole header block.
func (c *conn) complete(id uint32, end bool, block []byte) error {
	c.mu.Lock()
	st := c.streams[id]
	c.mu.Unlock()
	return c.side.head(st, id, end, block)
}

// trailers takes in a block that ends a message. The stream may be closed while
// the block is decoded.
func (c *conn) trailers(st *strm, id uint32, end bool, block []byte) error {
	p := &c.parser
	p.start(headTrailers, nil)
	if err := p.decode(&c.dec, block); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.streams[id] != st:
		return nil
	case st.remoteEnd:
		return &streamError{id, codeStreamClosed, "HEADERS after the end of the stream"}
	case !end:
		return &streamError{id, codeProtocol, "trailers that do not end the stream"}
	case p.fault != "":
		return &streamError{id, codeProtocol, p.fault}
	case p.tooLarge:
		return &streamError{id, codeEnhanceYourCalm, "trailers too large"}
	}
	return st.trail(&p.own)
}

func (c *conn) rstFrame(f *frame) error {
	switch {
	case f.id == 0:
		return fatal(codeProtocol, "RST_STREAM on stream 0")
	case len(f.payload) != 4:
		return fatal(codeFrameSize, "RST_STREAM of a wrong size")
	}
	code := errCode(binary.BigEndian.Uint32(f.payload))
	c.mu.Lock()
	st := c.streams[f.id]
	if st == nil {
		defer c.mu.Unlock()
		if err := c.budget.take(c.l.Now, 1); err != nil {
			return err
		}
		return c.late(f)
	}
	r := resetReason(c.client, code)
	gen := st.gen
	st.refused = code == codeRefusedStream
	st.cut(r)
	c.close(st, closedByPeer)
	c.mu.Unlock()
	c.side.lost(st, gen, r)
	if s, ok := c.side.(resetCounter); ok {
		return s.countReset()
	}
	return nil
}

// resetReason is what Envoy makes of the peer's RST_STREAM.
func resetReason(client bool, code errCode) stream.Reason {
	r := stream.Reason{Code: stream.DownstreamReset, Detail: "the peer reset the stream: " + code.String()}
	if client {
		r.Code = stream.UpstreamRemoteReset
	}
	switch {
	case code == codeRefusedStream && client:
		r.Envoy = "upstream_reset_before_response_started{remote_refused_stream_reset}"
	case code == codeRefusedStream:
		r.Envoy = "http2.remote_refuse"
	}
	return r
}

// resetCounter is a side that limits the peer's resets.
type resetCounter interface{ countReset() error }

func (c *conn) ping(f *frame) error {
	switch {
	case f.id != 0:
		return fatal(codeProtocol, "PING on a stream")
	case len(f.payload) != 8:
		return fatal(codeFrameSize, "PING of a wrong size")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// Clients that measure the path send one with every burst that they receive.
	if c.earned >= 5 {
		c.earned -= 5
	} else if err := c.budget.take(c.l.Now, 5); err != nil {
		return err
	}
	if !f.has(flagAck) {
		c.set(appendPing(c.reserve(frameHeaderLen+8), flagAck, f.payload))
		if c.stuck() {
			return errFlood
		}
		return nil
	}
	if t, ok := c.side.(ticker); ok && string(f.payload) == drainPing && !c.clock.drain.IsZero() {
		c.clock.drain = time.Time{}
		t.drained()
	}
	return nil
}

func (c *conn) goAwayFrame(f *frame) error {
	switch {
	case f.id != 0:
		return fatal(codeProtocol, "GOAWAY on a stream")
	case len(f.payload) < 8:
		return fatal(codeFrameSize, "GOAWAY of a wrong size")
	}
	if s, ok := c.side.(leaver); ok {
		last := binary.BigEndian.Uint32(f.payload) & maxStreamID
		s.goAway(last, errCode(binary.BigEndian.Uint32(f.payload[4:])), string(f.payload[8:min(len(f.payload), 8+128)]))
	}
	return nil
}

// leaver is a side that acts on GOAWAY.
type leaver interface {
	goAway(last uint32, code errCode, debug string)
}

// priority checks a frame that has no further meaning (RFC 9113 §5.3.2).
func (c *conn) priority(f *frame) error {
	switch {
	case f.id == 0:
		return fatal(codeProtocol, "PRIORITY on stream 0")
	case len(f.payload) != 5:
		return &streamError{f.id, codeFrameSize, "PRIORITY of a wrong size"}
	case binary.BigEndian.Uint32(f.payload)&maxStreamID == f.id:
		return &streamError{f.id, codeProtocol, "stream depends on itself"}
	}
	return nil
}

// discard is a sink for blocks of streams that nobody has.
type discard struct{}

func (discard) Field(_, _ []byte) {}
