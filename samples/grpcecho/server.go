package grpcecho

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	standardPort = "7070"
	maxReplies   = 10_000
	maxPause     = 10 * time.Second
)

// Serve answers calls until ctx ends. The port is the first argument, else 7070;
// version and instance are what answers carry.
func Serve(ctx context.Context, args []string, version, instance string, log *slog.Logger) error {
	port := standardPort
	if len(args) > 0 {
		port = args[0]
	}
	l, err := net.Listen("tcp", net.JoinHostPort("", port))
	if err != nil {
		return err
	}
	defer l.Close()
	files, err := descriptors()
	if err != nil {
		return err
	}
	srv := grpc.NewServer()
	srv.RegisterService(description(), &server{version: version, instance: instance})
	state := health.NewServer()
	state.SetServingStatus(Service, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(srv, state)
	reflectionpb.RegisterServerReflectionServer(srv, reflection.NewServerV1(reflection.ServerOptions{Services: srv, DescriptorResolver: files}))
	log.Info("serving", "address", l.Addr().String())
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	state.Shutdown()
	// Streams under way may go on for a while; what is left then is cut off.
	cut := time.AfterFunc(5*time.Second, srv.Stop)
	defer cut.Stop()
	srv.GracefulStop()
	return <-failed
}

// server answers the service's methods.
type server struct{ version, instance string }

func (s *server) unary(ctx context.Context, in *structpb.Struct) (*structpb.Struct, error) {
	if err := s.fail(in); err != nil {
		return nil, err
	}
	if err := grpc.SetHeader(ctx, s.mark()); err != nil {
		return nil, err
	}
	if err := grpc.SetTrailer(ctx, metadata.Pairs("x-echo", "end")); err != nil {
		return nil, err
	}
	return s.reply(ctx, in, text(in), 1)
}

// serverStream answers "count" times, "everyMs" apart.
func (s *server) serverStream(stream grpc.ServerStream) error {
	in := &structpb.Struct{}
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	if err := s.begin(stream, in); err != nil {
		return err
	}
	n := int(in.GetFields()["count"].GetNumberValue())
	pause := time.Duration(in.GetFields()["everyMs"].GetNumberValue()) * time.Millisecond
	if n < 0 || n > maxReplies || pause < 0 || pause > maxPause {
		return status.Errorf(codes.InvalidArgument, "want a count up to %d, everyMs up to %d", maxReplies, maxPause.Milliseconds())
	}
	for i := range n {
		if i > 0 && pause > 0 {
			select {
			case <-time.After(pause):
			case <-stream.Context().Done():
				return status.FromContextError(stream.Context().Err()).Err()
			}
		}
		if err := s.send(stream, in, text(in), i+1); err != nil {
			return err
		}
	}
	return nil
}

// clientStream answers once, with all messages.
func (s *server) clientStream(stream grpc.ServerStream) error {
	var all []string
	last := &structpb.Struct{}
	for {
		in := &structpb.Struct{}
		err := stream.RecvMsg(in)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if len(all) == 0 {
			if err := s.begin(stream, in); err != nil {
				return err
			}
		}
		last = in
		if all = append(all, text(in)); len(all) > maxReplies {
			return status.Errorf(codes.ResourceExhausted, "more than %d messages", maxReplies)
		}
	}
	return s.send(stream, last, strings.Join(all, " "), len(all))
}

// bidi answers every message.
func (s *server) bidi(stream grpc.ServerStream) error {
	for n := 1; ; n++ {
		in := &structpb.Struct{}
		err := stream.RecvMsg(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n == 1 {
			if err := s.begin(stream, in); err != nil {
				return err
			}
		}
		if err := s.send(stream, in, text(in), n); err != nil {
			return err
		}
	}
}

func text(in *structpb.Struct) string { return in.GetFields()["message"].GetStringValue() }

// mark is the metadata that answers begin with.
func (s *server) mark() metadata.MD { return metadata.Pairs("x-echo-version", s.version) }

// begin is the start of a stream: a failure that its first message asks for, or
// metadata.
func (s *server) begin(stream grpc.ServerStream, first *structpb.Struct) error {
	if err := s.fail(first); err != nil {
		return err
	}
	stream.SetTrailer(metadata.Pairs("x-echo", "end"))
	return stream.SetHeader(s.mark())
}

// fail fails where a message asks for it: with the gRPC status "fail", at the
// version "failAt" only where that is set.
func (s *server) fail(in *structpb.Struct) error {
	code := codes.Code(in.GetFields()["fail"].GetNumberValue())
	at := in.GetFields()["failAt"].GetStringValue()
	if code == codes.OK || at != "" && at != s.version {
		return nil
	}
	return status.Errorf(code, "%s fails as asked", s.version)
}

func (s *server) send(stream grpc.ServerStream, in *structpb.Struct, message string, n int) error {
	out, err := s.reply(stream.Context(), in, message, n)
	if err != nil {
		return err
	}
	return stream.SendMsg(out)
}

// reply tells the message, who answers, and what came with the call; the padding
// goes back as it came.
func (s *server) reply(ctx context.Context, in *structpb.Struct, message string, n int) (*structpb.Struct, error) {
	from := ""
	if p, ok := peer.FromContext(ctx); ok {
		from = p.Addr.String()
	}
	all := map[string]any{}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		for k, vs := range md {
			all[k] = strings.ToValidUTF8(strings.Join(vs, ", "), "?")
		}
	}
	out, err := structpb.NewStruct(map[string]any{
		"message": message, "n": n, "version": s.version, "instance": s.instance, "peer": from, "metadata": all,
	})
	if err != nil {
		return nil, fmt.Errorf("make the answer: %w", err)
	}
	if p, ok := in.GetFields()["padding"]; ok {
		out.Fields["padding"] = p
	}
	return out, nil
}
