package router

import (
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// policy is the retry policy of one exchange, and what is left of it.
type policy struct {
	on    config.RetryOn
	total int // retries allowed
	left  int
	retry *config.Retry // nil where only the request asks for retries
}

// Conditions by the names of x-envoy-retry-on and x-envoy-retry-grpc-on.
var conditions = map[string]config.RetryOn{
	"5xx":                    config.On5xx,
	"gateway-error":          config.OnGatewayError,
	"reset":                  config.OnReset,
	"reset-before-request":   config.OnResetBeforeRequest,
	"connect-failure":        config.OnConnectFailure,
	"envoy-ratelimited":      config.OnEnvoyRateLimited,
	"retriable-4xx":          config.OnRetriable4xx,
	"refused-stream":         config.OnRefusedStream,
	"retriable-status-codes": config.OnRetriableStatus,
	"retriable-headers":      config.OnRetriableHeaders,
	"cancelled":              config.OnGRPCCancelled,
	"deadline-exceeded":      config.OnGRPCDeadline,
	"internal":               config.OnGRPCInternal,
	"resource-exhausted":     config.OnGRPCExhausted,
	"unavailable":            config.OnGRPCUnavailable,
}

func policyOf(r *config.Retry) policy {
	if r == nil {
		return policy{}
	}
	return policy{on: r.On, total: r.Retries, left: r.Retries, retry: r}
}

// override adds the conditions and the limit that the request asks for. Without a
// policy, one retry is Envoy's default.
func (p *policy) override(h *stream.Head) {
	var on config.RetryOn
	for _, n := range []stream.Name{fieldRetryOn, fieldRetryGRPCOn} {
		for _, word := range strings.Split(string(h.Get(n)), ",") {
			on |= conditions[strings.TrimSpace(word)]
		}
	}
	if on != 0 && p.on == 0 {
		p.total = 1
	}
	p.on |= on
	if n, err := strconv.ParseUint(string(h.Get(fieldMaxRetries)), 10, 16); err == nil && p.on != 0 {
		p.total = int(n)
	}
	p.left = p.total
}

// Groups of conditions, as Envoy's retry state reads them.
const (
	onAnyReset = config.OnReset | config.On5xx | config.OnGatewayError
	onUnsent   = onAnyReset | config.OnResetBeforeRequest | config.OnConnectFailure | config.OnRefusedStream
)

// wantsFailure reports whether the conditions name a try that gave no answer.
func (p *policy) wantsFailure(f *failure) bool {
	switch f.code {
	case stream.ConnectFailure, stream.ConnectTimeout, stream.UpstreamTLS:
		return p.on&(config.OnConnectFailure|onAnyReset) != 0
	case stream.UpstreamReset, stream.UpstreamRemoteReset, stream.UpstreamProtocol:
		if f.delivery == stream.Refused {
			return p.on&(onAnyReset|config.OnRefusedStream) != 0
		}
		if f.delivery == stream.Unsent {
			return p.on&onUnsent != 0
		}
		return p.on&onAnyReset != 0 || f.stale && p.on&onUnsent != 0
	case stream.PerTryTimeout:
		return p.on&onAnyReset != 0
	}
	return false
}

// wantsAnswer reports whether the conditions name this answer.
func (p *policy) wantsAnswer(resp *stream.Response) bool {
	on, st := p.on, resp.Status
	if resp.Has(fieldRateLimited) {
		return on&config.OnEnvoyRateLimited != 0
	}
	switch {
	case on&config.On5xx != 0 && st >= 500,
		on&config.OnGatewayError != 0 && st >= 502 && st <= 504,
		on&config.OnRetriable4xx != 0 && st == 409:
		return true
	}
	if on&config.OnRetriableStatus != 0 && p.retry != nil {
		for _, s := range p.retry.Statuses {
			if int(s) == st {
				return true
			}
		}
	}
	if on&config.OnRetriableHeaders != 0 && p.retry != nil && anyAnswer(p.retry.RetriableHdrs, resp) {
		return true
	}
	return on&onGRPC != 0 && p.wantsGRPC(resp)
}

const onGRPC = config.OnGRPCCancelled | config.OnGRPCDeadline | config.OnGRPCInternal | config.OnGRPCExhausted | config.OnGRPCUnavailable

// wantsGRPC looks at the status of an answer that consists of a head alone.
func (p *policy) wantsGRPC(resp *stream.Response) bool {
	switch string(resp.Get(stream.GRPCStatus)) {
	case "1":
		return p.on&config.OnGRPCCancelled != 0
	case "4":
		return p.on&config.OnGRPCDeadline != 0
	case "8":
		return p.on&config.OnGRPCExhausted != 0
	case "13":
		return p.on&config.OnGRPCInternal != 0
	case "14":
		return p.on&config.OnGRPCUnavailable != 0
	}
	return false
}

// idempotent reports whether repeating the request does no more than making it
// once (RFC 9110 §9.2.2).
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// backOff is Envoy's fully jittered exponential back-off before retry n, counted
// from 1: a random time below (2^n - 1) × base, and below max.
func (p *policy) backOff(n int, random uint64) time.Duration {
	base, limit := 25*time.Millisecond, time.Duration(0)
	if p.retry != nil {
		if p.retry.BackoffBase > 0 {
			base = p.retry.BackoffBase
		}
		limit = p.retry.BackoffMax
	}
	if limit <= 0 {
		limit = 10 * base
	}
	span := time.Duration(1<<min(n, 20)-1) * base
	span = min(span, limit)
	if span <= 0 {
		return 0
	}
	return time.Duration(random % uint64(span))
}

func anyAnswer(ms []config.HeaderMatch, resp *stream.Response) bool {
	for i := range ms {
		if match.ResponseMatches(&ms[i], resp) {
			return true
		}
	}
	return false
}

func anyRequest(ms []config.HeaderMatch, req *stream.Request) bool {
	for i := range ms {
		if match.HeaderMatches(&ms[i], req) {
			return true
		}
	}
	return false
}
