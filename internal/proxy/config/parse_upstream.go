package config

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	upstreamsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// parseTransport reads how endpoints are spoken to: TLS or not.
func parseTransport(s *scope, c *Cluster, m *clusterv3.Cluster) error {
	var err error
	if c.TLS, c.ProxyHeader, err = parseUpstreamTransport(s.at("transport_socket"), m.GetTransportSocket()); err != nil {
		return err
	}
	for i, tm := range m.GetTransportSocketMatches() {
		at := s.item("transport_socket_matches", i)
		t, header, err := parseUpstreamTransport(at.at("transport_socket"), tm.GetTransportSocket())
		if err != nil {
			return err
		}
		if i == 0 && m.GetTransportSocket() == nil {
			c.ProxyHeader = header
		}
		if header != c.ProxyHeader {
			return at.errorf("with and without the PROXY protocol in one cluster is not supported by this proxy")
		}
		c.TLSMatches = append(c.TLSMatches, TLSMatch{Name: tm.GetName(), Match: stringMap(tm.GetMatch()), TLS: t})
	}
	return nil
}

// parseUpstreamTransport reads a socket, and the version of the PROXY protocol that is
// around it.
func parseUpstreamTransport(s *scope, m *corev3.TransportSocket) (*UpstreamTLS, uint8, error) {
	const wrapper = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
	if !strings.HasSuffix(m.GetTypedConfig().GetTypeUrl(), "/"+wrapper) {
		t, err := parseUpstreamSocket(s, m)
		return t, 0, err
	}
	s = s.at("typed_config")
	pm := &proxyprotocolv3.ProxyProtocolUpstreamTransport{}
	if err := unpack(s, m.GetTypedConfig(), pm); err != nil {
		return nil, 0, err
	}
	version := uint8(1)
	if pm.GetConfig().GetVersion() == corev3.ProxyProtocolConfig_V2 {
		version = 2
	}
	t, err := parseUpstreamSocket(s.at("transport_socket"), pm.GetTransportSocket())
	return t, version, err
}

