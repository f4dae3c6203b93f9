package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/wire"
)

// Every is how often a proxy reports.
const Every = 3 * time.Second

// retry is the pause after a stream that broke while the connection lives on.
const retry = 5 * time.Second

// Tap gives live requests. Its methods are called by one goroutine at a time.
type Tap interface {
	// Start begins to give what the request of the control plane asks for, Stop ends
	// it; both name it by the same number.
	Start(request []byte) error
	Stop(request []byte) error
	// Reset ends everything: the control plane is gone.
	Reset()
	// Events are messages of the type wire.TappedType.
	Events() <-chan []byte
}

// Options configure a Reporter. Hello and Metrics are required.
type Options struct {
	Hello   wire.Hello
	Metrics prometheus.Gatherer
	Tap     Tap // nil: there are no live requests
	Log     *slog.Logger
	Every   time.Duration // 0: Every
}

// Reporter reports over connections that come one after the other.
type Reporter struct {
	o        Options
	counters *counters
	unknown  bool // the control plane does not know the service: said once
}

// New makes a reporter.
func New(o Options) *Reporter {
	if o.Every == 0 {
		o.Every = Every
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Reporter{o: o, counters: newCounters(o.Metrics)}
}

// Run reports over a connection until ctx ends, which carries the caller's
// credentials. Only one Run runs at a time.
func (r *Reporter) Run(ctx context.Context, conn grpc.ClientConnInterface) {
	for ctx.Err() == nil {
		err := r.stream(ctx, conn)
		if ctx.Err() != nil {
			return
		}
		if status.Code(err) == codes.Unimplemented {
			if !r.unknown {
				r.unknown = true
				r.o.Log.Info("the control plane takes no reports: it is older than this proxy")
			}
			return // until the next connection
		}
		r.o.Log.Debug("reporting to the control plane broke off", "err", err)
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
	}
}

var description = grpc.StreamDesc{StreamName: wire.ObserveStream, ServerStreams: true, ClientStreams: true}

// stream is one stream, to its end.
func (r *Reporter) stream(ctx context.Context, conn grpc.ClientConnInterface) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := conn.NewStream(ctx, &description, wire.ObserveMethod)
	if err != nil {
		return err
	}
	asked, ended := make(chan *anypb.Any), make(chan error, 1)
	go func() { ended <- receive(ctx, s, asked) }()
	err = r.serve(ctx, s, asked, ended)
	cancel()
	if err != nil {
		return err
	}
	return <-ended
}

// receive passes on what the control plane says.
func receive(ctx context.Context, s grpc.ClientStream, to chan<- *anypb.Any) error {
	for {
		m := &anypb.Any{}
		if err := s.RecvMsg(m); err != nil {
			return err
		}
		select {
		case to <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serve sends until the stream ends.
func (r *Reporter) serve(ctx context.Context, s grpc.ClientStream, asked <-chan *anypb.Any, ended chan error) error {
	if err := send(s, wire.HelloType, r.o.Hello.Marshal()); err != nil {
		return err
	}
	r.counters.begin()
	var events <-chan []byte
	if r.o.Tap != nil {
		events = r.o.Tap.Events()
		defer r.o.Tap.Reset()
	}
	tick := time.NewTicker(r.o.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := r.report(s); err != nil {
				return err
			}
		case m := <-asked:
			r.do(m)
		case e := <-events:
			if err := send(s, wire.TappedType, e); err != nil {
				return err
			}
		case err := <-ended:
			ended <- err
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// report sends what grew, in parts that a reader takes.
func (r *Reporter) report(s grpc.ClientStream) error {
	rows, err := r.counters.read()
	if err != nil {
		r.o.Log.Warn("the metrics cannot be read", "err", err)
		return nil
	}
	for len(rows) > 0 {
		n, size := 0, 0
		for n < len(rows) && size < wire.MaxReport/2 {
			size += rows[n].Size()
			n++
		}
		if err := send(s, wire.ReportType, wire.Report{Rows: rows[:n]}.Marshal()); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func (r *Reporter) do(m *anypb.Any) {
	if r.o.Tap == nil {
		return
	}
	var err error
	switch m.TypeUrl {
	case wire.TapType:
		err = r.o.Tap.Start(m.Value)
	case wire.UntapType:
		err = r.o.Tap.Stop(m.Value)
	}
	if err != nil {
		r.o.Log.Warn("a tap was not started", "err", err)
	}
}

func send(s grpc.ClientStream, typeURL string, body []byte) error {
	err := s.SendMsg(&anypb.Any{TypeUrl: typeURL, Value: body})
	if errors.Is(err, io.EOF) { // the reason is what receiving says
		return nil
	}
	if err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	return nil
}
