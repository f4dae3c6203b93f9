package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Types of Istio's filters, whose protos are not public Go packages.
const (
	tcpMetadataExchange = "envoy.tcp.metadataexchange.config.MetadataExchange"
	istioStats          = "stats.PluginConfig"
	peerExchangeALPN    = "istio-peer-exchange"
)

// chain reads one filter chain.
func (p *parser) chain(s *scope, dir stream.Direction, m *listenerv3.FilterChain) (*FilterChain, error) {
	c := &FilterChain{Name: m.GetName(), Metadata: parseMetadata(m.GetMetadata())}
	var err error
	if c.Hash, err = hash(s, m); err != nil {
		return nil, err
	}
	if c.Match, err = parseChainMatch(s.at("filter_chain_match"), m.GetFilterChainMatch()); err != nil {
		return nil, err
	}
	if c.TLS, err = parseDownstreamSocket(s.at("transport_socket"), m.GetTransportSocket()); err != nil {
		return nil, err
	}
	c.HandshakeTimeout, err = duration(s.at("transport_socket_connect_timeout"), m.GetTransportSocketConnectTimeout(), 0)
	if err != nil {
		return nil, err
	}
	var stats *Stats
	for i, f := range m.GetFilters() {
		at := s.item("filters", i)
		if c.HTTP != nil || c.TCP != nil {
			return nil, at.errorf("follows a filter that ends the chain")
		}
		if stats, err = p.networkFilter(at, dir, f, c, stats); err != nil {
			return nil, err
		}
	}
	switch {
	case c.TCP != nil:
		c.TCP.Stats = stats
	case c.HTTP != nil:
		if c.HTTP.Stats == nil {
			c.HTTP.Stats = stats
		}
	default:
		return nil, s.at("filters").errorf("ends neither in a TCP proxy nor in an HTTP connection manager")
	}
	return c, nil
}

// networkFilter reads one network filter into c; it returns the chain's statistics.
func (p *parser) networkFilter(s *scope, dir stream.Direction, f *listenerv3.Filter, c *FilterChain, stats *Stats) (*Stats, error) {
	s = s.at("typed_config")
	e, err := unwrap(s, f.GetTypedConfig())
	if err != nil {
		return nil, err
	}
	switch e.short() {
	case "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager":
		m := &hcmv3.HttpConnectionManager{}
		if err = e.into(s, m); err == nil {
			c.HTTP, err = p.http(s, dir, m)
		}
	case "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy":
		m := &tcpproxyv3.TcpProxy{}
		if err = e.into(s, m); err == nil {
			c.TCP, err = p.tcp(s, m)
		}
	case networkRBAC:
		var a *Access
		if a, err = networkAccess(s, e); err == nil {
			c.Access = append(c.Access, a)
		}
	case tcpMetadataExchange:
		c.PeerExchange = true
		err = checkPeerExchange(s, e)
	case istioStats:
		stats, err = parseStats(s, dir, e)
	default:
		err = s.errorf("network filter %s is not supported by this proxy", e.short())
	}
	return stats, err
}

// checkPeerExchange checks the TCP metadata exchange: its one protocol is ours.
func checkPeerExchange(s *scope, e extension) error {
	if err := e.onlyKeys(s, "protocol", "enable_discovery", "additional_labels"); err != nil {
		return err
	}
	if proto := text(e.bare, "protocol"); proto != "" && proto != peerExchangeALPN {
		return s.at("protocol").errorf("%q is not supported by this proxy, only %q", proto, peerExchangeALPN)
	}
	return nil
}

// parseStats reads Istio's statistics filter: metrics are reported by the side of
// the workload that the listener is on. Changes to single metrics are not
// supported.
func parseStats(s *scope, dir stream.Direction, e extension) (*Stats, error) {
	err := e.onlyKeys(s, "disable_host_header_fallback", "tcp_reporting_duration", "debug", "stat_prefix")
	if err != nil {
		return nil, err
	}
	if dir == stream.Inbound {
		return &Stats{Reporter: "destination"}, nil
	}
	return &Stats{Reporter: "source"}, nil
}

