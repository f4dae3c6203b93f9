package ir

import (
	"cmp"
	"net/netip"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Direction says on which side of the workload a cluster lies.
type Direction string

// The directions of clusters, and the three clusters that every proxy has.
const (
	OutboundTo         Direction = "outbound"
	InboundTo          Direction = "inbound"
	BlackHole          Direction = "BlackHoleCluster"
	PassthroughTo      Direction = "PassthroughCluster"
	InboundPassthrough Direction = "InboundPassthroughCluster"
	// Unusable names no cluster that exists: requests that are sent there fail.
	Unusable Direction = "UnusableBackend"
)

// Key names a cluster by what it is.
type Key struct {
	Direction Direction
	Port      uint16
	Subset    string
	Host      string
}

// String gives the cluster's name in Istio's form: "outbound|9080|v1|host", or
// the name of one of the clusters that every proxy has.
func (k Key) String() string {
	if k.Direction != OutboundTo && k.Direction != InboundTo {
		return string(k.Direction)
	}
	return string(k.Direction) + "|" + strconv.Itoa(int(k.Port)) + "|" + k.Subset + "|" + k.Host
}

// SNI is the server name with which the cluster is called over mesh TLS.
func (k Key) SNI() string {
	return string(k.Direction) + "_." + strconv.Itoa(int(k.Port)) + "_." + k.Subset + "_." + k.Host
}

// Compare orders keys by direction, host, port and subset.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Direction, o.Direction), cmp.Compare(k.Host, o.Host), cmp.Compare(k.Port, o.Port), cmp.Compare(k.Subset, o.Subset))
}

// MarshalText gives the name, for JSON and YAML.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Discovery is where a cluster's endpoints come from.
type Discovery string

// The kinds of discovery.
const (
	ByAssignment Discovery = "assignment" // EDS
	ByAddress    Discovery = "address"    // the connection's original destination
	ByLocalPort  Discovery = "local"      // Target, or the port at 127.0.0.1
	ByNames      Discovery = "names"      // Inline, whose names are asked of DNS
	ByOneName    Discovery = "one_name"   // the same, with whatever address comes first
	Nowhere      Discovery = "nowhere"
)

// CallTLS is how a cluster is called.
type CallTLS string

// The ways of calling: Auto uses mesh TLS to endpoints that take it.
const (
	AutoTLS   CallTLS = "auto"
	PlainCall CallTLS = "plain"
	MeshTLS   CallTLS = "mesh"
)

// Version is the version of HTTP in which requests are sent on. Whatever their
// client spoke, it is converted.
type Version string

// The versions of HTTP.
const (
	HTTP1Only Version = "" // HTTP/1.1; also of clusters without requests
	HTTP2Only Version = "http2"
	AsClient  Version = "client" // what the request came in
)

// Cluster is somewhere that a proxy sends requests or connections to.
type Cluster struct {
	Key       Key
	Discovery Discovery
	App       App
	Speaks    Version
	Services  []ServiceRef
	TLS       CallTLS
	SNI       string
	SANs      []string // SPIFFE ids of the endpoints' accounts; sorted
	Balance   Balance
	RingSize  uint64  // with RingHash: the least number of entries; 0: the default
	TableSize uint64  // with Maglev; 0: the default
	Warmup    *Warmup // nil: none
	Weighted  bool    // localities count by their weights
	Pool      Pool
	Budget    *RetryBudget // nil: the data plane's own
	Proxy     ProxyProtocol
	Outlier   *Outlier
	External  bool             // outside the mesh
	Target    netip.AddrPort   // of ByLocalPort
	Inline    *Assignment      // of ByNames and ByOneName
	Refresh   time.Duration    // how often names without a time to live are asked for
	Family    Family           // of the addresses that are asked for
	Origins   []verdict.Origin // the policies that shaped it
}

// Family is a family of addresses.
type Family string

// The families.
const (
	IPv4 Family = "" // also where there are no names
	IPv6 Family = "ipv6"
)

// Pool limits connections; zero values are "no limit" and the defaults.
type Pool struct {
	ConnectTimeout        time.Duration
	MaxConnections        uint32
	MaxPending            uint32
	MaxRequests           uint32
	MaxRetries            uint32
	RequestsPerConnection uint32
	Streams               uint32 // at a time on a connection of HTTP/2
	IdleTimeout           time.Duration
	MaxConnectionDuration time.Duration
	KeepAlive             *KeepAlive
	Ping                  *Ping // nil: none
}

// KeepAlive is TCP keep-alive; zero fields are the kernel's.
type KeepAlive struct {
	Probes         uint32
	Time, Interval time.Duration
}

// Ping asks the peers of HTTP/2 connections for signs of life.
type Ping struct {
	Interval time.Duration
	Timeout  time.Duration // without an answer for so long, the connection is closed
}

// Outlier ejects endpoints that fail. Nil numbers are the data plane's defaults.
type Outlier struct {
	Consecutive5xx     *uint32
	ConsecutiveGateway *uint32
	ConsecutiveLocal   *uint32
	SplitLocal         bool
	Interval           time.Duration
	BaseEjection       time.Duration
	MaxEjectionPercent uint32
	MinHealthPercent   uint32
	ErrorCodes         []uint32 // statuses that are errors; empty: 500 to 599
}

// Assignment is the endpoints of a cluster.
type Assignment struct {
	Cluster    Key
	Localities []LocalityEndpoints // sorted
}

// LocalityEndpoints are the endpoints of one place.
type LocalityEndpoints struct {
	Region, Zone, Subzone string
	// Priority is 0 for the endpoints that are called as long as there are healthy
	// ones among them, 1 for those after them, and so on without a gap.
	Priority  uint32
	Weight    uint32     // the place's share; 0: the number of its endpoints
	Endpoints []Endpoint // sorted by address
}

// Endpoint is one address.
type Endpoint struct {
	Addr    netip.AddrPort // without an address, but with a port, where Name is set
	Name    string         // that DNS knows
	Weight  uint32         // 0: 1
	MeshTLS bool           // takes mesh TLS
	Label   string         // "workload;namespace;canonical name;canonical revision;cluster"
}
