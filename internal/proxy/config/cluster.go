package config

import (
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Cluster is envoy.config.cluster.v3.Cluster.
type Cluster struct {
	Name        string
	Hash        uint64
	Type        ClusterType
	EDSName     string     // service_name; the cluster's name where it is unset
	Static      *Endpoints // STATIC, STRICT_DNS, LOGICAL_DNS: the inline assignment
	DNS         []DNSHost  // STRICT_DNS, LOGICAL_DNS
	DNSFamily   DNSFamily
	DNSRefresh  time.Duration // default 5 s
	Policy      Policy
	ChoiceCount int        // least request; default 2
	ActiveBias  float64    // least request: active_request_bias; default 1
	SlowStart   *SlowStart // nil: off
	// Weighted spreads requests over localities by their weights, then within each.
	Weighted       bool
	RingMin        uint64        // ring hash: minimum_ring_size, default 1024
	RingMax        uint64        // ring hash: maximum_ring_size, default 8 Mi
	TableSize      uint64        // Maglev: table_size, default 65537
	ConnectTimeout time.Duration // default 5 s
	TLS            *UpstreamTLS  // nil: plain text
	// TLSMatches pick the transport by the endpoint's
	// envoy.transport_socket_match metadata; the first match wins, then TLS.
	TLSMatches      []TLSMatch
	Breakers        [2]Breakers   // default and high priority
	Outlier         *Outlier      // nil: off
	OutlierErrors   []int         // statuses that outlier detection takes for errors, sorted; empty: 500 to 599
	PanicThreshold  float64       // 0..100; Envoy's default is 50, 0 turns panic off
	IdleTimeout     time.Duration // of a pooled connection; default 1 h
	MaxRequests     int           // per connection; 0: no limit
	MaxConnDuration time.Duration
	Protocol        UpstreamProtocol
	HTTP2           HTTP2      // of connections that speak it
	SourceAddr      netip.Addr // upstream_bind_config; invalid: any
	UseHTTPHeader   bool       // original_dst_lb_config.use_http_header
	KeepAlive       *KeepAlive
	ProxyHeader     uint8 // the version of the PROXY protocol that begins connections; 0: none
	// PeerExchange is set by the cluster's istio.metadata_exchange filter.
	PeerExchange bool
	Metadata     Metadata
}

// SlowStart is envoy.config.cluster.v3.Cluster.SlowStartConfig: the weight of a
// new endpoint grows over Window.
type SlowStart struct {
	Window     time.Duration
	Aggression float64 // default 1: linear
	MinPercent float64 // of the full weight; default 10
}

// ClusterType is the discovery type.
type ClusterType uint8

const (
	ClusterStatic ClusterType = iota
	ClusterEDS
	ClusterOriginalDst
	ClusterStrictDNS
	ClusterLogicalDNS
)

// Policy is the load-balancing policy.
type Policy uint8

const (
	RoundRobin Policy = iota
	LeastRequest
	Random
	RingHash
	Maglev
	OriginalDst // CLUSTER_PROVIDED of ORIGINAL_DST clusters
)

// UpstreamProtocol says what to speak to endpoints.
type UpstreamProtocol uint8

const (
	SpeakHTTP11 UpstreamProtocol = iota
	SpeakHTTP2
	SpeakDownstream // use_downstream_protocol_config
	SpeakALPN       // auto_config
)

// DNSFamily is dns_lookup_family: which addresses of a name are used.
type DNSFamily uint8

const (
	DNSAuto DNSFamily = iota // IPv6, and IPv4 where there is none
	DNSV4Only
	DNSV6Only
	DNSV4Preferred
	DNSAll
)

// DNSHost is a name to resolve.
type DNSHost struct {
	Host     string
	Port     uint16
	Priority uint32
	// Template holds the endpoint's other properties.
	Template Endpoint
}

// TLSMatch is one transport_socket_matches entry.
type TLSMatch struct {
	Name  string
	Match map[string]string // empty matches all
	TLS   *UpstreamTLS      // nil: raw_buffer
}

// Breakers are circuit-breaker thresholds; MaxUint32 is unlimited.
type Breakers struct {
	MaxConnections, MaxPending, MaxRequests, MaxRetries uint32
	RetryBudget                                         float64       // per cent of active requests; 0: MaxRetries counts
	RetryFloor                                          uint32        // min_retry_concurrency
	RetryInterval                                       time.Duration // budget_interval; 0: off
	HasBudget                                           bool          // retry_budget is set
}

// Outlier is envoy.config.cluster.v3.OutlierDetection with defaults filled in.
type Outlier struct {
	Consecutive5xx, ConsecutiveGateway, ConsecutiveLocal uint32
	Enforce5xx, EnforceGateway, EnforceLocal             uint32 // per cent
	SplitLocal                                           bool
	Interval, BaseEjection, MaxEjection                  time.Duration
	MaxEjectionPercent                                   uint32
}

// KeepAlive is TCP keep-alive for upstream sockets; zero fields are the kernel's.
type KeepAlive struct {
	Probes, Time, Interval int // count, seconds, seconds
}

// Endpoints is envoy.config.endpoint.v3.ClusterLoadAssignment.
type Endpoints struct {
	Name             string
	Hash             uint64
	Localities       []Locality
	Overprovisioning uint32 // per cent, default 140
}

// Locality is a weighted group of endpoints.
type Locality struct {
	Region, Zone, Subzone string
	Weight                uint32 // 0: no locality weighting
	Priority              uint32
	Endpoints             []*Endpoint
}

// Endpoint is one endpoint. It is identified by its address within its cluster.
type Endpoint struct {
	Addr        netip.AddrPort
	Hostname    string
	Weight      uint32 // ≥ 1
	Health      Health
	SocketMatch map[string]string // envoy.transport_socket_match metadata
	// Workload is istio.workload metadata: "NAME;NAMESPACE;CANONICAL;REVISION;CLUSTER".
	Workload string
	// Identity is the endpoint's lateen.identity metadata, if any.
	Identity string
}

// Health is core.v3.HealthStatus.
type Health uint8

const (
	HealthUnknown Health = iota // counts as healthy
	Healthy
	Unhealthy
	Draining
	Degraded
)

// DownstreamTLS is the server side of a chain.
type DownstreamTLS struct {
	Common        CommonTLS
	RequireClient bool
}

// UpstreamTLS is the client side of a cluster.
type UpstreamTLS struct {
	Common      CommonTLS
	SNI         string
	AutoSNI     bool
	Renegotiate bool
	MaxSessions int // session resumption cache; default 1
}

// CommonTLS is envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.
type CommonTLS struct {
	// Certificates name secrets: the workload's own is "default".
	Certificates []SecretRef
	// Validation names the roots ("ROOTCA"); zero: not validated.
	Validation         SecretRef
	SANs               []StringMatch // any must match; empty: not checked
	ALPN               []string
	MinVersion         uint16 // crypto/tls constants; 0: default
	MaxVersion         uint16
	Ciphers            []uint16 // TLS 1.2 and below
	CRLs               []byte
	AllowExpired       bool
	SPKI               []string
	CertHashes         []string
	InsecureSkipVerify bool // trust_chain_verification ACCEPT_UNTRUSTED
}

// SecretRef names a secret: by SDS name, or inline as PEM.
type SecretRef struct {
	Name      string
	FromADS   bool   // the SDS source is ADS (gateway credentials), not the agent
	Cert, Key []byte // inline PEM
	CA        []byte
}

// FilterBuilder turns wire configuration into filters. Errors are NACKs; nothing
// is parsed while serving. Builders are passed in an explicit list.
type FilterBuilder interface {
	Name() string // "envoy.filters.http.fault"
	// TypeURLs are the accepted types, with "type.googleapis.com/".
	TypeURLs() []string
	// Parse reads a configuration. A configuration that came as a TypedStruct is
	// handed over under its inner type URL: as the bytes of that message where the
	// type is linked into the program, else (Istio's own types) as those of a
	// google.protobuf.Struct. Bytes may be empty: everything at its default.
	Parse(typeURL string, value []byte) (any, error)
	// ParseOverride reads a typed_per_filter_config entry.
	ParseOverride(typeURL string, value []byte) (any, error)
	// New makes the filter for a parsed configuration. It is kept across updates
	// while the configuration is equal. slot is the filter's index for
	// stream.RouteEntry.Override and Stream.Slot. What the filter needs at run time
	// (clocks, random numbers, clusters) the builder was given when it was made.
	New(cfg any, slot int) (stream.Filter, error)
}

// Deps is what parsing needs from outside.
type Deps struct {
	// Filters are the known HTTP filters. A filter's index is its slot
	// (HTTPFilter.Slot, Route.Override, stream.Stream.Slot) in every chain, so that
	// route tables parse without the listeners that use them.
	Filters []FilterBuilder
	// Gateway is set for a node of type router: its outbound listeners are the
	// mesh's edge (Listener.Dir is stream.Gateway).
	Gateway bool
	// Cluster returns the run-time handle for a cluster name; nil in offline use.
	Cluster func(name string) any
}
