package build

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// passthroughIdle bounds idle connections to addresses outside the mesh's own
// services, as Istio sets it.
const passthroughIdle = 300 * time.Second

// protocol says what the cluster speaks. HTTP/1.1 without limits is the default
// and needs no options.
func (b *builder) protocol(out *clusterv3.Cluster, c *ir.Cluster) {
	common := &corev3.HttpProtocolOptions{
		IdleTimeout:              optional(c.Pool.IdleTimeout),
		MaxRequestsPerConnection: limit(c.Pool.RequestsPerConnection),
		MaxConnectionDuration:    optional(c.Pool.MaxConnectionDuration),
	}
	limited := c.Pool.IdleTimeout > 0 || c.Pool.RequestsPerConnection > 0 || c.Pool.MaxConnectionDuration > 0
	if c.Key.Direction == ir.PassthroughTo || c.Key.Direction == ir.InboundPassthrough {
		common.IdleTimeout, limited = durationpb.New(passthroughIdle), true
	}
	opts := &upstreamhttpv3.HttpProtocolOptions{}
	if limited {
		opts.CommonHttpProtocolOptions = common
	}
	switch {
	case c.App == ir.Sniffed:
		down := &upstreamhttpv3.HttpProtocolOptions_UseDownstreamHttpConfig{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}}
		down.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{}
		opts.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{UseDownstreamProtocolConfig: down}
	case c.App == ir.HTTP2:
		opts.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
			},
		}
	case limited:
		opts.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
			},
		}
	default:
		return
	}
	out.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: typed(opts)}
}
