package local

import (
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/agent/pod"
	"github.com/lateen-mesh/lateen/internal/local/supervise"
	"github.com/lateen-mesh/lateen/internal/proxy"
)

// trustDomain is that of every mesh on one machine; the domain of its names is
// the same.
const trustDomain = "cluster.local"

// OnDemandAnnotation, on a pod template, says "true" where the pod's sidecar holds only
// what the workload calls, and "false" where it holds all that it may see. It concerns
// our own proxy: a stock Envoy always holds all.
const OnDemandAnnotation = "lateen.dev/on-demand"

// onDemand is what the annotation says, or the mesh's own setting.
func (r *runtime) onDemand(p *supervise.PodSpec) (bool, error) {
	text, ok := p.Annotations[OnDemandAnnotation]
	if !ok {
		return r.o.OnDemand, nil
	}
	if text != "true" && text != "false" {
		return false, fmt.Errorf("annotation %s: %q is neither true nor false", OnDemandAnnotation, text)
	}
	return text == "true", nil
}

// nodeOf is newNode for a pod of the mesh.
func (r *runtime) nodeOf(p *supervise.PodSpec, addr netip.Addr, sidecar string) (*corev3.Node, error) {
	node, err := newNode(p, addr, sidecar)
	if err != nil {
		return nil, err
	}
	on, err := r.onDemand(p)
	if on {
		node.Metadata.Fields[proxy.OnDemandField] = structpb.NewStringValue("true")
	}
	return node, err
}

// newNode gives what a pod's proxy tells the control plane of itself, in the form of
// Istio's agent.
func newNode(p *supervise.PodSpec, addr netip.Addr, sidecar string) (*corev3.Node, error) {
	role, mode, agent := "sidecar", "REDIRECT", "lateen-proxy"
	if p.Gateway {
		role, mode = "router", "NONE"
	}
	if sidecar == Envoy {
		agent = "envoy"
	}
	labels := map[string]any{}
	for k, v := range p.Labels {
		labels[k] = v
	}
	meta, err := structpb.NewStruct(map[string]any{
		"NAME": p.Name, "NAMESPACE": p.Namespace, "LABELS": labels, "SERVICE_ACCOUNT": p.ServiceAccount,
		"INSTANCE_IPS": addr.String(), "WORKLOAD_NAME": p.Owner,
		"OWNER":      "kubernetes://apis/apps/v1/namespaces/" + p.Namespace + "/deployments/" + p.Owner,
		"CLUSTER_ID": "Kubernetes", "MESH_ID": "cluster.local", "ISTIO_VERSION": pod.IstioVersion,
		"INTERCEPTION_MODE": mode, "DNS_CAPTURE": "true", "LATEEN_DATA_PLANE": sidecar, "NODE_NAME": supervise.NodeName,
	})
	if err != nil {
		return nil, fmt.Errorf("node metadata of %s/%s: %w", p.Namespace, p.Name, err)
	}
	id := []string{role, addr.String(), p.Name + "." + p.Namespace, p.Namespace + ".svc.cluster.local"}
	return &corev3.Node{Id: strings.Join(id, "~"), Metadata: meta, UserAgentName: agent}, nil
}
