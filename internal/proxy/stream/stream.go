package stream

import (
	"net/netip"
	"sync"
	"time"
)

// Request is a request head and its body. The pseudo-header parts are kept apart
// from the fields, for HTTP/1.1 too: Authority is the Host field (or the
// authority of an absolute target), and a codec writes it back where it belongs.
// The Host and Content-Length lines of an HTTP/1.1 message stay in the Head, to
// hold their place; Authority and Length are what counts, and the codec corrects
// the lines where they differ.
type Request struct {
	Head
	Proto     Proto
	Method    []byte
	Scheme    []byte // "http" or "https", as the downstream connection was
	Authority []byte
	Path      []byte // path and query as on the wire; "*" for OPTIONS *
	Body      Body   // nil for none
	Length    int64  // declared length; -1 unknown (chunked); 0 when Body is nil
	// Upgrade is the requested protocol in lower case ("websocket"), "" for none;
	// the codec has removed the hop-by-hop fields and puts them back.
	Upgrade string
	// ExpectContinue is set when the client waits for a 100 (Expect: 100-continue)
	// before it sends the body. The codec sends it on the body's first Next, unless
	// the upstream's own 100 was passed on by Inform before.
	ExpectContinue bool
}

// Direction is the side of the workload that a listener serves.
type Direction uint8

const (
	Outbound Direction = iota
	Inbound
	Gateway
)

// String gives "outbound", "inbound" or "gateway".
func (d Direction) String() string { return [...]string{"outbound", "inbound", "gateway"}[d] }

// Conn holds the facts of a downstream connection. It does not change once the
// connection serves.
type Conn struct {
	ID     uint64
	Remote netip.AddrPort
	Local  netip.AddrPort // the address the client meant: the original destination where it was redirected
	Bound  netip.AddrPort // the address the socket is bound to
	// Direct is the other end of the socket, where the PROXY protocol put another
	// address into Remote; else it is not valid, and Remote is that.
	Direct netip.AddrPort
	// ServerName is the SNI that an inspector found, in lower case; "" for none.
	ServerName string
	Start      time.Time
	TLS        *TLS // nil for plain text
	Listener   string
	Chain      string
	Dir        Direction
}

// TLS holds the facts of a TLS connection, downstream or upstream.
type TLS struct {
	ServerName string
	ALPN       string
	Version    uint16
	Cipher     uint16
	Mutual     bool
	Resumed    bool
	PeerURI    string   // first URI SAN of the peer: its SPIFFE id
	PeerURIs   []string // all of them
	PeerDNS    []string
	PeerSubj   string // RFC 2253 subject
	PeerHash   string // hex SHA-256 of the peer's certificate
	PeerPEM    string // URL-encoded PEM, made only where XFCC's Cert is configured
	LocalURI   string // first URI SAN of our own certificate
	Issuer     string // RFC 2253 issuer of the peer's certificate
	PeerSerial string
}

// RouteEntry is the part of a matched route that filters may read. The
// configuration's route node implements it.
type RouteEntry interface {
	RouteName() string
	// Override returns the route's (else virtual host's) own configuration for
	// the filter in the given slot, or nil.
	Override(slot int) any
}

// Upstream is what the router did, for logs and metrics. It is reset per
// exchange and overwritten per try.
type Upstream struct {
	Cluster      string
	ClusterNode  any            // the configuration node of the cluster, for telemetry's resolved children
	Endpoint     any            // the configuration node of the endpoint that answered
	Host         netip.AddrPort // the endpoint chosen last
	Local        netip.AddrPort // our end of that connection
	TLS          *TLS
	Attempts     int
	ConnectTime  time.Duration // of the last new connection; 0 for a pooled one
	ServiceTime  time.Duration // from the last request byte to the response head
	BytesSent    int64
	BytesRead    int64
	FailureError string // the transport's error text, for %UPSTREAM_TRANSPORT_FAILURE_REASON%
}

