// Package ir says what one proxy must do: which ports it takes connections on,
// how it tells requests apart, where it sends them and how it calls there.
//
// It is semantic and small: it knows nothing of any API's types, and it does not
// mirror Envoy's messages; package build turns it into those. Everything is
// resolved and in a fixed order, so that equal meshes give equal values, and every
// value can be hashed (Sum).
package ir

import (
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Proxy is everything that one proxy must do.
type Proxy struct {
	Gateway   bool
	DataPlane DataPlane
	// Redirected is true where the workload's connections reach the proxy by
	// redirection; else the proxy binds the ports that clients dial.
	Redirected bool
	// RegistryOnly refuses calls to hosts that the proxy does not know; else they go
	// where they were sent to.
	RegistryOnly bool
	Namespace    string
	TrustDomain  string
	SocketMark   uint32 // that the data plane sets on its own connections; 0: none
	Requests     Requests
	Inbound      *Inbound // nil for gateways
	// Outbound are the ports that a sidecar's workload calls, or that a gateway
	// serves; sorted by port, then address.
	Outbound    []Listener
	Tables      []Table      // sorted by name
	Clusters    []Cluster    // sorted by key
	Assignments []Assignment // of the clusters with endpoints; same order
	Secrets     []Secret     // of gateways' servers
}

// DataPlane names what runs the configuration.
type DataPlane string

// The data planes: our own proxy, and a stock Envoy.
const (
	Native DataPlane = "native"
	Envoy  DataPlane = "envoy"
)

// App is how connections of a port are read.
type App string

// The kinds of applications. Sniffed ports are told apart by their first bytes.
const (
	HTTP    App = "http"
	HTTP2   App = "http2" // HTTP whose servers are called over HTTP/2
	TCP     App = "tcp"
	Sniffed App = "sniffed"
)

// HTTPish reports whether requests are read.
func (a App) HTTPish() bool { return a == HTTP || a == HTTP2 }

// MTLS is which connections are taken.
type MTLS string

// The modes of inbound mTLS.
const (
	Permissive MTLS = "permissive"
	Strict     MTLS = "strict"
	Plain      MTLS = "plain"
)

// Inbound is what a sidecar does for its workload.
type Inbound struct {
	Addr  netip.Addr // the workload's own, for proxies that bind
	Mode  MTLS       // for ports that no service names
	Ports []InboundPort
}

// InboundPort is a port that the workload listens on.
type InboundPort struct {
	Port     uint16
	App      App
	MTLS     MTLS
	Services []ServiceRef // that lead there, the oldest first
	Origins  []verdict.Origin
}

// ServiceRef names a service.
type ServiceRef struct {
	Host      string // fully qualified
	Name      string
	Namespace string
	Port      uint16
}

// Listener is one port: of any address, or of one.
type Listener struct {
	Port uint16
	Addr netip.Addr // invalid: any address
	// Table names the route table of what is HTTP; "": requests are not read.
	Table string
	// Chains take the connections that they match, the most specific match first. One
	// that matches everything takes what is neither HTTP, where Table is set, nor of
	// another chain; a sidecar lets what is left over pass through, and a gateway
	// closes it.
	Chains  []Chain
	Origins []verdict.Origin
}

// Chain takes some of a port's connections: it relays them (To), or reads requests
// (Table), after it has ended TLS or as they come.
type Chain struct {
	// ServerNames are those of TLS, exact or "*.suffix". Empty or with "*": any, and at
	// a sidecar what is not TLS, too.
	ServerNames []string
	Subnets     []netip.Prefix // of the destination; empty: any
	TLS         *ServerTLS     // nil: TLS passes through
	Table       string         // the route table for requests; "" where To is set
	To          []WeightedCluster
	// Label names relayed connections in statistics: the cluster, or the rule set that
	// chose among several ("mongo.default").
	Label string
	Idle  time.Duration // of relayed connections; 0: none
	// HashSource has the client's address decide the endpoint.
	HashSource bool
	Rule       verdict.Origin // the rule that chose To; zero for the default
	Origins    []verdict.Origin
}

// ServerTLS is TLS that ends at a gateway.
type ServerTLS struct {
	Secrets []string // names of the credentials
	// Mesh serves with the workload's own certificate, to clients with one of the mesh.
	Mesh bool
	// Roots names the credential with the roots of clients' certificates; "": clients are
	// not asked for any.
	Roots   string
	Require bool // a client must show a certificate; else what it shows is checked
	// SANs, SPKIs and Hashes limit whose certificates are taken.
	SANs, SPKIs, Hashes    []string
	MinVersion, MaxVersion uint16   // crypto/tls numbers; 0: the data plane's default
	Ciphers                []string // BoringSSL's names; empty: the data plane's default
}

// Secret is a gateway's credential.
type Secret struct {
	Name      string // "kubernetes://NAME"
	Cert, Key Private
	// CA and CRL are set, in place of Cert and Key, for roots of clients' certificates.
	CA, CRL Private
	Origins []verdict.Origin
}

// Private is key material; it does not show its content where it is printed.
type Private []byte

// String returns a placeholder.
func (Private) String() string { return "[private]" }

// GoString returns a placeholder.
func (Private) GoString() string { return "[private]" }

// MarshalText returns a placeholder.
func (Private) MarshalText() ([]byte, error) { return []byte("[private]"), nil }
