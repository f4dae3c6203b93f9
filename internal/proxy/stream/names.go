package stream

import "strings"

// Name is a header field name, interned so that look-ups compare an integer or
// a few bytes. Make Names when configuration is built, not while serving.
type Name struct {
	lower string
	id    uint16 // position in the table of known names, 0 for other names
}

// String gives the lower-case name.
func (n Name) String() string { return n.lower }

// ID is the name's position in the table of known names, 0 for other names. It
// is stable within a process only.
func (n Name) ID() uint16 { return n.id }

// Is reports whether n and o are the same name.
func (n Name) Is(o Name) bool { return n.lower == o.lower }

// Names that the proxy itself reads or writes. N returns the same values.
var (
	Authorization       = known("authorization")
	Connection          = known("connection")
	ContentLength       = known("content-length")
	ContentType         = known("content-type")
	Cookie              = known("cookie")
	Date                = known("date")
	EnvoyAttemptCount   = known("x-envoy-attempt-count")
	EnvoyDecorator      = known("x-envoy-decorator-operation")
	EnvoyExpectedRqTime = known("x-envoy-expected-rq-timeout-ms")
	EnvoyOriginalPath   = known("x-envoy-original-path")
	EnvoyOverloaded     = known("x-envoy-overloaded")
	EnvoyPeerMetadata   = known("x-envoy-peer-metadata")
	EnvoyPeerMetadataID = known("x-envoy-peer-metadata-id")
	EnvoyServiceTime    = known("x-envoy-upstream-service-time")
	Expect              = known("expect")
	ForwardedClientCert = known("x-forwarded-client-cert")
	ForwardedFor        = known("x-forwarded-for")
	ForwardedHost       = known("x-forwarded-host")
	ForwardedProto      = known("x-forwarded-proto")
	GRPCStatus          = known("grpc-status")
	Host                = known("host")
	KeepAlive           = known("keep-alive")
	Location            = known("location")
	ProxyConnection     = known("proxy-connection")
	RequestID           = known("x-request-id")
	Server              = known("server")
	SetCookie           = known("set-cookie")
	TE                  = known("te")
	Trailer             = known("trailer")
	TransferEncoding    = known("transfer-encoding")
	Upgrade             = known("upgrade")
	UserAgent           = known("user-agent")
	Via                 = known("via")
)

// table finds known names. It is filled by known while this package's variables
// are initialised, and never changes afterwards: ids that heads hold stay valid.
var table nameTable

// nameTable is a hash table with open addressing over length, first and last
// letter.
type nameTable struct {
	slots [256]Name
	n     uint16
}

func nameHash[B string | []byte](b B) uint8 {
	first, last := b[0]|0x20, b[len(b)-1]|0x20
	return uint8(len(b))*37 + first*11 + last*3
}

// known gives the next id to a lower-case name.
func known(lower string) Name {
	table.n++
	n := Name{lower: lower, id: table.n}
	i := nameHash(lower)
	for table.slots[i].id != 0 {
		i++
	}
	table.slots[i] = n
	return n
}

// KnownName finds a known name by its bytes in any case; the zero Name if it is
// not known.
func KnownName(b []byte) Name {
	if len(b) == 0 {
		return Name{}
	}
	for i := nameHash(b); ; i++ {
		n := &table.slots[i]
		if n.id == 0 {
			return Name{}
		}
		if equalFold(b, n.lower) {
			return *n
		}
	}
}

func knownID(b []byte) uint16 { return KnownName(b).id }

// N interns a header name; any case.
func N(name string) Name {
	lower := strings.ToLower(name)
	if n := KnownName([]byte(lower)); n.id != 0 {
		return n
	}
	return Name{lower: lower}
}
