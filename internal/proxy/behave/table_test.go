package behave

// scenario is one fault.
type scenario struct {
	name    string
	combos  []string // client's and server's protocol
	client  string   // script; "" is a sound request
	post    bool
	server  string // script; "closed": nobody listens; "full": nobody accepts
	short   bool   // over the listener that waits shortly
	route   m      // added to the route's action
	cluster m      // added to the cluster
	// differs says why Envoy does something else, where it does; by combo or for all
	// ("").
	differs map[string]string
}

var (
	all  = []string{"11", "12", "21", "22"}
	to1  = []string{"11", "21"}
	to2  = []string{"12", "22"}
	of1  = []string{"11"}
	soon = m{"timeout": "0.300s"}
	try2 = func(on string) m { return m{"retry_policy": m{"retry_on": on, "num_retries": 2}} }
)

// scenarios are all faults. The order is that of the table in testdata.
var scenarios = []scenario{
	{name: "sound GET", combos: all, server: "ok"},
	{name: "sound POST", combos: all, post: true, server: "ok"},

	// The server's side: no connection.
	{name: "connect refused", combos: all, server: "closed", differs: because(words)},
	{name: "connect refused POST", combos: of1, post: true, server: "closed", differs: because(words)},
	{name: "connect refused retried", combos: all, post: true, server: "closed", route: try2("connect-failure"), differs: because(words)},
	{name: "connect time-out", combos: all, server: "full"},
	{name: "connect time-out retried", combos: of1, server: "full", route: try2("connect-failure")},
	{name: "TLS to plain text", combos: all, server: "ok", cluster: tlsToPlain, differs: because(words)},
	{name: "no endpoint", combos: all, server: "ok", cluster: m{"load_assignment": m{"cluster_name": "none"}}},
	{name: "circuit open", combos: to1, server: "ok", cluster: m{"circuit_breakers": m{"thresholds": []m{{"max_pending_requests": 0}}}}},

	// The server's side: the connection breaks.
	{name: "reset before head", combos: all, server: "rst"},
	{name: "reset before head POST", combos: all, post: true, server: "rst"},
	{name: "FIN before head", combos: all, server: "fin"},
	{name: "FIN before head POST", combos: all, post: true, server: "fin"},
	{name: "reset before head retried GET", combos: all, server: "rst", route: try2("reset")},
	{name: "reset before head not retried POST", combos: all, post: true, server: "rst", route: try2("connect-failure,refused-stream,reset-before-request")},
	{name: "reset in head", combos: to1, server: "rst-head", differs: because(early)},
	{name: "FIN in head", combos: to1, server: "fin-head", differs: because(early)},
	{name: "reset in content", combos: all, server: "rst-length", differs: map[string]string{"11": early, "21": early}},
	{name: "FIN in content", combos: all, server: "fin-length", differs: map[string]string{"11": early, "21": early}},
	{name: "FIN in chunk", combos: to1, server: "fin-chunk", differs: because(early)},
	{name: "FIN between chunks", combos: to1, server: "fin-chunks", differs: because(early)},
	{name: "content until FIN", combos: to1, server: "until-fin"},
	{name: "reset after 100", combos: to1, post: true, server: "hint-rst", differs: because(after100)},
	{name: "closed after answer", combos: to1, server: "ok-close"},
	{name: "reset after answer", combos: to1, server: "ok-rst"},

	// The server's side: the protocol breaks.
	{name: "garbage", combos: all, server: "garbage"},
	{name: "bad chunk", combos: to1, server: "bad-chunk"},
	{name: "two lengths", combos: to1, server: "two-lengths"},
	{name: "too large head", combos: all, server: "big-head", differs: map[string]string{"12": message, "22": message}},
	{name: "more than the answer", combos: to1, server: "more"},
	{name: "101 unasked", combos: to1, server: "101", differs: because(unasked)},
	{name: "204 with content", combos: to1, server: "204-body", differs: because(no204)},
	{name: "shorter than its length", combos: to2, server: "short-length"},
	{name: "longer than its length", combos: to2, server: "long-length"},
	{name: "push", combos: to2, server: "push"},
	{name: "empty window update", combos: to2, server: "bad-window"},
	{name: "bad header block", combos: to2, server: "bad-block"},
	{name: "no status", combos: to2, server: "no-status", differs: because(message)},
	{name: "upper-case name", combos: to2, server: "upper-case", differs: because(message)},

	// The server's side: streams.
	{name: "stream refused", combos: to2, server: "refused"},
	{name: "stream refused POST retried", combos: to2, post: true, server: "refused", route: try2("refused-stream")},
	{name: "stream reset INTERNAL", combos: to2, post: true, server: "internal"},
	{name: "stream reset CANCEL", combos: to2, server: "cancelled"},
	{name: "stream reset PROTOCOL", combos: to2, server: "protocol", differs: because(urProtocol)},
	{name: "stream reset NO_ERROR", combos: to2, server: "no-error"},
	{name: "stream reset CALM", combos: to2, server: "calm"},
	{name: "stream reset in content", combos: to2, server: "rst-body"},
	{name: "GOAWAY, not taken", combos: to2, post: true, server: "goaway", differs: because(proven)},
	{name: "GOAWAY, not taken, retried", combos: to2, post: true, server: "goaway", route: try2("reset-before-request,refused-stream"), differs: because(proven)},
	{name: "GOAWAY and answer", combos: to2, server: "goaway-ok"},
	{name: "GOAWAY PROTOCOL", combos: to2, server: "goaway-bad"},
	{name: "trailers", combos: to2, server: "trailers"},

	// Time.
	{name: "route time-out", combos: all, server: "never", route: soon, differs: map[string]string{"12": silent, "22": silent}},
	{name: "route time-out POST", combos: all, post: true, server: "never", route: soon, differs: map[string]string{"12": silent, "22": silent}},
	{name: "route time-out in content", combos: all, server: "stall", route: soon},
	{name: "per-try time-out", combos: all, server: "never", route: m{"retry_policy": m{"retry_on": "connect-failure", "num_retries": 1, "per_try_timeout": "0.300s"}}, differs: map[string]string{"12": silent, "22": silent}},
	{name: "per-try time-out retried", combos: all, server: "never", route: m{"retry_policy": m{"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "0.300s"}}, differs: map[string]string{"12": silent, "22": silent}},
	{name: "idle before head", combos: all, server: "never", route: m{"idle_timeout": "0.300s"}, differs: map[string]string{"12": silent, "22": silent}},
	{name: "idle in content", combos: all, server: "stall", route: m{"idle_timeout": "0.300s"}},
	{name: "half a request, idle", combos: all, client: "half-body", server: "ok", route: m{"idle_timeout": "0.300s"}, differs: map[string]string{"12": silent, "22": silent}},
	{name: "half a request, too slow", combos: all, client: "half-body", server: "ok", short: true},
	{name: "half a head, too slow", combos: of1, client: "half-head", server: "ok", short: true},
	{name: "no request", combos: []string{"11", "21"}, client: "idle", server: "ok", short: true},

	// Answers before the request's end, interim answers, retries of statuses.
	{name: "early answer", combos: all, client: "half-body", server: "early"},
	{name: "early answer and close", combos: to1, client: "half-body", server: "early-close"},
	{name: "early answer and FIN", combos: to1, client: "half-body", server: "early-fin"},
	{name: "early answer and NO_ERROR", combos: to2, client: "half-body", server: "early-reset"},
	{name: "early answer, large request", combos: of1, client: "large-body", server: "early-close"},
	{name: "interim answer", combos: all, server: "hint", differs: because(interim)},
	{name: "expectation", combos: []string{"11", "12"}, client: "expect", server: "ok"},
	{name: "503 retried", combos: all, server: "503", route: try2("5xx")},
	{name: "503 POST not retried", combos: all, post: true, server: "503", route: try2("connect-failure")},

	// The client's side.
	{name: "client resets", combos: all, client: "reset", server: "slow"},
	{name: "client's FIN before the answer", combos: all, client: "fin", server: "slow"},
	{name: "client's FIN with a request waiting", combos: of1, client: "pipelined-fin", server: "slow"},
	{name: "client resets in content", combos: all, client: "half-body-reset", server: "ok"},
	{name: "client's FIN in content", combos: all, client: "half-body-fin", server: "ok"},
	{name: "client resets in head", combos: []string{"11", "21"}, client: "half-head-reset", server: "ok", differs: because(before)},
	{name: "client's FIN in head", combos: of1, client: "half-head-fin", server: "ok", differs: because(before)},
	{name: "client cancels", combos: []string{"21", "22"}, client: "cancel", server: "slow"},
	{name: "client cancels in content", combos: []string{"21", "22"}, client: "half-body-cancel", server: "ok"},
	{name: "client's garbage", combos: []string{"11", "21"}, client: "garbage", server: "ok"},
	{name: "client's bad chunk", combos: []string{"11", "12"}, client: "bad-chunk", server: "ok", differs: because(streams)},
	{name: "client's two lengths", combos: of1, client: "two-lengths", server: "ok"},
	{name: "client's length and chunks", combos: of1, client: "both-lengths", server: "ok", differs: because(codec)},
	{name: "client without host", combos: of1, client: "no-host", server: "ok", differs: because(codec)},
	{name: "client's version", combos: of1, client: "version", server: "ok", differs: because(version)},
	{name: "client's too large head", combos: []string{"11", "21"}, client: "big-head", server: "ok", differs: map[string]string{"21": headLimit}},
	{name: "client's bad header block", combos: []string{"21"}, client: "bad-block", server: "ok", differs: because(before)},
	{name: "client without path", combos: []string{"21"}, client: "no-path", server: "ok", differs: because(message)},
	{name: "client's connection header", combos: []string{"21"}, client: "connection-header", server: "ok", differs: because(message)},
	{name: "client's content shorter than its length", combos: []string{"21", "22"}, client: "short-body", server: "ok", differs: because(codec)},
	{name: "zero window", combos: []string{"21", "22"}, client: "zero-window", server: "ok"},
	{name: "slow reader", combos: of1, client: "slow-reader", server: "large"},
	{name: "tunnel with half-close", combos: of1, client: "tunnel-fin", server: "echo-tunnel", differs: because(tunnels)},
}

var tlsToPlain = m{"transport_socket": m{"name": "envoy.transport_sockets.tls", "typed_config": m{"@type": typePrefix + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}}}

// because gives one reason for all combinations.
func because(why string) map[string]string { return map[string]string{"": why} }

// The reasons for which Envoy does something else.
const (
	words    = "Envoy 1.40 adds the transport's own words to its details; ours are in the reason header and the log of the failure"
	early    = "Envoy's parser of HTTP/1.1 calls an answer that ends early a protocol error; to us the server went away"
	after100 = "to Envoy an interim answer begins the answer, in its details"
	message  = "a malformed message is an error of its stream alone (RFC 9113 section 8.1.1): we keep the connection, Envoy closes it"
	unasked  = "nobody asked for a switch of protocols: we do not pass it on (RFC 9110 section 7.8)"
	no204    = "a 204 has no content whatever its fields say (RFC 9110 section 8.6): we pass it on without, and do not use the connection again"
	// RFC 9113 section 7: the code is the server's word about us, not its defect.
	urProtocol = "a server that resets a stream with PROTOCOL_ERROR accuses us: we call it a reset, Envoy a protocol error of the server's"
	proven     = "a GOAWAY below the stream proves that the request was not acted on (RFC 9113 section 6.8): we send it again, at most three times, without a policy"
	silent     = "a connection that gave no sign of life before a time-out may be dead, and is not used again"
	before     = "what never was a request, and got no answer, has no line in our log"
	interim    = "interim answers are passed on (RFC 9110 section 15.2); Envoy drops them by default"
	codec      = "our details of a client's violation are those of the codec as a whole; the log says more"
	streams    = "we pass the head on at once; Envoy has read content and head in one go, and found the fault first"
	version    = "an unknown version is 505 (RFC 9110 section 15.6.6)"
	headLimit  = "a head above the limit is refused by itself (RFC 6585 section 5), and the connection kept"
	tunnels    = "a FIN in a tunnel closes one direction; Envoy drops what the server still sends"
)
