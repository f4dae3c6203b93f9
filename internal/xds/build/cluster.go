package build

import (
	"math"
	"net/netip"
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// inboundSource is the address from which a sidecar calls its own workload:
// redirection knows it, and lets it through.
const inboundSource = "127.0.0.6"

// defaultConnectTimeout is Istio's.
const defaultConnectTimeout = 10 * time.Second

func (b *builder) cluster(c *ir.Cluster) *clusterv3.Cluster {
	out := &clusterv3.Cluster{
		Name:            c.Key.String(),
		AltStatName:     c.Key.String() + ";",
		ConnectTimeout:  durationpb.New(c.Pool.ConnectTimeout),
		CircuitBreakers: breakers(c),
		Metadata:        clusterMetadata(c),
	}
	if c.Pool.ConnectTimeout == 0 {
		out.ConnectTimeout = durationpb.New(defaultConnectTimeout)
	}
	b.discovery(out, c)
	b.protocol(out, c)
	b.transport(out, c)
	tellClient(out, c.Proxy)
	if o := c.Outlier; o != nil {
		out.OutlierDetection = outlierDetection(o)
		if o.MinHealthPercent > 0 {
			out.CommonLbConfig = panicAt(float64(o.MinHealthPercent))
		}
	}
	balancer(out, c)
	if k := c.Pool.KeepAlive; k != nil {
		out.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
			KeepaliveProbes:   limit(k.Probes),
			KeepaliveTime:     limit(uint32(k.Time.Seconds())),
			KeepaliveInterval: limit(uint32(k.Interval.Seconds())),
		}}
	}
	b.bind(out, c)
	return out
}

func (b *builder) discovery(out *clusterv3.Cluster, c *ir.Cluster) {
	kind := clusterv3.Cluster_STATIC
	switch c.Discovery {
	case ir.ByAssignment:
		kind = clusterv3.Cluster_EDS
		out.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(), ServiceName: c.Key.String()}
		// Endpoints that fail are not called, however many they are: Istio switches
		// Envoy's panic mode off.
		out.CommonLbConfig = panicAt(0)
	case ir.ByAddress:
		kind = clusterv3.Cluster_ORIGINAL_DST
	case ir.ByNames, ir.ByOneName:
		if kind = clusterv3.Cluster_STRICT_DNS; c.Discovery == ir.ByOneName {
			kind = clusterv3.Cluster_LOGICAL_DNS
		}
		b.names(out, c)
	case ir.ByLocalPort:
		target := c.Target
		if !target.IsValid() {
			target = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), c.Key.Port)
		}
		out.LoadAssignment = &endpointv3.ClusterLoadAssignment{
			ClusterName: c.Key.String(),
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(target.Addr().String(), target.Port())}},
			}}}},
		}
	case ir.Nowhere:
		out.CircuitBreakers = nil
	}
	out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: kind}
}

// dnsJitter spreads what proxies ask of DNS: Istio's PILOT_DNS_JITTER_DURATION.
const dnsJitter = 100 * time.Millisecond

// names has the endpoints' names asked of DNS, as Istio does: for as long as the
// records live, else at the mesh's rate.
func (b *builder) names(out *clusterv3.Cluster, c *ir.Cluster) {
	out.LoadAssignment = assignment(&ir.Assignment{Cluster: c.Key})
	if c.Inline != nil {
		out.LoadAssignment = assignment(c.Inline)
	}
	out.DnsRefreshRate = durationpb.New(c.Refresh)
	out.DnsJitter = durationpb.New(dnsJitter)
	out.RespectDnsTtl = true
	out.DnsLookupFamily = clusterv3.Cluster_V4_ONLY
	if c.Family == ir.IPv6 {
		out.DnsLookupFamily = clusterv3.Cluster_V6_ONLY
	}
	out.TypedDnsResolverConfig = &corev3.TypedExtensionConfig{
		Name:        "envoy.network.dns_resolver.cares",
		TypedConfig: typed(&caresv3.CaresDnsResolverConfig{UdpMaxQueries: wrapperspb.UInt32(100)}),
	}
	out.CommonLbConfig = panicAt(0)
}

func panicAt(percent float64) *clusterv3.Cluster_CommonLbConfig {
	return &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: percent}}
}

// breakers are limits; where none is set, Envoy's own defaults are lifted.
func breakers(c *ir.Cluster) *clusterv3.CircuitBreakers {
	p := &c.Pool
	or := func(n uint32) *wrapperspb.UInt32Value {
		if n == 0 {
			n = math.MaxUint32
		}
		return wrapperspb.UInt32(n)
	}
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections: or(p.MaxConnections), MaxPendingRequests: or(p.MaxPending), MaxRequests: or(p.MaxRequests), MaxRetries: or(p.MaxRetries),
		RetryBudget: retryBudget(c.Budget),
	}}}
}

