package http2

import (
	"log/slog"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// What holds where the options leave a limit zero.
const (
	DefaultMaxHeadBytes     = 60 << 10  // Envoy's max_request_headers_kb
	DefaultMaxHeaders       = 100       // Envoy's max_headers_count
	DefaultMaxStreams       = 256       // streams of one connection at once
	DefaultStreamWindow     = 256 << 10 // memory bound of a connection: streams × this
	DefaultConnWindow       = 1 << 20
	DefaultSettingsTimeout  = 10 * time.Second
	DefaultKeepAliveTimeout = 20 * time.Second
	DefaultMaxResets        = 200
)

// Limits are the settings and limits of both sides.
type Limits struct {
	MaxHeadBytes int // of a decoded head (names + values + 32 a field), and of a trailer section
	MaxHeaders   int // fields in a head
	// StreamWindow and ConnWindow are how many bytes the peer may send ahead, on a
	// stream and in all; at least 65,535 (RFC 9113 §6.9.2).
	StreamWindow int
	ConnWindow   int
	// SettingsTimeout bounds the wait for the peer's preface and for its
	// acknowledgement of our settings; < 0: none.
	SettingsTimeout time.Duration
	// KeepAlive is the silence of the peer after which a PING asks whether it is
	// there; 0: never. KeepAliveTimeout is how long it may take to answer.
	KeepAlive        time.Duration
	KeepAliveTimeout time.Duration
	Now              func() time.Time // nil: time.Now
	Log              *slog.Logger     // defects (recovered panics); nil: discarded
}

// ServerOptions configure downstream connections. The same value serves many.
type ServerOptions struct {
	Limits
	MaxStreams int // requests at once; further ones are refused, provably not served
	// Upgrades are the protocols allowed in extended CONNECT (RFC 8441), in lower
	// case; others are answered 501. None: extended CONNECT is not offered.
	Upgrades []string
	// MaxResets is how many requests a client may cancel beyond one per completed
	// one, refilled with time; more is an attack (rapid reset). < 0: any number.
	MaxResets int
	// DrainTime is for how long after the first GOAWAY, which names no last stream,
	// requests are still taken: those that were under way. It is cut short by the
	// answer to a PING. ≤ 0: Drain names the last stream at once.
	DrainTime time.Duration

	IdleTimeout       time.Duration // of a connection without requests; ≤ 0: none
	RequestTimeout    time.Duration // first byte to end of a request; ≤ 0: none
	StreamIdleTimeout time.Duration // of a stream without a byte in either direction; ≤ 0: none

	// Observers are told of every exchange once, in order.
	Observers []stream.Observer
	// NextID gives the ids of stream.Streams; nil: the protocol's own.
	NextID func() uint64
}

// ClientOptions configure upstream connections.
type ClientOptions struct {
	Limits
	// MaxStreams bounds the exchanges at once below what the server allows; 0: no
	// bound of ours.
	MaxStreams int
	// Gone is called once, on a goroutine of the connection, when it takes no
	// further exchange because the server closed it or said so (GOAWAY). Exchanges
	// under way may go on. It must not block.
	Gone func()
	// Room is called, on the reader's goroutine and without locks, when the server's
	// settings came: how many exchanges the connection carries at once from now on. It
	// must not block.
	Room func(limit int)
}

func (l *Limits) defaults() {
	positive(&l.MaxHeadBytes, DefaultMaxHeadBytes)
	positive(&l.MaxHeaders, DefaultMaxHeaders)
	positive(&l.StreamWindow, DefaultStreamWindow)
	positive(&l.ConnWindow, DefaultConnWindow)
	l.StreamWindow = min(max(l.StreamWindow, initialWindow), maxWindow)
	l.ConnWindow = min(max(l.ConnWindow, initialWindow), maxWindow)
	if l.SettingsTimeout == 0 {
		l.SettingsTimeout = DefaultSettingsTimeout
	}
	if l.KeepAliveTimeout <= 0 {
		l.KeepAliveTimeout = DefaultKeepAliveTimeout
	}
	if l.Now == nil {
		l.Now = time.Now
	}
	if l.Log == nil {
		l.Log = slog.New(slog.DiscardHandler)
	}
}

func positive(n *int, otherwise int) {
	if *n <= 0 {
		*n = otherwise
	}
}

func (o *ServerOptions) defaults() {
	o.Limits.defaults()
	positive(&o.MaxStreams, DefaultMaxStreams)
	if o.MaxResets == 0 {
		o.MaxResets = DefaultMaxResets
	}
}
