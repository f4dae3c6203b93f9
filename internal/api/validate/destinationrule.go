package validate

import (
	"maps"
	"math/big"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
)

func (c *checker) destinationRule(d *networking.DestinationRule) {
	if !isIP(d.Host) {
		c.host("spec.host", d.Host, true)
	}
	c.trafficPolicy("spec.trafficPolicy", d.TrafficPolicy)
	seen := map[string]bool{}
	for i, s := range d.Subsets {
		p := at("spec.subsets", i)
		switch {
		case s.Name == "":
			c.fail(p+".name", "a subset needs a name")
		case seen[s.Name]:
			c.fail(p+".name", "the subset %q is defined twice", s.Name)
		default:
			c.subsetName(p+".name", s.Name)
		}
		seen[s.Name] = true
		c.labels(p+".labels", s.Labels)
		c.trafficPolicy(p+".trafficPolicy", s.TrafficPolicy)
	}
	c.exportTo("spec.exportTo", d.ExportTo)
	if w := d.WorkloadSelector; w != nil {
		if len(w.MatchLabels) == 0 {
			c.fail("spec.workloadSelector.matchLabels", "at least one label is required")
		}
		c.labels("spec.workloadSelector.matchLabels", w.MatchLabels)
	}
}

func (c *checker) trafficPolicy(path string, t *networking.TrafficPolicy) {
	if t == nil {
		return
	}
	c.loadBalancer(path+".loadBalancer", t.LoadBalancer)
	c.connectionPool(path+".connectionPool", t.ConnectionPool)
	c.outlierDetection(path+".outlierDetection", t.OutlierDetection)
	c.clientTLS(path+".tls", t.Tls)
	seen := map[uint32]bool{}
	for i, s := range t.PortLevelSettings {
		p := at(path+".portLevelSettings", i)
		switch number := s.GetPort().GetNumber(); {
		case s.Port == nil:
			c.fail(p+".port", "a port is required")
		case seen[number]:
			c.fail(p+".port.number", "port %d has settings already", number)
		default:
			c.port(p+".port.number", int64(number))
			seen[number] = true
		}
		c.loadBalancer(p+".loadBalancer", s.LoadBalancer)
		c.connectionPool(p+".connectionPool", s.ConnectionPool)
		c.outlierDetection(p+".outlierDetection", s.OutlierDetection)
		c.clientTLS(p+".tls", s.Tls)
	}
	c.tunnel(path+".tunnel", t)
	if b := t.RetryBudget; b != nil {
		c.percent(path+".retryBudget.percent", b.GetPercent().GetValue())
		c.duration(path+".retryBudget.budgetInterval", b.BudgetInterval)
	}
}

func (c *checker) tunnel(path string, p *networking.TrafficPolicy) {
	t := p.Tunnel
	if t == nil {
		return
	}
	if t.Protocol != "" && t.Protocol != "CONNECT" && t.Protocol != "POST" {
		c.fail(path+".protocol", "%q is not CONNECT or POST", t.Protocol)
	}
	if !isIP(t.TargetHost) {
		c.host(path+".targetHost", t.TargetHost, false)
	}
	c.port(path+".targetPort", int64(t.TargetPort))
	if p.ProxyProtocol != nil {
		c.fail(path, "only one of tunnel and proxyProtocol can be set")
	}
}

