package http1

import (
	"log/slog"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Limits that hold where the options leave them zero: Envoy's defaults
// (max_request_headers_kb, max_headers_count).
const (
	DefaultMaxHeadBytes = 60 << 10
	DefaultMaxHeaders   = 100
)

// ServerOptions configure downstream connections. The same value serves many.
type ServerOptions struct {
	MaxHeadBytes int    // of a request head, and of a trailer section; 0: DefaultMaxHeadBytes
	MaxHeaders   int    // fields in a head; 0: DefaultMaxHeaders
	HTTP10       bool   // accept HTTP/1.0 (accept_http_10); else 426
	DefaultHost  string // for HTTP/1.0 requests without Host
	// Upgrades are the allowed upgrade types in lower case. A request for another
	// type is served as if it had asked for none (RFC 9110 §7.8).
	Upgrades []string

	IdleTimeout       time.Duration // between exchanges; ≤ 0: none
	HeadersTimeout    time.Duration // first byte to end of the head; ≤ 0: none
	RequestTimeout    time.Duration // first byte to end of the request; ≤ 0: none
	StreamIdleTimeout time.Duration // without a byte in either direction; ≤ 0: none

	// Observers are told of every exchange once, in order.
	Observers []stream.Observer
	// NextID gives the ids of streams; nil: 1, 2, 3 … within each connection.
	NextID func() uint64
	Now    func() time.Time // nil: time.Now
	// Watch tells of clients that leave while their exchange waits; nil: a departed
	// client is seen only by the next read or write. Transports in memory tell by
	// themselves.
	Watch *rawio.Watch
	Log   *slog.Logger // defects (recovered panics); nil: discarded
}

// ClientOptions configure upstream connections.
type ClientOptions struct {
	MaxHeadBytes int // of a response head; 0: DefaultMaxHeadBytes
	MaxHeaders   int // 0: DefaultMaxHeaders
	// Watch tells of servers that close idle connections; nil: not watched.
	Watch *rawio.Watch
	// Gone is called once, on any goroutine, when the server closed the connection
	// (Reusable is false from then on). It must not block.
	Gone func()
}

func (o *ServerOptions) defaults() {
	if o.MaxHeadBytes <= 0 {
		o.MaxHeadBytes = DefaultMaxHeadBytes
	}
	if o.MaxHeaders <= 0 {
		o.MaxHeaders = DefaultMaxHeaders
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

func (o *ClientOptions) defaults() {
	if o.MaxHeadBytes <= 0 {
		o.MaxHeadBytes = DefaultMaxHeadBytes
	}
	if o.MaxHeaders <= 0 {
		o.MaxHeaders = DefaultMaxHeaders
	}
}
