package grpcecho

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Names of the service and of its methods.
const (
	Service = "lateen.samples.v1.Echo"

	unary        = "Unary"
	serverStream = "ServerStream"
	clientStream = "ClientStream"
	bidi         = "Bidi"

	protoFile = "lateen/samples/v1/echo.proto"
)

// path is a method's path in requests.
func path(method string) string { return "/" + Service + "/" + method }

// description describes the service to grpc's server.
func description() *grpc.ServiceDesc {
	stream := func(f func(*server, grpc.ServerStream) error) grpc.StreamHandler {
		return func(srv any, s grpc.ServerStream) error { return f(srv.(*server), s) }
	}
	return &grpc.ServiceDesc{
		ServiceName: Service,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: unary, Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := &structpb.Struct{}
			if err := decode(in); err != nil {
				return nil, err
			}
			return srv.(*server).unary(ctx, in)
		}}},
		Streams: []grpc.StreamDesc{
			{StreamName: serverStream, ServerStreams: true, Handler: stream((*server).serverStream)},
			{StreamName: clientStream, ClientStreams: true, Handler: stream((*server).clientStream)},
			{StreamName: bidi, ServerStreams: true, ClientStreams: true, Handler: stream((*server).bidi)},
		},
		Metadata: protoFile,
	}
}

// descriptors are the files that reflection serves.
func descriptors() (*protoregistry.Files, error) {
	files := new(protoregistry.Files)
	for _, f := range []protoreflect.FileDescriptor{
		structpb.File_google_protobuf_struct_proto, healthpb.File_grpc_health_v1_health_proto, reflectionpb.File_grpc_reflection_v1_reflection_proto,
	} {
		if err := files.RegisterFile(f); err != nil {
			return nil, fmt.Errorf("register %s: %w", f.Path(), err)
		}
	}
	const message = ".google.protobuf.Struct"
	service := &descriptorpb.ServiceDescriptorProto{Name: proto.String("Echo")}
	method := func(name string, fromClient, fromServer bool) {
		service.Method = append(service.Method, &descriptorpb.MethodDescriptorProto{
			Name: proto.String(name), InputType: proto.String(message), OutputType: proto.String(message),
			ClientStreaming: proto.Bool(fromClient), ServerStreaming: proto.Bool(fromServer),
		})
	}
	method(unary, false, false)
	method(serverStream, false, true)
	method(clientStream, true, false)
	method(bidi, true, true)
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String(protoFile), Package: proto.String("lateen.samples.v1"), Syntax: proto.String("proto3"),
		Dependency: []string{structpb.File_google_protobuf_struct_proto.Path()},
		Service:    []*descriptorpb.ServiceDescriptorProto{service},
	}, files)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", Service, err)
	}
	return files, files.RegisterFile(file)
}