func (c *checker) loadBalancer(path string, l *networking.LoadBalancerSettings) {
	if l == nil {
		return
	}
	if l.GetSimple() == networking.LoadBalancerSettings_LEAST_CONN { //nolint:staticcheck // the deprecated value is to be named
		c.warn(path+".simple", "LEAST_CONN is deprecated; use LEAST_REQUEST")
	}
	c.consistentHash(path+".consistentHash", l.GetConsistentHash())
	c.locality(path+".localityLbSetting", l.LocalityLbSetting)
	c.duration(path+".warmupDurationSecs", l.WarmupDurationSecs) //nolint:staticcheck // the deprecated field still acts
	if w := l.Warmup; w != nil {
		if l.WarmupDurationSecs != nil { //nolint:staticcheck // the deprecated field still acts
			c.fail(path+".warmup", "only one of warmup and warmupDurationSecs can be set")
		}
		if w.Duration == nil {
			c.fail(path+".warmup.duration", "a duration is required")
		}
		c.duration(path+".warmup.duration", w.Duration)
		c.percent(path+".warmup.minimumPercent", w.GetMinimumPercent().GetValue())
		if w.Aggression != nil && w.Aggression.Value < 1 {
			c.fail(path+".warmup.aggression", "%g must be at least 1", w.Aggression.Value)
		}
	}
}

// largestMaglev is Envoy's limit for the table of a Maglev balancer.
const largestMaglev = 5000011