// outlierDetection switches off what Istio leaves off: ejection by success rate.
func outlierDetection(o *ir.Outlier) *clusterv3.OutlierDetection {
	out := &clusterv3.OutlierDetection{
		Consecutive_5Xx:                pointed(o.Consecutive5xx),
		ConsecutiveGatewayFailure:      pointed(o.ConsecutiveGateway),
		ConsecutiveLocalOriginFailure:  pointed(o.ConsecutiveLocal),
		SplitExternalLocalOriginErrors: o.SplitLocal,
		Interval:                       optional(o.Interval),
		BaseEjectionTime:               optional(o.BaseEjection),
		MaxEjectionPercent:             limit(o.MaxEjectionPercent),
		EnforcingSuccessRate:           wrapperspb.UInt32(0),
	}
	enforce := func(n *uint32) *wrapperspb.UInt32Value {
		if n == nil {
			return nil
		}
		if *n == 0 {
			return wrapperspb.UInt32(0)
		}
		return wrapperspb.UInt32(100)
	}
	out.EnforcingConsecutive_5Xx = enforce(o.Consecutive5xx)
	out.EnforcingConsecutiveGatewayFailure = enforce(o.ConsecutiveGateway)
	if o.SplitLocal {
		out.EnforcingConsecutiveLocalOriginFailure = enforce(o.ConsecutiveLocal)
		out.EnforcingLocalOriginSuccessRate = wrapperspb.UInt32(0)
	}
	return out
}

// transport chooses between mesh TLS and plain text: by the endpoint's metadata
// where mTLS is automatic.
func (b *builder) transport(out *clusterv3.Cluster, c *ir.Cluster) {
	switch c.TLS {
	case ir.MeshTLS:
		out.TransportSocket = b.meshClient(c)
	case ir.AutoTLS:
		out.TransportSocketMatches = []*clusterv3.Cluster_TransportSocketMatch{
			{Name: "tlsMode-istio", Match: object("tlsMode", "istio"), TransportSocket: b.meshClient(c)},
			{Name: "tlsMode-disabled", Match: &structpb.Struct{}, TransportSocket: plainSocket()},
		}
	}
	if b.native() && (c.Key.Direction == ir.OutboundTo || c.Key.Direction == ir.PassthroughTo) {
		out.Filters = []*clusterv3.Filter{clusterExchangeFilter()}
	}
}

// bind sets the source address of calls to the own workload, and the mark of a
// stock Envoy's own connections.
func (b *builder) bind(out *clusterv3.Cluster, c *ir.Cluster) {
	inside := c.Key.Direction == ir.InboundTo || c.Key.Direction == ir.InboundPassthrough
	own := inside && (c.Discovery == ir.ByAddress || b.p.Redirected && c.Target.IsValid() && !c.Target.Addr().IsLoopback())
	mark := b.p.SocketMark != 0 && !b.native() && c.Discovery != ir.Nowhere
	if !own && !mark {
		return
	}
	out.UpstreamBindConfig = &corev3.BindConfig{}
	if own {
		out.UpstreamBindConfig.SourceAddress = address(inboundSource, 0).GetSocketAddress()
	}
	if mark {
		const solSocket, soMark = 1, 36 // Linux
		out.UpstreamBindConfig.SocketOptions = []*corev3.SocketOption{{
			Description: "mark", Level: solSocket, Name: soMark,
			Value: &corev3.SocketOption_IntValue{IntValue: int64(b.p.SocketMark)},
			State: corev3.SocketOption_STATE_PREBIND,
		}}
	}
}

func clusterMetadata(c *ir.Cluster) *corev3.Metadata {
	var services []*structpb.Struct
	for _, s := range c.Services {
		services = append(services, object("host", s.Host, "name", s.Name, "namespace", s.Namespace))
	}
	istio := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	if len(services) > 0 {
		istio.Fields["services"] = value(services)
	}
	if c.External {
		istio.Fields["external"] = structpb.NewBoolValue(true)
	}
	if c.Key.Subset != "" {
		istio.Fields["subset"] = structpb.NewStringValue(c.Key.Subset)
	}
	if i := slices.IndexFunc(c.Origins, func(o verdict.Origin) bool { return configPath(o.Ref) != "" }); i >= 0 {
		istio.Fields["config"] = structpb.NewStringValue(configPath(c.Origins[i].Ref))
	}
	return metadata(map[string]*structpb.Struct{"istio": istio})
}
