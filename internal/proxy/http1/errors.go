package http1

import "github.com/lateen-mesh/lateen/internal/proxy/stream"

// protoError is a breach of the protocol. status is what a server answers; a
// client reports UpstreamProtocol.
type protoError struct {
	status int
	detail string
	code   stream.Code // 0: DownstreamProtocol
}

// Error implements error.
func (e *protoError) Error() string { return e.detail }

func bad(detail string) *protoError { return &protoError{status: 400, detail: detail} }

// The errors of the parsers; none is ever changed.
var (
	errBareLF       = bad("bare LF in head")
	errLeadingSpace = bad("white space before start line")
	errRequestLine  = bad("malformed request line")
	errMethod       = bad("invalid character in method")
	errTarget       = bad("invalid request target")
	errFragment     = bad("fragment in request target")
	errVersion      = &protoError{505, "unsupported HTTP version", stream.UnsupportedProtocol}
	errPreface      = &protoError{505, "HTTP/2 preface", stream.UnsupportedProtocol}
	errHTTP10       = &protoError{426, "HTTP/1.0 is not accepted", stream.UnsupportedProtocol}
	errHeadTooLarge = &protoError{status: 431, detail: "head too large"}
	errTooManyLines = &protoError{status: 431, detail: "too many header fields"}
	errFold         = bad("folded header line")
	errFieldName    = bad("invalid header field name")
	errFieldValue   = bad("invalid character in header field value")
	errNoHost       = bad("no Host field")
	errManyHosts    = bad("more than one Host field")
	errHost         = bad("invalid Host")
	errLength       = bad("invalid Content-Length")
	errManyLengths  = bad("more than one Content-Length")
	errBothLengths  = bad("both Content-Length and Transfer-Encoding")
	errManyCodings  = bad("more than one Transfer-Encoding")
	errCoding       = &protoError{status: 501, detail: "unsupported transfer coding"}
	errLastCoding   = bad("last transfer coding is not chunked")
	errCoding10     = bad("Transfer-Encoding in HTTP/1.0")
	errConnectBody  = bad("CONNECT with a body")
	errNominated    = bad("Connection names a field that is not the connection's own")
	errStatusLine   = bad("malformed status line")
	errChunkSize    = bad("invalid chunk size")
	errChunkExt     = bad("invalid or too long chunk extension")
	errChunkEnd     = bad("chunk data not ended by CRLF")
	errTrailer      = bad("field not allowed in trailers")
	errTrailerSize  = &protoError{status: 431, detail: "trailers too large"}
	errUpgrade      = bad("101 without a request to upgrade")
)

// reason gives the error's reason on the server side.
func (e *protoError) reason() stream.Reason {
	code := e.code
	if code == stream.None {
		code = stream.DownstreamProtocol
	}
	r := stream.Reason{Code: code, Detail: e.detail}
	switch e {
	case errHeadTooLarge:
		r.Envoy = "http1.headers_too_large"
	case errTooManyLines:
		r.Envoy = "http1.too_many_headers"
	case errTrailerSize:
		r.Envoy = "http1.trailers_too_large"
	}
	return r
}
