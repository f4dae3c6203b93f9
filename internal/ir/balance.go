package ir

import "time"

// Balance picks an endpoint.
type Balance string

// The balancers.
const (
	LeastRequest Balance = "least_request"
	RoundRobin   Balance = "round_robin"
	Random       Balance = "random"
	RingHash     Balance = "ring_hash"
	Maglev       Balance = "maglev"
)

// Warmup lets the share of new endpoints grow over a window.
type Warmup struct {
	Window     time.Duration
	MinPercent float64
	Aggression float64
}

// RetryBudget bounds retries under way by requests under way, or by those that began
// within an interval.
type RetryBudget struct {
	Percent       float64
	MinConcurrent uint32
	Interval      time.Duration // 0: those under way
}

// ProxyProtocol is the header that begins connections to endpoints.
type ProxyProtocol string

// The versions; "" is none.
const (
	ProxyProtocolV1 ProxyProtocol = "v1"
	ProxyProtocolV2 ProxyProtocol = "v2"
)

// HashKey is what of a request decides its endpoint; one of the fields is set.
type HashKey struct {
	Header   string
	Query    string
	Cookie   *HashCookie
	SourceIP bool
}

// HashCookie is a cookie that decides the endpoint.
type HashCookie struct {
	Name, Path string
	TTL        *time.Duration // set: issued where it is missing; 0: for the browser's session
	Attributes []CookieAttribute
}

// CookieAttribute is an attribute of an issued cookie; Value may be empty.
type CookieAttribute struct{ Name, Value string }
