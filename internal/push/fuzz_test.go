package push

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
)

// FuzzFacts reads nodes of anybody's making.
func FuzzFacts(f *testing.F) {
	for _, n := range []*corev3.Node{proxy("reviews-v1-0", "10.244.0.9", map[string]any{"app": "reviews"}), {Id: "router~10.0.0.1,::1~a.b~c"}, {}} {
		b, err := proto.Marshal(n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := &corev3.Node{}
		if proto.Unmarshal(b, n) != nil {
			return
		}
		node, name, err := facts(n)
		if err != nil {
			return
		}
		if node.Namespace == "" || len(node.IPs) == 0 || variantKey(node) == "" {
			t.Errorf("%+v of %q", node, name)
		}
	})
}
