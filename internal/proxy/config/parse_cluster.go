package config

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// ParseCluster makes the node of a cluster. Defaults are those of the API page of
// envoy.config.cluster.v3.Cluster.
func ParseCluster(m *clusterv3.Cluster, _ Deps) (*Cluster, error) {
	s := root("cluster", m.GetName())
	if m.GetName() == "" {
		return nil, s.at("name").errorf("is empty")
	}
	if err := strict(s, m); err != nil {
		return nil, err
	}
	c := &Cluster{Name: m.GetName(), Metadata: parseMetadata(m.GetMetadata())}
	var err error
	if c.Hash, err = hash(s, m); err != nil {
		return nil, err
	}
	if c.ConnectTimeout, err = duration(s.at("connect_timeout"), m.GetConnectTimeout(), 5*time.Second); err != nil {
		return nil, err
	}
	if c.ConnectTimeout == 0 {
		return nil, s.at("connect_timeout").errorf("must be above 0")
	}
	for _, part := range []func(*scope, *Cluster, *clusterv3.Cluster) error{
		parseDiscovery, parsePolicy, parsePanic, parseTransport, parseBreakers, parseProtocol, parseOutlier, parseConnection, parseClusterFilters,
	} {
		if err := part(s, c, m); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// parseDiscovery reads where endpoints come from.
func parseDiscovery(s *scope, c *Cluster, m *clusterv3.Cluster) error {
	switch m.GetType() {
	case clusterv3.Cluster_STATIC:
		c.Type = ClusterStatic
	case clusterv3.Cluster_STRICT_DNS:
		c.Type = ClusterStrictDNS
	case clusterv3.Cluster_LOGICAL_DNS:
		c.Type = ClusterLogicalDNS
	case clusterv3.Cluster_ORIGINAL_DST:
		c.Type = ClusterOriginalDst
		c.UseHTTPHeader = m.GetOriginalDstLbConfig().GetUseHttpHeader()
	case clusterv3.Cluster_EDS:
		c.Type = ClusterEDS
		if c.EDSName = m.GetEdsClusterConfig().GetServiceName(); c.EDSName == "" {
			c.EDSName = c.Name
		}
	default:
		return s.at("type").errorf("value %d is not known", m.GetType())
	}
	if err := parseDNS(s, c, m); err != nil {
		return err
	}
	return parseInline(s.at("load_assignment"), c, m)
}

// parseInline reads the assignment that STATIC and DNS clusters hold.
func parseInline(s *scope, c *Cluster, m *clusterv3.Cluster) error {
	switch c.Type {
	case ClusterEDS, ClusterOriginalDst:
		if m.GetLoadAssignment() != nil {
			return s.errorf("does not go with type %s", m.GetType())
		}
		return nil
	}
	var err error
	if c.Static, c.DNS, err = parseAssignment(s, m.GetLoadAssignment()); err != nil {
		return err
	}
	if c.Type == ClusterStatic && len(c.DNS) > 0 {
		return s.errorf("endpoint %s is a name: a STATIC cluster needs addresses", c.DNS[0].Host)
	}
	if c.Type == ClusterLogicalDNS {
		n := len(c.DNS)
		for _, l := range c.Static.Localities {
			n += len(l.Endpoints)
		}
		if n != 1 {
			return s.errorf("has %d endpoints: a LOGICAL_DNS cluster has one", n)
		}
	}
	return nil
}

func parseDNS(s *scope, c *Cluster, m *clusterv3.Cluster) error {
	switch m.GetDnsLookupFamily() {
	case clusterv3.Cluster_AUTO:
		c.DNSFamily = DNSAuto
	case clusterv3.Cluster_V4_ONLY:
		c.DNSFamily = DNSV4Only
	case clusterv3.Cluster_V6_ONLY:
		c.DNSFamily = DNSV6Only
	case clusterv3.Cluster_V4_PREFERRED:
		c.DNSFamily = DNSV4Preferred
	case clusterv3.Cluster_ALL:
		c.DNSFamily = DNSAll
	default:
		return s.at("dns_lookup_family").errorf("value %d is not known", m.GetDnsLookupFamily())
	}
	var err error
	if c.DNSRefresh, err = duration(s.at("dns_refresh_rate"), m.GetDnsRefreshRate(), 5*time.Second); err != nil {
		return err
	}
	if c.DNSRefresh < time.Millisecond {
		return s.at("dns_refresh_rate").errorf("must be at least 1ms")
	}
	if tc := m.GetTypedDnsResolverConfig(); tc != nil {
		return checkResolver(s.at("typed_dns_resolver_config").at("typed_config"), tc.GetTypedConfig())
	}
	return nil
}

// parsePolicy reads the load-balancing policy and its parameters.
func parsePolicy(s *scope, c *Cluster, m *clusterv3.Cluster) error {
	c.ChoiceCount, c.ActiveBias = 2, 1
	var slow *clusterv3.Cluster_SlowStartConfig
	var at *scope
	switch m.GetLbPolicy() {
	case clusterv3.Cluster_ROUND_ROBIN:
		c.Policy = RoundRobin
		slow, at = m.GetRoundRobinLbConfig().GetSlowStartConfig(), s.at("round_robin_lb_config")
	case clusterv3.Cluster_LEAST_REQUEST:
		c.Policy = LeastRequest
		lr := m.GetLeastRequestLbConfig()
		slow, at = lr.GetSlowStartConfig(), s.at("least_request_lb_config")
		if c.ChoiceCount = int(uint32Or(lr.GetChoiceCount(), 2)); c.ChoiceCount < 2 {
			return at.at("choice_count").errorf("must be at least 2")
		}
		if b := lr.GetActiveRequestBias(); b != nil {
			c.ActiveBias = b.GetDefaultValue()
		}
		if !(c.ActiveBias >= 0) {
			return at.at("active_request_bias").errorf("must not be negative")
		}
	case clusterv3.Cluster_RANDOM:
		c.Policy = Random
	case clusterv3.Cluster_RING_HASH:
		return parseRing(s.at("ring_hash_lb_config"), c, m.GetRingHashLbConfig())
	case clusterv3.Cluster_MAGLEV:
		c.Policy = Maglev
		c.TableSize = uint64Or(m.GetMaglevLbConfig().GetTableSize(), 65537)
		return checkPrime(s.at("maglev_lb_config").at("table_size"), c.TableSize)
	case clusterv3.Cluster_CLUSTER_PROVIDED:
		c.Policy = OriginalDst
	default:
		return s.at("lb_policy").errorf("%s is not supported by this proxy", m.GetLbPolicy())
	}
	if (c.Policy == OriginalDst) != (c.Type == ClusterOriginalDst) {
		return s.at("lb_policy").errorf("CLUSTER_PROVIDED goes with type ORIGINAL_DST, and only with it")
	}
	return parseSlowStart(at.at("slow_start_config"), c, slow)
}

func parseRing(s *scope, c *Cluster, m *clusterv3.Cluster_RingHashLbConfig) error {
	const most = 8 << 20 // Envoy's bound and default maximum
	c.Policy = RingHash
	c.RingMin, c.RingMax = uint64Or(m.GetMinimumRingSize(), 1024), uint64Or(m.GetMaximumRingSize(), most)
	if c.RingMax > most || c.RingMin > c.RingMax || c.RingMin == 0 {
		return s.errorf("ring sizes %d to %d are not a range within 1..%d", c.RingMin, c.RingMax, uint64(most))
	}
	if m.GetHashFunction() != clusterv3.Cluster_RingHashLbConfig_XX_HASH {
		return s.at("hash_function").errorf("%s is not supported by this proxy", m.GetHashFunction())
	}
	return nil
}

func checkPrime(s *scope, n uint64) error {
	const most = 5000011 // Envoy's bound
	if n < 2 || n > most {
		return s.errorf("%d is not in 2..%d", n, uint64(most))
	}
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return s.errorf("%d is not a prime number", n)
		}
	}
	return nil
}

