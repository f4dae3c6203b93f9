package istioapi

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

func (r *reader) destinationRule(o *api.Object, meta mesh.Meta, in *networking.DestinationRule) {
	spec := meta.Origin.At("spec")
	if in.Host == "" {
		r.say(spec.At("host"), verdict.Invalid, "the rule names no host")
		return
	}
	out := mesh.HostPolicy{
		Meta:      meta,
		Namespace: o.Meta.Namespace,
		Name:      o.Meta.Name,
		Host:      qualify(in.Host, o.Meta.Namespace),
		ExportTo:  in.ExportTo,
		Clients:   in.GetWorkloadSelector().GetMatchLabels(),
		Policy:    r.trafficPolicy(spec.At("trafficPolicy"), in.TrafficPolicy),
	}
	seen := map[string]bool{}
	for i, s := range in.Subsets {
		at := spec.At(index("subsets", i))
		switch {
		case s.Name == "":
			r.say(at.At("name"), verdict.Invalid, "the subset has no name")
			continue
		case seen[s.Name]:
			r.say(at, verdict.Shadowed, "an earlier subset has the name %s", s.Name)
			continue
		}
		seen[s.Name] = true
		out.Subsets = append(out.Subsets, mesh.Subset{
			Origin: at, Name: s.Name, Labels: s.Labels,
			Policy: r.trafficPolicy(at.At("trafficPolicy"), s.TrafficPolicy),
		})
	}
	r.cfg.Policies = append(r.cfg.Policies, out)
}

func (r *reader) trafficPolicy(at verdict.Origin, in *networking.TrafficPolicy) mesh.TrafficPolicy {
	if in == nil {
		return mesh.TrafficPolicy{}
	}
	out := mesh.TrafficPolicy{
		Balance: r.balance(at.At("loadBalancer"), in.LoadBalancer),
		Pool:    r.pool(at.At("connectionPool"), in.ConnectionPool),
		Outlier: r.outlier(at.At("outlierDetection"), in.OutlierDetection),
		TLS:     r.clientTLS(at.At("tls"), in.Tls),
		Budget:  r.retryBudget(at.At("retryBudget"), in.RetryBudget),
		Proxy:   proxyProtocol(in.ProxyProtocol),
	}
	for i, p := range in.PortLevelSettings {
		pat := at.At(index("portLevelSettings", i))
		n := p.GetPort().GetNumber()
		if n == 0 || n > 65535 {
			r.say(pat.At("port.number"), verdict.Invalid, "the port %d is out of range", n)
			continue
		}
		out.Ports = append(out.Ports, mesh.PortPolicy{Port: uint16(n), Policy: mesh.TrafficPolicy{
			Balance: r.balance(pat.At("loadBalancer"), p.LoadBalancer),
			Pool:    r.pool(pat.At("connectionPool"), p.ConnectionPool),
			Outlier: r.outlier(pat.At("outlierDetection"), p.OutlierDetection),
			TLS:     r.clientTLS(pat.At("tls"), p.Tls),
		}})
	}
	return out
}

func (r *reader) pool(at verdict.Origin, in *networking.ConnectionPoolSettings) *mesh.Pool {
	if in == nil {
		return nil
	}
	out := &mesh.Pool{Origin: at}
	if t := in.Tcp; t != nil {
		tat := at.At("tcp")
		out.ConnectTimeout = r.duration(tat.At("connectTimeout"), t.ConnectTimeout.AsDuration())
		out.MaxConnections = r.limit(tat.At("maxConnections"), t.MaxConnections)
		out.MaxConnectionDuration = r.duration(tat.At("maxConnectionDuration"), t.MaxConnectionDuration.AsDuration())
		out.TCPIdle = r.duration(tat.At("idleTimeout"), t.IdleTimeout.AsDuration())
		if k := t.TcpKeepalive; k != nil {
			out.KeepAlive = &mesh.KeepAlive{Probes: k.Probes, Time: k.Time.AsDuration(), Interval: k.Interval.AsDuration()}
		}
	}
	if h := in.Http; h != nil {
		hat := at.At("http")
		out.MaxPending = r.limit(hat.At("http1MaxPendingRequests"), h.Http1MaxPendingRequests)
		out.MaxRequests = r.limit(hat.At("http2MaxRequests"), h.Http2MaxRequests)
		out.RequestsPerConnection = r.limit(hat.At("maxRequestsPerConnection"), h.MaxRequestsPerConnection)
		out.MaxRetries = r.limit(hat.At("maxRetries"), h.MaxRetries)
		out.IdleTimeout = r.duration(hat.At("idleTimeout"), h.IdleTimeout.AsDuration())
		out.Streams = r.limit(hat.At("maxConcurrentStreams"), h.MaxConcurrentStreams)
		out.Version = r.httpVersion(hat, h)
		out.Ping = r.ping(hat.At("http2KeepAlive"), h.Http2KeepAlive)
	}
	return out
}

