package config

import (
	"regexp"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config/format"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// RouteTable is envoy.config.route.v3.RouteConfiguration. Package match looks up
// virtual hosts and routes in it.
type RouteTable struct {
	Name               string
	Hash               uint64
	Hosts              []*VirtualHost
	RequestHeaders     HeaderOps
	ResponseHeaders    HeaderOps
	IgnorePortInHost   bool // ignore_port_in_host_matching
	Index              any  // package match's index over Hosts, built with the table
	InternalOnlyRemove [][]byte
}

// VirtualHost is one virtual host. Domains are exact, "*.suffix", "prefix.*" or
// "*"; lower case.
type VirtualHost struct {
	Name            string
	Hash            uint64
	Domains         []string
	Routes          []*Route // first match wins
	RequireTLS      bool
	RequestHeaders  HeaderOps
	ResponseHeaders HeaderOps
	AttemptCount    bool  // include_request_attempt_count: send x-envoy-attempt-count upstream
	AttemptCountRsp bool  // include_attempt_count_in_response
	Overrides       []any // by filter slot; the table's are merged in
	Metadata        Metadata
	Index           any // package match's index over Routes; nil for a short list
}

// Route is one route with everything resolved into it: a request pins it alone.
type Route struct {
	Name  string
	Match RouteMatch
	// Exactly one of these is set.
	Forward  *Forward
	Redirect *Redirect
	Direct   *Direct

	// Ops in the order in which they apply, without empty ones: route, virtual host,
	// table, or the other way round where most_specific_header_mutations_wins. Those
	// of a weighted cluster (WeightedCluster.RequestHeaders) come before the route's,
	// or after them where ClusterOpsLast.
	RequestHeaders  []HeaderOps
	ResponseHeaders []HeaderOps
	ClusterOpsLast  bool
	Operation       string // decorator.operation
	AttemptCount    bool
	AttemptCountRsp bool
	Metadata        Metadata
	Overrides       []any // by filter slot; the virtual host's are merged in
}

// RouteName implements stream.RouteEntry.
func (r *Route) RouteName() string { return r.Name }

// Override implements stream.RouteEntry.
func (r *Route) Override(slot int) any {
	if slot < len(r.Overrides) {
		return r.Overrides[slot]
	}
	return nil
}

// RouteMatch is envoy.config.route.v3.RouteMatch. All parts must match.
type RouteMatch struct {
	PathKind    PathKind
	Path        string         // lower case if !CaseSensitive
	Regex       *regexp.Regexp // PathRegex: must match the whole path without query
	CaseFold    bool           // case_sensitive: false
	Headers     []HeaderMatch
	Query       []QueryMatch
	Fraction    uint32 // runtime_fraction per million; FractionSet says whether it applies
	FractionSet bool
}

// PathKind is the kind of a path match.
type PathKind uint8

const (
	PathPrefix PathKind = iota // "/" matches everything
	PathExact
	PathRegex
	PathSeparatedPrefix // path_separated_prefix: the prefix itself or prefix + "/"
	PathConnect         // connect_matcher
)

// StringMatch is envoy.type.matcher.v3.StringMatcher.
type StringMatch struct {
	Kind     StringKind
	Value    string         // lower case if CaseFold
	Regex    *regexp.Regexp // must match the whole value
	CaseFold bool
	// Plain, where it is set, decides on values without a line feed as Regex does,
	// much faster.
	Plain *StringMatch
}

// StringKind is the kind of a string match.
type StringKind uint8

const (
	StringExact StringKind = iota
	StringPrefix
	StringSuffix
	StringContains
	StringRegex
	StringAny // present, with any value
)

// HeaderMatch is envoy.config.route.v3.HeaderMatcher. Name may be a pseudo-header
// (":method", ":path", ":authority", ":scheme"). Several values of one field are
// matched one by one, as Envoy does since GHSA-ghc4-35x6-crw5.
type HeaderMatch struct {
	Name           stream.Name
	Value          StringMatch // Kind StringAny: present_match true
	RangeSet       bool
	RangeLo        int64 // range_match [lo, hi)
	RangeHi        int64
	Invert         bool
	MissingAsEmpty bool // treat_missing_header_as_empty
}

// QueryMatch is envoy.config.route.v3.QueryParameterMatcher.
type QueryMatch struct {
	Name  string
	Value StringMatch
}

// HeaderOps are header changes in the order in which Envoy makes them: removals,
// then additions, so that a rule can replace a field.
type HeaderOps struct {
	Add    []HeaderAdd
	Remove []stream.Name
}

// HeaderAdd is envoy.config.core.v3.HeaderValueOption. Value may hold Envoy's
// command operators, parsed into Format where it does.
type HeaderAdd struct {
	Name      stream.Name
	Value     string
	Format    *format.Program // parsed operators, nil for a plain value
	Action    HeaderAction
	KeepEmpty bool
}

// HeaderAction is HeaderValueOption.append_action.
type HeaderAction uint8

const (
	AppendOrAdd HeaderAction = iota
	AddIfAbsent
	OverwriteOrAdd
	OverwriteIfExists
)

// Forward is envoy.config.route.v3.RouteAction.
type Forward struct {
	Clusters    []WeightedCluster
	TotalWeight uint32 // sum of the weights; 0 with one cluster
	// ClusterHeader names the request header that holds the cluster's name.
	ClusterHeader *stream.Name

	PrefixRewrite   string // replaces the matched path or prefix
	RegexRewrite    *regexp.Regexp
	RegexRewriteSub string // RE2 substitution with \1
	HostRewrite     string
	AutoHostRewrite bool
	AppendXFH       bool // append_x_forwarded_host

	Timeout        time.Duration // 0: none (the parser applies Envoy's default of 15 s where the field is unset)
	IdleTimeout    time.Duration // 0: the connection manager's; negative: none
	MaxDuration    time.Duration // 0: none
	GRPCTimeout    GRPCDeadline  // max_grpc_timeout: for gRPC requests, in place of Timeout
	GRPCDuration   GRPCDeadline  // max_stream_duration's grpc_timeout_header_max: with the field, in place of MaxDuration
	Retry          *Retry        // nil: no retries
	Mirrors        []Mirror
	Upgrades       []string // upgrade_configs of the route; nil: the connection manager's
	HashPolicy     []HashPolicy
	Priority       uint8
	NotFoundStatus int // status when the cluster does not exist: 503, or 404, 500
}

// GRPCDeadline says how the grpc-timeout field of a request bounds it.
type GRPCDeadline struct {
	On     bool
	Max    time.Duration // 0: as long as the field says
	Offset time.Duration // is taken off, where something is left
}

// WeightedCluster is one destination.
type WeightedCluster struct {
	Cluster         ClusterRef
	Weight          uint32
	RequestHeaders  HeaderOps
	ResponseHeaders HeaderOps
	HostRewrite     string
	Overrides       []any // by filter slot
}

// ClusterRef names a cluster. Handle is the data plane's handle for that name,
// from Deps.Cluster: it exists before the cluster does, and is the same for
// every reference to the name.
type ClusterRef struct {
	Name   string
	Handle any
}

// Mirror is a shadow destination.
type Mirror struct {
	Cluster    ClusterRef
	Millionths uint32 // share of requests, per million
	KeepHost   bool   // disable_shadow_host_suffix_append
}

// Retry is envoy.config.route.v3.RetryPolicy.
type Retry struct {
	On            RetryOn
	Statuses      []uint32 // retriable_status_codes
	Retries       int      // num_retries; the first try is not counted
	PerTryTimeout time.Duration
	PerTryIdle    time.Duration
	BackoffBase   time.Duration // default 25 ms
	BackoffMax    time.Duration // default 10 × base
	AvoidPrevious bool          // retry_host_predicate previous_hosts
	HostAttempts  int           // host_selection_retry_max_attempts, default 1
	PriorityEvery int           // retry_priority previous_priorities: update_frequency; 0: off
	RetriableHdrs []HeaderMatch // response headers that trigger a retry
	RetriableReqs []HeaderMatch // request headers that must be there
}

// RetryOn is a set of retry conditions.
type RetryOn uint32

const (
	On5xx RetryOn = 1 << iota
	OnGatewayError
	OnReset
	OnResetBeforeRequest
	OnConnectFailure
	OnEnvoyRateLimited
	OnRetriable4xx
	OnRefusedStream
	OnRetriableStatus
	OnRetriableHeaders
	OnGRPCCancelled
	OnGRPCDeadline
	OnGRPCInternal
	OnGRPCExhausted
	OnGRPCUnavailable
)

// HashPolicy is one source of a consistent-hash key.
type HashPolicy struct {
	Header     *stream.Name
	Cookie     string
	CookieTTL  *time.Duration // set: we issue the cookie
	CookiePath string
	// CookieMore is what follows the path in an issued cookie: "; SameSite=Strict".
	CookieMore string
	Query      string
	SourceIP   bool
	Terminal   bool
}

// Redirect is envoy.config.route.v3.RedirectAction.
type Redirect struct {
	Status     int // 301, 302, 303, 307, 308
	Scheme     string
	HTTPS      bool
	Host       string
	Port       uint32
	Path       string // replaces path; may hold a query
	Prefix     string // prefix_rewrite
	PrefixSet  bool
	Regex      *regexp.Regexp
	RegexSub   string
	StripQuery bool
}

// Direct is envoy.config.route.v3.DirectResponseAction.
type Direct struct {
	Status int
	Body   string
}
