package config

import (
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config/format"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Listener is one listener resource (envoy.config.listener.v3.Listener).
type Listener struct {
	Name           string
	Hash           uint64 // of the whole resource: an equal hash is the same listener
	Addr           netip.AddrPort
	Bind           bool // false: reached only by hand-over from a listener with UseOriginalDst
	UseOriginalDst bool // hand each connection to the listener of its original destination, where there is one
	OriginalDst    bool // the original_dst listener filter: match chains by the original destination
	Dir            stream.Direction
	// TLSInspector and HTTPInspector say whether the inspectors run; the port
	// ranges are their filter_disabled predicates over the original destination.
	TLSInspector, HTTPInspector       bool
	TLSInspectorOff, HTTPInspectorOff []PortRange
	ProxyProtocol                     bool          // the proxy_protocol listener filter
	InspectTimeout                    time.Duration // 0: wait for ever
	ContinueOnTimeout                 bool          // go on with what is known when InspectTimeout passes
	Chains                            []*FilterChain
	DefaultChain                      *FilterChain // nil: close what no chain matches
	AccessLogs                        []AccessLog  // for connections that no chain serves
	Metadata                          Metadata
	// Runtime is the proxy's own node for the listener, set when it is built.
	Runtime any
}

// PortRange holds Start ≤ port < End.
type PortRange struct{ Start, End uint16 }

// ChainMatch is envoy.config.listener.v3.FilterChainMatch; empty fields match
// everything. Precedence is Envoy's: destination port, destination address,
// server name, transport protocol, application protocol, directly connected
// source, source type, source address, source port.
type ChainMatch struct {
	DestPort     uint16 // 0: any
	DestPrefixes []netip.Prefix
	ServerNames  []string // exact, or "*.suffix"
	Transport    string   // "tls", "raw_buffer", "" any
	ALPNs        []string // application protocols: of the TLS hello, or "http/1.1", "h2c" by the HTTP inspector
	SrcType      SourceType
	SrcPrefixes  []netip.Prefix
	SrcPorts     []uint16
}

// SourceType is FilterChainMatch.ConnectionSourceType.
type SourceType uint8

const (
	SourceAny SourceType = iota
	SourceSameIPOrLoopback
	SourceExternal
)

// FilterChain is what serves a connection: TLS or not, then HTTP or TCP.
type FilterChain struct {
	Name string
	// Hash is over the chain's whole resource: a chain that did not change keeps
	// its node, and its connections, over a listener update.
	Hash             uint64
	Match            ChainMatch
	TLS              *DownstreamTLS // nil: plain text
	HandshakeTimeout time.Duration  // transport_socket_connect_timeout; 0: 15 s
	// PeerExchange is set by the istio.metadata_exchange network filter: TCP peers
	// that negotiated ALPN istio-peer-exchange send their metadata first.
	PeerExchange bool
	// Access are the envoy.filters.network.rbac filters, in order: all must allow a
	// connection.
	Access   []*Access
	HTTP     *HTTP // exactly one of HTTP and TCP is set
	TCP      *TCP
	Metadata Metadata
	// Runtime is the proxy's own node for the chain, set when it is built.
	Runtime any
}

// HTTP is envoy.extensions.filters.network.http_connection_manager.v3.
type HTTP struct {
	StatPrefix string
	Codec      Codec
	// RouteName names the route table (RDS); Inline is set instead for an inline one.
	RouteName   string
	Inline      *RouteTable
	Filters     []HTTPFilter // in order; the last is the router
	AccessLogs  []AccessLog
	ServerName  string // value of the "server" header; "" leaves the default "envoy"
	PassServer  bool   // server_header_transformation PASS_THROUGH
	HTTP10      bool   // accept_http_10
	DefaultHost string // default_host_for_http_10
	HTTP2       HTTP2  // http2_protocol_options
	// UseRemoteAddress: this is the edge: x-forwarded-for is appended to and
	// internal headers of clients are removed.
	UseRemoteAddress  bool
	XFFTrustedHops    int
	ForwardedPort     bool // append_x_forwarded_port
	ClientCert        ClientCertMode
	ClientCertSubject bool
	ClientCertDNS     bool
	ClientCertURI     bool
	ClientCertPEM     bool
	// GenerateRequestID and PreserveRequestID are for x-request-id.
	GenerateRequestID bool
	PreserveRequestID bool
	NormalizePath     bool
	MergeSlashes      bool
	EscapedSlashes    EscapedSlashes
	StripPort         bool          // strip_any_host_port
	Upgrades          []string      // allowed upgrade types, lower case
	IdleTimeout       time.Duration // of a connection without requests; 0: Envoy's default of 1 h is applied by the parser; negative: never
	StreamIdleTimeout time.Duration // 0: none (Envoy's default of 5 min is applied by the parser)
	RequestTimeout    time.Duration // 0: none
	HeadersTimeout    time.Duration // request_headers_timeout; 0: none
	MaxHeadBytes      int           // max_request_headers_kb × 1024, default 60 KiB
	MaxHeaders        int           // default 100
	MaxConnDuration   time.Duration // 0: none
	DrainTimeout      time.Duration // default 5 s
	Proxy100Continue  bool
	Stats             *Stats // the istio.stats filter, nil where it is absent
}

// Codec is codec_type: which protocols a client may speak.
type Codec uint8

const (
	CodecAuto Codec = iota // by ALPN, else by the first bytes
	CodecHTTP1
	CodecHTTP2
)

// ClientCertMode is forward_client_cert_details.
type ClientCertMode uint8

const (
	CertSanitize ClientCertMode = iota
	CertForwardOnly
	CertAppendForward
	CertSanitizeSet
	CertAlwaysForwardOnly
)

// EscapedSlashes is path_with_escaped_slashes_action.
type EscapedSlashes uint8

const (
	SlashesKeep EscapedSlashes = iota
	SlashesReject
	SlashesUnescapeRedirect
	SlashesUnescapeForward
)

// HTTPFilter is one filter of a chain with its parsed configuration.
type HTTPFilter struct {
	Name    string
	Slot    int // index for route overrides and per-stream state
	Builder FilterBuilder
	Config  any
}

// TCP is envoy.extensions.filters.network.tcp_proxy.v3.
type TCP struct {
	StatPrefix  string
	Clusters    []WeightedCluster // one without weights is the common case
	TotalWeight uint32
	IdleTimeout time.Duration // 0: none
	HashSource  bool          // the client's address decides the endpoint
	AccessLogs  []AccessLog
	Stats       *Stats // the istio.stats network filter
}

// Stats is the istio.stats filter's configuration: which metrics are recorded,
// and from which side.
type Stats struct {
	Reporter string // "source" or "destination"; "gateway" reports as source
}

// AccessLog is one access-log sink: a file and a format.
type AccessLog struct {
	Path   string // "/dev/stdout" and "/dev/stderr" go to the proxy's own streams
	Format string // the text format as written; "" took Envoy's default
	// Text is the compiled text format; nil where JSON is set.
	Text *format.Program
	// JSON is the JSON format: values are maps, lists, numbers, booleans, nil, and
	// strings with command operators, all of which compile.
	JSON map[string]any
}

// Metadata is the part of a resource's filter metadata that the proxy keeps:
// filter_metadata["istio"] and "lateen", flattened one level.
type Metadata struct {
	// Config is istio.config: "/apis/networking.istio.io/v1/namespaces/NS/virtual-service/NAME".
	Config string
	// Services are the istio.services of a cluster.
	Services []Service
	Subset   string
	// External is istio.external: the cluster lies outside the mesh.
	External bool
	// Reason is lateen.reason: why a route answers by itself, for an invalid or
	// unsupported object.
	Reason string
}

// Service names a service that a cluster stands for.
type Service struct{ Host, Name, Namespace string }
