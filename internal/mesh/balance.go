package mesh

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Balance is a load-balancing choice.
type Balance struct {
	Origin    verdict.Origin
	Algorithm Algorithm
	Hash      *HashKey // with RingHash and Maglev: what decides the endpoint
	RingSize  uint64   // RingHash: the least number of entries; 0: 1024
	TableSize uint64   // Maglev: a prime number; 0: 65537
	Warmup    *Warmup  // nil: new endpoints get their whole share at once
	Locality  *LocalitySetting
}

// HashKey is what of a request decides its endpoint. One of the fields is set.
type HashKey struct {
	Header   string
	Query    string
	Cookie   *HashCookie
	SourceIP bool
}

// HashCookie is a cookie that decides the endpoint.
type HashCookie struct {
	Name, Path string
	// TTL has the proxy issue the cookie where the request has none; 0: for the
	// browser's session. Nil: it is the application's.
	TTL        *time.Duration
	Attributes []CookieAttribute // of issued cookies, in order
}

// CookieAttribute is an attribute of a cookie; Value may be empty.
type CookieAttribute struct{ Name, Value string }

// Warmup lets the share of new endpoints grow over a duration.
type Warmup struct {
	Duration   time.Duration
	MinPercent float64 // of the share, at the beginning
	Aggression float64 // 1: grows evenly; more: earlier
}

// RetryBudget bounds the retries under way by the requests under way.
type RetryBudget struct {
	Origin        verdict.Origin
	Percent       float64
	MinConcurrent uint32
	// Interval counts the requests that began within it, not those under way; 0: off.
	Interval time.Duration
}

// ProxyProtocol is the header that tells an endpoint who its client is.
type ProxyProtocol string

// The versions.
const (
	NoProxyProtocol ProxyProtocol = ""
	ProxyProtocolV1 ProxyProtocol = "v1"
	ProxyProtocolV2 ProxyProtocol = "v2"
)
