package compile

import (
	"cmp"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// connectTimeout is Istio's default for a TCP connection to an endpoint.
const connectTimeout = 10 * time.Second

// commonClusters adds the clusters that every proxy has.
func (c *assembler) commonClusters() {
	c.shared.Clusters = append(c.shared.Clusters, &ir.Cluster{Key: ir.Key{Direction: ir.BlackHole}, Discovery: ir.Nowhere, App: ir.TCP, TLS: ir.PlainCall})
	if c.out.Redirected {
		c.shared.Clusters = append(c.shared.Clusters, &ir.Cluster{Key: ir.Key{Direction: ir.PassthroughTo}, Discovery: ir.ByAddress, App: ir.Sniffed, Speaks: ir.AsClient, TLS: ir.PlainCall, Pool: pool(c.snap.Settings().Pool, c.snap.Settings())})
	}
}

// clustersOf adds a cluster for every port of a host, and one for each of its
// subsets, with their endpoints.
func (c *compiler) clustersOf(h *mesh.Host) {
	policy := c.snap.Policy(c.client, h)
	scope := c.client.Scope()
	for _, p := range h.Ports {
		if !scope.Sees(h, p.Number) && seesAny(scope, h) {
			continue // a host that is not seen at all is here because rules lead to it
		}
		c.cluster(h, p, policy, "", nil)
		if policy == nil {
			continue
		}
		for _, s := range policy.Subsets {
			c.cluster(h, p, policy, s.Name, s.Labels)
		}
	}
}

func (c *compiler) cluster(h *mesh.Host, p *mesh.Port, policy *mesh.Policy, subset string, labels map[string]string) {
	traffic := c.snap.Traffic(policy, subset, p.Number)
	out := ir.Cluster{
		Key:       ir.Key{Direction: ir.OutboundTo, Port: p.Number, Subset: subset, Host: h.Name},
		Discovery: ir.ByAssignment,
		App:       c.appCalled(p.Protocol),
		Services:  []ir.ServiceRef{serviceRef(h, p)},
		TLS:       c.callTLS(h),
		SANs:      p.Identities,
		Pool:      pool(traffic.Pool, c.snap.Settings()),
		Budget:    retryBudget(traffic.Budget),
		Proxy:     ir.ProxyProtocol(traffic.Proxy),
		Outlier:   outlier(traffic.Outlier),
	}
	balance(&out, traffic.Balance)
	out.Speaks = version(out.App, traffic.Pool)
	out.SNI = out.Key.SNI()
	if policy != nil {
		out.Origins = policy.Origins
	}
	if t := traffic.TLS; t != nil {
		out.TLS = ir.PlainCall
		if t.Mode == mesh.TLSIstioMutual {
			out.TLS = ir.MeshTLS
			out.SNI = cmp.Or(t.SNI, out.SNI)
		}
		if len(t.SANs) > 0 {
			out.SANs = slices.Sorted(slices.Values(t.SANs))
		}
	}
	if h.Service.Headless() {
		out.Discovery = ir.ByAddress
	}
	if c.client.Gateway() {
		out.Discovery = ir.ByAssignment // its clients dial the gateway, not the endpoint
	}
	c.entry(&out, h, p, &traffic, labels)
	if out.Discovery == ir.ByAddress && out.TLS == ir.AutoTLS {
		out.TLS = c.allMeshTLS(h, p)
	}
	setting, _ := c.localities(h, &traffic)
	out.Weighted = (out.Discovery == ir.ByAssignment || out.Inline != nil) && !setting.Disabled && len(setting.Distribute) > 0
	c.out.Clusters = append(c.out.Clusters, out)
	if c.endpoints && out.Discovery == ir.ByAssignment {
		placing := c.placing(h, &traffic)
		c.out.Assignments = append(c.out.Assignments, c.assignment(h, p, &placing, out.Key, labels))
	}
}

// callTLS is how hosts are called where no policy says.
func (c *compiler) callTLS(h *mesh.Host) ir.CallTLS {
	if e := h.Service.Entry; c.snap.Settings().ManualMTLS || e != nil && e.External {
		return ir.PlainCall
	}
	return ir.AutoTLS
}

// allMeshTLS decides for clusters that call the address that the client dialled:
// endpoints cannot be told apart there, so that mesh TLS needs all of them.
func (c *compiler) allMeshTLS(h *mesh.Host, p *mesh.Port) ir.CallTLS {
	list := c.snap.Endpoints(h, p)
	for i := range list {
		if !c.takesMeshTLS(&list[i]) {
			return ir.PlainCall
		}
	}
	if len(list) == 0 {
		return ir.PlainCall
	}
	return ir.MeshTLS
}

// entry says how the endpoints of an entry are found. At a gateway there is no
// address that the client dialled: one with resolution NONE has no endpoints there.
func (c *compiler) entry(out *ir.Cluster, h *mesh.Host, p *mesh.Port, traffic *mesh.TrafficPolicy, labels map[string]string) {
	e := h.Service.Entry
	if e == nil {
		return
	}
	out.External = e.External
	if e.Resolution == registry.ByDialled && !c.client.Gateway() {
		out.Discovery = ir.ByAddress
	}
	if !e.Resolution.ByDNS() {
		return
	}
	out.Discovery = ir.ByNames
	if e.Resolution == registry.OneName {
		out.Discovery = ir.ByOneName
	}
	placing := c.placing(h, traffic)
	a := c.assignment(h, p, &placing, out.Key, labels)
	out.Inline, out.Refresh = &a, cmp.Or(c.snap.Settings().DNSRefresh, dnsRefresh)
	if c.client.IPv6() {
		out.Family = ir.IPv6
	}
}

// dnsRefresh is Istio's default of MeshConfig.dnsRefreshRate.
const dnsRefresh = 60 * time.Second

func appOf(p registry.Protocol) ir.App {
	switch {
	case p.IsHTTP2():
		return ir.HTTP2
	case p.IsHTTP():
		return ir.HTTP
	case p == registry.Auto:
		return ir.Sniffed
	}
	return ir.TCP
}

// appCalled is how a port is called. What comes to a gateway is requests: it calls
// a port that declares nothing as one of HTTP/1.1, which every server speaks, though
// its own client may speak HTTP/2 (Istio: no detection of protocols at gateways).
func (c *compiler) appCalled(p registry.Protocol) ir.App {
	if app := appOf(p); app != ir.Sniffed || !c.client.Gateway() {
		return app
	}
	return ir.HTTP
}

// version is the version of HTTP in which a port is called: what the policy says,
// else what the port declares; a port that declares nothing gets what the client
// spoke. An upgrade acts there too: its author knows the server (Istio).
func version(app ir.App, policy *mesh.Pool) ir.Version {
	switch {
	case app == ir.TCP:
		return ir.HTTP1Only
	case policy != nil && policy.Version == mesh.AsClient:
		return ir.AsClient
	case policy != nil && policy.Version == mesh.Upgraded, app == ir.HTTP2:
		return ir.HTTP2Only
	case app == ir.Sniffed:
		return ir.AsClient
	}
	return ir.HTTP1Only
}

func serviceRef(h *mesh.Host, p *mesh.Port) ir.ServiceRef {
	return ir.ServiceRef{Host: h.Name, Name: h.Service.Name, Namespace: h.Service.Namespace, Port: p.Number}
}

// pool is a policy's limits, or the mesh's where it sets none.
func pool(in *mesh.Pool, m *mesh.Settings) ir.Pool {
	if in == nil {
		in = &mesh.Pool{}
	}
	out := ir.Pool{
		ConnectTimeout:        cmp.Or(in.ConnectTimeout, m.ConnectTimeout, connectTimeout),
		MaxConnections:        in.MaxConnections,
		MaxPending:            in.MaxPending,
		MaxRequests:           in.MaxRequests,
		MaxRetries:            in.MaxRetries,
		RequestsPerConnection: in.RequestsPerConnection,
		Streams:               in.Streams,
		IdleTimeout:           in.IdleTimeout,
		MaxConnectionDuration: in.MaxConnectionDuration,
	}
	if k := cmp.Or(in.KeepAlive, m.KeepAlive); k != nil {
		out.KeepAlive = &ir.KeepAlive{Probes: k.Probes, Time: k.Time, Interval: k.Interval}
	}
	if p := in.Ping; p != nil {
		out.Ping = &ir.Ping{Interval: p.Interval, Timeout: p.Timeout}
	}
	return out
}

func outlier(in *mesh.Outlier) *ir.Outlier {
	if in == nil {
		return nil
	}
	return &ir.Outlier{
		Consecutive5xx:     in.Consecutive5xx,
		ConsecutiveGateway: in.ConsecutiveGateway,
		ConsecutiveLocal:   in.ConsecutiveLocal,
		SplitLocal:         in.SplitLocal,
		Interval:           in.Interval,
		BaseEjection:       in.BaseEjection,
		MaxEjectionPercent: in.MaxEjectionPercent,
		MinHealthPercent:   in.MinHealthPercent,
		ErrorCodes:         in.ErrorCodes,
	}
}