func (c *checker) consistentHash(path string, h *networking.LoadBalancerSettings_ConsistentHashLB) {
	if h == nil {
		return
	}
	switch k := h.HashKey.(type) {
	case nil:
		c.fail(path, "one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName is required")
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		c.header(path+".httpHeaderName", k.HttpHeaderName)
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		if k.HttpCookie.GetName() == "" {
			c.fail(path+".httpCookie.name", "a cookie needs a name")
		}
		if ttl := k.HttpCookie.GetTtl(); ttl != nil && ttl.AsDuration() < 0 {
			c.fail(path+".httpCookie.ttl", "the duration %s must not be negative", ttl.AsDuration())
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		if k.HttpQueryParameterName == "" {
			c.fail(path+".httpQueryParameterName", "a name is required")
		}
	}
	if m := h.GetMaglev(); m != nil && m.TableSize != 0 {
		if m.TableSize > largestMaglev || !new(big.Int).SetUint64(m.TableSize).ProbablyPrime(0) {
			c.fail(path+".maglev.tableSize", "%d is not a prime number of at most %d", m.TableSize, largestMaglev)
		}
	}
}

func (c *checker) locality(path string, l *networking.LocalityLoadBalancerSetting) {
	if l == nil {
		return
	}
	if len(l.Distribute) > 0 && (len(l.Failover) > 0 || len(l.FailoverPriority) > 0) {
		c.fail(path, "distribute cannot stand beside failover and failoverPriority")
	}
	for i, d := range l.Distribute {
		p := at(path+".distribute", i)
		if d.From == "" {
			c.fail(p+".from", "a locality is required")
		}
		var sum uint64
		for _, k := range slices.Sorted(maps.Keys(d.To)) {
			if sum += uint64(d.To[k]); d.To[k] == 0 {
				c.fail(key(p+".to", k), "a weight of 0 is not allowed; leave the locality out")
			}
		}
		if sum != 100 {
			c.fail(p+".to", "the weights add up to %d, not to 100", sum)
		}
	}
	for i, f := range l.Failover {
		if p := at(path+".failover", i); f.From == "" || f.To == "" || f.From == f.To {
			c.fail(p, "from and to must be two different regions")
		}
	}
}

func (c *checker) connectionPool(path string, s *networking.ConnectionPoolSettings) {
	if s == nil {
		return
	}
	if s.Tcp == nil && s.Http == nil {
		c.fail(path, "one of tcp and http is required")
	}
	if t := s.Tcp; t != nil {
		p := path + ".tcp"
		c.nonNegative(p+".maxConnections", t.MaxConnections)
		c.duration(p+".connectTimeout", t.ConnectTimeout)
		c.duration(p+".maxConnectionDuration", t.MaxConnectionDuration)
		if t.IdleTimeout != nil && t.IdleTimeout.AsDuration() != 0 {
			c.duration(p+".idleTimeout", t.IdleTimeout)
		}
		if k := t.TcpKeepalive; k != nil {
			c.duration(p+".tcpKeepalive.time", k.Time)
			c.duration(p+".tcpKeepalive.interval", k.Interval)
		}
	}
	if h := s.Http; h != nil {
		p := path + ".http"
		c.nonNegative(p+".http1MaxPendingRequests", h.Http1MaxPendingRequests)
		c.nonNegative(p+".http2MaxRequests", h.Http2MaxRequests)
		c.nonNegative(p+".maxRequestsPerConnection", h.MaxRequestsPerConnection)
		c.nonNegative(p+".maxRetries", h.MaxRetries)
		c.nonNegative(p+".maxConcurrentStreams", h.MaxConcurrentStreams)
		if h.IdleTimeout != nil && h.IdleTimeout.AsDuration() != 0 {
			c.duration(p+".idleTimeout", h.IdleTimeout)
		}
		if k := h.Http2KeepAlive; k != nil {
			c.required(p+".http2KeepAlive.interval", k.Interval)
			c.required(p+".http2KeepAlive.timeout", k.Timeout)
		}
		if h.UseClientProtocol && h.H2UpgradePolicy == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE {
			c.fail(p+".useClientProtocol", "useClientProtocol and h2UpgradePolicy UPGRADE exclude each other")
		}
	}
}

func (c *checker) outlierDetection(path string, o *networking.OutlierDetection) {
	if o == nil {
		return
	}
	if o.ConsecutiveErrors != 0 { //nolint:staticcheck // the deprecated field is to be named
		c.warn(path+".consecutiveErrors", "consecutiveErrors is deprecated; use consecutive5xxErrors or consecutiveGatewayErrors")
		c.nonNegative(path+".consecutiveErrors", o.ConsecutiveErrors) //nolint:staticcheck // as above
	}
	c.duration(path+".interval", o.Interval)
	c.duration(path+".baseEjectionTime", o.BaseEjectionTime)
	c.percent(path+".maxEjectionPercent", float64(o.MaxEjectionPercent))
	c.percent(path+".minHealthPercent", float64(o.MinHealthPercent))
	if o.ConsecutiveLocalOriginFailures != nil && !o.SplitExternalLocalOriginErrors {
		c.warn(path+".consecutiveLocalOriginFailures", "it has no effect without splitExternalLocalOriginErrors: true")
	}
}

func (c *checker) clientTLS(path string, t *networking.ClientTLSSettings) {
	if t == nil {
		return
	}
	files := t.ClientCertificate != "" || t.PrivateKey != "" || t.CaCertificates != ""
	if t.CredentialName != "" && files {
		c.fail(path+".credentialName", "only one of credentialName and certificate files can be set")
	}
	if t.GetInsecureSkipVerify().GetValue() && (t.CaCertificates != "" || len(t.SubjectAltNames) > 0) {
		c.fail(path+".insecureSkipVerify", "with insecureSkipVerify nothing is verified; caCertificates and subjectAltNames have no effect")
	}
	switch t.Mode {
	case networking.ClientTLSSettings_MUTUAL:
		if t.CredentialName != "" {
			break
		}
		if t.ClientCertificate == "" {
			c.fail(path+".clientCertificate", "the mode MUTUAL needs clientCertificate or credentialName")
		}
		if t.PrivateKey == "" {
			c.fail(path+".privateKey", "the mode MUTUAL needs privateKey or credentialName")
		}
	case networking.ClientTLSSettings_ISTIO_MUTUAL:
		if files || t.CredentialName != "" {
			c.fail(path, "the mode ISTIO_MUTUAL uses the workload's own certificate; certificate files and credentialName cannot be set")
		}
	case networking.ClientTLSSettings_SIMPLE:
		if t.ClientCertificate != "" || t.PrivateKey != "" {
			c.warn(path, "the mode SIMPLE presents no certificate; clientCertificate and privateKey have no effect")
		}
	case networking.ClientTLSSettings_DISABLE:
		if files || t.CredentialName != "" || t.Sni != "" || len(t.SubjectAltNames) > 0 {
			c.warn(path, "the mode DISABLE uses no TLS; the other fields have no effect")
		}
	}
}
