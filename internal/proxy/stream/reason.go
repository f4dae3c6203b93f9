package stream

import "strings"

// Code is the closed set of reasons for which the proxy answers itself or cuts
// an exchange short. Codes are stable: they are metric labels and appear in logs.
type Code uint8

const (
	None                Code = iota // nothing special: the peer answered
	NoRoute                         // no virtual host or route matches
	NoCluster                       // the route names a cluster that does not exist
	NoHealthyUpstream               // the cluster has no endpoint to choose
	ConnectFailure                  // the endpoint refused or was not reachable
	ConnectTimeout                  // no connection within the cluster's connect time-out
	UpstreamTLS                     // the TLS handshake with the endpoint failed
	UpstreamReset                   // the endpoint closed or reset before its answer was complete
	UpstreamRemoteReset             // the endpoint reset the stream, over HTTP/2
	UpstreamProtocol                // the endpoint's answer broke the protocol
	UpstreamOverflow                // a circuit breaker is open
	RouteTimeout                    // the route's time-out passed
	PerTryTimeout                   // a try's time-out passed
	RetryLimit                      // the retry budget or limit was exhausted
	IdleTimeout                     // nothing moved for the idle time-out
	MaxDuration                     // the stream's maximum duration passed
	DownstreamGone                  // the client closed before its answer was complete
	DownstreamReset                 // the client reset the stream, over HTTP/2
	DownstreamProtocol              // the client broke the protocol
	RequestTimeout                  // the client did not finish its request in time
	FaultAbort                      // a fault was injected, on purpose
	FaultDelay                      // a delay was injected, on purpose
	DirectResponse                  // the route answers itself
	Redirect                        // the route redirects
	PolicyDenied                    // access was denied
	TLSRequired                     // plain text where mTLS is required
	UnsupportedProtocol             // a version of HTTP, or an upgrade, that is not served here
	NotSubscribed                   // unknown destination, and the control plane does not answer
	ConfigInvalid                   // the route comes from an invalid object
	Overload                        // the proxy protects itself
	Draining                        // the proxy or listener shuts down
	Internal                        // a defect; the detail says more
	numCodes
)

type codeInfo struct {
	name    string // our name: metric label, reason header
	flag    string // Envoy's %RESPONSE_FLAGS%, short form
	details string // Envoy's %RESPONSE_CODE_DETAILS%
	status  int    // status of a local answer
	body    string // body of a local answer, as Envoy words it
}

