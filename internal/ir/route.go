package ir

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Table is a route table: virtual hosts, told apart by the request's authority.
type Table struct {
	Name  string
	Hosts []VirtualHost
}

// VirtualHost is the routes of some domains.
type VirtualHost struct {
	Name       string
	Domains    []string // exact, "*.suffix" or "*"; ports in the authority are ignored
	Routes     []Route  // the first match wins; none answers 404
	RequireTLS bool     // redirect plain HTTP to HTTPS
	// NoAttemptCount leaves x-envoy-attempt-count out; ForwardedHost adds x-forwarded-host
	// where a route rewrites the authority.
	NoAttemptCount, ForwardedHost bool
	Origins                       []verdict.Origin
}

// Route is one rule, with exactly one action: Clusters, Redirect or Direct.
type Route struct {
	Name  string
	Match Match

	Clusters []WeightedCluster
	Redirect *Redirect
	Direct   *Direct

	Rewrite *Rewrite
	Timeout time.Duration // 0: none
	Retry   *Retry        // nil: no retries
	Hash    []HashKey     // of the destinations that pick by hashes
	// Unusable answers 500, not 503, where a cluster does not exist: it is for the
	// shares of destinations that are Unusable.
	Unusable  bool
	Fault     *Fault
	Mirrors   []Mirror
	CORS      *CORS
	Request   HeaderOps
	Response  HeaderOps
	Operation string // the name that traces show: "host:port/path"
	// Passthrough marks the route to wherever the client wanted to go.
	Passthrough bool
	// Reason says why the route answers by itself, for an object that is invalid or
	// waits for another; "" where it acts as written.
	Reason string
	Origin verdict.Origin
}

// MatchKind is how a string is compared.
type MatchKind string

// The kinds of matches. Regex is RE2 over the whole value; Segments is a prefix of a
// path's whole segments, without a slash at its end.
const (
	Exact    MatchKind = "exact"
	Prefix   MatchKind = "prefix"
	Segments MatchKind = "segments"
	Regex    MatchKind = "regex"
	Present  MatchKind = "present"
)

// StringMatch compares a string.
type StringMatch struct {
	Kind   MatchKind
	Value  string
	Invert bool
}

// NamedMatch compares a header or query parameter. Method, scheme and authority
// are the headers ":method", ":scheme" and ":authority".
type NamedMatch struct {
	Name string
	StringMatch
}

// Match holds the conditions of a route; all must be met.
type Match struct {
	Path     StringMatch // Prefix "/" matches everything
	FoldCase bool
	// Default marks the route of a host, or of a rule without any conditions.
	Default bool
	Headers []NamedMatch
	Query   []NamedMatch
}

// WeightedCluster is a destination with its share.
type WeightedCluster struct {
	Cluster  Key
	Weight   uint32
	Request  HeaderOps
	Response HeaderOps
}

// Redirect answers with a redirection.
type Redirect struct {
	Status uint32
	Scheme string
	Host   string
	Port   uint32
	Path   string
	Prefix string // replaces the matched prefix
	Regex  string // with Subst: replaces by regular expression
	Subst  string
}

// Direct answers by itself.
type Direct struct {
	Status uint32
	Body   string
}

// Rewrite changes a request before it is sent on.
type Rewrite struct {
	Path  string
	Regex string
	Subst string
	Host  string
}

// Retry is a retry policy.
type Retry struct {
	Attempts      uint32
	On            string
	Statuses      []uint32
	PerTryTimeout time.Duration
	Backoff       time.Duration // 0: the data plane's default
	AvoidPrevious bool          // prefer endpoints that were not tried
	// RemoteLocalities retries at the priorities that come after those tried.
	RemoteLocalities bool
}

// Fault delays or aborts.
type Fault struct {
	Delay        time.Duration
	DelayPercent float64
	AbortStatus  uint32
	AbortGRPC    *uint32 // the gRPC status, in place of AbortStatus; nil: none
	AbortPercent float64
}

// Mirror sends copies.
type Mirror struct {
	Cluster Key
	Percent float64
}

// CORS is a policy for pages of other origins.
type CORS struct {
	Origins     []StringMatch
	Methods     []string
	Headers     []string
	Expose      []string
	MaxAge      string // in seconds
	Credentials bool
	Ignore      bool // preflight requests of other origins are not forwarded
}

// HeaderOps changes headers: set, then add, then remove.
type HeaderOps struct {
	Set    []Header
	Add    []Header
	Remove []string
}

// Header is a header and its value.
type Header struct{ Name, Value string }

// IsZero reports whether o changes nothing.
func (o HeaderOps) IsZero() bool { return len(o.Set)+len(o.Add)+len(o.Remove) == 0 }
