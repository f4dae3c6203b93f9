package format

import (
	"crypto/tls"
	"net/netip"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// withoutArgs returns the operator of that name among those that take no
// arguments, nil if there is none.
func withoutArgs(name string) op {
	if o := exchangeOp(name); o != nil {
		return o
	}
	if o := upstreamOp(name); o != nil {
		return o
	}
	return downstreamOp(name)
}

// exchangeOp holds the operators about the exchange itself.
func exchangeOp(name string) op {
	switch name {
	case "PROTOCOL":
		return protocol
	case "RESPONSE_CODE":
		return responseCode
	case "RESPONSE_CODE_DETAILS":
		return responseCodeDetails
	case "RESPONSE_FLAGS":
		return responseFlags
	case "CONNECTION_TERMINATION_DETAILS":
		return terminationDetails
	case "ROUTE_NAME":
		return routeName
	case "BYTES_RECEIVED":
		return outcome(func(o *stream.Outcome) int64 { return o.BytesReceived })
	case "BYTES_SENT":
		return outcome(func(o *stream.Outcome) int64 { return o.BytesSent })
	case "DURATION":
		return outcome(func(o *stream.Outcome) int64 { return o.Duration / int64(time.Millisecond) })
	case "REQUEST_DURATION":
		return duration(func(o *stream.Outcome) int64 { return o.RequestDuration })
	case "RESPONSE_DURATION":
		return duration(func(o *stream.Outcome) int64 { return o.ResponseDuration })
	case "RESPONSE_TX_DURATION":
		return duration(func(o *stream.Outcome) int64 {
			if o.ResponseDuration == 0 {
				return 0
			}
			return o.Duration - o.ResponseDuration
		})
	case "STREAM_ID":
		return func(dst []byte, src *Source) ([]byte, bool) { return strconv.AppendUint(dst, src.Stream.ID, 10), true }
	}
	return nil
}

func protocol(dst []byte, src *Source) ([]byte, bool) {
	if len(src.Stream.Request.Method) == 0 {
		return dst, false // a TCP connection
	}
	return append(dst, src.Stream.Request.Proto.String()...), true
}

// responseCode is 0 where no answer was sent, as in Envoy.
func responseCode(dst []byte, src *Source) ([]byte, bool) {
	switch {
	case src.Outcome != nil:
		return strconv.AppendInt(dst, int64(src.Outcome.Status), 10), true
	case src.Response != nil:
		return strconv.AppendInt(dst, int64(src.Response.Status), 10), true
	}
	return append(dst, '0'), true
}

// exchanged tells an exchange of HTTP from a connection: it has a request, or at least
// an answer to what was none.
func exchanged(src *Source) bool { return len(src.Stream.Request.Method) != 0 || src.Response != nil }

func responseCodeDetails(dst []byte, src *Source) ([]byte, bool) {
	if src.Outcome == nil || !exchanged(src) {
		return dst, false
	}
	return text(dst, src.Outcome.Reason.Details())
}

func responseFlags(dst []byte, src *Source) ([]byte, bool) {
	if src.Outcome == nil {
		return dst, false
	}
	return text(dst, stream.Flags(src.Outcome.Reason.Code, src.Stream.Notes()))
}

// terminationDetails says why the proxy ended a TCP connection; for HTTP the
// response code details say it.
func terminationDetails(dst []byte, src *Source) ([]byte, bool) {
	if src.Outcome == nil || exchanged(src) || src.Outcome.Reason.Code == stream.None {
		return dst, false
	}
	return text(dst, src.Outcome.Reason.Details())
}

func routeName(dst []byte, src *Source) ([]byte, bool) {
	if src.Stream.Route == nil {
		return dst, false
	}
	return text(dst, src.Stream.Route.RouteName())
}

// upstreamOp holds the operators about the endpoint and the connection to it.
func upstreamOp(name string) op {
	switch name {
	case "UPSTREAM_HOST", "UPSTREAM_REMOTE_ADDRESS":
		return upstream(func(dst []byte, u *stream.Upstream) ([]byte, bool) { return addr(dst, u.Host) })
	case "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":
		return upstream(func(dst []byte, u *stream.Upstream) ([]byte, bool) { return ip(dst, u.Host) })
	case "UPSTREAM_REMOTE_PORT":
		return upstream(func(dst []byte, u *stream.Upstream) ([]byte, bool) { return port(dst, u.Host) })
	case "UPSTREAM_CLUSTER", "UPSTREAM_CLUSTER_RAW":
		return upstream(func(dst []byte, u *stream.Upstream) ([]byte, bool) { return text(dst, u.Cluster) })
	case "UPSTREAM_LOCAL_ADDRESS":
		return upstream(func(dst []byte, u *stream.Upstream) ([]byte, bool) { return addr(dst, u.Local) })
	case "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":
		return upstream(func(dst []byte, u *stream.Upstream) ([]byte, bool) { return ip(dst, u.Local) })
	case "UPSTREAM_LOCAL_PORT":
		return upstream(func(dst []byte, u *stream.Upstream) ([]byte, bool) { return port(dst, u.Local) })
	case "UPSTREAM_TRANSPORT_FAILURE_REASON":
		return upstream(failureReason)
	case "UPSTREAM_REQUEST_ATTEMPT_COUNT":
		return upstream(func(dst []byte, u *stream.Upstream) ([]byte, bool) {
			return strconv.AppendInt(dst, int64(u.Attempts), 10), true
		})
	case "UPSTREAM_WIRE_BYTES_SENT":
		return upstream(func(dst []byte, u *stream.Upstream) ([]byte, bool) {
			return strconv.AppendInt(dst, u.BytesSent, 10), true
		})
	case "UPSTREAM_WIRE_BYTES_RECEIVED":
		return upstream(func(dst []byte, u *stream.Upstream) ([]byte, bool) {
			return strconv.AppendInt(dst, u.BytesRead, 10), true
		})
	}
	return upstreamTLSOp(name)
}

// failureReason writes the transport's error on one line without blanks, as
// Envoy does, so that a log stays one record and one column.
func failureReason(dst []byte, u *stream.Upstream) ([]byte, bool) {
	if u.FailureError == "" {
		return dst, false
	}
	for i := 0; i < len(u.FailureError); i++ {
		c := u.FailureError[i]
		if c <= ' ' || c == '"' || c == 0x7f {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst, true
}

func upstreamTLSOp(name string) op {
	var get func(t *stream.TLS) string
	switch name {
	case "UPSTREAM_PEER_URI_SAN":
		get = func(t *stream.TLS) string { return t.PeerURI }
	case "UPSTREAM_PEER_SUBJECT":
		get = func(t *stream.TLS) string { return t.PeerSubj }
	case "UPSTREAM_PEER_ISSUER":
		get = func(t *stream.TLS) string { return t.Issuer }
	case "UPSTREAM_LOCAL_URI_SAN":
		get = func(t *stream.TLS) string { return t.LocalURI }
	case "UPSTREAM_TLS_VERSION":
		get = tlsVersion
	case "UPSTREAM_TLS_CIPHER":
		get = tlsCipher
	default:
		return nil
	}
	return upstream(func(dst []byte, u *stream.Upstream) ([]byte, bool) {
		if u.TLS == nil {
			return dst, false
		}
		return text(dst, get(u.TLS))
	})
}

// tlsVersion gives Envoy's form, "TLSv1.3".
func tlsVersion(t *stream.TLS) string {
	switch t.Version {
	case tls.VersionTLS13:
		return "TLSv1.3"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS10:
		return "TLSv1"
	}
	return ""
}

func tlsCipher(t *stream.TLS) string {
	if t.Cipher == 0 {
		return ""
	}
	return tls.CipherSuiteName(t.Cipher)
}

func upstream(f func([]byte, *stream.Upstream) ([]byte, bool)) op {
	return func(dst []byte, src *Source) ([]byte, bool) { return f(dst, &src.Stream.Upstream) }
}

func outcome(f func(*stream.Outcome) int64) op {
	return func(dst []byte, src *Source) ([]byte, bool) {
		if src.Outcome == nil {
			return dst, false
		}
		return strconv.AppendInt(dst, f(src.Outcome), 10), true
	}
}

// duration writes milliseconds, and nothing for a moment that never came.
func duration(f func(*stream.Outcome) int64) op {
	return func(dst []byte, src *Source) ([]byte, bool) {
		if src.Outcome == nil {
			return dst, false
		}
		d := f(src.Outcome)
		if d == 0 {
			return dst, false
		}
		return strconv.AppendInt(dst, d/int64(time.Millisecond), 10), true
	}
}

func text(dst []byte, s string) ([]byte, bool) {
	if s == "" {
		return dst, false
	}
	return append(dst, s...), true
}

func addr(dst []byte, a netip.AddrPort) ([]byte, bool) {
	if !a.IsValid() {
		return dst, false
	}
	return a.AppendTo(dst), true
}

func ip(dst []byte, a netip.AddrPort) ([]byte, bool) {
	if !a.IsValid() {
		return dst, false
	}
	return a.Addr().AppendTo(dst), true
}

func port(dst []byte, a netip.AddrPort) ([]byte, bool) {
	if !a.IsValid() {
		return dst, false
	}
	return strconv.AppendUint(dst, uint64(a.Port()), 10), true
}
