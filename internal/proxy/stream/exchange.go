package stream

// Proto is the protocol version a message arrived with.
type Proto uint8

const (
	HTTP11 Proto = iota // the zero value, since most messages are
	HTTP10
	HTTP2
)

// String gives the form that access logs use (Envoy's %PROTOCOL%).
func (p Proto) String() string {
	switch p {
	case HTTP10:
		return "HTTP/1.0"
	case HTTP2:
		return "HTTP/2"
	}
	return "HTTP/1.1"
}

// Body is the content of a message, read by one goroutine.
type Body interface {
	// Next returns the next chunk, which stays valid until the following call.
	// io.EOF ends the body; any other error means that it was cut short.
	Next() ([]byte, error)
	// Buffered reports how many bytes Next can return without blocking, and
	// whether these are the rest of the body.
	Buffered() (n int, complete bool)
	// Trailers returns the trailer section after Next returned io.EOF; nil if
	// there is none.
	Trailers() *Head
	// Close gives up the rest of the body for the reason given. It may be called
	// at any time and more than once.
	Close(Reason)
}

// Response is an answer, from upstream or made by the proxy itself.
type Response struct {
	Head
	Proto  Proto
	Status int
	Body   Body // nil for none
	// Length is the declared length of Body: -1 when unknown (chunked, or until
	// close), else exact. It is 0 when Body is nil, except for answers to HEAD
	// and 304, which keep the length that the origin declared.
	Length int64
	// Tunnel is set on an accepted upgrade (101) or CONNECT: after the head the
	// two sides exchange bytes.
	Tunnel Duplex
	// Local is set when the proxy made the answer itself.
	Local *Reply
}

// Duplex is the byte stream of an upgraded connection, with half-close.
type Duplex interface {
	Read(p []byte) (int, error) // io.EOF at the peer's half-close
	Write(p []byte) (int, error)
	CloseWrite() error
	Close() error
}

// Handler serves one exchange. A *Reply error is an answer made by the proxy
// (the codec's server writes it); any other error resets the stream.
type Handler interface {
	Handle(*Stream) (*Response, error)
}

// HandlerFunc lets a function be a Handler.
type HandlerFunc func(*Stream) (*Response, error)

// Handle calls f.
func (f HandlerFunc) Handle(s *Stream) (*Response, error) { return f(s) }

// Filter takes part in one exchange. It runs on the stream's goroutine and may
// block. It calls next.Handle at most once; not calling it means that the filter
// answers itself. It may change the response's head and wrap its body before it
// returns.
type Filter interface {
	Handle(s *Stream, next Next) (*Response, error)
}

// Chain is an ordered list of filters; the last one answers.
type Chain []Filter

// Handle runs the chain from its first filter.
func (c Chain) Handle(s *Stream) (*Response, error) { return Next{chain: c}.Handle(s) }

// Next is the rest of a chain, as a value.
type Next struct {
	chain Chain
	at    int
}

// Handle runs the rest of the chain. A chain that ends without an answer is a
// defect of the configuration and answers 500.
func (n Next) Handle(s *Stream) (*Response, error) {
	if n.at >= len(n.chain) {
		return nil, NewReply(500, Reason{Code: Internal, Detail: "filter_chain_without_end"})
	}
	f := n.chain[n.at]
	n.at++
	return f.Handle(s, n)
}

// Observer sees every exchange once, after its last byte or its reset: access
// logs, metrics, traces. It must not keep s.
type Observer interface {
	Done(s *Stream, o *Outcome)
}

// Outcome is what an exchange came to. Durations are nanoseconds.
type Outcome struct {
	Status        int   // the status sent to the client; 0 if none was
	BytesReceived int64 // body bytes from the client
	BytesSent     int64 // body bytes to the client
	Duration      int64 // request's first byte to response's last byte
	// RequestDuration is from the request's first byte to its last, and
	// ResponseDuration from the request's first byte to the response's first; 0
	// where that was never reached.
	RequestDuration, ResponseDuration int64
	Reason                            Reason
	Response                          *Response // nil if none was
}

// ServerConn is one downstream connection.
type ServerConn interface {
	// Serve reads requests and calls h for each until the connection ends, and
	// tells why it ended. It returns after every stream's goroutine has.
	Serve(h Handler) Reason
	// Drain finishes what is under way, tells the peer not to send more
	// (Connection: close, GOAWAY) and lets Serve return. Any goroutine.
	Drain()
	// Close resets what is under way. Any goroutine.
	Close(Reason)
}

// ClientConn is one upstream connection.
type ClientConn interface {
	// Open starts an exchange. An error means that nothing was sent.
	Open(s *Stream) (Exchange, error)
	// Free is the number of further exchanges that Open would take now.
	Free() int
	// Reusable reports whether the connection may serve another exchange.
	Reusable() bool
	Drain()
	Close(Reason)
}

// Delivery tells whether a request may have reached the peer. It is the only
// authority for sending a request again that is not safe to repeat.
type Delivery uint8

const (
	Unsent  Delivery = iota // no byte was handed to the kernel
	Refused                 // the peer said that it did not act (REFUSED_STREAM, GOAWAY beyond the last stream)
	Maybe                   // it may have been delivered
)

// Exchange is one request and its answer on a ClientConn. Its methods are called
// by the stream's goroutine, except that Write and Trailers may be called by one
// other goroutine that uploads, and Cancel by any.
type Exchange interface {
	// Send writes the request head and the first body bytes, in one write where
	// they fit. end says that first is the whole body; a
	// request for an upgrade has none, and end is not looked at.
	Send(r *Request, first []byte, end bool) error
	// Write blocks for the peer's credit: that is the back-pressure.
	Write(p []byte, end bool) error
	// Trailers ends the body with a trailer section.
	Trailers(*Head) error
	// Receive returns the next response head: informational ones (1xx other than
	// 101) first, then the final one. What it returns is valid until the
	// next call, the final one until Release.
	Receive() (*Response, error)
	// Cancel gives the exchange up: a blocked call returns an error.
	Cancel(Reason)
	Delivery() Delivery
	// Release ends the use of the exchange after its response body was read to
	// the end, or given up. It reports whether the connection may be reused.
	Release() (reusable bool)
}
