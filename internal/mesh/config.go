// Package mesh is the neutral model of the mesh: what the objects of Istio's API
// and of the Gateway API say, without the types of any API.
//
// Front ends (packages istioapi and gatewayapi) fill a Config, a plain list of
// values in no particular order. Build turns it, with the workloads, into a Snapshot: resolved,
// indexed and immutable, the only thing that the compiler reads.
package mesh

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Config is what front ends read from objects. Values are immutable.
type Config struct {
	Settings   Settings
	Namespaces []Namespace
	Accounts   []Account
	Services   []registry.Service
	Routes     []RouteSet
	Policies   []HostPolicy
	Gateways   []Gateway
	MTLS       []MTLSPolicy
	Entries    []WorkloadEntry
	Scopes     []SidecarScope
	Secrets    []Secret
}

// Add adds what another front end has read, but for its settings.
func (c *Config) Add(o Config) {
	c.Namespaces = append(c.Namespaces, o.Namespaces...)
	c.Accounts = append(c.Accounts, o.Accounts...)
	c.Services = append(c.Services, o.Services...)
	c.Routes = append(c.Routes, o.Routes...)
	c.Policies = append(c.Policies, o.Policies...)
	c.Gateways = append(c.Gateways, o.Gateways...)
	c.MTLS = append(c.MTLS, o.MTLS...)
	c.Secrets = append(c.Secrets, o.Secrets...)
	c.Entries = append(c.Entries, o.Entries...)
	c.Scopes = append(c.Scopes, o.Scopes...)
}

// Meta is what every value made from an object carries.
type Meta struct {
	Origin  verdict.Origin
	Created int64 // Unix nanoseconds; the oldest wins, then the name decides
}

// Namespace is a namespace of the mesh.
type Namespace struct {
	Meta
	Name   string
	Labels map[string]string
}

// Account is a service account.
type Account struct {
	Meta
	Namespace, Name string
}

// PrivateBytes does not show its content where it is printed or encoded as text.
type PrivateBytes []byte

// String returns a placeholder.
func (PrivateBytes) String() string { return "[private]" }

// GoString returns a placeholder.
func (PrivateBytes) GoString() string { return "[private]" }

// MarshalText returns a placeholder, for JSON and YAML.
func (PrivateBytes) MarshalText() ([]byte, error) { return []byte("[private]"), nil }

// RouteSet is a list of routing rules for some hosts: a VirtualService, or an
// HTTPRoute or GRPCRoute at one of its parents.
type RouteSet struct {
	Meta
	Namespace, Name string
	// Hosts are fully qualified, or wildcards "*.suffix" and "*". A set without hosts
	// acts where others delegate to it.
	Hosts []string
	// Gateways names where the rules act: "namespace/name", or "mesh" for sidecars.
	Gateways []string
	ExportTo []string // as registry.Service.ExportTo
	// Ranked rules belong to the Gateway API: over all sets of a host, the most
	// specific match comes first (HTTPMatch.Rank), whatever the order of writing. On
	// sidecars they replace the rules of sets that are not ranked.
	Ranked bool
	// Port limits ranked rules on sidecars to one port of the service; 0: all ports.
	Port uint16
	HTTP []HTTPRule
	TLS  []ConnRule // for ports that carry TLS, by the client's server name
	TCP  []ConnRule // for ports that carry neither HTTP nor TLS
}

// HTTPRule is one rule: what it matches and what happens then. A rule with
// Invalid set answers 500 with that reason.
type HTTPRule struct {
	Origin  verdict.Origin
	Name    string
	Matches []HTTPMatch // any of them; empty matches everything
	Invalid string

	// Exactly one of these acts, unless Invalid is set. Delegate is for Build alone: a
	// snapshot's rules that act have none.
	Delegate     *Delegate
	Destinations []Destination
	Redirect     *Redirect
	Direct       *DirectResponse

	Rewrite    *Rewrite
	Timeout    time.Duration // 0: none, Istio's default
	TimeoutSet bool          // Timeout is written, if only as 0
	Retries    *Retries      // nil: Istio's default policy
	Fault      *Fault
	Mirrors    []Mirror
	CORS       *CORS
	Request    HeaderOps
	Response   HeaderOps
}

