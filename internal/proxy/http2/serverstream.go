package http2

import (
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// serverStream is one request and its answer. It is the stream.Codec of its
// stream, and reused.
type serverStream struct {
	strm
	conn *ServerConn
	s    stream.Stream

	// of the stream's goroutine
	outcome stream.Outcome
	refusal stream.Reason // the request is not served, and its stream is reset already
	local   *stream.Reply // the request is answered without the handler

	endMu sync.Mutex // held while the stream is reset from outside
	live  uint64     // guarded by endMu: the life that may be reset; 0: none

	aborted    bool          // guarded by conn.mu: reset by ourselves before the response
	abortedFor stream.Reason // guarded by conn.mu
	responding bool          // guarded by conn.mu: the final head is being written
	continued  bool          // guarded by conn.mu: 100 was sent
}

// serverStreams holds memory, no state: begin clears what it reads. What points to
// itself never changes: a connection that ends may still look at a stream that serves
// another one by now.
var serverStreams = sync.Pool{New: func() any {
	st := new(serverStream)
	st.server = st
	return st
}}

// pooledHead is the size of a head above which its memory is not kept.
const pooledHead = 16 << 10

func (c *ServerConn) newStream() *serverStream {
	st := serverStreams.Get().(*serverStream)
	st.conn = c
	st.gen++
	st.before = nil
	st.s.Codec = st
	st.outcome = stream.Outcome{}
	st.refusal, st.local = stream.Reason{}, nil
	st.aborted, st.abortedFor, st.responding, st.continued = false, stream.Reason{}, false, false
	return st
}

// head implements side.
func (c *ServerConn) head(old *strm, id uint32, end bool, block []byte) error {
	if old != nil {
		return c.trailers(old, id, end, block)
	}
	c.mu.Lock()
	switch {
	case id%2 == 0:
		c.mu.Unlock()
		return fatal(codeProtocol, "stream id of a server")
	case id <= c.lastID:
		err := c.late(&frame{typ: frameHeaders, id: id})
		c.mu.Unlock()
		if derr := c.dec.Decode(block, discard{}); derr != nil {
			return fatal(codeCompression, derr.Error())
		}
		return err
	}
	refused := id > c.limit
	if !refused {
		c.lastID = id
	}
	connect := len(c.o.Upgrades) > 0
	c.mu.Unlock()
	c.budget.give(1)
	st := c.newStream()
	p := &c.parser
	p.start(headRequest, &st.s.Request)
	if err := p.decode(&c.dec, block); err != nil {
		return err
	}
	if refused { // beyond the last stream of a GOAWAY: to be ignored (RFC 9113 §6.8)
		c.recycle(st)
		return nil
	}
	p.check(connect)
	if p.fault == "" && end && p.length > 0 {
		p.fault = "content shorter than its declared length"
	}
	return c.open(st, id, end, p)
}

// open puts a new stream into the table, unless it is refused.
func (c *ServerConn) open(st *serverStream, id uint32, end bool, p *headParser) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return c.conn.reason
	}
	// Goroutines of streams that their client has cancelled count too, or cancelling
	// would start any number of them.
	if len(c.streams) >= c.o.MaxStreams || c.running >= 2*c.o.MaxStreams+16 {
		c.rst(id, codeRefusedStream)
		c.past.add(id, closedByUs)
		c.recycle(st)
		return nil
	}
	st.begin(&c.conn, id)
	c.describe(st, end, p)
	c.running++
	c.starts = append(c.starts, st)
	c.streams[id] = &st.strm
	if p.fault != "" {
		c.rst(id, codeProtocol)
		st.refusal = c.reason(true, p.fault)
		c.conn.close(&st.strm, closedByUs)
		return c.budget.take(c.l.Now, 1)
	}
	if t := earliest(c.o.StreamIdleTimeout, c.o.RequestTimeout); t > 0 {
		c.arm(c.now.Add(t))
	}
	return nil
}

