package build

import (
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	envoymatcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

// defaultRing is the least size of a hash ring where nobody says another.
const defaultRing = 1024

// balancer sets the load-balancing policy and its parameters.
func balancer(out *clusterv3.Cluster, c *ir.Cluster) {
	if c.Weighted {
		lb := out.CommonLbConfig
		if lb == nil {
			lb = &clusterv3.Cluster_CommonLbConfig{}
		}
		lb.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
		out.CommonLbConfig = lb
	}
	if c.Discovery == ir.ByAddress {
		out.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		return
	}
	switch c.Balance {
	case ir.LeastRequest:
		out.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		if c.Warmup != nil {
			out.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{
				LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slowStart(c.Warmup)},
			}
		}
	case ir.Random:
		out.LbPolicy = clusterv3.Cluster_RANDOM
	case ir.RingHash:
		out.LbPolicy = clusterv3.Cluster_RING_HASH
		size := c.RingSize
		if size == 0 {
			size = defaultRing
		}
		out.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{
			RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{MinimumRingSize: wrapperspb.UInt64(size)},
		}
	case ir.Maglev:
		out.LbPolicy = clusterv3.Cluster_MAGLEV
		if c.TableSize > 0 {
			out.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{
				MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(c.TableSize)},
			}
		}
	default:
		out.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if c.Warmup != nil {
			out.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{
				RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slowStart(c.Warmup)},
			}
		}
	}
}

func slowStart(w *ir.Warmup) *clusterv3.Cluster_SlowStartConfig {
	return &clusterv3.Cluster_SlowStartConfig{
		SlowStartWindow:  durationpb.New(w.Window),
		Aggression:       &corev3.RuntimeDouble{DefaultValue: w.Aggression},
		MinWeightPercent: &typev3.Percent{Value: w.MinPercent},
	}
}

func retryBudget(b *ir.RetryBudget) *clusterv3.CircuitBreakers_Thresholds_RetryBudget {
	if b == nil {
		return nil
	}
	return &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
		BudgetPercent:       &typev3.Percent{Value: b.Percent},
		MinRetryConcurrency: wrapperspb.UInt32(b.MinConcurrent),
		BudgetInterval:      optional(b.Interval),
	}
}

// outlierErrors says which answers count as errors; nil: 5xx.
func outlierErrors(o *ir.Outlier) *upstreamhttpv3.HttpProtocolOptions_OutlierDetection {
	if o == nil || len(o.ErrorCodes) == 0 {
		return nil
	}
	m := statusMatch(o.ErrorCodes[0])
	if len(o.ErrorCodes) > 1 {
		set := &matcherv3.MatchPredicate_MatchSet{}
		for _, code := range o.ErrorCodes {
			set.Rules = append(set.Rules, statusMatch(code))
		}
		m = &matcherv3.MatchPredicate{Rule: &matcherv3.MatchPredicate_OrMatch{OrMatch: set}}
	}
	return &upstreamhttpv3.HttpProtocolOptions_OutlierDetection{ErrorMatcher: m}
}

func statusMatch(code uint32) *matcherv3.MatchPredicate {
	return &matcherv3.MatchPredicate{Rule: &matcherv3.MatchPredicate_HttpResponseHeadersMatch{
		HttpResponseHeadersMatch: &matcherv3.HttpHeadersMatch{Headers: []*routev3.HeaderMatcher{{
			Name: ":status",
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &envoymatcherv3.StringMatcher{
				MatchPattern: &envoymatcherv3.StringMatcher_Exact{Exact: strconv.FormatUint(uint64(code), 10)},
			}},
		}}},
	}}
}

// tellClient has connections begin with the PROXY protocol's header, below TLS.
func tellClient(out *clusterv3.Cluster, v ir.ProxyProtocol) {
	if v == "" {
		return
	}
	config := &corev3.ProxyProtocolConfig{Version: corev3.ProxyProtocolConfig_V1}
	if v == ir.ProxyProtocolV2 {
		config.Version = corev3.ProxyProtocolConfig_V2
	}
	wrap := func(inner *corev3.TransportSocket) *corev3.TransportSocket {
		if inner == nil {
			inner = plainSocket()
		}
		return &corev3.TransportSocket{
			Name: "envoy.transport_sockets.upstream_proxy_protocol",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed(&proxyprotocolv3.ProxyProtocolUpstreamTransport{
				Config: config, TransportSocket: inner,
			})},
		}
	}
	if len(out.TransportSocketMatches) == 0 {
		out.TransportSocket = wrap(out.TransportSocket)
	}
	for _, m := range out.TransportSocketMatches {
		m.TransportSocket = wrap(m.TransportSocket)
	}
}

func hashPolicies(keys []ir.HashKey) []*routev3.RouteAction_HashPolicy {
	var out []*routev3.RouteAction_HashPolicy
	for i := range keys {
		out = append(out, hashPolicy(&keys[i]))
	}
	return out
}

func hashPolicy(k *ir.HashKey) *routev3.RouteAction_HashPolicy {
	switch {
	case k.Header != "":
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: k.Header},
		}}
	case k.Query != "":
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{
			QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: k.Query},
		}}
	case k.Cookie == nil:
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: k.SourceIP},
		}}
	}
	cookie := &routev3.RouteAction_HashPolicy_Cookie{Name: k.Cookie.Name, Path: k.Cookie.Path}
	if k.Cookie.TTL != nil {
		cookie.Ttl = durationpb.New(*k.Cookie.TTL)
	}
	for _, a := range k.Cookie.Attributes {
		cookie.Attributes = append(cookie.Attributes, &routev3.RouteAction_HashPolicy_CookieAttribute{Name: a.Name, Value: a.Value})
	}
	return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: cookie}}
}
