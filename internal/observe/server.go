package observe

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/history"
	"github.com/lateen-mesh/lateen/internal/wire"
)

// maxSets bounds the sets of labels of one stream: a proxy has fewer.
const maxSets = 8192

// Authenticator tells the namespace of who calls; an error refuses the stream.
type Authenticator func(ctx context.Context) (namespace string, err error)

// Hub takes what all proxies report. It is safe for concurrent use.
type Hub struct {
	store *history.Store
	log   *slog.Logger

	mu      sync.Mutex
	proxies map[*proxy]struct{} // guarded by mu
	taps    map[uint64]*tap     // guarded by mu
	lastTap atomic.Uint64
}

// New makes a hub that adds to a store.
func New(store *history.Store, log *slog.Logger) *Hub {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Hub{store: store, log: log, proxies: map[*proxy]struct{}{}, taps: map[uint64]*tap{}}
}

// Register adds the service to a gRPC server. Several servers may have it.
func (h *Hub) Register(to grpc.ServiceRegistrar, auth Authenticator) {
	to.RegisterService(&grpc.ServiceDesc{
		ServiceName: wire.ObserveService,
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: wire.ObserveStream, ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, s grpc.ServerStream) error { return h.serve(s, auth) },
		}},
	}, h)
}

// proxy is one stream.
type proxy struct {
	hello     wire.Hello
	namespace string
	send      chan *anypb.Any // to the proxy; full: it is stuck, and misses what follows
	sets      map[uint64]known
}

// known is a set of labels of a stream.
type known struct {
	key    string
	labels []wire.Label
}

// Reporting counts the proxies that report.
func (h *Hub) Reporting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.proxies)
}

// serve serves one stream.
func (h *Hub) serve(s grpc.ServerStream, auth Authenticator) error {
	namespace, err := auth(s.Context())
	if err != nil {
		return err
	}
	var first anypb.Any
	if err := s.RecvMsg(&first); err != nil {
		return err
	}
	hello, err := wire.UnmarshalHello(first.Value)
	if first.TypeUrl != wire.HelloType || err != nil {
		return status.Error(codes.InvalidArgument, "the first message is not a hello")
	}
	if !strings.HasSuffix(hello.Proxy, "."+namespace) {
		return status.Errorf(codes.PermissionDenied, "a proxy of the namespace %s cannot be %q", namespace, hello.Proxy)
	}
	p := &proxy{hello: hello, namespace: namespace, send: make(chan *anypb.Any, 16), sets: map[uint64]known{}}
	h.add(p)
	defer h.remove(p)
	ctx, cancel := context.WithCancel(s.Context())
	var sender sync.WaitGroup
	defer sender.Wait()
	defer cancel()
	sender.Go(func() {
		for {
			select {
			case m := <-p.send:
				if s.SendMsg(m) != nil {
					return // receiving says why
				}
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		var m anypb.Any
		if err := s.RecvMsg(&m); err != nil {
			return err
		}
		if err := h.take(p, &m); err != nil {
			h.log.Warn("a proxy's report is not understood", "proxy", hello.Proxy, "err", err)
			return status.Error(codes.InvalidArgument, err.Error())
		}
	}
}

func (h *Hub) take(p *proxy, m *anypb.Any) error {
	switch m.TypeUrl {
	case wire.ReportType:
		r, err := wire.UnmarshalReport(m.Value)
		if err != nil {
			return err
		}
		return h.report(p, &r)
	case wire.TappedType:
		return h.tapped(p, m.Value)
	}
	return nil // else of a newer proxy
}

func (h *Hub) report(p *proxy, r *wire.Report) error {
	for i := range r.Rows {
		row := &r.Rows[i]
		if row.Labels != nil {
			if len(p.sets) >= maxSets {
				clear(p.sets) // the proxy tells labels again in its next stream
				return status.Error(codes.ResourceExhausted, "too many sets of labels in one stream")
			}
			slices.SortFunc(row.Labels, func(a, b wire.Label) int { return strings.Compare(a.Name, b.Name) })
			p.sets[row.Set] = known{history.Key(row.Labels), row.Labels}
		}
		set, ok := p.sets[row.Set]
		if ok && p.knows(set.labels) {
			h.store.Add(set.key, set.labels, row.Cells)
		}
	}
	return nil
}

// knows reports whether labels speak of traffic that the proxy can have seen: its own
// end is in its namespace.
func (p *proxy) knows(set []wire.Label) bool {
	var reporter, source, destination string
	for _, l := range set {
		switch l.Name {
		case "reporter":
			reporter = l.Value
		case "source_workload_namespace":
			source = l.Value
		case "destination_workload_namespace":
			destination = l.Value
		}
	}
	switch reporter {
	case "source":
		return source == p.namespace
	case "destination":
		return destination == p.namespace
	}
	return reporter == "overflow" // the row for what found no room in the proxy
}