// tcp reads a TCP proxy. Without an idle time-out connections stay open: that is
// this project's own default.
func (p *parser) tcp(s *scope, m *tcpproxyv3.TcpProxy) (*TCP, error) {
	t := &TCP{StatPrefix: m.GetStatPrefix()}
	var err error
	if t.IdleTimeout, err = duration(s.at("idle_timeout"), m.GetIdleTimeout(), 0); err != nil {
		return nil, err
	}
	for i, h := range m.GetHashPolicy() {
		if h.GetSourceIp() == nil {
			return nil, s.item("hash_policy", i).unsupported()
		}
		t.HashSource = true
	}
	if uint32Or(m.GetMaxConnectAttempts(), 1) != 1 {
		return nil, s.at("max_connect_attempts").unsupported()
	}
	if t.AccessLogs, err = parseAccessLogs(s, m.GetAccessLog(), false); err != nil {
		return nil, err
	}
	if w := m.GetWeightedClusters(); w != nil {
		var sum uint64
		for i, c := range w.GetClusters() {
			at := s.at("weighted_clusters").item("clusters", i)
			if c.GetName() == "" || c.GetWeight() == 0 {
				return nil, at.errorf("needs a name and a weight")
			}
			t.Clusters = append(t.Clusters, WeightedCluster{Cluster: p.cluster(c.GetName()), Weight: c.GetWeight()})
			sum += uint64(c.GetWeight())
		}
		t.TotalWeight, err = totalWeight(s.at("weighted_clusters"), sum)
		return t, err
	}
	if m.GetCluster() == "" {
		return nil, s.errorf("names no cluster")
	}
	t.Clusters = []WeightedCluster{{Cluster: p.cluster(m.GetCluster()), Weight: 1}}
	return t, nil
}

// parseChainMatch reads a chain's match.
func parseChainMatch(s *scope, m *listenerv3.FilterChainMatch) (ChainMatch, error) {
	out := ChainMatch{Transport: m.GetTransportProtocol(), ALPNs: m.GetApplicationProtocols()}
	var err error
	if out.DestPort, err = parsePort(s.at("destination_port"), uint32Or(m.GetDestinationPort(), 0)); err != nil {
		return out, err
	}
	if out.DestPrefixes, err = parseCIDRs(s, "prefix_ranges", m.GetPrefixRanges()); err != nil {
		return out, err
	}
	if out.SrcPrefixes, err = parseCIDRs(s, "source_prefix_ranges", m.GetSourcePrefixRanges()); err != nil {
		return out, err
	}
	for i, v := range m.GetSourcePorts() {
		port, err := parsePort(s.item("source_ports", i), v)
		if err != nil {
			return out, err
		}
		out.SrcPorts = append(out.SrcPorts, port)
	}
	switch m.GetSourceType() {
	case listenerv3.FilterChainMatch_ANY:
	case listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK:
		out.SrcType = SourceSameIPOrLoopback
	case listenerv3.FilterChainMatch_EXTERNAL:
		out.SrcType = SourceExternal
	default:
		return out, s.at("source_type").errorf("value %d is not known", m.GetSourceType())
	}
	for i, name := range m.GetServerNames() {
		if strings.Contains(strings.TrimPrefix(name, "*."), "*") {
			return out, s.item("server_names", i).errorf(`%q: a wildcard stands alone as the first label, "*."`, name)
		}
		out.ServerNames = append(out.ServerNames, strings.ToLower(name))
	}
	return out, nil
}

// maxCombinations bounds the work that one chain's match can cause.
const maxCombinations = 1 << 16

// matchSet finds chains with the same match, which Envoy refuses.
type matchSet map[string]bool

func newMatchSet() matchSet { return matchSet{} }

// add reports false if one of the combinations that m stands for is there already.
func (set matchSet) add(m *ChainMatch) bool {
	keys := []string{fmt.Sprintf("%d|%s|%d", m.DestPort, m.Transport, m.SrcType)}
	keys = cross(keys, prefixStrings(m.DestPrefixes))
	keys = cross(keys, m.ServerNames)
	keys = cross(keys, m.ALPNs)
	keys = cross(keys, prefixStrings(m.SrcPrefixes))
	ports := make([]string, len(m.SrcPorts))
	for i, port := range m.SrcPorts {
		ports[i] = fmt.Sprint(port)
	}
	keys = cross(keys, ports)
	for _, k := range keys {
		if set[k] {
			return false
		}
		set[k] = true
	}
	return true
}

func cross(keys, values []string) []string {
	if len(values) == 0 {
		values = []string{""}
	}
	if len(keys)*len(values) > maxCombinations {
		return keys // not compared any finer: a false duplicate is an error, never a silence
	}
	out := make([]string, 0, len(keys)*len(values))
	for _, k := range keys {
		for _, v := range values {
			out = append(out, k+"|"+v)
		}
	}
	return out
}

func prefixStrings(list []netip.Prefix) []string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return out
}

// idleTimeout of a downstream or pooled connection: Envoy's default is one hour,
// and 0 switches it off, which nodes express as a negative value.
const (
	defaultIdle = time.Hour
	neverIdle   = -1
)