// The bodies and flags are Envoy's documented and observable behaviour (access
// log "RESPONSE_FLAGS"; response code details page).
var codes = [numCodes]codeInfo{
	None:                {"none", "", "via_upstream", 0, ""},
	NoRoute:             {"no_route", "NR", "route_not_found", 404, ""},
	NoCluster:           {"no_cluster", "NC", "cluster_not_found", 503, ""},
	NoHealthyUpstream:   {"no_healthy_upstream", "UH", "no_healthy_upstream", 503, "no healthy upstream"},
	ConnectFailure:      {"connect_failure", "UF", "upstream_reset_before_response_started{connection_failure}", 503, "upstream connect error or disconnect/reset before headers. reset reason: connection failure"},
	ConnectTimeout:      {"connect_timeout", "UF", "upstream_reset_before_response_started{connection_timeout}", 503, "upstream connect error or disconnect/reset before headers. reset reason: connection timeout"},
	UpstreamTLS:         {"upstream_tls", "UF", "upstream_reset_before_response_started{connection_failure,TLS_error}", 503, "upstream connect error or disconnect/reset before headers. reset reason: connection failure"},
	UpstreamReset:       {"upstream_reset", "UC", "upstream_reset_before_response_started{connection_termination}", 503, "upstream connect error or disconnect/reset before headers. reset reason: connection termination"},
	UpstreamRemoteReset: {"upstream_remote_reset", "UR", "upstream_reset_before_response_started{remote_reset}", 503, "upstream connect error or disconnect/reset before headers. reset reason: remote reset"},
	UpstreamProtocol:    {"upstream_protocol", "UPE", "upstream_reset_before_response_started{protocol_error}", 502, "upstream connect error or disconnect/reset before headers. reset reason: protocol error"},
	UpstreamOverflow:    {"upstream_overflow", "UO", "upstream_reset_before_response_started{overflow}", 503, "upstream connect error or disconnect/reset before headers. reset reason: overflow"},
	RouteTimeout:        {"route_timeout", "UT", "response_timeout", 504, "upstream request timeout"},
	PerTryTimeout:       {"per_try_timeout", "UT", "upstream_per_try_timeout", 504, "upstream request timeout"},
	RetryLimit:          {"retry_limit", "URX", "retry_limit_exceeded", 503, "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: connection failure"},
	IdleTimeout:         {"idle_timeout", "SI", "stream_idle_timeout", 504, "stream timeout"},
	MaxDuration:         {"max_duration", "UMSDR", "upstream_max_stream_duration_reached", 504, "upstream max stream duration reached"},
	DownstreamGone:      {"downstream_gone", "DC", "downstream_remote_disconnect", 0, ""},
	DownstreamReset:     {"downstream_reset", "DR", "http2.remote_reset", 0, ""},
	DownstreamProtocol:  {"downstream_protocol", "DPE", "http1.codec_error", 400, ""},
	RequestTimeout:      {"request_timeout", "", "request_overall_timeout", 408, "request timeout"},
	FaultAbort:          {"fault_abort", "FI", "fault_filter_abort", 0, "fault filter abort"},
	FaultDelay:          {"fault_delay", "DI", "via_upstream", 0, ""},
	DirectResponse:      {"direct_response", "", "direct_response", 0, ""},
	Redirect:            {"redirect", "", "direct_response", 0, ""},
	PolicyDenied:        {"policy_denied", "", "rbac_access_denied_matched_policy[none]", 403, "RBAC: access denied"},
	TLSRequired:         {"tls_required", "NR", "filter_chain_not_found", 0, ""},
	UnsupportedProtocol: {"unsupported_protocol", "DPE", "unsupported_protocol", 505, ""},
	NotSubscribed:       {"not_subscribed", "NC", "cluster_not_found", 503, ""},
	ConfigInvalid:       {"config_invalid", "", "direct_response", 500, ""},
	Overload:            {"overload", "OM", "overload", 503, "envoy overloaded"},
	Draining:            {"draining", "", "draining", 503, ""},
	Internal:            {"internal", "", "internal", 500, ""},
}

// String gives the code's stable name.
func (c Code) String() string { return codes[c].name }

// Flag gives Envoy's response flag, "" for none.
func (c Code) Flag() string { return codes[c].flag }

// Reason says why the proxy did what it did: the code, and one clause of detail
// ("dial 10.0.0.4:9080: connection refused; attempt 2 of 3").
type Reason struct {
	Code   Code
	Detail string
	// Envoy, where it is set, is what Details gives in place of the code's own text.
	Envoy string
}

// Details gives Envoy's %RESPONSE_CODE_DETAILS%.
func (r Reason) Details() string {
	if r.Envoy != "" {
		return r.Envoy
	}
	return codes[r.Code].details
}

// AfterResponse is r for a reset that cut an answer which had begun: Envoy tells that
// apart in the details.
func (r Reason) AfterResponse() Reason {
	const before, after = "upstream_reset_before_response_started", "upstream_reset_after_response_started"
	if rest, ok := strings.CutPrefix(r.Details(), before); ok {
		r.Envoy = after + rest
	}
	return r
}

// Error makes a Reason usable as the error that a cancelled call returns.
func (r Reason) Error() string {
	if r.Detail == "" {
		return codes[r.Code].name
	}
	return codes[r.Code].name + ": " + r.Detail
}

// Reply is an answer that the proxy makes itself, as the error that a Filter or
// Handler returns. It is written in one place, the HTTP connection manager.
type Reply struct {
	Status  int
	Body    string
	Headers [][2]string // further headers, in order
	Reason  Reason
}

// NewReply makes a local answer with the body that Envoy gives for the reason.
// A status of 0 takes the reason's own.
func NewReply(status int, r Reason) *Reply {
	if status == 0 {
		status = codes[r.Code].status
	}
	return &Reply{Status: status, Body: codes[r.Code].body, Reason: r}
}

// Error implements error.
func (r *Reply) Error() string { return "local reply: " + r.Reason.Error() }
