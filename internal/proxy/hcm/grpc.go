package hcm

import "github.com/lateen-mesh/lateen/internal/proxy/stream"

// localGRPC makes an answer of the proxy one for gRPC clients, and notes its status.
func localGRPC(s *stream.Stream, resp *stream.Response, reply *stream.Reply) {
	stream.LocalGRPC(resp, reply)
	s.GRPC.Call = true
	s.GRPC.Answer(resp.Get(stream.GRPCStatus))
}
