// Package relay carries TCP connections to clusters.
//
// Upstream is opened at once, before the client has said anything: protocols in
// which the server speaks first work. Each direction has a goroutine that copies,
// or splices inside the kernel once a plain flow proved to be a bulk one; an idle
// flow holds no buffers, with TLS neither. A half-close is passed on, a reset too,
// and the flow ends when both directions have.
package relay

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/timer"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
)

// Options is what relays work with.
type Options struct {
	Timer *timer.Queue     // nil: one of its own
	Log   *slog.Logger     // nil: slog.Default
	Now   func() time.Time // nil: time.Now
	Rand  func() uint64    // nil: math/rand/v2
}

// Relay serves TCP filter chains. Safe for concurrent use.
type Relay struct{ o Options }

// New makes a Relay.
func New(o Options) *Relay {
	if o.Timer == nil {
		o.Timer = timer.NewQueue(0)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	return &Relay{o}
}

// Hooks let the proxy take part in a flow.
type Hooks struct {
	// Connected is called once upstream is connected, before any byte is copied: peer
	// metadata is exchanged here, and up.Transport may be wrapped. An error ends the
	// flow: with its reason if it is a stream.Reason, else with Internal. May be nil.
	Connected func(down rawio.Transport, up *upstream.TCPConn) error
	// Opened is the upstream, where Open has opened it before; nil: Serve does.
	Opened *Opened
	// Bytes counts the flow while it runs, for reports in between; nil: only Flow
	// tells, at the end.
	Bytes *Counters
}

// Flow is what a relayed connection came to.
type Flow struct {
	Cluster       string
	Node          *config.Cluster  // nil if the cluster does not exist
	Endpoint      *config.Endpoint // nil if none was chosen
	Upstream      stream.Upstream
	BytesReceived int64 // from the client
	BytesSent     int64 // to the client
	Duration      time.Duration
	Reason        stream.Reason // None: both sides ended in order
}

// Serve relays down until both sides have ended, and closes it. closing, which may
// be nil, ends the flow with the reason that it delivers.
func (r *Relay) Serve(down rawio.Transport, c *stream.Conn, cfg *config.TCP, h Hooks, closing <-chan stream.Reason) Flow {
	f := &flow{r: r, down: down, conn: c, cfg: cfg, closing: closing, bytes: h.Bytes}
	if f.bytes == nil {
		f.bytes = new(Counters)
	}
	start := r.o.Now()
	f.out.Reason = f.serve(h)
	// The flow is over: a socket that cannot be closed in order is closed all the same.
	_ = down.Close()
	f.out.BytesReceived, f.out.BytesSent = f.bytes.Bytes()
	f.out.Upstream.BytesSent, f.out.Upstream.BytesRead = f.out.BytesReceived, f.out.BytesSent
	f.out.Duration = r.o.Now().Sub(start)
	return f.out
}

// flow is one relayed connection.
type flow struct {
	// immutable
	r       *Relay
	down    rawio.Transport
	up      *upstream.TCPConn // set before copying
	conn    *stream.Conn
	cfg     *config.TCP
	closing <-chan stream.Reason

	bytes *Counters

	out  Flow // of the serving goroutine
	idle timer.Timer

	mu      sync.Mutex
	stopped bool          // guarded by mu
	why     stream.Reason // guarded by mu
}

func (f *flow) serve(h Hooks) stream.Reason {
	up, err := f.opened(h.Opened)
	if err != nil {
		return asReason(err)
	}
	defer up.Close()
	if why, stopped := f.connected(up); stopped {
		return why
	}
	f.out.Node, f.out.Endpoint = up.Cluster, up.Endpoint
	if h.Connected != nil {
		if err := h.Connected(f.down, up); err != nil {
			return asReason(err)
		}
	}
	if f.cfg.IdleTimeout > 0 {
		f.idle.Init(f.r.o.Timer, func() {
			f.stop(stream.Reason{Code: stream.IdleTimeout, Detail: "no bytes for " + f.cfg.IdleTimeout.String()})
		})
		f.idle.Arm(f.cfg.IdleTimeout)
		defer f.idle.Drop()
	}
	f.copyBoth()
	received, sent := f.bytes.Bytes()
	up.CountBytes(sent, received)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.why
}

// connected makes the upstream known, unless the flow was stopped meanwhile.
func (f *flow) connected(up *upstream.TCPConn) (why stream.Reason, stopped bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.up = up
	return f.why, f.stopped
}

// Opened is an upstream that was opened before its flow began.
type Opened struct {
	// First are bytes that were read of it: they go to the client first.
	First []byte

	up      *upstream.TCPConn
	cluster string
	facts   stream.Upstream
}

// Upstream is the connection. Closing it gives its place back.
func (o *Opened) Upstream() *upstream.TCPConn { return o.up }

// Open chooses the cluster of a chain and opens a connection. An error is a
// stream.Reason.
func (r *Relay) Open(ctx context.Context, c *stream.Conn, cfg *config.TCP) (*Opened, error) {
	o := &Opened{}
	return o, r.open(ctx, c, cfg, o)
}

// open fills o, also where it fails.
func (r *Relay) open(ctx context.Context, c *stream.Conn, cfg *config.TCP, o *Opened) (err error) {
	dest := match.PickTCPCluster(cfg, r.o.Rand(), nil)
	if dest == nil {
		return stream.Reason{Code: stream.NoCluster, Detail: "the chain names no cluster"}
	}
	o.cluster = dest.Cluster.Name
	h, ok := dest.Cluster.Handle.(*upstream.Handle)
	if !ok {
		return stream.Reason{Code: stream.NoCluster, Detail: "the cluster " + dest.Cluster.Name + " does not exist"}
	}
	tried := &upstream.Tried{}
	if cfg.HashSource && c != nil {
		tried.Hash, tried.HashSet = upstream.HashSource(c.Remote.Addr()), true
	}
	o.up, err = h.DialTCP(ctx, c, tried, &o.facts)
	return err
}

// opened gives the upstream that is open already, or opens one.
func (f *flow) opened(o *Opened) (*upstream.TCPConn, error) {
	var err error
	if o == nil {
		o = &Opened{}
		err = f.dial(o)
	}
	f.out.Cluster, f.out.Upstream = o.cluster, o.facts
	if err != nil {
		return nil, err
	}
	o.up.Transport = rawio.Prefixed(o.up.Transport, o.First)
	return o.up, nil
}

// dial opens the upstream. A close request ends it.
func (f *flow) dial(o *Opened) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if f.closing != nil {
		done := make(chan struct{})
		defer func() { cancel(nil); <-done }()
		go func() {
			defer close(done)
			select {
			case why := <-f.closing:
				f.stop(why)
				cancel(why)
			case <-ctx.Done():
			}
		}()
	}
	return f.r.open(ctx, f.conn, f.cfg, o)
}

