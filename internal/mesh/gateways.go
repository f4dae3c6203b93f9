package mesh

import (
	"cmp"
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Gateway opens ports of gateway workloads.
type Gateway struct {
	Meta
	Namespace, Name string
	Selector        map[string]string
	// WorkloadNamespace limits the selector to one namespace; "": all of them.
	WorkloadNamespace string
	Listener          bool // of the Gateway API; rules act there only if they are Ranked
	Servers           []Server
}

// Server is one port of a gateway.
type Server struct {
	Origin   verdict.Origin
	Name     string
	Port     uint16
	PortName string
	Protocol registry.Protocol
	// Hosts are the hosts served, each with the namespaces whose rules it takes.
	Hosts         []ServerHost
	HTTPSRedirect bool
	Bind          netip.Addr // where it listens; invalid: on all addresses
	TLS           *ServerTLS // nil: plain text
	// Isolated is a listener of the Gateway API: requests for a host go to the rules of
	// the listener with the most specific host, and to no other's.
	Isolated bool
}

// ServerHost is a host of a server.
type ServerHost struct {
	Namespace string // "*" any, else the one whose rules may bind
	Host      string // exact, "*.suffix" or "*"
}

// ServerTLSMode is what a gateway's server does with TLS.
type ServerTLSMode string

// The modes of Istio's ServerTLSSettings.
const (
	TLSPassthrough    ServerTLSMode = "passthrough" // rules choose by server name; TLS goes on
	TLSSimple         ServerTLSMode = "simple"
	TLSMutual         ServerTLSMode = "mutual"          // clients must show certificates
	TLSOptionalMutual ServerTLSMode = "optional_mutual" // those that clients show are checked
	TLSMesh           ServerTLSMode = "istio_mutual"    // mutual, with the workload's own certificate
)

// ServerTLS is the TLS of a gateway's server.
type ServerTLS struct {
	Mode ServerTLSMode
	// Credentials names the Secrets of the server's certificates: one of them, or one
	// for each kind of key.
	Credentials []string
	// CACredential names the Secret with the roots of clients' certificates; "": that of
	// Credentials[0] with "-cacert" behind it, else Credentials[0] itself.
	CACredential string
	// Namespace is where the Secrets lie, which a front end has found to be permitted;
	// "": in the namespace of the gateway's workload.
	Namespace string
	// Account is the service account that the credentials are for; "": any of the
	// workloads that the gateway selects. Labels alone open no door: whoever may make
	// pods in the namespace gives them.
	Account string
	// SANs, SPKIs (SHA-256 in base64) and Hashes (of certificates, SHA-256 in hex) limit
	// whose certificates of clients are taken.
	SANs, SPKIs, Hashes []string
	// MinVersion and MaxVersion are 0 for the data plane's defaults; crypto/tls numbers.
	MinVersion, MaxVersion uint16
	Ciphers                []string // BoringSSL's names; empty: the data plane's defaults
}

// Asks reports whether clients are asked for certificates.
func (t *ServerTLS) Asks() bool { return t.Mode == TLSMutual || t.Mode == TLSOptionalMutual }

// Opaque reports whether the server's requests are not read: connections are relayed,
// by the server name, or after TLS has ended.
func (s *Server) Opaque() bool {
	return s.Protocol == registry.TCP || s.Protocol == registry.TLS || s.TLS != nil && s.TLS.Mode == TLSPassthrough
}

// Secret is a TLS credential of a gateway: a certificate with its key, roots of
// clients' certificates, or both. It redacts itself when printed.
type Secret struct {
	Meta
	Namespace, Name string
	Cert, Key       PrivateBytes // PEM; empty where it holds roots only
	CA, CRL         []byte       // PEM
	Invalid         string       // why it cannot serve; "" where it can
}

// Credentials are what a server of a gateway serves with.
type Credentials struct {
	Certs []*Secret // as ServerTLS.Credentials
	CA    *Secret   // nil where clients are not asked
}

// CredentialsOf finds the credentials of a server that a workload of the namespace
// serves. A workload gets those of its own namespace only, but for those that a front
// end has found to be permitted. missing names the Secret that is not usable.
func (s *Snapshot) CredentialsOf(t *ServerTLS, namespace string) (c Credentials, missing string) {
	ns := cmp.Or(t.Namespace, namespace)
	for _, name := range t.Credentials {
		sec := s.secrets[[2]string{ns, name}]
		if sec == nil || sec.Invalid != "" || len(sec.Cert) == 0 {
			return Credentials{}, name
		}
		c.Certs = append(c.Certs, sec)
	}
	if !t.Asks() {
		return c, ""
	}
	names := []string{t.CACredential}
	if t.CACredential == "" && len(t.Credentials) > 0 {
		names = []string{t.Credentials[0] + CASuffix, t.Credentials[0]}
	}
	for _, name := range names {
		if sec := s.secrets[[2]string{ns, name}]; sec != nil && sec.Invalid == "" && len(sec.CA) > 0 {
			c.CA = sec
			return c, ""
		}
	}
	return Credentials{}, names[0]
}

// CASuffix ends the name of the Secret with the roots that belong to a credential.
const CASuffix = "-cacert"
