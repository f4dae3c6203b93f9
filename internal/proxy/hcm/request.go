package hcm

import (
	"encoding/hex"
	"net/netip"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// ReasonHeader tells clients inside the mesh why the proxy answered itself:
// "connect_failure: dial 10.0.0.4:9080: connection refused".
const ReasonHeader = "x-lateen-reason"

// Fields that only proxies of the mesh may set: a stranger's are removed at the
// edge. Envoy's documentation of HTTP header manipulation lists those of Envoy.
var internal = []stream.Name{
	stream.EnvoyDecorator, stream.EnvoyExpectedRqTime, stream.EnvoyOriginalPath, stream.EnvoyPeerMetadata, stream.EnvoyPeerMetadataID,
	stream.EnvoyAttemptCount,
	stream.N("x-envoy-downstream-service-cluster"), stream.N("x-envoy-downstream-service-node"), stream.N("x-envoy-force-trace"),
	stream.N("x-envoy-hedge-on-per-try-timeout"), stream.N("x-envoy-internal"), stream.N("x-envoy-ip-tags"), stream.N("x-envoy-max-retries"),
	stream.N("x-envoy-retriable-header-names"), stream.N("x-envoy-retriable-status-codes"), stream.N("x-envoy-retry-grpc-on"),
	stream.N("x-envoy-retry-on"), stream.N("x-envoy-upstream-alt-stat-name"), stream.N("x-envoy-upstream-rq-per-try-timeout-ms"),
	stream.N("x-envoy-upstream-rq-timeout-alt-response"), stream.N("x-envoy-upstream-rq-timeout-ms"),
	stream.N("x-envoy-upstream-stream-duration-ms"), stream.N("x-envoy-external-address"), stream.N(ReasonHeader),
}

var (
	reasonName      = stream.N(ReasonHeader)
	externalAddress = stream.N("x-envoy-external-address")
	forwardedPort   = stream.N("x-forwarded-port")
)

// prepare edits the request's fields before it is routed.
func (h *handler) prepare(r *stream.Request) {
	r.Scheme = append(r.Scheme[:0], h.scheme...)
	if h.cfg.StripPort {
		r.Authority = stripPort(r.Authority)
	}
	if h.edge {
		removeInternal(&r.Head)
	}
	if h.cfg.UseRemoteAddress {
		h.forwardedFor(r)
	}
	if h.cfg.UseRemoteAddress && (h.cfg.XFFTrustedHops == 0 || !r.Has(stream.ForwardedProto)) {
		r.Set(stream.ForwardedProto, h.scheme)
	} else if !r.Has(stream.ForwardedProto) {
		r.Add(stream.ForwardedProto, h.scheme)
	}
	if h.cfg.ForwardedPort && h.cfg.UseRemoteAddress && (h.cfg.XFFTrustedHops == 0 || !r.Has(forwardedPort)) {
		var port [5]byte
		r.Set(forwardedPort, strconv.AppendUint(port[:0], uint64(h.conn.Local.Port()), 10))
	}
	h.clientCert(r)
	if h.cfg.GenerateRequestID {
		strangers := h.cfg.UseRemoteAddress && !h.cfg.PreserveRequestID
		if strangers || !r.Has(stream.RequestID) {
			var id [36]byte
			newRequestID(&id, h.opts.Rand(), h.opts.Rand())
			r.Set(stream.RequestID, id[:])
		}
	}
}

// newRequestID writes a random UUID (RFC 9562 §5.4).
func newRequestID(dst *[36]byte, a, b uint64) {
	var u [16]byte
	for i := range 8 {
		u[i], u[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	hex.Encode(dst[0:8], u[0:4])
	hex.Encode(dst[9:13], u[4:6])
	hex.Encode(dst[14:18], u[6:8])
	hex.Encode(dst[19:23], u[8:10])
	hex.Encode(dst[24:36], u[10:16])
	dst[8], dst[13], dst[18], dst[23] = '-', '-', '-', '-'
}

func removeInternal(h *stream.Head) {
	found := false
	for name := range h.All() {
		if len(name) > 8 && name[0]|0x20 == 'x' && name[1] == '-' {
			found = true
			break
		}
	}
	if !found {
		return
	}
	for _, n := range internal {
		h.Del(n)
	}
}

// forwardedFor appends the client to x-forwarded-for, and names the address that
// counts as the client's when it lies outside.
func (h *handler) forwardedFor(r *stream.Request) {
	var room [128]byte
	old := room[:0]
	for v := range r.Values(stream.ForwardedFor) { // several lines are one list
		if len(old) > 0 && len(v) > 0 {
			old = append(old, ',')
		}
		old = append(old, v...)
	}
	client := h.conn.Remote.Addr()
	if h.cfg.XFFTrustedHops > 0 {
		if a, ok := nthFromRight(old, h.cfg.XFFTrustedHops); ok {
			client = a
		}
	}
	value := old
	if len(old) > 0 {
		value = append(value, ',')
	}
	r.Set(stream.ForwardedFor, append(value, h.remote...))
	if !client.IsPrivate() && !client.IsLoopback() {
		var addr [64]byte
		r.Set(externalAddress, client.AppendTo(addr[:0]))
	}
}

// nthFromRight gives the nth address from the right of an x-forwarded-for value.
func nthFromRight(list []byte, n int) (netip.Addr, bool) {
	end := len(list)
	for i := len(list) - 1; i >= -1; i-- {
		if i >= 0 && list[i] != ',' {
			continue
		}
		if n--; n == 0 {
			a, err := netip.ParseAddr(string(trimSpace(list[i+1 : end])))
			return a, err == nil
		}
		end = i
	}
	return netip.Addr{}, false
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// stripPort takes the port off an authority; an IPv6 address keeps its brackets.
func stripPort(a []byte) []byte {
	for i := len(a) - 1; i >= 0; i-- {
		switch c := a[i]; {
		case c == ':':
			if i > 0 && (a[0] != '[' || a[i-1] == ']') {
				return a[:i]
			}
			return a
		case c < '0' || c > '9':
			return a
		}
	}
	return a
}
