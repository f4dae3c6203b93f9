package server

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Identity is who a client has proved to be.
type Identity struct {
	Namespace      string
	ServiceAccount string
	Instance       string
}

// Authenticator tells who calls; an error refuses the stream.
type Authenticator interface {
	Authenticate(ctx context.Context) (Identity, error)
}

// Owner has the resources.
type Owner interface {
	// Connected is told of a stream whose node is known, and Offers it a state
	// now or later. An error refuses the stream.
	Connected(c *Conn) error
	// Progress is told when a client has answered something. It must not block.
	Progress(c *Conn)
	// Disconnected is told once for each Connected that returned no error.
	Disconnected(c *Conn)
}

// Options configure a Server.
type Options struct {
	Owner Owner
	// Auth is nil for a server that anybody may ask: a plain listener on loopback.
	Auth Authenticator
	Log  *slog.Logger
	// PushTypes is the order in which types are sent. A type that is not in it is
	// never answered, and logged: a newer client may ask for more than is known here.
	PushTypes []string
	// FullTypes are the types whose state-of-the-world responses hold everything.
	FullTypes []string
	// Gate is the first of PushTypes that refers to those before it: it and the
	// types after it are held back until the client has taken everything before.
	// Empty: nothing is held back.
	Gate string
	// Last is a type of PushTypes that is sent when all else is in force: what it
	// tells is that it is. Empty: there is none.
	Last string
	// Aside are types that nothing refers to and that a client need not ask for.
	Aside []string
	// Warms names types that a client reads again when the resource of the same
	// name changes in another type: an Envoy that gets a changed cluster waits for
	// the cluster's endpoints, even if it has them.
	Warms map[string]string
	// Names names types whose resources a client subscribes to when it finds their
	// names in resources of another type: route tables, in listeners. Until it has,
	// its state is not settled.
	Names map[string]string
	// Patience is how long a client may take to ask for what belongs to what it was
	// sent (the endpoints of a cluster), and after a reconnection for what it has;
	// whoever has not asked by then never will. 0 takes 2 s.
	Patience time.Duration
	// Sent and Refused are told of every response and NACK, by type; nil: nobody.
	Sent, Refused func(typeURL string)
	Now           func() time.Time
}

// Server implements the aggregated discovery service.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	o      Options
	lastID atomic.Uint64

	mu      sync.Mutex
	leaving bool                              // guarded by mu: Drain was called
	streams map[*Conn]context.CancelCauseFunc // guarded by mu
}

// New makes a server.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Patience == 0 {
		o.Patience = 2 * time.Second
	}
	if o.Sent == nil {
		o.Sent = func(string) {}
	}
	if o.Refused == nil {
		o.Refused = func(string) {}
	}
	return &Server{o: o, streams: map[*Conn]context.CancelCauseFunc{}}
}

// Register adds the service to a gRPC server.
func (s *Server) Register(to grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(to, s)
}

// GRPCOptions are the options for a gRPC server of many idle streams: small and
// shared buffers, and pings that find dead clients.
func GRPCOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ReadBufferSize(4 << 10), grpc.WriteBufferSize(4 << 10), grpc.SharedWriteBuffer(true),
		grpc.MaxConcurrentStreams(1000),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
}

// DeltaAggregatedResources serves an incremental stream.
func (s *Server) DeltaAggregatedResources(stream grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	return serve(s, stream.Context(), deltaProtocol{stream})
}

// StreamAggregatedResources serves a state-of-the-world stream.
func (s *Server) StreamAggregatedResources(stream grpc.BidiStreamingServer[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]) error {
	return serve(s, stream.Context(), sotwProtocol{stream})
}

// protocol is the difference between the two forms of the service.
type protocol interface {
	// receive returns the next request in neutral form.
	receive() (request, error)
	send(r response) error
	// incremental is false where responses of FullTypes hold everything and
	// removals cannot be told otherwise.
	incremental() bool
}

// request is a discovery request of either form.
type request struct {
	node        *corev3.Node
	typeURL     string
	nonce       string // of the response that is answered; "" for none
	refused     string // the error of a NACK
	subscribe   []string
	unsubscribe []string
	known       map[string]string // initial_resource_versions
	// replace says that subscribe is the whole list (state of the world).
	replace bool
}

// response is a discovery response of either form.
type response struct {
	typeURL   string
	nonce     string
	version   string
	resources []*Resource
	removed   []string
}

// serve runs one stream to its end.
func serve(s *Server, ctx context.Context, p protocol) error {
	var who *Identity
	if s.o.Auth != nil {
		id, err := s.o.Auth.Authenticate(ctx)
		if err != nil {
			return refusal(err)
		}
		who = &id
	}
	first, err := p.receive()
	if err != nil {
		return err
	}
	if first.node.GetId() == "" {
		return status.Error(codes.InvalidArgument, "the first request names no node")
	}
	if who != nil {
		if err := owns(*who, first.node); err != nil {
			return status.Error(codes.PermissionDenied, err.Error())
		}
	}
	c := newConn(s, s.lastID.Add(1), first.node, who, p)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := s.begin(c, cancel); err != nil {
		return err
	}
	defer s.end(c)
	if err := s.o.Owner.Connected(c); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	defer s.o.Owner.Disconnected(c)
	go func() { // ends with the stream, which ends when serve returns
		cancel(c.receiveLoop(first))
	}()
	return c.sendLoop(ctx)
}

// refusal turns why a caller is not let in into a status: what the error says
// itself, or Unauthenticated.
func refusal(err error) error {
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	return status.Error(codes.Unauthenticated, err.Error())
}

// owns checks that a node speaks for the workload that calls: a proxy gets its own
// configuration and no other's. The id counts as well as the metadata, since it
// names the proxy in reports; a token that is bound to a pod is good for that pod
// only.
func owns(who Identity, node *corev3.Node) error {
	f := node.GetMetadata().GetFields()
	ns, sa := f["NAMESPACE"].GetStringValue(), cmp.Or(f["SERVICE_ACCOUNT"].GetStringValue(), "default")
	if ns != who.Namespace || sa != who.ServiceAccount {
		return fmt.Errorf("the node says that it is %s/%s, the caller is %s/%s", ns, sa, who.Namespace, who.ServiceAccount)
	}
	parts := strings.Split(node.GetId(), "~")
	if len(parts) != 4 {
		return nil // refused by whoever reads the id
	}
	name, ok := strings.CutSuffix(parts[2], "."+who.Namespace)
	if !ok {
		return fmt.Errorf("the node's id says that it is %s, the caller is of the namespace %s", parts[2], who.Namespace)
	}
	if who.Instance != "" && who.Instance != name {
		return fmt.Errorf("the node's id says that it is %s, the caller is %s", name, who.Instance)
	}
	return nil
}