// HTTPMatch holds conditions that must all be met.
type HTTPMatch struct {
	Origin          verdict.Origin
	Name            string
	Invalid         bool // takes no request
	Path            *StringMatch
	IgnorePathCase  bool
	Method          *StringMatch
	Scheme          *StringMatch
	Authority       *StringMatch
	Headers         []NamedMatch // by name
	WithoutHeaders  []NamedMatch
	Query           []NamedMatch
	Port            uint16            // the service's or the gateway server's port; 0: any
	SourceLabels    map[string]string // of the calling workload
	SourceNamespace string
	Gateways        []string // as RouteSet.Gateways; empty: the rule set's
}

// MatchKind is how a StringMatch compares.
type MatchKind string

// The kinds of string matches. Regex is RE2 and must match the whole value.
// Segments is a prefix of whole segments of a path: "/a" takes "/a" and "/a/b", but
// not "/ab"; it has no slash at its end.
const (
	Exact    MatchKind = "exact"
	Prefix   MatchKind = "prefix"
	Segments MatchKind = "segments"
	Regex    MatchKind = "regex"
	Present  MatchKind = "present"
)

// StringMatch compares a string.
type StringMatch struct {
	Kind  MatchKind
	Value string
}

// NamedMatch compares a header or a query parameter.
type NamedMatch struct {
	Name string
	StringMatch
}

// Destination is a weighted destination.
type Destination struct {
	Origin   verdict.Origin
	Host     string // fully qualified
	Subset   string
	Port     uint16 // 0: the service's only port, or the port that was called
	Weight   uint32
	Request  HeaderOps
	Response HeaderOps
	// Invalid says why nothing can be sent there, although other destinations of the
	// rule act: its share of the requests is answered 500.
	Invalid string
}

// Redirect answers with a redirection.
type Redirect struct {
	Status    uint32 // 301, 302, 303, 307, 308
	Scheme    string
	Authority string
	Port      uint32
	Path      string // replaces the path
	PrefixURI bool   // Path is "%PREFIX()%…": only the matched prefix is replaced
	// Segments are counted by PrefixURI: between Path and what follows there is one
	// slash.
	Segments bool
	// FromRequestPort keeps the port of the request; else the scheme's default.
	FromRequestPort bool
}

// DirectResponse answers by itself.
type DirectResponse struct {
	Status uint32
	Body   string
}

// Rewrite changes the request before it is sent on.
type Rewrite struct {
	Path      string // replaces the matched path or prefix
	Scope     Scope  // of Path
	Regex     string // with Substitution: replaces by regular expression
	Subst     string
	Authority string
}

// Scope is what a rewrite's path replaces.
type Scope string

// The scopes. OfSegments leaves one slash between the new prefix and what follows,
// and a path of "/" where nothing follows.
const (
	OfMatch    Scope = ""         // what the match matched (VirtualService)
	OfSegments Scope = "segments" // the matched prefix, in whole segments
	OfWhole    Scope = "whole"    // the whole path
)

// Retries is a retry policy. Zero Attempts turns retries off.
type Retries struct {
	Attempts      uint32
	PerTryTimeout time.Duration
	On            []string // Envoy's names of conditions; empty with Statuses empty: Istio's default
	Statuses      []uint32
	Backoff       time.Duration // 0: Envoy's default of 25 ms
	AvoidPrevious bool          // prefer endpoints that were not tried
	// RemoteLocalities retries in the places that come after those tried.
	RemoteLocalities bool
}

// Fault delays or aborts requests on purpose.
type Fault struct {
	Delay        time.Duration // 0: none
	DelayPercent float64
	AbortStatus  uint32  // 0: none
	AbortGRPC    *uint32 // gRPC status; nil: none
	AbortPercent float64
}

// Mirror sends copies of requests.
type Mirror struct {
	Destination Destination
	Percent     float64
}

// CORS says which pages of other origins browsers may let call.
type CORS struct {
	Origins     []StringMatch // any of them; an Exact "*" is every origin
	Methods     []string
	Headers     []string // of requests
	Expose      []string // of answers
	MaxAge      string   // in seconds; "": browsers decide
	Credentials bool
	Ignore      bool // preflight requests of other origins are answered here, without permission; else forwarded
}

// HeaderOps changes headers.
type HeaderOps struct {
	Set    []Header // sorted by name
	Add    []Header
	Remove []string
}

// Header is a header and its value.
type Header struct{ Name, Value string }

// IsZero reports whether o changes nothing.
func (o HeaderOps) IsZero() bool { return len(o.Set)+len(o.Add)+len(o.Remove) == 0 }

