package istioapi

import (
	"net/netip"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

func (r *reader) gateway(o *api.Object, meta mesh.Meta, in *networking.Gateway) {
	out := mesh.Gateway{Meta: meta, Namespace: o.Meta.Namespace, Name: o.Meta.Name, Selector: in.Selector}
	for i, s := range in.Servers {
		if server, ok := r.server(meta.Origin.At("spec").At(index("servers", i)), o.Meta.Namespace, s); ok {
			out.Servers = append(out.Servers, server)
		}
	}
	r.cfg.Gateways = append(r.cfg.Gateways, out)
}

// server reads one server. ok is false where it cannot open: the verdict says why.
func (r *reader) server(at verdict.Origin, ns string, in *networking.Server) (mesh.Server, bool) {
	n := in.GetPort().GetNumber()
	if n == 0 || n > 65535 {
		r.say(at.At("port.number"), verdict.Invalid, "the port %d is out of range", n)
		return mesh.Server{}, false
	}
	out := mesh.Server{Origin: at, Name: in.Name, Port: uint16(n), PortName: in.Port.Name}
	if in.Bind != "" {
		addr, err := netip.ParseAddr(in.Bind)
		if err != nil {
			r.say(at.At("bind"), verdict.Unsupported, "%q is not an address, and nothing else can be bound: the port is not opened", in.Bind)
			return mesh.Server{}, false
		}
		if out.Bind = addr.Unmap(); out.Bind.IsUnspecified() && out.Bind.Is4() {
			out.Bind = netip.Addr{}
		}
	}
	for i, h := range in.Hosts {
		sh := serverHost(h, ns)
		if !validHost(sh.Host) {
			r.say(at.At(index("hosts", i)), verdict.Invalid, "%q is neither a host nor a wildcard of the form *.suffix", h)
			continue
		}
		out.Hosts = append(out.Hosts, sh)
	}
	if len(out.Hosts) == 0 {
		r.say(at.At("hosts"), verdict.Invalid, "the server has no usable hosts")
		return mesh.Server{}, false
	}
	ok := r.serverProtocol(at, &out, in)
	return out, ok
}

// serverProtocol reads what a server speaks. ok is false where it cannot open.
func (r *reader) serverProtocol(at verdict.Origin, out *mesh.Server, in *networking.Server) bool {
	switch p := strings.ToUpper(in.Port.Protocol); p {
	case "HTTP", "HTTP2", "GRPC", "GRPC-WEB":
		out.Protocol = registry.HTTP
		if p == "HTTP2" || p == "GRPC" {
			out.Protocol = registry.HTTP2
		}
		out.HTTPSRedirect = in.Tls.GetHttpsRedirect()
		r.plainServer(at, p, in.Tls)
	case "TCP", "MONGO", "MYSQL", "REDIS":
		out.Protocol = registry.TCP
		r.plainServer(at, p, in.Tls)
	case "HTTPS", "TLS":
		out.Protocol = registry.HTTPS
		if p == "TLS" {
			out.Protocol = registry.TLS
		}
		if in.Tls == nil {
			r.say(at, verdict.Invalid, "a server of protocol %s needs tls", p)
			return false
		}
		out.TLS = r.serverTLS(at.At("tls"), in.Tls)
		return out.TLS != nil
	default:
		r.say(at.At("port.protocol"), verdict.Unsupported, "servers of protocol %s are not supported: the port is not opened", in.Port.Protocol)
		return false
	}
	return true
}

// plainServer says what a server of plain text does not do.
func (r *reader) plainServer(at verdict.Origin, protocol string, tls *networking.ServerTLSSettings) {
	if tls.GetCredentialName() != "" || len(tls.GetCredentialNames()) > 0 {
		r.say(at.At("tls.credentialName"), verdict.NotActedOn, "a server of protocol %s does not end TLS", protocol)
	}
}

// serverHost reads "host" or "namespace/host", where the namespace may be "." for
// the gateway's own and "*" for any.
func serverHost(s, ns string) mesh.ServerHost {
	space, host, ok := strings.Cut(strings.ToLower(s), "/")
	switch {
	case !ok:
		return mesh.ServerHost{Namespace: "*", Host: space}
	case space == ".":
		space = ns
	}
	return mesh.ServerHost{Namespace: space, Host: host}
}
