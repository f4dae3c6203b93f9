package ir

import "time"

// Requests is how a proxy reads and forwards requests on all its ports.
type Requests struct {
	Paths  Paths
	HTTP10 bool // requests of HTTP/1.0 are taken; else they are answered 426
	// DetectionTimeout is how long the first bytes of a client are waited for before
	// its connection counts as opaque; 0: for ever.
	DetectionTimeout time.Duration
	// ClientCert is what a sidecar does with x-forwarded-client-cert, by Envoy's names;
	// "": APPEND_FORWARD.
	ClientCert                             string
	CertSubject, CertPEM, CertDNS, CertURI bool // what is told of clients' certificates there
	NoRequestID                            bool
	NoServer                               bool   // leave the field "server" alone
	Server                                 string // its value
	NoDebugHeaders                         bool
	PreserveCase                           bool   // of names in HTTP/1.1
	TrustedHops                            uint32 // at a gateway: proxies of ours before it
	EdgeClientCert                         string // what a gateway does with x-forwarded-client-cert; "": SANITIZE_SET
	ProxyProtocol                          bool   // connections to a gateway begin with its header
	ForwardedPort                          bool
}

// Paths is how paths are normalised before they are matched and sent on.
type Paths string

// The ways, each doing what those before it do.
const (
	PathsAsTheyAre Paths = "none"
	PathsBase      Paths = "" // RFC 3986
	PathsMerged    Paths = "merge_slashes"
	PathsDecoded   Paths = "decode_and_merge_slashes"
)