func parseSlowStart(s *scope, c *Cluster, m *clusterv3.Cluster_SlowStartConfig) error {
	if m.GetSlowStartWindow() == nil {
		return nil
	}
	ss := &SlowStart{Aggression: 1, MinPercent: 10}
	var err error
	if ss.Window, err = duration(s.at("slow_start_window"), m.GetSlowStartWindow(), 0); err != nil || ss.Window == 0 {
		return err
	}
	if a := m.GetAggression(); a != nil {
		ss.Aggression = a.GetDefaultValue()
	}
	if p := m.GetMinWeightPercent(); p != nil {
		ss.MinPercent = p.GetValue()
	}
	if !(ss.Aggression > 0) || !(ss.MinPercent >= 0 && ss.MinPercent <= 100) {
		return s.errorf("aggression must be above 0, min_weight_percent in 0..100")
	}
	c.SlowStart = ss
	return nil
}

// parsePanic: Envoy's threshold is 50 %.
func parsePanic(s *scope, c *Cluster, m *clusterv3.Cluster) error {
	c.PanicThreshold = 50
	c.Weighted = m.GetCommonLbConfig().GetLocalityWeightedLbConfig() != nil
	if t := m.GetCommonLbConfig().GetHealthyPanicThreshold(); t != nil {
		c.PanicThreshold = t.GetValue()
	}
	if !(c.PanicThreshold >= 0 && c.PanicThreshold <= 100) {
		return s.at("common_lb_config").at("healthy_panic_threshold").errorf("%v is not a percentage", c.PanicThreshold)
	}
	return nil
}
