package mesh

// ProxyHeaders says which headers proxies add of their own accord, and how they
// write them (Istio's ProxyConfig.proxyHeaders). The zero value is Istio's defaults.
type ProxyHeaders struct {
	// ClientCert is what sidecars do with x-forwarded-client-cert; CertDetails is what
	// they tell of certificates there, nil fields being the defaults.
	ClientCert  ClientCertMode
	CertDetails CertDetails
	NoRequestID bool   // no request gets an id; one that it has stays
	NoServer    bool   // responses keep the field "server" that they have
	Server      string // its value; "": "istio-envoy"
	// NoAttemptCount and NoDebug leave out x-envoy-attempt-count, and what the router
	// adds (x-envoy-upstream-service-time and the like).
	NoAttemptCount, NoDebug bool
	// PreserveCase keeps the case of names in HTTP/1.1. Our own proxy always does.
	PreserveCase bool
	// ForwardedHost and ForwardedPort add x-forwarded-host where an authority is
	// rewritten, and x-forwarded-port.
	ForwardedHost, ForwardedPort bool
}

// Topology is what lies before the gateways (ProxyConfig.gatewayTopology).
type Topology struct {
	TrustedProxies uint32         // how many addresses of x-forwarded-for, from the right, are proxies of ours
	ClientCert     ClientCertMode // "": SANITIZE_SET
	ProxyProtocol  bool           // connections begin with a header of the PROXY protocol
}

// CertDetails are the parts of a client's certificate that x-forwarded-client-cert
// tells; nil: the default.
type CertDetails struct{ Subject, Cert, DNS, URI *bool }

// ClientCertMode is what becomes of x-forwarded-client-cert.
type ClientCertMode string

// The modes, by Envoy's names; "" is APPEND_FORWARD for
// sidecars.
const (
	CertDefault       ClientCertMode = ""
	CertSanitize      ClientCertMode = "SANITIZE"
	CertForwardOnly   ClientCertMode = "FORWARD_ONLY"
	CertAppendForward ClientCertMode = "APPEND_FORWARD"
	CertSanitizeSet   ClientCertMode = "SANITIZE_SET"
	CertAlwaysForward ClientCertMode = "ALWAYS_FORWARD_ONLY"
)