// describe completes the stream and its request. mu is held.
func (c *ServerConn) describe(st *serverStream, end bool, p *headParser) {
	s, r := &st.s, &st.s.Request
	s.Conn, s.Start = c.info, c.now
	if s.ID = uint64(st.id); c.o.NextID != nil {
		s.ID = c.o.NextID()
	}
	st.strm.begun, st.moved, st.timed = c.now, c.now, false
	st.endMu.Lock()
	st.live = st.gen
	st.endMu.Unlock()
	r.Proto = stream.HTTP2
	if st.remoteEnd = end; end {
		st.endAt = c.now
	}
	if p.tooLarge {
		st.local = plainReply(431, "head too large")
		return
	}
	if len(p.protocol) == 0 && string(r.Method) == "CONNECT" {
		r.Scheme = append(r.Scheme[:0], c.scheme...)
		return
	}
	if len(p.protocol) > 0 {
		// To the rest of the proxy it is the upgrade that HTTP/1.1 knows.
		r.Method = append(r.Method[:0], "GET"...)
		r.Scheme = append(r.Scheme[:0], c.scheme...)
		for _, u := range c.o.Upgrades {
			if stream.EqualFold(p.protocol, u) {
				r.Upgrade = u
			}
		}
		if r.Upgrade == "" {
			st.local = plainReply(501, "protocol of extended CONNECT is not allowed")
		}
		return
	}
	if !validScheme(r.Scheme) {
		p.bad("invalid :scheme")
	}
	r.Scheme = append(r.Scheme[:0], c.scheme...) // the connection's, whatever was said
	if end {
		return
	}
	st.left = p.length
	r.Body, r.Length = &st.strm, p.length
	if r.ExpectContinue = p.expect; p.expect {
		st.before = st.sendContinue
	}
}

func plainReply(status int, detail string) *stream.Reply {
	return &stream.Reply{Status: status, Body: detail, Reason: stream.Reason{Code: stream.DownstreamProtocol, Detail: detail, Envoy: envoyViolation}}
}

func validScheme(s []byte) bool {
	for i, c := range s {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || !('0' <= c && c <= '9') && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return len(s) > 0
}

// reset resets the stream if it is still in the life that is meant.
func (st *serverStream) reset(gen uint64, r stream.Reason) {
	st.endMu.Lock()
	defer st.endMu.Unlock()
	if st.live == gen {
		st.s.Reset(r)
	}
}

// run serves the stream, from its request to its recycling, on the goroutine of h. It
// reports whether that waits for another one.
func (st *serverStream) run(h *hand) (parked bool) {
	r := st.refusal
	var resp *stream.Response
	if r.Code == stream.None {
		resp, r = st.exchange()
	}
	return st.leave(resp, r, h)
}

// exchange has the request served and the answer written. The reason says why it
// was cut short, or why the proxy answered itself. A defect in what the answer's body
// is made by ends the stream.
func (st *serverStream) exchange() (_ *stream.Response, r stream.Reason) {
	c := st.conn
	defer func() {
		if p := recover(); p != nil {
			r = st.panicked(p)
			st.cancel(codeInternal, r)
			st.strm.Close(r)
		}
	}()
	c.mu.Lock()
	gone := st.err
	c.mu.Unlock()
	if gone != nil {
		return nil, stream.ReasonOf(gone)
	}
	resp, err := st.handle()
	if err != nil || resp == nil {
		if resp, err = localAnswer(&st.s.Request, err); err != nil {
			r := stream.ReasonOf(err)
			st.cancel(codeInternal, r)
			return nil, r
		}
	}
	if err := st.respond(resp); err != nil {
		r = stream.ReasonOf(err)
		st.cancel(st.cutCode(r), r)
	} else if resp.Local != nil {
		r = resp.Local.Reason
	}
	if resp.Body != nil {
		resp.Body.Close(r)
	}
	if resp.Tunnel != nil {
		// Its errors ended the relay, which has reported them.
		_ = resp.Tunnel.Close()
	}
	// The request that nobody wants any more ends without an error (RFC 9113 §8.1).
	st.cancel(codeNo, r)
	// Whoever still uploads is woken.
	st.strm.Close(r)
	return resp, r
}

// cutCode is the code that resets an answer under way. To gRPC clients a time-out is
// told as CANCEL, which they take for DEADLINE_EXCEEDED where their own deadline has
// passed and for CANCELLED before; INTERNAL_ERROR would be a defect of the server
// (gRPC over HTTP/2, "Errors"; grpc-go does so).
func (st *serverStream) cutCode(r stream.Reason) errCode {
	switch r.Code {
	case stream.RouteTimeout, stream.MaxDuration, stream.IdleTimeout, stream.RequestTimeout:
		if stream.IsGRPC(st.s.Request.Get(stream.ContentType)) {
			return codeCancel
		}
	}
	return codeInternal
}

// handle calls the handler and turns a panic into an answer: it is the root of the
// stream.
func (st *serverStream) handle() (resp *stream.Response, err error) {
	if st.local != nil {
		return nil, st.local
	}
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, stream.NewReply(500, st.panicked(p))
		}
	}()
	return st.conn.handler.Handle(&st.s)
}

