package registry

import (
	"net/netip"
	"strings"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Service is a named set of workloads behind ports. Values are immutable.
type Service struct {
	Origin    verdict.Origin
	Name      string
	Namespace string
	Created   int64             // Unix nanoseconds; the oldest wins where two conflict
	Selector  map[string]string // empty: selects no workload
	// ClusterIP is spec.clusterIP as written: "" asks for an address, "None" is
	// headless.
	ClusterIP string
	Ports     []ServicePort
	// PublishNotReady is spec.publishNotReadyAddresses: endpoints that are not
	// ready are served too.
	PublishNotReady bool
	// ExportTo lists the namespaces that see the service: "." its own, "*" all,
	// "~" none. Empty means all. It is the annotation networking.istio.io/exportTo.
	ExportTo []string
	// Distribution is where endpoints are preferred.
	Distribution Distribution
	// Entry makes the service a host of a ServiceEntry, whose name is Object; nil for
	// Services of Kubernetes.
	Entry  *Entry
	Object string
	// Alias is the host that the service is another name of (type ExternalName); "":
	// none. Such a service has no address and no endpoints.
	Alias string
}

// Distribution is a service's preference for endpoints that are near the caller
// (spec.trafficDistribution of Kubernetes' Services).
type Distribution string

// The preferences. PreferClose, the older name, is SameZone.
const (
	Anywhere Distribution = ""
	SameZone Distribution = "zone"
	SameNode Distribution = "node"
)

// Key names the service within the mesh: "namespace/name", or
// "namespace/object/host" for an entry.
func (s *Service) Key() string {
	if s.Entry != nil {
		return s.Namespace + "/" + s.Object + "/" + s.Entry.Host
	}
	return s.Namespace + "/" + s.Name
}

// Headless reports whether the service has no address of its own, so that its
// endpoints are called directly.
func (s *Service) Headless() bool { return s.ClusterIP == "None" && s.Alias == "" }

// ServicePort is one port of a service.
type ServicePort struct {
	Name   string
	Number uint16
	// TargetNumber is the workload's port; 0 where TargetName names a declared
	// container port instead.
	TargetNumber uint16
	TargetName   string
	Protocol     Protocol
}

// Protocol is the application protocol that a service's port declares.
type Protocol string

// The protocols that a port can declare by the prefix of its name or by
// appProtocol (Istio, "Protocol Selection"). Auto is a port that declares none:
// its protocol is told from the first bytes of each connection.
const (
	Auto    Protocol = "auto"
	HTTP    Protocol = "http"
	HTTP2   Protocol = "http2"
	GRPC    Protocol = "grpc"
	GRPCWeb Protocol = "grpc-web"
	HTTPS   Protocol = "https"
	TLS     Protocol = "tls"
	TCP     Protocol = "tcp"
	Mongo   Protocol = "mongo"
	MySQL   Protocol = "mysql"
	Redis   Protocol = "redis"
	UDP     Protocol = "udp"
)

// IsHTTP reports whether requests of the protocol are routed one by one.
func (p Protocol) IsHTTP() bool {
	return p == HTTP || p == HTTP2 || p == GRPC || p == GRPCWeb
}

// IsHTTP2 reports whether a server of the protocol is called over HTTP/2. That of
// gRPC-Web is, as in Istio: its clients need not speak it.
func (p Protocol) IsHTTP2() bool { return p == HTTP2 || p == GRPC || p == GRPCWeb }

// IsTCP reports whether connections of the protocol are relayed as they are.
func (p Protocol) IsTCP() bool {
	switch p {
	case HTTPS, TLS, TCP, Mongo, MySQL, Redis:
		return true
	}
	return false
}

// ProtocolOf tells the protocol of a port from its transport ("TCP", "UDP",
// "SCTP"), its appProtocol and its name, in Istio's order: UDP is UDP, then
// appProtocol, then the name or its prefix before the first "-". ok is false
// where appProtocol is set to something that is not known; the port is then Auto.
func ProtocolOf(transport, appProtocol, name string) (p Protocol, ok bool) {
	if strings.EqualFold(transport, "UDP") {
		return UDP, true
	}
	switch strings.ToLower(appProtocol) {
	case "":
	case "kubernetes.io/h2c":
		return HTTP2, true
	case "kubernetes.io/ws", "kubernetes.io/wss":
		return HTTP, true
	default:
		p = byName(strings.ToLower(appProtocol))
		return p, p != Auto
	}
	return byName(strings.ToLower(name)), true
}

func byName(name string) Protocol {
	if name == "grpc-web" || strings.HasPrefix(name, "grpc-web-") {
		return GRPCWeb
	}
	prefix, _, _ := strings.Cut(name, "-")
	switch p := Protocol(prefix); p {
	case HTTP, HTTP2, GRPC, HTTPS, TLS, TCP, Mongo, MySQL, Redis:
		return p
	}
	return Auto
}

// Endpoint is one address that serves a service's port.
type Endpoint struct {
	Addr     netip.AddrPort // without an address, but with a port, where Name is set
	Name     string         // that DNS knows
	Workload *Workload
}
