package router

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// upload carries the request body to the try under way and keeps what another try
// would need.
//
// A body that is complete in the codec's buffer goes out with the head and is
// never copied. Any other is read by a pump goroutine, one for the whole exchange:
// it keeps the first bytes, and writes to whatever exchange is attached. A new try
// first sends what was kept and then attaches itself at that offset. Once the body
// has outgrown the buffer (spilled), it belongs to the exchange attached then.
type upload struct {
	c     *call
	limit int

	// of the stream's goroutine
	body  stream.Body
	view  []byte // a whole body in the codec's buffer; valid to the end of the exchange
	whole bool   // view or kept is the whole body
	pump  bool   // the pump was started

	mu       sync.Mutex
	cond     sync.Cond
	kept     []byte          // guarded by mu: the body so far; never changed, only appended to
	keep     bool            // guarded by mu: somebody may need kept
	spilled  bool            // guarded by mu: the body is longer than kept
	ended    bool            // guarded by mu: the end was read
	trailers *stream.Head    // guarded by mu: after ended
	target   stream.Exchange // guarded by mu: where the pump writes
	writing  bool            // guarded by mu: the pump is in a call of target
	halted   bool            // guarded by mu: no more uploading
	running  bool            // guarded by mu: the pump has not returned
	bytes    int64           // guarded by mu: read from the client
}

func (u *upload) init(c *call) {
	u.c, u.limit = c, c.r.o.Replay
	u.cond.L = &u.mu
}

func (u *upload) reset() {
	u.body, u.view, u.whole, u.pump = nil, nil, false, false
	if cap(u.kept) > u.limit {
		u.kept = nil
	}
	u.kept = u.kept[:0]
	u.keep, u.spilled, u.ended, u.trailers, u.target, u.halted, u.bytes = false, false, false, nil, nil, false, 0
}

// begin looks at the body before the first try. keep says that a retry or a mirror
// may need it again, mux that it came over HTTP/2.
func (u *upload) begin(body stream.Body, length int64, keep, mux bool) error {
	u.body, u.keep = body, keep
	if body == nil {
		u.whole = true
		return nil
	}
	n, complete := body.Buffered()
	if !complete || n > u.limit {
		return nil
	}
	return u.takeBuffered(length >= 0 || mux)
}

// takeBuffered reads a body that is there already. One that lies in one piece is used
// where it lies; a chunked one of HTTP/1.1 is put together, since its trailers are
// read behind it.
func (u *upload) takeBuffered(lies bool) error {
	for {
		p, err := u.body.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		u.bytes += int64(len(p))
		if n, complete := u.body.Buffered(); lies && len(u.kept) == 0 && n == 0 && complete {
			u.view, u.trailers = p, u.body.Trailers()
			break
		}
		u.kept = append(u.kept, p...)
	}
	u.whole, u.ended = true, true
	if u.view == nil {
		u.view = u.kept
		u.trailers = u.body.Trailers()
	}
	return nil
}

