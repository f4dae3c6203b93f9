package streamtest

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Window is the credit of one direction of a memory exchange, in bytes.
const Window = 64 << 10

// NewMux makes a connected pair that carries any number of exchanges at once, each
// with its own credit, as HTTP/2 does; but over memory and without a wire format.
func NewMux(observers ...stream.Observer) (stream.ClientConn, stream.ServerConn) {
	m := &mux{observers: observers}
	m.cond.L = &m.mu
	return (*muxClient)(m), (*muxServer)(m)
}

// mux is the connection. One lock holds for it and all its exchanges.
type mux struct {
	observers []stream.Observer

	mu       sync.Mutex
	cond     sync.Cond
	queue    []*flow        // guarded by mu: sent, not yet served
	flows    map[*flow]bool // guarded by mu: opened, not yet released
	serving  int            // guarded by mu: stream goroutines
	draining bool           // guarded by mu: the server takes no more
	spent    bool           // guarded by mu: the client opens no more
	closed   bool           // guarded by mu
	reason   stream.Reason  // guarded by mu
	lastID   uint64         // guarded by mu
}

// flow is one exchange; everything is guarded by the mux's mu.
type flow struct {
	m        *mux
	request  stream.Request
	up, down lane
	interim  []*stream.Response
	final    *stream.Response
	received bool
	delivery stream.Delivery
	whole    bool // the whole request was sent

	canceled bool // by the client
	reason   stream.Reason
	broken   bool // by the server
	aborted  bool // the server's stream was reset
	stream   *stream.Stream
}

// lane is one direction of content.
type lane struct {
	buf      []byte
	view     []byte // what the reader was given last
	end      bool
	trailers *stream.Head
	n        int64
	given    bool // the reader gave up
}

var (
	errBroken  = stream.Reason{Code: stream.UpstreamRemoteReset, Detail: "reset by the server"}
	errRefused = stream.Reason{Code: stream.UpstreamReset, Detail: "refused"}
	errGone    = stream.Reason{Code: stream.DownstreamReset, Detail: "cancelled by the client"}
)

// put appends to a lane as credit allows. stop says why to give up, or nil.
func (m *mux) put(l *lane, p []byte, stop func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if err := stop(); err != nil {
			return err
		}
		if len(p) == 0 {
			return nil
		}
		n := min(len(p), Window-len(l.buf))
		if n > 0 {
			l.buf = append(l.buf, p[:n]...)
			l.n += int64(n)
			p = p[n:]
			m.cond.Broadcast()
			continue
		}
		m.cond.Wait()
	}
}

// get takes what a lane has.
func (m *mux) get(l *lane, stop func() error) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		if err := stop(); err != nil {
			return nil, err
		}
		switch {
		case len(l.buf) > 0:
			l.view = append(l.view[:0], l.buf...)
			l.buf = l.buf[:0]
			m.cond.Broadcast()
			return l.view, nil
		case l.end:
			return nil, io.EOF
		}
		m.cond.Wait()
	}
}

// change does f under the lock and wakes everybody.
func (m *mux) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	m.cond.Broadcast()
}

// clientStop says why the client's side of a flow cannot go on. mu is held.
func (f *flow) clientStop() error {
	switch {
	case f.canceled:
		return f.reason
	case f.m.closed:
		return f.m.reason
	case f.delivery == stream.Refused:
		return errRefused
	case f.broken:
		return errBroken
	}
	return nil
}

// serverStop says why the server's side cannot go on. mu is held.
func (f *flow) serverStop() error {
	switch {
	case f.aborted, f.canceled, f.m.closed:
		// The stream has the reason; asking it here would invert the locks.
		return errGone
	}
	return nil
}

// laneBody is a lane as a Body.
type laneBody struct {
	f    *flow
	l    *lane
	stop func() error
	eof  bool // Next has returned io.EOF
}

func (b *laneBody) Next() ([]byte, error) {
	p, err := b.f.m.get(b.l, func() error {
		if b.l.given {
			return stream.Reason{Code: stream.None, Detail: "body was given up"}
		}
		return b.stop()
	})
	if err != nil && err != io.EOF && b.f.stream != nil && b.l == &b.f.up {
		if r, reset := b.f.stream.ResetReason(); reset {
			return nil, r
		}
	}
	b.eof = err == io.EOF
	return p, err
}

func (b *laneBody) Buffered() (int, bool) {
	b.f.m.mu.Lock()
	defer b.f.m.mu.Unlock()
	return len(b.l.buf), b.l.end
}

func (b *laneBody) Trailers() *stream.Head {
	b.f.m.mu.Lock()
	defer b.f.m.mu.Unlock()
	if !b.eof {
		return nil
	}
	return b.l.trailers
}

func (b *laneBody) Close(stream.Reason) { b.f.m.change(func() { b.l.given = true }) }

// laneDuplex is a pair of lanes as a tunnel.
type laneDuplex struct {
	f       *flow
	in, out *lane
	stop    func() error
	rest    []byte
}

func (d *laneDuplex) Read(p []byte) (int, error) {
	if len(d.rest) == 0 {
		b, err := d.f.m.get(d.in, d.stop)
		if err != nil {
			return 0, err
		}
		d.rest = b
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

func (d *laneDuplex) Write(p []byte) (int, error) {
	if err := d.f.m.put(d.out, p, d.stop); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *laneDuplex) CloseWrite() error {
	d.f.m.change(func() { d.out.end = true })
	return nil
}

func (d *laneDuplex) Close() error {
	d.f.m.change(func() { d.out.end, d.in.end = true, true })
	return nil
}

var errNoMore = errors.New("connection takes no further exchange")

func sinceStart(s *stream.Stream) int64 { return int64(time.Since(s.Start)) }
