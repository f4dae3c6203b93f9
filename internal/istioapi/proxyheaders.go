package istioapi

import (
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// http10 is the setting of a proxy's environment that has it take HTTP/1.0 (Istio).
const http10 = "ISTIO_META_HTTP10"

// ProxyHeaders reads which headers a proxy adds: the mesh's choice, or what a proxy
// tells of its own configuration.
func ProxyHeaders(in *meshconfig.ProxyConfig_ProxyHeaders) mesh.ProxyHeaders {
	if in == nil {
		return mesh.ProxyHeaders{}
	}
	out := mesh.ProxyHeaders{
		NoRequestID:    in.GetRequestId().GetDisabled().GetValue(),
		NoServer:       in.GetServer().GetDisabled().GetValue(),
		Server:         in.GetServer().GetValue(),
		NoAttemptCount: in.GetAttemptCount().GetDisabled().GetValue(),
		NoDebug:        in.GetEnvoyDebugHeaders().GetDisabled().GetValue(),
		PreserveCase:   in.GetPreserveHttp1HeaderCase().GetValue(),
		ForwardedHost:  in.GetXForwardedHost().GetEnabled().GetValue(),
		ForwardedPort:  in.GetXForwardedPort().GetEnabled().GetValue(),
	}
	if !plain(out.Server) {
		out.Server = ""
	}
	if m := in.GetForwardedClientCert(); m != meshconfig.ForwardClientCertDetails_UNDEFINED {
		out.ClientCert = mesh.ClientCertMode(m.String())
	}
	if d := in.GetSetCurrentClientCertDetails(); d != nil {
		out.CertDetails = mesh.CertDetails{Subject: told(d.Subject), Cert: told(d.Cert), DNS: told(d.Dns), URI: told(d.Uri)}
	}
	return out
}

// Topology reads what lies before a gateway.
func Topology(in *meshconfig.Topology) mesh.Topology {
	out := mesh.Topology{TrustedProxies: in.GetNumTrustedProxies(), ProxyProtocol: in.GetProxyProtocol() != nil}
	if m := in.GetForwardClientCertDetails(); m != meshconfig.ForwardClientCertDetails_UNDEFINED {
		out.ClientCert = mesh.ClientCertMode(m.String())
	}
	return out
}

func told(v *wrapperspb.BoolValue) *bool {
	if v == nil {
		return nil
	}
	b := v.GetValue()
	return &b
}