// copyBoth runs both directions to their ends.
func (f *flow) copyBoth() {
	var wg sync.WaitGroup
	up := f.up.Transport // what wraps it would hide that it can be read lazily
	wg.Go(func() {
		f.direction(up, f.down, &f.bytes.received, stream.DownstreamGone, stream.UpstreamReset)
	})
	wg.Go(func() {
		f.direction(f.down, up, &f.bytes.sent, stream.UpstreamReset, stream.DownstreamGone)
	})
	if f.closing == nil {
		wg.Wait()
		return
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case why := <-f.closing:
		f.stop(why)
		<-done
	}
}

// stop ends the flow; the first reason stays. Any goroutine.
func (f *flow) stop(why stream.Reason) { f.abort(why, nil) }

// abort is stop with a reset for one side.
func (f *flow) abort(why stream.Reason, reset rawio.Transport) {
	f.mu.Lock()
	again := f.stopped
	if !again {
		f.stopped, f.why = true, why
	}
	f.mu.Unlock()
	if again {
		return
	}
	// Closing wakes both directions; the errors are theirs to see.
	if reset != nil {
		_ = rawio.Abort(reset)
	}
	_ = f.down.Close()
	if f.up != nil {
		_ = f.up.Transport.Close()
	}
}

// moved puts the idle time-out off.
func (f *flow) moved() {
	if f.cfg.IdleTimeout > 0 {
		f.idle.Arm(f.cfg.IdleTimeout)
	}
}

func asReason(err error) stream.Reason {
	var r stream.Reason
	if errors.As(err, &r) {
		return r
	}
	return stream.Reason{Code: stream.Internal, Detail: err.Error()}
}
