package push

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/ir"
)

// socketMark is the mark that a stock Envoy sets on connections of its own, as
// the redirection rules expect it.
const socketMark = 1337

// tproxy is Istio's interception mode that keeps addresses; for our own proxy only.
const tproxy = compile.Interception("TPROXY")

// facts reads a proxy's node: its id in Istio's form, TYPE~IP~POD.NS~DOMAIN, and
// Istio's metadata. proxy is the proxy's name, POD.NS.
func facts(n *corev3.Node) (node compile.Node, proxy string, err error) {
	parts := strings.Split(n.GetId(), "~")
	if len(parts) != 4 {
		return node, "", fmt.Errorf("the node id %q is not of the form TYPE~IP~POD.NAMESPACE~DOMAIN", n.GetId())
	}
	f := n.GetMetadata().GetFields()
	text := func(name string) string { return f[name].GetStringValue() }
	node = compile.Node{
		ID: n.GetId(), Kind: compile.Kind(parts[0]), Namespace: text("NAMESPACE"), Labels: labels(f["LABELS"]),
		ServiceAccount: text("SERVICE_ACCOUNT"), Workload: cmp.Or(text("WORKLOAD_NAME"), text("NAME")),
		DataPlane:    ir.DataPlane(cmp.Or(text("LATEEN_DATA_PLANE"), string(ir.Envoy))),
		Interception: compile.Interception(cmp.Or(text("INTERCEPTION_MODE"), string(compile.Redirect))),
	}
	if err := ownConfig(&node, f["PROXY_CONFIG"].GetStructValue()); err != nil {
		return node, "", fmt.Errorf("the node %q: %w", n.GetId(), err)
	}
	node.HTTP10 = text("HTTP10") == "1"
	if node.Kind != compile.Sidecar && node.Kind != compile.Router {
		return node, "", fmt.Errorf("the node id %q is of type %q, want sidecar or router", n.GetId(), parts[0])
	}
	if node.Namespace == "" {
		return node, "", fmt.Errorf("the node %q has no NAMESPACE in its metadata", n.GetId())
	}
	if node.DataPlane != ir.Native && node.DataPlane != ir.Envoy {
		return node, "", fmt.Errorf("the node %q has LATEEN_DATA_PLANE %q, want native or envoy", n.GetId(), node.DataPlane)
	}
	if node.Interception == tproxy && node.DataPlane == ir.Native {
		// Our proxy finds the original address either way; its sockets are made by what
		// the pod says, not by the configuration.
		node.Interception = compile.Redirect
	}
	if node.Interception != compile.Redirect && node.Interception != compile.None {
		return node, "", fmt.Errorf("the node %q has INTERCEPTION_MODE %q, want REDIRECT or NONE", n.GetId(), node.Interception)
	}
	for ip := range strings.SplitSeq(cmp.Or(text("INSTANCE_IPS"), parts[1]), ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(ip))
		if err != nil {
			return node, "", fmt.Errorf("the node %q: %w", n.GetId(), err)
		}
		node.IPs = append(node.IPs, addr.Unmap())
	}
	node.Names = text("DNS_CAPTURE") == "true" && node.Kind == compile.Sidecar
	node.OnDemand = text("LATEEN_ON_DEMAND") == "true" && node.Kind == compile.Sidecar && node.DataPlane == ir.Native && node.Interception == compile.Redirect
	// In a pod the redirection lets the proxy's user pass: a mark would need a capability.
	byUser := text("LATEEN_BYPASS") == "uid"
	if node.DataPlane == ir.Envoy && node.Kind == compile.Sidecar && node.Interception == compile.Redirect && !byUser {
		node.SocketMark = socketMark
	}
	return node, parts[2], nil
}

func labels(v *structpb.Value) map[string]string {
	f := v.GetStructValue().GetFields()
	if len(f) == 0 {
		return nil
	}
	out := make(map[string]string, len(f))
	for k, x := range f {
		out[k] = x.GetStringValue()
	}
	return out
}
