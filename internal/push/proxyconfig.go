package push

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/istioapi"
)

// ownConfig reads what a proxy tells of its own ProxyConfig, which it has of the pod
// that it is in: the mesh's defaults with the pod's own on top.
func ownConfig(n *compile.Node, told *structpb.Struct) error {
	if len(told.GetFields()) == 0 {
		return nil
	}
	text, err := protojson.Marshal(told)
	if err != nil {
		return fmt.Errorf("PROXY_CONFIG: %w", err)
	}
	c := &meshconfig.ProxyConfig{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, c); err != nil {
		return fmt.Errorf("PROXY_CONFIG: %w", err)
	}
	if c.ProxyHeaders != nil {
		h := istioapi.ProxyHeaders(c.ProxyHeaders)
		n.Headers = &h
	}
	if c.GatewayTopology != nil {
		t := istioapi.Topology(c.GatewayTopology)
		n.Topology = &t
	}
	return nil
}