// Stream is one exchange: the request, the facts that filters and observers
// need, and the single way to give it up.
type Stream struct {
	ID       uint64
	Conn     *Conn
	Request  Request
	Start    time.Time // when the request's first byte was seen
	Route    RouteEntry
	Upstream Upstream
	// UpstreamALPN replaces the protocols that TLS connections to the upstream offer
	// (the istio.alpn filter); nil leaves the cluster's. It is not written to.
	UpstreamALPN *ALPN
	// Delayed is set when a delay was injected on purpose: the log adds Envoy's flag
	// DI to that of the outcome.
	Delayed bool
	// RetriesExhausted is set when a retry was due and none was left (Envoy's flag URX).
	RetriesExhausted bool
	// TrustedHops is the connection manager's number of trusted proxies before this
	// one (xff_num_trusted_hops), for Client.
	TrustedHops uint16
	// Edge is set where the connection manager trusts the connection's own address
	// (use_remote_address), for ClientAddr.
	Edge bool
	// Metadata is what filters leave for later filters and logs.
	Metadata Metadata
	// GRPC is filled in where the request is a gRPC call.
	GRPC  GRPC
	slots [8]any
	ends  []Recycler // by OnRecycle

	// Codec is the downstream side of the exchange; set by the codec.
	Codec Codec

	mu       sync.Mutex
	reset    Reason // guarded by mu
	isReset  bool   // guarded by mu
	canceler Canceler
	done     chan struct{} // made lazily; closed by Reset
}

// Codec is what a stream asks of its downstream codec.
type Codec interface {
	// Inform sends an informational response (1xx) at once.
	Inform(status int, h *Head) error
	// Abort wakes a blocked read or write of the downstream side. It is called at
	// most once per exchange, by any goroutine, with the stream locked: it must not
	// block, nor call the stream.
	Abort(Reason)
}

// Canceler is a blocking step that a stream is in: a wait for upstream, a sleep.
type Canceler interface {
	// Cancel makes the step return soon with the reason as its error. It is called
	// by any goroutine with the stream locked: it must not block, nor call the
	// stream.
	Cancel(Reason)
}

// Recycler is pooled state of a filter that observers may still read, through the
// response or the stream, when the filter has returned.
type Recycler interface{ Recycle() }

// OnRecycle has r.Recycle called once the observers have run. A stream that is
// dropped without being recycled calls nothing: its state goes with it.
func (s *Stream) OnRecycle(r Recycler) { s.ends = append(s.ends, r) }

// Recycle clears the stream for its next exchange, keeping memory. Only the codec
// that owns the stream calls it, after the observers.
func (s *Stream) Recycle() {
	for i, r := range s.ends {
		s.ends[i] = nil
		r.Recycle()
	}
	s.ends = s.ends[:0]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ID, s.Conn, s.Route, s.Start = 0, nil, nil, time.Time{}
	s.Upstream, s.UpstreamALPN, s.Delayed = Upstream{}, nil, false
	s.TrustedHops, s.Edge, s.RetriesExhausted = 0, false, false
	s.GRPC.Reset()
	s.Metadata.Reset()
	s.slots = [8]any{}
	s.reset, s.isReset, s.canceler, s.done = Reason{}, false, nil, nil
	r := &s.Request
	r.Head.Reset()
	r.Method, r.Scheme, r.Authority, r.Path = r.Method[:0], r.Scheme[:0], r.Authority[:0], r.Path[:0]
	r.Body, r.Length, r.Upgrade, r.ExpectContinue, r.Proto = nil, 0, "", false, HTTP11
}

// Slot returns a filter's own state; slots are handed out when the chain is
// built.
func (s *Stream) Slot(i int) *any { return &s.slots[i] }

// Inform passes an informational response (100, 103) to the client at once.
func (s *Stream) Inform(status int, h *Head) error {
	if s.Codec == nil {
		return nil
	}
	return s.Codec.Inform(status, h)
}

// Reset gives the exchange up. The first call wins; it wakes whatever the
// stream's goroutine waits for. Any goroutine may call it.
//
// Codec.Abort and Canceler.Cancel run under the stream's lock: once Enter or
// Recycle has returned, no call on behalf of an earlier step or exchange is
// running or can follow, so that connections and streams may be reused at once.
func (s *Stream) Reset(r Reason) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isReset {
		return
	}
	s.isReset, s.reset = true, r
	if s.done != nil {
		close(s.done)
	}
	if s.Codec != nil {
		s.Codec.Abort(r)
	}
	if s.canceler != nil {
		s.canceler.Cancel(r)
	}
}

// ResetReason returns the reason of the first Reset.
func (s *Stream) ResetReason() (r Reason, reset bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reset, s.isReset
}

// Enter registers the blocking step that the stream's goroutine is about to take
// (nil when it has left it). If the stream was reset already, c is cancelled at
// once.
func (s *Stream) Enter(c Canceler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.canceler = c
	if s.isReset && c != nil {
		c.Cancel(s.reset)
	}
}

// Done returns a channel that Reset closes. It is made on first use: the paths
// that only read and write sockets never need it.
func (s *Stream) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.isReset {
			close(s.done)
		}
	}
	return s.done
}

// Sleep waits for d, or until the stream is reset, and then returns the reason.
func (s *Stream) Sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.Done():
		r, _ := s.ResetReason()
		return r
	}
}
