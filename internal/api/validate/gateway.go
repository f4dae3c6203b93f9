package validate

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// gatewayProtocols are the protocols of a Gateway's ports, in upper case.
var gatewayProtocols = []string{"HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS"}

func (c *checker) gateway(g *networking.Gateway) {
	if len(g.Servers) == 0 {
		c.fail("spec.servers", "a gateway needs at least one server")
	}
	if len(g.Selector) == 0 {
		c.warn("spec.selector", "without a selector the gateway applies to every gateway workload")
	}
	c.labels("spec.selector", g.Selector)
	ports, names := map[string]int{}, map[string]int{}
	for i, s := range g.Servers {
		p := at("spec.servers", i)
		c.server(p, s)
		if first, twice := ports[s.GetPort().GetName()]; twice && s.GetPort().GetName() != "" {
			c.fail(p+".port.name", "the port name %q is used by spec.servers[%d] already", s.Port.Name, first)
		}
		ports[s.GetPort().GetName()] = i
		if first, twice := names[s.Name]; twice && s.Name != "" {
			c.fail(p+".name", "the server name %q is used by spec.servers[%d] already", s.Name, first)
		}
		names[s.Name] = i
	}
}

func (c *checker) server(path string, s *networking.Server) {
	if len(s.Hosts) == 0 {
		c.fail(path+".hosts", "at least one host is required; \"*\" takes all")
	}
	for i, h := range s.Hosts {
		c.serverHost(at(path+".hosts", i), h)
	}
	if s.Bind != "" && !isIP(s.Bind) && !strings.HasPrefix(s.Bind, "unix://") {
		c.fail(path+".bind", "%q is not an IP address or a path as in \"unix:///run/x.sock\"", s.Bind)
	}
	if s.DefaultEndpoint != "" {
		c.warn(path+".defaultEndpoint", "defaultEndpoint has no effect")
	}
	if s.Port == nil {
		c.fail(path+".port", "a port is required")
		return
	}
	p := path + ".port"
	if s.Port.Number != 0 || !strings.HasPrefix(s.Bind, "unix://") {
		c.port(p+".number", int64(s.Port.Number))
	}
	if s.Port.Name == "" {
		c.fail(p+".name", "a port needs a name")
	}
	protocol := strings.ToUpper(s.Port.Protocol)
	if !slices.Contains(gatewayProtocols, protocol) {
		c.fail(p+".protocol", "%q is not a protocol of a gateway; use one of %s", s.Port.Protocol, oneOf(gatewayProtocols...))
		return
	}
	if s.Port.TargetPort != 0 { //nolint:staticcheck // the deprecated field is to be named
		c.warn(p+".targetPort", "targetPort is deprecated and has no effect")
	}
	c.serverTLS(path+".tls", s.Tls, protocol)
}

func (c *checker) serverHost(path, host string) {
	if namespace, rest, ok := strings.Cut(host, "/"); ok {
		if namespace != "*" && namespace != "." && !isLabel(namespace) {
			c.fail(path, "the namespace %q of the host is not \"*\", \".\" or a valid name", namespace)
		}
		host = rest
	}
	if !isIP(host) {
		c.host(path, host, true)
	}
}

func (c *checker) serverTLS(path string, t *networking.ServerTLSSettings, protocol string) {
	secure := protocol == "HTTPS" || protocol == "TLS"
	switch {
	case secure && t == nil:
		c.fail(path, "the protocol %s needs tls settings", protocol)
		return
	case t == nil:
		return
	case !secure && t.HttpsRedirect:
		return // the one setting of plain HTTP; the mode is its zero value
	case !secure:
		c.fail(path, "tls settings are only allowed with the protocols HTTPS and TLS (and httpsRedirect with HTTP), not with %s", protocol)
		return
	case t.HttpsRedirect:
		c.fail(path+".httpsRedirect", "httpsRedirect is for plain HTTP ports, not for %s", protocol)
	}
	c.serverCertificates(path, t)
	if t.MinProtocolVersion != 0 && t.MaxProtocolVersion != 0 && t.MinProtocolVersion > t.MaxProtocolVersion {
		c.fail(path+".minProtocolVersion", "%s is above maxProtocolVersion %s", t.MinProtocolVersion, t.MaxProtocolVersion)
	}
	seen := map[string]bool{}
	for i, suite := range t.CipherSuites {
		if seen[suite] {
			c.warn(at(path+".cipherSuites", i), "%q is listed twice", suite)
		}
		seen[suite] = true
	}
}

func (c *checker) serverCertificates(path string, t *networking.ServerTLSSettings) {
	files := t.ServerCertificate != "" || t.PrivateKey != ""
	credentials := t.CredentialName != "" || len(t.CredentialNames) > 0
	several := len(t.TlsCertificates) > 0
	if t.CredentialName != "" && len(t.CredentialNames) > 0 {
		c.fail(path+".credentialNames", "only one of credentialName and credentialNames can be set")
	}
	if n := max(len(t.CredentialNames), len(t.TlsCertificates)); n > 2 {
		c.fail(path, "at most two certificates can be given, an RSA and an ECDSA one")
	}
	switch t.Mode {
	case networking.ServerTLSSettings_ISTIO_MUTUAL:
		if files || credentials || several || t.CaCertificates != "" {
			c.fail(path, "the mode ISTIO_MUTUAL uses the gateway's own certificate; certificate files and credentialName cannot be set")
		}
	case networking.ServerTLSSettings_PASSTHROUGH, networking.ServerTLSSettings_AUTO_PASSTHROUGH:
		if files || credentials || several || t.CaCertificates != "" {
			c.warn(path, "the mode %s does not end TLS; certificates have no effect", t.Mode)
		}
	default:
		if !credentials && !several {
			if t.ServerCertificate == "" {
				c.fail(path+".serverCertificate", "the mode %s needs a server certificate: set credentialName, or serverCertificate and privateKey", t.Mode)
			} else if t.PrivateKey == "" {
				c.fail(path+".privateKey", "the mode %s needs a private key beside serverCertificate", t.Mode)
			}
		}
		mutual := t.Mode == networking.ServerTLSSettings_MUTUAL || t.Mode == networking.ServerTLSSettings_OPTIONAL_MUTUAL
		if mutual && !credentials && t.CaCertificates == "" && t.CaCertCredentialName == "" && !t.GetInsecureSkipVerify().GetValue() {
			c.fail(path+".caCertificates", "the mode %s needs caCertificates to check clients with", t.Mode)
		}
	}
	for i, cert := range t.TlsCertificates {
		if cert.ServerCertificate == "" || cert.PrivateKey == "" {
			c.fail(at(path+".tlsCertificates", i), "serverCertificate and privateKey are required")
		}
	}
}
