package push

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// TestProxyConfigOfTheNode: what a proxy tells of its own configuration is read, and
// what it leaves out stays the mesh's.
func TestProxyConfigOfTheNode(t *testing.T) {
	node := func(own map[string]any) *corev3.Node {
		meta, err := structpb.NewStruct(map[string]any{"PROXY_CONFIG": own, "HTTP10": "1", "NAMESPACE": "default"})
		if err != nil {
			t.Fatal(err)
		}
		return &corev3.Node{Id: "sidecar~10.0.0.1~a.default~default.svc.cluster.local", Metadata: meta}
	}
	n, _, err := facts(node(map[string]any{
		"concurrency":  2,
		"proxyHeaders": map[string]any{"attemptCount": map[string]any{"disabled": true}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if n.Headers == nil || !n.Headers.NoAttemptCount || n.Headers.ForwardedHost || n.Topology != nil || !n.HTTP10 {
		t.Errorf("got %+v, headers %+v", n, n.Headers)
	}
	if n, _, err = facts(node(nil)); err != nil || n.Headers != nil {
		t.Errorf("headers of a node that tells nothing: %+v, %v", n.Headers, err)
	}
	if _, _, err = facts(node(map[string]any{"proxyHeaders": "all"})); err == nil || !strings.Contains(err.Error(), "PROXY_CONFIG") {
		t.Errorf("a wrong PROXY_CONFIG: %v", err)
	}
}
