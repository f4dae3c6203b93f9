package validate

import (
	"net"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

func (c *checker) sidecar(s *networking.Sidecar) {
	c.workloadSelector("spec.workloadSelector", s.WorkloadSelector)
	if len(s.Ingress)+len(s.Egress) == 0 && s.OutboundTrafficPolicy == nil && s.InboundConnectionPool == nil {
		c.fail("spec", "one of ingress, egress, outboundTrafficPolicy and inboundConnectionPool is required")
	}
	seen := map[uint32]bool{}
	for i, l := range s.Ingress {
		c.sidecarIngress(at("spec.ingress", i), l)
		if n := l.GetPort().GetNumber(); n != 0 && seen[n] {
			c.fail(at("spec.ingress", i)+".port.number", "the port %d is listed twice", n)
		} else {
			seen[n] = true
		}
	}
	c.sidecarEgressList(s.Egress)
	c.connectionPool("spec.inboundConnectionPool", s.InboundConnectionPool)
	if p := s.GetOutboundTrafficPolicy().GetEgressProxy(); p != nil {
		path := "spec.outboundTrafficPolicy.egressProxy"
		c.destination(path, p)
		if p.Port == nil {
			c.fail(path+".port", "a port is required")
		}
		if s.OutboundTrafficPolicy.Mode != networking.OutboundTrafficPolicy_ALLOW_ANY {
			c.fail(path, "an egressProxy is only of use with the mode ALLOW_ANY")
		}
	}
}

// sidecarProtocols are those of ports that sidecars listen on.
var sidecarProtocols = []string{"HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "MYSQL", "REDIS"}

func (c *checker) sidecarPort(path string, p *networking.SidecarPort) {
	c.port(path+".number", int64(p.Number))
	if p.Name != "" && !isLabel(strings.ToLower(p.Name)) {
		c.fail(path+".name", "%q is not a valid port name; use %s", p.Name, labelRule)
	}
	if p.Protocol != "" && !slices.Contains(sidecarProtocols, strings.ToUpper(p.Protocol)) {
		c.fail(path+".protocol", "%q is not a protocol; use one of %s", p.Protocol, oneOf(sidecarProtocols...))
	}
	if p.TargetPort != 0 { //nolint:staticcheck // the deprecated field is to be named
		c.warn(path+".targetPort", "targetPort is deprecated and has no effect")
	}
}

func (c *checker) sidecarIngress(path string, l *networking.IstioIngressListener) {
	if l.Port == nil {
		c.fail(path+".port", "a port is required")
	} else {
		c.sidecarPort(path+".port", l.Port)
	}
	if l.Bind != "" && !isIP(l.Bind) {
		c.fail(path+".bind", "%q is not an IP address", l.Bind)
	}
	c.defaultEndpoint(path+".defaultEndpoint", l.DefaultEndpoint)
	c.connectionPool(path+".connectionPool", l.ConnectionPool)
	if l.Tls == nil {
		return
	}
	protocol := strings.ToUpper(l.GetPort().GetProtocol())
	switch mode := l.Tls.Mode; {
	case protocol != "HTTPS" && protocol != "TLS":
		c.fail(path+".tls", "tls settings are only allowed with the protocols HTTPS and TLS")
		return
	case mode == networking.ServerTLSSettings_ISTIO_MUTUAL || mode == networking.ServerTLSSettings_AUTO_PASSTHROUGH:
		c.fail(path+".tls.mode", "a sidecar cannot end TLS with the mode %s; use SIMPLE, MUTUAL or OPTIONAL_MUTUAL", mode)
		return
	}
	if len(l.Tls.SubjectAltNames) > 0 {
		c.fail(path+".tls.subjectAltNames", "a sidecar does not check the names of clients' certificates here")
	}
	c.serverTLS(path+".tls", l.Tls, protocol)
}

// defaultEndpoint checks where a sidecar hands connections on: the workload itself.
func (c *checker) defaultEndpoint(path, s string) {
	if s == "" {
		return
	}
	if socket, ok := strings.CutPrefix(s, "unix://"); ok {
		if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") {
			c.fail(path, "%q is neither the absolute path of a Unix socket nor an abstract one (@name)", s)
		}
		return
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || !slices.Contains([]string{"127.0.0.1", "0.0.0.0", "::1", "::"}, host) {
		c.fail(path, "%q is not one of 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT and unix:///PATH", s)
		return
	}
	if n, err := strconv.ParseUint(port, 10, 32); err != nil || n < 1 || n > 65535 {
		c.fail(path, "the port %q is not between 1 and 65535", port)
	}
}

func (c *checker) sidecarEgressList(list []*networking.IstioEgressListener) {
	seen := map[[2]string]bool{}
	catchAll := false
	for i, l := range list {
		p := at("spec.egress", i)
		c.sidecarEgress(p, l)
		if l.Port == nil {
			if catchAll {
				c.fail(p+".port", "only one egress listener can be without a port")
			} else if i != len(list)-1 {
				c.fail(p+".port", "the egress listener without a port must be the last one")
			}
			catchAll = true
			continue
		}
		k := [2]string{l.Bind, strconv.FormatUint(uint64(l.Port.Number), 10)}
		if seen[k] {
			c.fail(p+".port.number", "the port %d is listed twice for the same address", l.Port.Number)
		}
		seen[k] = true
	}
}

func (c *checker) sidecarEgress(path string, l *networking.IstioEgressListener) {
	socket := strings.HasPrefix(l.Bind, "unix://")
	if l.Bind != "" && !socket && !isIP(l.Bind) {
		c.fail(path+".bind", "%q is neither an IP address nor a Unix socket", l.Bind)
	}
	switch {
	case l.Port == nil:
		if l.Bind != "" {
			c.fail(path+".bind", "an address needs a port beside it")
		}
		if l.CaptureMode == networking.CaptureMode_NONE {
			c.fail(path+".captureMode", "the mode NONE needs a port")
		}
	case socket:
		if l.Port.Number != 0 {
			c.fail(path+".port.number", "a Unix socket has no port number")
		}
		if l.CaptureMode == networking.CaptureMode_IPTABLES {
			c.fail(path+".captureMode", "connections to a Unix socket cannot be redirected")
		}
	default:
		c.sidecarPort(path+".port", l.Port)
	}
	if len(l.Hosts) == 0 {
		c.fail(path+".hosts", "at least one host is required; \"*/*\" takes all")
	}
	for i, h := range l.Hosts {
		c.sidecarHost(at(path+".hosts", i), h)
	}
}

// sidecarHost checks NAMESPACE/NAME: the namespace may be "*", "." or "~", for
// nothing; before a namespace "~" takes hosts away.
func (c *checker) sidecarHost(path, s string) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok {
		c.fail(path, "%q is not of the form namespace/host; \"./%s\" is a host of the same namespace", s, s)
		return
	}
	if rest, excluded := strings.CutPrefix(namespace, "~"); excluded && rest != "" {
		namespace = rest
	}
	if namespace != "*" && namespace != "." && namespace != "~" && !isLabel(namespace) {
		c.fail(path, "%q is not \"*\", \".\", \"~\" or the name of a namespace", namespace)
	}
	c.host(path, name, true)
}