// replayable reports whether another try could send the same body.
func (u *upload) replayable() bool {
	if u.whole {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.keep && !u.spilled
}

// settled says that no other try follows: what only that would need is dropped.
func (u *upload) settled() {
	if u.whole {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.c.route.Forward.Mirrors) > 0 || !u.keep {
		return
	}
	u.keep = false
	if u.kept = u.kept[:0]; cap(u.kept) > 4<<10 {
		u.kept = nil
	}
}

// send starts the request on ex: head, and what there is of the body.
func (u *upload) send(r *stream.Request, ex stream.Exchange) error {
	if u.whole {
		return u.sendWhole(r, ex)
	}
	if err := ex.Send(r, nil, false); err != nil {
		return err
	}
	if err := u.attach(ex); err != nil {
		return err
	}
	if !u.pump {
		u.pump, u.running = true, true
		go u.run()
	}
	return nil
}

func (u *upload) sendWhole(r *stream.Request, ex stream.Exchange) error {
	// Before the call: the answer may be there before it returns.
	u.c.uploaded()
	if u.trailers == nil {
		return ex.Send(r, u.view, true)
	}
	if err := ex.Send(r, u.view, false); err != nil {
		return err
	}
	return ex.Trailers(u.trailers)
}

// attach sends what was kept, and then lets the pump write to ex; a body that has
// ended meanwhile is finished here.
func (u *upload) attach(ex stream.Exchange) error {
	for sent := 0; ; {
		rest, ended := u.attachAt(ex, sent)
		if len(rest) == 0 {
			if !ended {
				return nil
			}
			u.c.uploaded()
			return finishUpload(ex, u.trailers)
		}
		if err := ex.Write(rest, false); err != nil {
			return err
		}
		sent += len(rest)
	}
}

// attachAt returns what was kept beyond the first sent bytes. If that is nothing,
// the pump goes on with ex, unless the body has ended.
func (u *upload) attachAt(ex stream.Exchange, sent int) (rest []byte, ended bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if rest = u.kept[sent:]; len(rest) > 0 {
		return rest, false
	}
	u.target = ex
	u.cond.Broadcast()
	return nil, u.ended
}

func finishUpload(ex stream.Exchange, tr *stream.Head) error {
	if tr != nil {
		return ex.Trailers(tr)
	}
	return ex.Write(nil, true)
}

// run is the pump.
func (u *upload) run() {
	defer func() {
		if p := recover(); p != nil { // the root of this goroutine
			u.c.r.o.Log.Error("panic in an upload", "panic", p, "stack", string(debug.Stack()))
			u.c.stop(stream.Reason{Code: stream.Internal, Detail: fmt.Sprint("panic: ", p)}, true)
		}
		u.mu.Lock()
		u.running = false
		u.cond.Broadcast()
		u.mu.Unlock()
	}()
	for {
		p, err := u.body.Next()
		if err != nil && err != io.EOF {
			u.c.stop(clientReason(err), true)
			return
		}
		u.c.moved()
		if !u.pass(p, err == io.EOF) {
			return
		}
		if err == io.EOF {
			u.c.mirrorUploaded()
			return
		}
	}
}

// clientReason says why the client's body was cut short.
func clientReason(err error) stream.Reason {
	var r stream.Reason
	var rep *stream.Reply
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &rep):
		return rep.Reason
	}
	return stream.Reason{Code: stream.DownstreamGone, Detail: "reading the request's body: " + err.Error()}
}

// pass keeps the chunk where it fits and writes it to the attached exchange. It
// reports false when uploading was halted.
func (u *upload) pass(p []byte, end bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bytes += int64(len(p))
	if u.keep && !u.spilled && len(u.kept)+len(p) <= u.limit {
		u.kept = append(u.kept, p...)
	} else if len(p) > 0 {
		u.spilled = true
	}
	if end {
		u.ended, u.trailers = true, u.body.Trailers()
	}
	// What was kept reaches a later try by itself; what was not needs one now.
	for u.target == nil && !u.halted && u.spilled {
		u.cond.Wait()
	}
	if u.halted {
		return false
	}
	t := u.target
	if t == nil {
		return true
	}
	u.writing = true
	tr := u.trailers
	u.mu.Unlock()
	err := u.write(t, p, end, tr)
	u.mu.Lock()
	u.writing = false
	if err != nil && u.target == t {
		u.target = nil // Receive tells why
	}
	u.cond.Broadcast()
	return true
}

func (u *upload) write(t stream.Exchange, p []byte, end bool, tr *stream.Head) error {
	if !end {
		return t.Write(p, false)
	}
	u.c.uploaded()
	return finishUpload(t, tr)
}

// detach takes the try's exchange, which was cancelled, away from the pump.
func (u *upload) detach() {
	if !u.pump {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.target = nil
	for u.writing {
		u.cond.Wait()
	}
}

// complete reports whether the whole body went out.
func (u *upload) complete() bool {
	if u.whole {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ended && !u.writing && u.target != nil
}

// settle waits for the pump if it has read the body's end and only has to write
// it. An answer may overtake that.
func (u *upload) settle() {
	if !u.pump {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.ended && u.writing {
		u.cond.Wait()
	}
}

// halt ends uploading and joins the pump. A pump that waits for the client is
// woken by closing the body.
func (u *upload) halt(r stream.Reason) {
	if !u.pump {
		return
	}
	u.mu.Lock()
	u.halted = true
	u.target = nil
	u.cond.Broadcast()
	if u.running && !u.ended {
		u.mu.Unlock()
		u.body.Close(r)
		u.mu.Lock()
	}
	for u.running {
		u.cond.Wait()
	}
	u.mu.Unlock()
}
