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
	common := connectionLimits(c)
	errors := outlierErrors(c.Outlier)
	if common == nil && errors == nil && c.Speaks == ir.HTTP1Only && (!b.p.Requests.PreserveCase || !c.App.HTTPish()) {
		return
	}
	opts := &upstreamhttpv3.HttpProtocolOptions{CommonHttpProtocolOptions: common, OutlierDetection: errors}
	explicit := &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{}
	switch c.Speaks {
	case ir.AsClient:
		opts.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions: b.http1Upstream(), Http2ProtocolOptions: http2Options(&c.Pool),
			},
		}
	case ir.HTTP2Only:
		explicit.ProtocolConfig = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: http2Options(&c.Pool)}
	default:
		explicit.ProtocolConfig = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: b.http1Upstream()}
	}
	if explicit.ProtocolConfig != nil {
		opts.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit}
	}
	out.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: typed(opts)}
}

// connectionLimits are the limits of pooled connections; nil where there are none.
func connectionLimits(c *ir.Cluster) *corev3.HttpProtocolOptions {
	if c.Key.Direction == ir.PassthroughTo || c.Key.Direction == ir.InboundPassthrough {
		return &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(passthroughIdle)}
	}
	p := &c.Pool
	if p.IdleTimeout == 0 && p.RequestsPerConnection == 0 && p.MaxConnectionDuration == 0 {
		return nil
	}
	return &corev3.HttpProtocolOptions{
		IdleTimeout:              optional(p.IdleTimeout),
		MaxRequestsPerConnection: limit(p.RequestsPerConnection),
		MaxConnectionDuration:    optional(p.MaxConnectionDuration),
	}
}

func http2Options(p *ir.Pool) *corev3.Http2ProtocolOptions {
	out := &corev3.Http2ProtocolOptions{MaxConcurrentStreams: limit(p.Streams)}
	if p.Ping != nil {
		out.ConnectionKeepalive = &corev3.KeepaliveSettings{
			Interval: durationpb.New(p.Ping.Interval), Timeout: durationpb.New(p.Ping.Timeout),
		}
	}
	return out
}
