package config

import (
	"math"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previousprioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
)

// retryConditions are the names of retry_on: those of x-envoy-retry-on and of
// x-envoy-retry-grpc-on.
var retryConditions = map[string]RetryOn{
	"5xx":                        On5xx,
	"gateway-error":              OnGatewayError,
	"reset":                      OnReset,
	"reset-before-request":       OnResetBeforeRequest,
	"connect-failure":            OnConnectFailure,
	"envoy-ratelimited":          OnEnvoyRateLimited,
	"retriable-4xx":              OnRetriable4xx,
	"refused-stream":             OnRefusedStream,
	"retriable-status-codes":     OnRetriableStatus,
	"retriable-headers":          OnRetriableHeaders,
	"cancelled":                  OnGRPCCancelled,
	"deadline-exceeded":          OnGRPCDeadline,
	"internal":                   OnGRPCInternal,
	"resource-exhausted":         OnGRPCExhausted,
	"unavailable":                OnGRPCUnavailable,
	"http3-post-connect-failure": 0, // there is no HTTP/3
}

// parseRetry reads a retry policy; nil if there is none.
func parseRetry(s *scope, m *routev3.RetryPolicy) (*Retry, error) {
	if m == nil {
		return nil, nil
	}
	r := &Retry{Retries: int(uint32Or(m.GetNumRetries(), 1)), Statuses: m.GetRetriableStatusCodes()}
	var err error
	if r.On, err = parseRetryOn(s.at("retry_on"), m.GetRetryOn()); err != nil {
		return nil, err
	}
	if r.PerTryTimeout, err = duration(s.at("per_try_timeout"), m.GetPerTryTimeout(), 0); err != nil {
		return nil, err
	}
	if r.PerTryIdle, err = duration(s.at("per_try_idle_timeout"), m.GetPerTryIdleTimeout(), 0); err != nil {
		return nil, err
	}
	if err = parseBackoff(s.at("retry_back_off"), r, m.GetRetryBackOff()); err != nil {
		return nil, err
	}
	for i, h := range m.GetRetryHostPredicate() {
		const previous = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
		at := s.item("retry_host_predicate", i)
		url := h.GetTypedConfig().GetTypeUrl()
		if strings.HasSuffix(url, "/"+previous) || url == "" && h.GetName() == "envoy.retry_host_predicates.previous_hosts" {
			r.AvoidPrevious = true
			continue
		}
		return nil, at.errorf("%q is not supported by this proxy", h.GetName())
	}
	if r.PriorityEvery, err = retryPriority(s.at("retry_priority"), m.GetRetryPriority()); err != nil {
		return nil, err
	}
	attempts := m.GetHostSelectionRetryMaxAttempts()
	if attempts < 0 || attempts > math.MaxInt32 {
		return nil, s.at("host_selection_retry_max_attempts").errorf("%d is not a count", attempts)
	}
	r.HostAttempts = max(int(attempts), 1)
	if r.RetriableHdrs, err = headerMatches(s, "retriable_headers", m.GetRetriableHeaders()); err != nil {
		return nil, err
	}
	r.RetriableReqs, err = headerMatches(s, "retriable_request_headers", m.GetRetriableRequestHeaders())
	return r, err
}

// retryPriority reads after how many tries those priorities are left out that were
// tried; 0: never.
func retryPriority(s *scope, m *routev3.RetryPolicy_RetryPriority) (int, error) {
	if m == nil {
		return 0, nil
	}
	c := &previousprioritiesv3.PreviousPrioritiesConfig{}
	if err := unpack(s.at("typed_config"), m.GetTypedConfig(), c); err != nil {
		return 0, err
	}
	if c.GetUpdateFrequency() < 1 {
		return 0, s.at("typed_config").at("update_frequency").errorf("must be above 0")
	}
	return int(c.GetUpdateFrequency()), nil
}

// parseRetryOn reads the conditions. A bare status code, as Istio's API allows
// among them, counts as nothing here: Istio moves it to retriable_status_codes.
func parseRetryOn(s *scope, text string) (RetryOn, error) {
	var on RetryOn
	for _, word := range strings.Split(text, ",") {
		word = strings.TrimSpace(word)
		if word == "" {
			continue
		}
		c, ok := retryConditions[word]
		if !ok {
			return 0, s.errorf("condition %q is not known", word)
		}
		on |= c
	}
	return on, nil
}

// parseBackoff: "The default base interval is 25ms … max_interval … defaults to 10
// times the base interval".
func parseBackoff(s *scope, r *Retry, m *routev3.RetryPolicy_RetryBackOff) error {
	var err error
	if r.BackoffBase, err = duration(s.at("base_interval"), m.GetBaseInterval(), 25*time.Millisecond); err != nil {
		return err
	}
	if m != nil && r.BackoffBase < time.Millisecond {
		if r.BackoffBase == 0 {
			return s.at("base_interval").errorf("must be above 0")
		}
		r.BackoffBase = time.Millisecond // Envoy rounds up
	}
	if r.BackoffMax, err = duration(s.at("max_interval"), m.GetMaxInterval(), 10*r.BackoffBase); err != nil {
		return err
	}
	if r.BackoffMax < r.BackoffBase {
		return s.at("max_interval").errorf("%s is below the base interval, %s", r.BackoffMax, r.BackoffBase)
	}
	return nil
}
