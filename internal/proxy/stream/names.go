package stream

import "strings"

// Names that the proxy itself reads or writes. N returns the same values.
var (
	Authorization       = N("authorization")
	Connection          = N("connection")
	ContentLength       = N("content-length")
	ContentType         = N("content-type")
	Cookie              = N("cookie")
	Date                = N("date")
	EnvoyAttemptCount   = N("x-envoy-attempt-count")
	EnvoyDecorator      = N("x-envoy-decorator-operation")
	EnvoyExpectedRqTime = N("x-envoy-expected-rq-timeout-ms")
	EnvoyOriginalPath   = N("x-envoy-original-path")
	EnvoyOverloaded     = N("x-envoy-overloaded")
	EnvoyPeerMetadata   = N("x-envoy-peer-metadata")
	EnvoyPeerMetadataID = N("x-envoy-peer-metadata-id")
	EnvoyServiceTime    = N("x-envoy-upstream-service-time")
	Expect              = N("expect")
	ForwardedClientCert = N("x-forwarded-client-cert")
	ForwardedFor        = N("x-forwarded-for")
	ForwardedHost       = N("x-forwarded-host")
	ForwardedProto      = N("x-forwarded-proto")
	GRPCStatus          = N("grpc-status")
	Host                = N("host")
	KeepAlive           = N("keep-alive")
	Location            = N("location")
	ProxyConnection     = N("proxy-connection")
	RequestID           = N("x-request-id")
	Server              = N("server")
	SetCookie           = N("set-cookie")
	TE                  = N("te")
	Trailer             = N("trailer")
	TransferEncoding    = N("transfer-encoding")
	Upgrade             = N("upgrade")
	UserAgent           = N("user-agent")
	Via                 = N("via")
)

// known maps lower-case names to ids. It is filled while package variables are
// initialised, before anything serves, and only read afterwards.
var known = map[string]uint16{}

// knownByLen lists known names by length, to find the id of parsed bytes
// without making a string.
var knownByLen [64][]Name

// N interns a header name; any case.
func N(name string) Name {
	lower := strings.ToLower(name)
	return Name{lower: lower, id: known[lower]}
}

func init() {
	// The table is made here and not in N, so that names interned later cannot
	// change ids that heads already hold.
	for _, p := range []*Name{
		&Authorization, &Connection, &ContentLength, &ContentType, &Cookie, &Date, &EnvoyAttemptCount, &EnvoyDecorator,
		&EnvoyExpectedRqTime, &EnvoyOriginalPath, &EnvoyOverloaded, &EnvoyPeerMetadata, &EnvoyPeerMetadataID,
		&EnvoyServiceTime, &Expect, &ForwardedClientCert, &ForwardedFor, &ForwardedHost, &ForwardedProto, &GRPCStatus,
		&Host, &KeepAlive, &Location, &ProxyConnection, &RequestID, &Server, &SetCookie, &TE, &Trailer,
		&TransferEncoding, &Upgrade, &UserAgent, &Via,
	} {
		p.id = uint16(len(known) + 1)
		known[p.lower] = p.id
		knownByLen[len(p.lower)] = append(knownByLen[len(p.lower)], *p)
	}
}

// knownID finds the id of a name in any case; 0 if it is not known.
func knownID(b []byte) uint16 {
	if len(b) >= len(knownByLen) {
		return 0
	}
	for _, n := range knownByLen[len(b)] {
		if equalFold(b, n.lower) {
			return n.id
		}
	}
	return 0
}
