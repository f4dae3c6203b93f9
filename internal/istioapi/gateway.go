package istioapi

import (
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
	if in.Bind != "" {
		r.say(at.At("bind"), verdict.Unsupported, "servers that bind an address of their own are not supported yet: the port is not opened")
		return mesh.Server{}, false
	}
	out := mesh.Server{Origin: at, Name: in.Name, Port: uint16(n), PortName: in.Port.Name}
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
	switch p := strings.ToUpper(in.Port.Protocol); p {
	case "HTTP", "HTTP2", "GRPC", "GRPC-WEB":
		out.Protocol = registry.HTTP
		if p == "HTTP2" || p == "GRPC" {
			out.Protocol = registry.HTTP2
		}
		if in.Tls != nil {
			out.HTTPSRedirect = in.Tls.HttpsRedirect
			if in.Tls.CredentialName != "" {
				r.say(at.At("tls.credentialName"), verdict.NotActedOn, "a server of protocol %s does not end TLS", p)
			}
		}
	case "HTTPS":
		out.Protocol = registry.HTTPS
		ok := r.httpsServer(at, &out, in.Tls)
		return out, ok
	default:
		r.say(at.At("port.protocol"), verdict.Unsupported, "servers of protocol %s are not supported yet: the port is not opened", in.Port.Protocol)
		return mesh.Server{}, false
	}
	return out, true
}

func (r *reader) httpsServer(at verdict.Origin, out *mesh.Server, tls *networking.ServerTLSSettings) bool {
	switch {
	case tls == nil:
		r.say(at, verdict.Invalid, "a server of protocol HTTPS needs tls")
		return false
	case tls.Mode != networking.ServerTLSSettings_SIMPLE:
		r.say(at.At("tls.mode"), verdict.Unsupported, "the mode %s is not supported yet: the server is not opened", tls.Mode)
		return false
	case tls.CredentialName == "":
		r.say(at.At("tls.credentialName"), verdict.Unsupported, "only credentials that credentialName names are supported yet: the server is not opened")
		return false
	}
	out.Credential = tls.CredentialName
	return true
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