// panicked tells of a defect, on the stack where it was.
func (st *serverStream) panicked(p any) stream.Reason {
	st.conn.o.Log.Error("panic in a stream", "panic", p, "stack", string(debug.Stack()))
	return stream.Reason{Code: stream.Internal, Detail: fmt.Sprint("panic: ", p)}
}

// cancel resets the stream if it is still open.
func (st *serverStream) cancel(code errCode, r stream.Reason) {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.closed {
		return
	}
	c.rst(st.id, code)
	if code != codeNo {
		st.fail(r)
	}
	c.conn.close(&st.strm, closedByUs)
	c.wake()
}

// leave ends the exchange: observers, then the stream is clean. It parks h, which may
// be woken before it waits, unless the connection is stopped.
func (st *serverStream) leave(resp *stream.Response, r stream.Reason, h *hand) (parked bool) {
	c := st.conn
	end := c.o.Now()
	o := &st.outcome
	c.mu.Lock()
	o.BytesReceived += st.received
	if !st.endAt.IsZero() {
		o.RequestDuration = max(1, int64(st.endAt.Sub(st.s.Start)))
	}
	c.mu.Unlock()
	o.Duration = max(1, int64(end.Sub(st.s.Start)))
	o.Reason, o.Response = r, resp
	if resp != nil && o.ResponseDuration == 0 && o.Status != 0 {
		o.ResponseDuration = o.Duration
	}
	for _, ob := range c.o.Observers {
		ob.Done(&st.s, o)
	}
	st.endMu.Lock()
	st.live = 0
	st.endMu.Unlock()
	c.mu.Lock()
	st.in.drop()
	st.in.release()
	c.running--
	if r.Code == stream.None {
		c.ok++
	}
	c.rest()
	if parked = !c.stopped; parked {
		c.crew.park(h)
		c.keep(end)
	}
	c.mu.Unlock()
	c.recycle(st)
	return parked
}

// recycle gives the stream's memory back. Nobody knows the stream any more.
func (c *ServerConn) recycle(st *serverStream) {
	if st.s.Request.Size() > pooledHead || st.trailers.Size() > pooledHead {
		return
	}
	st.s.Recycle()
	st.trailers.Reset()
	st.outcome.Response = nil
	st.c, st.conn, st.err, st.sendOff = nil, nil, nil, nil
	serverStreams.Put(st)
}

// localAnswer is stream.Answer, in the form that the request's client understands.
func localAnswer(r *stream.Request, err error) (*stream.Response, error) {
	resp, err := stream.Answer(err)
	if err == nil && stream.IsGRPC(r.Get(stream.ContentType)) {
		stream.LocalGRPC(resp, resp.Local)
	}
	return resp, err
}
