package main

import (
	"fmt"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lateen-mesh/lateen/internal/xds/build"
)

// namesIn finds what a response makes a client subscribe to: the endpoints of its
// clusters, the tables of its listeners. Clusters and listeners have their names in
// field 1: the rest of a resource is not read.
func namesIn(r *discoveryv3.DiscoveryResponse) ([]string, error) {
	var out []string
	for _, x := range r.GetResources() {
		name, err := firstName(x.GetValue())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.GetTypeUrl(), err)
		}
		switch r.GetTypeUrl() {
		case build.ClusterType:
			if strings.HasPrefix(name, "outbound|") {
				out = append(out, name)
			}
		case build.ListenerType:
			if t, ok := strings.CutPrefix(name, "0.0.0.0_"); ok {
				out = append(out, t)
			}
		}
	}
	return out, nil
}

func firstName(b []byte) (string, error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return "", protowire.ParseError(n)
		}
		b = b[n:]
		if num == 1 && typ == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			return string(v), protowire.ParseError(min(n, 0))
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return "", protowire.ParseError(n)
		}
		b = b[n:]
	}
	return "", nil
}
