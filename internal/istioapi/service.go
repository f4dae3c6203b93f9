package istioapi

import (
	"net/netip"
	"strings"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// exportToAnnotation limits the namespaces that see a Service.
const exportToAnnotation = "networking.istio.io/exportTo"

func (r *reader) service(o *api.Object, meta mesh.Meta, in *corev1.Service) {
	spec := meta.Origin.At("spec")
	out := registry.Service{
		Origin:          meta.Origin,
		Name:            o.Meta.Name,
		Namespace:       o.Meta.Namespace,
		Created:         meta.Created,
		Selector:        in.Spec.Selector,
		ClusterIP:       in.Spec.ClusterIP,
		PublishNotReady: in.Spec.PublishNotReadyAddresses,
	}
	if in.Spec.Type == corev1.ServiceTypeExternalName {
		out.Alias = strings.ToLower(strings.TrimSuffix(in.Spec.ExternalName, "."))
		out.Selector, out.ClusterIP = nil, ""
		if !validHost(out.Alias) || strings.HasPrefix(out.Alias, "*") {
			r.say(spec.At("externalName"), verdict.Invalid, "%q is not a name", in.Spec.ExternalName)
			return
		}
	}
	if ip := out.ClusterIP; ip != "" && ip != corev1.ClusterIPNone {
		if _, err := netip.ParseAddr(ip); err != nil {
			r.say(spec.At("clusterIP"), verdict.Invalid, "%q is not an address; the service gets one of its own", ip)
			out.ClusterIP = ""
		}
	}
	for _, ns := range strings.Split(o.Meta.Annotations[exportToAnnotation], ",") {
		if ns = strings.TrimSpace(ns); ns != "" {
			out.ExportTo = append(out.ExportTo, ns)
		}
	}
	if in.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		r.say(spec.At("sessionAffinity"), verdict.NotActedOn, "session affinity is not acted on: the mesh balances each request")
	}
	if len(in.Spec.ExternalIPs) > 0 {
		r.say(spec.At("externalIPs"), verdict.NotActedOn, "external addresses are not acted on yet")
	}
	if t := in.Spec.InternalTrafficPolicy; t != nil && *t == corev1.ServiceInternalTrafficPolicyLocal {
		r.say(spec.At("internalTrafficPolicy"), verdict.NotActedOn, "the policy Local is not acted on yet")
	}
	out.Distribution = r.distribution(o, spec, in.Spec.TrafficDistribution)
	for i := range in.Spec.Ports {
		if p, ok := r.servicePort(spec.At(index("ports", i)), &in.Spec.Ports[i]); ok {
			out.Ports = append(out.Ports, p)
		}
	}
	r.cfg.Services = append(r.cfg.Services, out)
}

// distribution reads where a service's endpoints are preferred: the field, else the
// annotation of the Service, else that of its Namespace (Istio, "Traffic
// Distribution"). Namespaces are read before Services.
func (r *reader) distribution(o *api.Object, spec verdict.Origin, field *string) registry.Distribution {
	if field != nil {
		d, ok := distributionOf(*field)
		if !ok {
			r.say(spec.At("trafficDistribution"), verdict.NotActedOn, "%q is not known; endpoints are called wherever they are", *field)
		}
		return d
	}
	text := o.Meta.Annotations[annotation.NetworkingTrafficDistribution.Name]
	if text == "" {
		return r.near[o.Meta.Namespace]
	}
	d, ok := distributionOf(text)
	if !ok {
		at := verdict.Origin{Ref: spec.Ref, Generation: spec.Generation}
		r.say(at.At("metadata.annotations"), verdict.NotActedOn, "the value %q of %s is not known", text, annotation.NetworkingTrafficDistribution.Name)
	}
	return d
}

// distributionOf knows Kubernetes' values; Istio's annotation takes them in any case.
func distributionOf(text string) (d registry.Distribution, ok bool) {
	switch strings.ToLower(text) {
	case "preferclose", "prefersamezone":
		return registry.SameZone, true
	case "prefersamenode":
		return registry.SameNode, true
	case "any":
		return registry.Anywhere, true
	}
	return registry.Anywhere, false
}

func (r *reader) servicePort(at verdict.Origin, in *corev1.ServicePort) (registry.ServicePort, bool) {
	if in.Port < 1 || in.Port > 65535 {
		r.say(at.At("port"), verdict.Invalid, "the port %d is out of range", in.Port)
		return registry.ServicePort{}, false
	}
	out := registry.ServicePort{Name: in.Name, Number: uint16(in.Port), TargetNumber: uint16(in.Port)}
	var appProtocol string
	if in.AppProtocol != nil {
		appProtocol = *in.AppProtocol
	}
	known := false
	out.Protocol, known = registry.ProtocolOf(string(in.Protocol), appProtocol, in.Name)
	switch {
	case out.Protocol == registry.UDP:
		r.say(at, verdict.Unsupported, "UDP does not go through the mesh")
		return registry.ServicePort{}, false
	case !known:
		r.say(at.At("appProtocol"), verdict.NotActedOn, "%q is not known; the protocol is told from the first bytes of each connection", appProtocol)
	case out.Protocol == registry.GRPCWeb:
		r.say(at, verdict.Differs, "requests of gRPC-Web are not translated to gRPC: they reach the server as they are, over HTTP/2")
	}
	switch t := in.TargetPort; {
	case t.Type == intstr.String && t.StrVal != "":
		out.TargetName, out.TargetNumber = t.StrVal, 0
	case t.Type == intstr.Int && t.IntVal != 0:
		if t.IntVal < 0 || t.IntVal > 65535 {
			r.say(at.At("targetPort"), verdict.Invalid, "the port %d is out of range", t.IntVal)
			return registry.ServicePort{}, false
		}
		out.TargetNumber = uint16(t.IntVal)
	}
	return out, true
}
