package stream

import (
	"strconv"
	"sync/atomic"
)

// GRPC is what is known of a gRPC call, for logs and metrics. The gRPC statistics
// filter and the connection manager fill it in.
type GRPC struct {
	// Call is set for requests that are gRPC calls.
	Call bool
	// Answered is set when the answer's grpc-status is known, and Status is that.
	Answered bool
	Status   int
	// Counted is set where messages are counted. Both directions may be moving.
	Counted          bool
	RequestMessages  atomic.Uint64
	ResponseMessages atomic.Uint64
}

// Reset clears g for the next exchange.
func (g *GRPC) Reset() {
	if !g.Call && !g.Answered {
		return
	}
	g.Call, g.Answered, g.Status, g.Counted = false, false, 0, false
	g.RequestMessages.Store(0)
	g.ResponseMessages.Store(0)
}

// Answer notes a grpc-status field's value; one that is no status counts as UNKNOWN,
// as gRPC clients take it.
func (g *GRPC) Answer(value []byte) {
	if value == nil {
		return
	}
	g.Answered, g.Status = true, 0
	if len(value) == 0 || len(value) > 3 {
		g.Status = GRPCUnknown
		return
	}
	for _, c := range value {
		if c < '0' || c > '9' {
			g.Status = GRPCUnknown
			return
		}
		g.Status = 10*g.Status + int(c-'0')
	}
}

// Status codes of gRPC that proxies give themselves.
const (
	GRPCUnknown          = 2
	GRPCDeadlineExceeded = 4
	GRPCPermissionDenied = 7
	GRPCUnimplemented    = 12
	GRPCInternal         = 13
	GRPCUnavailable      = 14
	GRPCUnauthenticated  = 16
)

// GRPCStatusOf gives the status of a call that was answered with an HTTP status, by
// gRPC's own mapping ("HTTP to gRPC Status Code Mapping"), which Envoy has too.
func GRPCStatusOf(http int) int {
	switch http {
	case 400:
		return GRPCInternal
	case 401:
		return GRPCUnauthenticated
	case 403:
		return GRPCPermissionDenied
	case 404:
		return GRPCUnimplemented
	case 429, 502, 503, 504:
		return GRPCUnavailable
	}
	return GRPCUnknown
}

// IsGRPC reports whether a content type is gRPC's: "application/grpc", alone or with
// a suffix or parameters. That of gRPC-Web, which is another protocol, is not.
func IsGRPC(contentType []byte) bool {
	const name = "application/grpc"
	if len(contentType) < len(name) || !EqualFold(contentType[:len(name)], name) {
		return false
	}
	return len(contentType) == len(name) || contentType[len(name)] == '+' || contentType[len(name)] == ';'
}

var grpcMessage = N("grpc-message")

// LocalGRPC makes resp, an answer of the proxy, one that gRPC clients understand: a
// head alone, with the status and the text in fields ("Trailers-Only"). The stream's
// maximum duration is the caller's deadline, mostly.
func LocalGRPC(resp *Response, reply *Reply) {
	resp.Status, resp.Body, resp.Length = 200, nil, 0
	resp.SetString(ContentType, "application/grpc")
	if !resp.Has(GRPCStatus) { // else the reply has one of its own
		status := GRPCStatusOf(reply.Status)
		if reply.Reason.Code == MaxDuration {
			status = GRPCDeadlineExceeded
		}
		resp.AddString(GRPCStatus, strconv.Itoa(status))
	}
	if reply.Body != "" {
		resp.Set(grpcMessage, percentEncode(reply.Body))
	}
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