// parseOutlierErrors reads which answers are errors to outlier detection: those of
// some statuses.
func parseOutlierErrors(s *scope, m *matcherv3.MatchPredicate) ([]int, error) {
	rules := []*matcherv3.MatchPredicate{m}
	if or := m.GetOrMatch(); or != nil {
		rules = or.GetRules()
	}
	var out []int
	for _, r := range rules {
		hs := r.GetHttpResponseHeadersMatch().GetHeaders()
		if len(hs) != 1 || hs[0].GetName() != ":status" || hs[0].GetInvertMatch() {
			return nil, s.errorf("only a list of statuses is supported by this proxy")
		}
		exact := hs[0].GetStringMatch().GetExact()
		n, err := strconv.Atoi(exact)
		if err != nil || n < 100 || n > 599 {
			return nil, s.errorf("%q is no status", exact)
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return out, nil
}

// parseBreakers reads circuit breakers; Envoy's defaults are 1024 connections,
// pending requests and requests, and 3 retries.
func parseBreakers(s *scope, c *Cluster, m *clusterv3.Cluster) error {
	const most, retries = 1024, 3
	for i := range c.Breakers {
		c.Breakers[i] = Breakers{MaxConnections: most, MaxPending: most, MaxRequests: most, MaxRetries: retries}
	}
	for i, t := range m.GetCircuitBreakers().GetThresholds() {
		at := s.at("circuit_breakers").item("thresholds", i)
		b := &c.Breakers[0]
		switch t.GetPriority() {
		case corev3.RoutingPriority_DEFAULT:
		case corev3.RoutingPriority_HIGH:
			b = &c.Breakers[1]
		default:
			return at.at("priority").errorf("value %d is not known", t.GetPriority())
		}
		b.MaxConnections = uint32Or(t.GetMaxConnections(), most)
		b.MaxPending = uint32Or(t.GetMaxPendingRequests(), most)
		b.MaxRequests = uint32Or(t.GetMaxRequests(), most)
		b.MaxRetries = uint32Or(t.GetMaxRetries(), retries)
		if rb := t.GetRetryBudget(); rb != nil {
			b.HasBudget, b.RetryBudget, b.RetryFloor = true, 20, uint32Or(rb.GetMinRetryConcurrency(), 3)
			var err error
			if b.RetryInterval, err = duration(at.at("retry_budget").at("budget_interval"), rb.GetBudgetInterval(), 0); err != nil {
				return err
			}
			if p := rb.GetBudgetPercent(); p != nil {
				b.RetryBudget = p.GetValue()
			}
			if !(b.RetryBudget >= 0 && b.RetryBudget <= 100) {
				return at.at("retry_budget").at("budget_percent").errorf("%v is not a percentage", b.RetryBudget)
			}
		}
	}
	return nil
}

// parseProtocol reads what to speak, and the limits of pooled connections.
func parseProtocol(s *scope, c *Cluster, m *clusterv3.Cluster) error {
	c.IdleTimeout = defaultIdle
	c.MaxRequests = int(m.GetMaxRequestsPerConnection().GetValue())
	if m.GetHttp2ProtocolOptions() != nil {
		c.Protocol = SpeakHTTP2
	}
	var err error
	if c.HTTP2, err = parseHTTP2(s.at("http2_protocol_options"), m.GetHttp2ProtocolOptions()); err != nil {
		return err
	}
	if m.GetProtocolSelection() == clusterv3.Cluster_USE_DOWNSTREAM_PROTOCOL {
		c.Protocol = SpeakDownstream
	}
	if err := checkHeaderCase(s.at("http_protocol_options").at("header_key_format"), m.GetHttpProtocolOptions().GetHeaderKeyFormat()); err != nil {
		return err
	}
	if err := parsePool(s.at("common_http_protocol_options"), c, m.GetCommonHttpProtocolOptions()); err != nil {
		return err
	}
	options := m.GetTypedExtensionProtocolOptions()
	for _, key := range slices.Sorted(maps.Keys(options)) {
		at := s.at("typed_extension_protocol_options").at(key)
		if key != "envoy.extensions.upstreams.http.v3.HttpProtocolOptions" {
			return at.unsupported()
		}
		o := &upstreamsv3.HttpProtocolOptions{}
		if err := unpack(at, options[key], o); err != nil {
			return err
		}
		if err := parseHTTPOptions(at, c, o); err != nil {
			return err
		}
	}
	return nil
}

func parseHTTPOptions(s *scope, c *Cluster, o *upstreamsv3.HttpProtocolOptions) error {
	if em := o.GetOutlierDetection().GetErrorMatcher(); em != nil {
		var err error
		if c.OutlierErrors, err = parseOutlierErrors(s.at("outlier_detection").at("error_matcher"), em); err != nil {
			return err
		}
	}
	if o.GetUpstreamHttpProtocolOptions().GetAutoSni() {
		if c.TLS != nil {
			c.TLS.AutoSNI = true
		}
		for _, m := range c.TLSMatches {
			if m.TLS != nil {
				m.TLS.AutoSNI = true
			}
		}
	}
	var http1 *corev3.Http1ProtocolOptions
	var http2 *corev3.Http2ProtocolOptions
	switch p := o.GetUpstreamProtocolOptions().(type) {
	case *upstreamsv3.HttpProtocolOptions_ExplicitHttpConfig_:
		http1 = p.ExplicitHttpConfig.GetHttpProtocolOptions()
		c.Protocol = SpeakHTTP11
		if http2 = p.ExplicitHttpConfig.GetHttp2ProtocolOptions(); http2 != nil {
			c.Protocol = SpeakHTTP2
		}
	case *upstreamsv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
		http1, http2 = p.UseDownstreamProtocolConfig.GetHttpProtocolOptions(), p.UseDownstreamProtocolConfig.GetHttp2ProtocolOptions()
		c.Protocol = SpeakDownstream
	case *upstreamsv3.HttpProtocolOptions_AutoConfig:
		http1, http2 = p.AutoConfig.GetHttpProtocolOptions(), p.AutoConfig.GetHttp2ProtocolOptions()
		c.Protocol = SpeakALPN
	default:
		return s.errorf("says no protocol")
	}
	if err := checkHeaderCase(s.at("header_key_format"), http1.GetHeaderKeyFormat()); err != nil {
		return err
	}
	var err error
	if c.HTTP2, err = parseHTTP2(s.at("http2_protocol_options"), http2); err != nil {
		return err
	}
	return parsePool(s.at("common_http_protocol_options"), c, o.GetCommonHttpProtocolOptions())
}

// parsePool reads the limits of a pooled connection, where m sets them.
func parsePool(s *scope, c *Cluster, m *corev3.HttpProtocolOptions) error {
	if m == nil {
		return nil
	}
	if m.GetMaxHeadersCount() != nil {
		return s.at("max_headers_count").unsupported()
	}
	if v := m.GetHeadersWithUnderscoresAction(); v != corev3.HttpProtocolOptions_ALLOW {
		return s.at("headers_with_underscores_action").errorf("%s is not supported by this proxy", v)
	}
	var err error
	if m.GetIdleTimeout() != nil {
		if c.IdleTimeout, err = duration(s.at("idle_timeout"), m.GetIdleTimeout(), 0); err != nil {
			return err
		}
		if c.IdleTimeout == 0 {
			c.IdleTimeout = neverIdle
		}
	}
	if v := m.GetMaxRequestsPerConnection(); v != nil {
		c.MaxRequests = int(v.GetValue())
	}
	c.MaxConnDuration, err = duration(s.at("max_connection_duration"), m.GetMaxConnectionDuration(), c.MaxConnDuration)
	return err
}

// parseOutlier reads passive health checks with Envoy's defaults. Ejection by
// success rate is on by default in Envoy and not done here, so a configuration
// must switch it off, as Istio's do.
func parseOutlier(s *scope, c *Cluster, m *clusterv3.Cluster) error {
	om := m.GetOutlierDetection()
	if om == nil {
		return nil
	}
	s = s.at("outlier_detection")
	if uint32Or(om.GetEnforcingSuccessRate(), 100) != 0 {
		return s.at("enforcing_success_rate").errorf("must be 0: ejection by success rate is not supported by this proxy")
	}
	if om.GetSplitExternalLocalOriginErrors() && uint32Or(om.GetEnforcingLocalOriginSuccessRate(), 100) != 0 {
		return s.at("enforcing_local_origin_success_rate").errorf("must be 0: ejection by success rate is not supported by this proxy")
	}
	if om.GetEnforcingFailurePercentage().GetValue() != 0 || om.GetEnforcingFailurePercentageLocalOrigin().GetValue() != 0 {
		return s.at("enforcing_failure_percentage").errorf("must be 0: ejection by failure percentage is not supported by this proxy")
	}
	o := &Outlier{
		Consecutive5xx:     uint32Or(om.GetConsecutive_5Xx(), 5),
		ConsecutiveGateway: uint32Or(om.GetConsecutiveGatewayFailure(), 5),
		ConsecutiveLocal:   uint32Or(om.GetConsecutiveLocalOriginFailure(), 5),
		SplitLocal:         om.GetSplitExternalLocalOriginErrors(),
	}
	for _, f := range []struct {
		name  string
		value *wrapperspb.UInt32Value
		unset uint32
		to    *uint32
	}{
		{"enforcing_consecutive_5xx", om.GetEnforcingConsecutive_5Xx(), 100, &o.Enforce5xx},
		{"enforcing_consecutive_gateway_failure", om.GetEnforcingConsecutiveGatewayFailure(), 0, &o.EnforceGateway},
		{"enforcing_consecutive_local_origin_failure", om.GetEnforcingConsecutiveLocalOriginFailure(), 100, &o.EnforceLocal},
		{"max_ejection_percent", om.GetMaxEjectionPercent(), 10, &o.MaxEjectionPercent},
	} {
		if *f.to = uint32Or(f.value, f.unset); *f.to > 100 {
			return s.at(f.name).errorf("%d is not a percentage", *f.to)
		}
	}
	var err error
	if o.Interval, err = duration(s.at("interval"), om.GetInterval(), 10*time.Second); err != nil {
		return err
	}
	if o.BaseEjection, err = duration(s.at("base_ejection_time"), om.GetBaseEjectionTime(), 30*time.Second); err != nil {
		return err
	}
	// "Defaults to 300000ms … or … base_ejection_time … whatever is larger".
	o.MaxEjection, err = duration(s.at("max_ejection_time"), om.GetMaxEjectionTime(), max(300*time.Second, o.BaseEjection))
	c.Outlier = o
	return err
}

// parseConnection reads socket options.
func parseConnection(s *scope, c *Cluster, m *clusterv3.Cluster) error {
	if b := m.GetUpstreamBindConfig(); b.GetSourceAddress() != nil {
		at := s.at("upstream_bind_config").at("source_address")
		if b.GetSourceAddress().GetPortValue() != 0 {
			return at.at("port_value").errorf("a source port is not supported by this proxy")
		}
		ip, err := netip.ParseAddr(b.GetSourceAddress().GetAddress())
		if err != nil {
			return at.at("address").errorf("%w", err)
		}
		c.SourceAddr = ip.Unmap()
	}
	if k := m.GetUpstreamConnectionOptions().GetTcpKeepalive(); k != nil {
		at := s.at("upstream_connection_options").at("tcp_keepalive")
		c.KeepAlive = &KeepAlive{}
		for name, f := range map[string]struct {
			v  *wrapperspb.UInt32Value
			to *int
		}{
			"keepalive_probes":   {k.GetKeepaliveProbes(), &c.KeepAlive.Probes},
			"keepalive_time":     {k.GetKeepaliveTime(), &c.KeepAlive.Time},
			"keepalive_interval": {k.GetKeepaliveInterval(), &c.KeepAlive.Interval},
		} {
			if f.v.GetValue() > math.MaxInt16 {
				return at.at(name).errorf("%d is above what the kernel takes", f.v.GetValue())
			}
			*f.to = int(f.v.GetValue())
		}
	}
	return nil
}

// parseClusterFilters accepts Istio's peer metadata exchange.
func parseClusterFilters(s *scope, c *Cluster, m *clusterv3.Cluster) error {
	for i, f := range m.GetFilters() {
		at := s.item("filters", i).at("typed_config")
		e, err := unwrap(at, f.GetTypedConfig())
		if err != nil {
			return err
		}
		if e.short() != tcpMetadataExchange {
			return at.errorf("upstream filter %s is not supported by this proxy", e.short())
		}
		if err := checkPeerExchange(at, e); err != nil {
			return err
		}
		c.PeerExchange = true
	}
	return nil
}

// checkResolver accepts the resolvers of Envoy that ask the system's name servers,
// which is what this proxy does; how they do it is theirs.
func checkResolver(s *scope, a *anypb.Any) error {
	e, err := unwrap(s, a)
	if err != nil {
		return err
	}
	switch e.short() {
	case "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig":
		return checkCares(s, e)
	case "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig":
		return nil
	}
	return s.errorf("DNS resolver %s is not supported by this proxy", e.short())
}
