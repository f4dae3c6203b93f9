package istioapi

import (
	"net/netip"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// sidecar reads what the sidecars of some workloads see and take.
func (r *reader) sidecar(o *api.Object, meta mesh.Meta, in *networking.Sidecar) {
	spec := meta.Origin.At("spec")
	out := mesh.SidecarScope{Meta: meta, Namespace: o.Meta.Namespace, Name: o.Meta.Name, Selector: in.GetWorkloadSelector().GetLabels()}
	if len(out.Selector) > 0 && out.Namespace == "" {
		return
	}
	for i, e := range in.Egress {
		out.Egress = append(out.Egress, r.egress(spec.At(index("egress", i)), e, o.Meta.Namespace))
	}
	for i, e := range in.Ingress {
		if l, ok := r.ingressListener(spec.At(index("ingress", i)), e); ok {
			out.Ingress = append(out.Ingress, l)
		}
	}
	if p := in.OutboundTrafficPolicy; p != nil {
		mode := mesh.AllowAny
		if p.Mode == networking.OutboundTrafficPolicy_REGISTRY_ONLY {
			mode = mesh.RegistryOnly
		}
		out.Outbound = &mode
	}
	out.Pool = r.pool(spec.At("inboundConnectionPool"), in.InboundConnectionPool)
	r.cfg.Scopes = append(r.cfg.Scopes, out)
}

func (r *reader) egress(at verdict.Origin, in *networking.IstioEgressListener, namespace string) mesh.Egress {
	out := mesh.Egress{Origin: at}
	if p := in.Port; p != nil {
		if p.Number < 1 || p.Number > 65535 {
			r.say(at.At("port.number"), verdict.Invalid, "the port %d is out of range: the listener is for no port", p.Number)
		}
		out.Port, out.ForPort = uint16(min(p.Number, 65535)), true
	}
	for i, h := range in.Hosts {
		hat := at.At(index("hosts", i))
		text, exclude := strings.CutPrefix(h, "~")
		ns, host, ok := strings.Cut(text, "/")
		if exclude && ns == "" {
			continue // "~/*": no namespace at all
		}
		host = strings.ToLower(host)
		if !ok || ns == "" || !validHost(host) {
			r.say(hat, verdict.Invalid, "%q is not of the form namespace/host", h)
			continue
		}
		if ns == "." {
			ns = namespace
		}
		e := mesh.EgressHost{Namespace: ns, Host: host}
		if exclude {
			out.Except = append(out.Except, e)
		} else {
			out.Hosts = append(out.Hosts, e)
		}
	}
	return out
}

// ingressListener reads a port that the workload takes connections on.
func (r *reader) ingressListener(at verdict.Origin, in *networking.IstioIngressListener) (mesh.Ingress, bool) {
	n := in.GetPort().GetNumber()
	if n < 1 || n > 65535 {
		r.say(at.At("port.number"), verdict.Invalid, "the port %d is out of range", n)
		return mesh.Ingress{}, false
	}
	out := mesh.Ingress{
		Origin: at, Port: uint16(n), Name: in.Port.Name, Protocol: protocolNamed(in.Port.Protocol),
		Pool: r.pool(at.At("connectionPool"), in.ConnectionPool),
	}
	if in.DefaultEndpoint == "" {
		return out, true
	}
	if strings.HasPrefix(in.DefaultEndpoint, "unix://") {
		r.say(at.At("defaultEndpoint"), verdict.Unsupported, "sockets of the file system are not called: connections go to the port itself")
		return out, true
	}
	host, port, ok := strings.Cut(in.DefaultEndpoint, ":")
	if strings.HasPrefix(in.DefaultEndpoint, "[") {
		host, port, ok = strings.Cut(strings.TrimPrefix(in.DefaultEndpoint, "["), "]:")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	addr, bad := netip.ParseAddr(host)
	if !ok || err != nil || number == 0 || bad != nil || !addr.IsLoopback() && !addr.IsUnspecified() {
		r.say(at.At("defaultEndpoint"), verdict.Invalid, "%q is not 127.0.0.1:PORT or 0.0.0.0:PORT: connections go to the port itself", in.DefaultEndpoint)
		return out, true
	}
	out.Target = netip.AddrPortFrom(addr, uint16(number))
	return out, true
}
