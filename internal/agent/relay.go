package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/ops"
)

// serveEnvoy serves the socket between agent and Envoy: the workload's secrets,
// and the configuration stream.
func (a *agent) serveEnvoy(l net.Listener) func(context.Context) error {
	return func(ctx context.Context) error {
		g := grpc.NewServer(grpc.MaxRecvMsgSize(64<<20), grpc.ReadBufferSize(4<<10), grpc.WriteBufferSize(4<<10), grpc.SharedWriteBuffer(true))
		secretv3.RegisterSecretDiscoveryServiceServer(g, &secrets{id: a.id, log: ops.Scope(a.o.Log, "sds")})
		discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, a.xds)
		stop := context.AfterFunc(ctx, g.Stop)
		defer stop()
		if err := g.Serve(l); err != nil && ctx.Err() == nil {
			return fmt.Errorf("socket of the Envoy: %w", err)
		}
		return nil
	}
}

// relay passes configuration streams on to the control plane, with the workload's
// token: an Envoy cannot renew one by itself.
type relay struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	upstream discoveryv3.AggregatedDiscoveryServiceClient
	token    func() (string, error)
	log      *slog.Logger
	pod      *podRelay // nil where there is no pod
}

func (a *agent) newRelay() *relay {
	r := &relay{upstream: discoveryv3.NewAggregatedDiscoveryServiceClient(a.conn), token: a.o.Token, log: ops.Scope(a.o.Log, "relay")}
	if a.o.Pod != nil {
		r.pod = newPodRelay(a, r.log)
	}
	return r
}

// run keeps what belongs to the streams until ctx ends.
func (r *relay) run(ctx context.Context) error {
	if r.pod != nil {
		r.pod.store.Run(ctx)
	}
	return nil
}

// DeltaAggregatedResources relays an incremental stream.
func (r *relay) DeltaAggregatedResources(down grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	if r.pod != nil {
		return r.pod.delta(r, down)
	}
	return pass(r, down, r.upstream.DeltaAggregatedResources)
}

// StreamAggregatedResources relays a state-of-the-world stream.
func (r *relay) StreamAggregatedResources(down grpc.BidiStreamingServer[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]) error {
	return pass(r, down, r.upstream.StreamAggregatedResources)
}

// pass joins a stream of the Envoy to a new one of the control plane; either end
// ends both, and the Envoy comes again.
func pass[Req, Resp any](r *relay, down grpc.BidiStreamingServer[Req, Resp],
	open func(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[Req, Resp], error),
) error {
	ctx, err := r.authorize(down.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	up, err := open(ctx)
	if err != nil {
		cancel()
		return err
	}
	sent := make(chan error, 1)
	go func() { // ends with down's or up's stream, of which this function's end is the end
		sent <- copyUp(down, up)
	}()
	err = copyDown(up, down)
	cancel()
	return endOf(err, sent)
}

// endOf is how a relayed stream ended: err came from the direction that was read to
// its end, and sent tells of the other, whose failure may have been the cause.
func endOf(err error, sent <-chan error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	select {
	case cause := <-sent:
		if cause != nil && status.Code(err) == codes.Canceled {
			return cause
		}
	default:
	}
	return err
}

// authorize says who asks.
func (r *relay) authorize(ctx context.Context) (context.Context, error) {
	token, err := r.token()
	if err != nil {
		return nil, status.Error(codes.Unavailable, fmt.Sprintf("token for the control plane: %v", err))
	}
	if token == "" { // the connection itself says it
		return ctx, nil
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), nil
}

func copyUp[Req, Resp any](down grpc.BidiStreamingServer[Req, Resp], up grpc.BidiStreamingClient[Req, Resp]) error {
	for {
		m, err := down.Recv()
		if errors.Is(err, io.EOF) {
			return up.CloseSend()
		}
		if err != nil {
			return err
		}
		if err := up.Send(m); err != nil {
			return err // why, copyDown is told
		}
	}
}

func copyDown[Req, Resp any](up grpc.BidiStreamingClient[Req, Resp], down grpc.BidiStreamingServer[Req, Resp]) error {
	for {
		m, err := up.Recv()
		if err != nil {
			return err
		}
		if err := down.Send(m); err != nil {
			return err
		}
	}
}