// httpVersion reads the two fields that choose it. Without an upgrade for the
// whole mesh, DEFAULT and DO_NOT_UPGRADE are the same.
func (r *reader) httpVersion(at verdict.Origin, in *networking.ConnectionPoolSettings_HTTPSettings) mesh.HTTPVersion {
	upgrade := in.H2UpgradePolicy == networking.ConnectionPoolSettings_HTTPSettings_UPGRADE
	switch {
	case in.UseClientProtocol && upgrade:
		r.say(at.At("h2UpgradePolicy"), verdict.NotActedOn, "useClientProtocol keeps the client's version of HTTP: nothing is upgraded")
		return mesh.AsClient
	case in.UseClientProtocol:
		return mesh.AsClient
	case upgrade:
		return mesh.Upgraded
	}
	return mesh.ByPort
}

// ping reads http2KeepAlive, whose two fields are required. Envoy takes no less
// than a millisecond for either.
func (r *reader) ping(at verdict.Origin, in *networking.ConnectionPoolSettings_HTTPSettings_ConnectionKeepalive) *mesh.Ping {
	if in == nil {
		return nil
	}
	out := &mesh.Ping{Interval: in.Interval.AsDuration(), Timeout: in.Timeout.AsDuration()}
	if out.Interval < time.Millisecond || out.Timeout < time.Millisecond {
		r.say(at, verdict.Invalid, "interval and timeout are both required, of a millisecond or more: no pings are sent")
		return nil
	}
	return out
}

// limit reads a limit: 0 is none, a negative one is invalid and acts as none.
func (r *reader) limit(at verdict.Origin, n int32) uint32 {
	if n < 0 {
		r.say(at, verdict.Invalid, "the limit is negative and has no effect")
		return 0
	}
	return uint32(n)
}

func (r *reader) duration(at verdict.Origin, d time.Duration) time.Duration {
	if d < 0 {
		r.say(at, verdict.Invalid, "the duration is negative and has no effect")
		return 0
	}
	return d
}

func (r *reader) outlier(at verdict.Origin, in *networking.OutlierDetection) *mesh.Outlier {
	if in == nil {
		return nil
	}
	return &mesh.Outlier{
		Origin:             at,
		Consecutive5xx:     number(in.Consecutive_5XxErrors),
		ConsecutiveGateway: number(in.ConsecutiveGatewayErrors),
		ConsecutiveLocal:   number(in.ConsecutiveLocalOriginFailures),
		SplitLocal:         in.SplitExternalLocalOriginErrors,
		Interval:           r.duration(at.At("interval"), in.Interval.AsDuration()),
		BaseEjection:       r.duration(at.At("baseEjectionTime"), in.BaseEjectionTime.AsDuration()),
		MaxEjectionPercent: min(r.limit(at.At("maxEjectionPercent"), in.MaxEjectionPercent), 100),
		MinHealthPercent:   min(r.limit(at.At("minHealthPercent"), in.MinHealthPercent), 100),
		ErrorCodes:         r.errorCodes(at.At("outlierDetectionHttpErrorCodes"), in.OutlierDetectionHttpErrorCodes),
	}
}

// errorCodes keeps the codes that are some, sorted.
func (r *reader) errorCodes(at verdict.Origin, in []uint32) []uint32 {
	var out []uint32
	for _, c := range in {
		if c < 100 || c > 599 {
			r.say(at, verdict.Invalid, "%d is no status: it is left out", c)
			continue
		}
		out = append(out, c)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func number(v *wrapperspb.UInt32Value) *uint32 {
	if v == nil {
		return nil
	}
	return &v.Value
}

// clientTLS reads an explicit choice of how to call. SIMPLE and MUTUAL are not
// supported: the host is then called as without the field, which inside the mesh
// is mesh TLS, never less.
func (r *reader) clientTLS(at verdict.Origin, in *networking.ClientTLSSettings) *mesh.ClientTLS {
	if in == nil {
		return nil
	}
	out := &mesh.ClientTLS{Origin: at, SNI: in.Sni, SANs: in.SubjectAltNames}
	switch in.Mode {
	case networking.ClientTLSSettings_DISABLE:
		out.Mode = mesh.TLSDisable
	case networking.ClientTLSSettings_ISTIO_MUTUAL:
		out.Mode = mesh.TLSIstioMutual
	default:
		r.say(at.At("mode"), verdict.Unsupported, "the mode %s is not supported yet: the host is called as if tls were not set", in.Mode)
		return nil
	}
	return out
}