// HostPolicy says how a host is called (Istio's DestinationRule).
type HostPolicy struct {
	Meta
	Namespace, Name string
	Host            string // fully qualified, or a wildcard "*.suffix"
	ExportTo        []string
	// Clients selects the calling workloads that the policy is for; empty: all.
	Clients map[string]string
	Policy  TrafficPolicy
	Subsets []Subset
}

// Subset is a named part of a host's endpoints.
type Subset struct {
	Origin verdict.Origin
	Name   string
	Labels map[string]string
	Policy TrafficPolicy // set fields replace the host's
}

// TrafficPolicy is how a port is called. Nil fields are not set: a subset's
// policy falls back to its host's, a port's to its level's.
type TrafficPolicy struct {
	Balance *Balance
	Pool    *Pool
	Outlier *Outlier
	TLS     *ClientTLS
	Ports   []PortPolicy
	// Budget and Proxy hold for all ports.
	Budget *RetryBudget
	Proxy  ProxyProtocol
}

// PortPolicy is the policy of one port; it replaces, and does not extend, the
// policy around it (Istio, PortTrafficPolicy).
type PortPolicy struct {
	Port   uint16
	Policy TrafficPolicy
}

// Algorithm picks an endpoint.
type Algorithm string

// The algorithms of DestinationRule's loadBalancer: simple, and of consistentHash.
const (
	LeastRequest Algorithm = "least_request"
	RingHash     Algorithm = "ring_hash"
	Maglev       Algorithm = "maglev"
	RoundRobin   Algorithm = "round_robin"
	Random       Algorithm = "random"
	Passthrough  Algorithm = "passthrough"
)

// Pool limits connections. Zero values are Istio's defaults.
type Pool struct {
	Origin                verdict.Origin
	ConnectTimeout        time.Duration // 0: 10 s
	MaxConnections        uint32        // 0: no limit
	IdleTimeout           time.Duration // of HTTP connections
	TCPIdle               time.Duration // of relayed connections; 0: none
	MaxConnectionDuration time.Duration
	KeepAlive             *KeepAlive
	MaxPending            uint32 // http1MaxPendingRequests
	MaxRequests           uint32 // http2MaxRequests: active requests
	RequestsPerConnection uint32
	MaxRetries            uint32
	Version               HTTPVersion
	Streams               uint32 // maxConcurrentStreams of a connection of HTTP/2
	Ping                  *Ping  // http2KeepAlive; nil: none
}

// HTTPVersion chooses the version of HTTP in which a host is called.
type HTTPVersion string

// The choices.
const (
	ByPort   HTTPVersion = ""       // as the port declares
	Upgraded HTTPVersion = "http2"  // HTTP/2 (h2UpgradePolicy)
	AsClient HTTPVersion = "client" // as the request came in (useClientProtocol)
)

// Ping asks the peers of HTTP/2 connections for signs of life.
type Ping struct{ Interval, Timeout time.Duration }

// KeepAlive is TCP keep-alive; zero fields are the kernel's.
type KeepAlive struct {
	Probes         uint32
	Time, Interval time.Duration
}

// Outlier ejects endpoints that fail.
type Outlier struct {
	Origin             verdict.Origin
	Consecutive5xx     *uint32
	ConsecutiveGateway *uint32
	ConsecutiveLocal   *uint32
	SplitLocal         bool
	Interval           time.Duration
	BaseEjection       time.Duration
	MaxEjectionPercent uint32
	MinHealthPercent   uint32
	ErrorCodes         []uint32 // what counts as an error; empty: 500 to 599
}

// TLSMode is how a host's endpoints are called.
type TLSMode string

// The modes of DestinationRule's trafficPolicy.tls.
const (
	TLSDisable     TLSMode = "disable"
	TLSIstioMutual TLSMode = "istio_mutual"
)

// ClientTLS is an explicit choice; without one, mTLS is automatic.
type ClientTLS struct {
	Origin verdict.Origin
	Mode   TLSMode
	SNI    string
	SANs   []string
}

// MTLSMode says which connections a workload takes.
type MTLSMode string

// The modes of PeerAuthentication. Unset inherits from the wider scope.
const (
	Unset      MTLSMode = ""
	Permissive MTLSMode = "permissive"
	Strict     MTLSMode = "strict"
	Disable    MTLSMode = "disable"
)

// MTLSPolicy says which connections workloads take (PeerAuthentication). Without
// a selector it holds for its namespace, in the root namespace for the mesh.
type MTLSPolicy struct {
	Meta
	Namespace, Name string
	Selector        map[string]string
	Mode            MTLSMode
	Ports           map[uint16]MTLSMode
}
