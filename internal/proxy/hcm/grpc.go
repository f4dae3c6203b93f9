package hcm

import (
	"strconv"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

var grpcMessage = stream.N("grpc-message")

// localGRPC makes an answer of the proxy one that gRPC clients understand: a head
// alone, with the status and the text in fields ("Trailers-Only"). The stream's
// maximum duration is the caller's deadline, mostly.
func localGRPC(s *stream.Stream, resp *stream.Response, reply *stream.Reply) {
	resp.Status = 200
	resp.SetString(stream.ContentType, "application/grpc")
	if !resp.Has(stream.GRPCStatus) { // else the reply has one of its own
		status := stream.GRPCStatusOf(reply.Status)
		if reply.Reason.Code == stream.MaxDuration {
			status = stream.GRPCDeadlineExceeded
		}
		resp.AddString(stream.GRPCStatus, strconv.Itoa(status))
	}
	if reply.Body != "" {
		resp.Set(grpcMessage, percentEncode(reply.Body))
	}
	s.GRPC.Call = true
	s.GRPC.Answer(resp.Get(stream.GRPCStatus))
}

// percentEncode writes a status message as gRPC over HTTP/2 has it: what is not
// printable ASCII, and the percent sign, as %XX.
func percentEncode(text string) []byte {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if c := text[i]; c >= ' ' && c <= '~' && c != '%' {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return out
}
