package build

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

// relay are the network filters that relay connections to clusters.
func (b *builder) relay(label string, to []ir.WeightedCluster) []*listenerv3.Filter {
	return b.relayAs(&ir.Chain{Label: label, To: to})
}

// relayAs relays as a chain says. There is no idle time-out where it has none: a
// silent connection is not a dead one.
func (b *builder) relayAs(c *ir.Chain) []*listenerv3.Filter {
	to := c.To
	m := &tcpproxyv3.TcpProxy{StatPrefix: c.Label, AccessLog: accessLogs(), IdleTimeout: durationpb.New(c.Idle)}
	if c.HashSource {
		m.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}}}
	}
	if len(to) == 1 {
		m.ClusterSpecifier = &tcpproxyv3.TcpProxy_Cluster{Cluster: to[0].Cluster.String()}
	} else {
		weighted := &tcpproxyv3.TcpProxy_WeightedCluster{}
		for _, w := range to {
			weighted.Clusters = append(weighted.Clusters, &tcpproxyv3.TcpProxy_WeightedCluster_ClusterWeight{
				Name: w.Cluster.String(), Weight: w.Weight,
			})
		}
		m.ClusterSpecifier = &tcpproxyv3.TcpProxy_WeightedClusters{WeightedClusters: weighted}
	}
	var out []*listenerv3.Filter
	if b.native() {
		out = append(out, tcpStats())
	}
	return append(out, &listenerv3.Filter{
		Name:       "envoy.filters.network.tcp_proxy",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: typed(m)},
	})
}

// relayTo relays to one of the clusters that every proxy has.
func (b *builder) relayTo(d ir.Direction) []*listenerv3.Filter {
	return b.relay(string(d), []ir.WeightedCluster{{Cluster: ir.Key{Direction: d}, Weight: 100}})
}
