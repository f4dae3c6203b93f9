package push

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// NodeOf reads the facts of a proxy from its xDS node: the id
// "sidecar~IP~POD.NAMESPACE~…" and the metadata that Istio's proxies send.
func NodeOf(n *corev3.Node) (compile.Node, error) {
	parts := strings.Split(n.GetId(), "~")
	if len(parts) != 4 {
		return compile.Node{}, fmt.Errorf("the id %q is not of the form TYPE~IP~NAME.NAMESPACE~DOMAIN", n.GetId())
	}
	f := n.GetMetadata().GetFields()
	out := compile.Node{
		ID: n.GetId(), Namespace: f["NAMESPACE"].GetStringValue(), ServiceAccount: f["SERVICE_ACCOUNT"].GetStringValue(),
		Workload: f["WORKLOAD_NAME"].GetStringValue(), DataPlane: ir.DataPlane(f["LATEEN_DATA_PLANE"].GetStringValue()),
		Interception: compile.Interception(f["INTERCEPTION_MODE"].GetStringValue()), Labels: map[string]string{},
		SocketMark: uint32(f["LATEEN_SOCKET_MARK"].GetNumberValue()),
	}
	switch parts[0] {
	case "sidecar":
		out.Kind = compile.Sidecar
	case "router":
		out.Kind = compile.Router
	default:
		return out, fmt.Errorf("%q is no proxy type that is served: sidecar or router", parts[0])
	}
	if out.Namespace == "" {
		_, out.Namespace, _ = strings.Cut(parts[2], ".")
	}
	switch out.DataPlane {
	case "": // an Envoy that Istio's agent started does not say
		out.DataPlane = ir.Envoy
	case ir.Native, ir.Envoy:
	default:
		return out, fmt.Errorf("the data plane %q is not known: native or envoy", out.DataPlane)
	}
	for k, v := range f["LABELS"].GetStructValue().GetFields() {
		out.Labels[k] = v.GetStringValue()
	}
	ips := f["INSTANCE_IPS"].GetStringValue()
	if ips == "" {
		ips = parts[1]
	}
	for text := range strings.SplitSeq(ips, ",") {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return out, fmt.Errorf("the address %q of the node: %w", text, err)
		}
		out.IPs = append(out.IPs, ip)
	}
	return out, nil
}

// equalWorkload tells whether two workloads are the same to every stage.
func equalWorkload(a, b registry.Workload) bool {
	return a.Name == b.Name && a.Namespace == b.Namespace && a.Owner == b.Owner && a.OwnerKind == b.OwnerKind &&
		a.ServiceAccount == b.ServiceAccount && a.Addr == b.Addr && a.Ready == b.Ready && a.Proxied == b.Proxied &&
		a.Locality == b.Locality && a.Node == b.Node && slices.Equal(a.Ports, b.Ports) &&
		maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}
