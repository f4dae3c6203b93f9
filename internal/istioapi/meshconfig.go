package istioapi

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Settings reads the mesh's configuration. Whatever the text of m was, at is where
// it came from; its paths begin below.
func Settings(m *meshconfig.MeshConfig, at verdict.Origin) (mesh.Settings, []verdict.Status) {
	r := &reader{}
	return r.settings(m, at), verdict.Sort(r.statuses)
}

// configMap takes the mesh's configuration from its ConfigMap; others belong to
// those who run workloads. A text that cannot be read leaves the defaults in force:
// validation keeps it from getting here.
func (r *reader) configMap(o *api.Object, in *corev1.ConfigMap) {
	if o.Meta.Namespace != api.MeshConfigNamespace || o.Meta.Name != api.MeshConfigMap {
		return
	}
	origin := o.Origin()
	m := &meshconfig.MeshConfig{}
	unknown, err := api.DecodeMessage([]byte(in.Data[api.MeshConfigKey]), o.Ref().String(), m)
	if err != nil {
		r.say(origin, verdict.Invalid, "%v; the defaults are in force", err)
		return
	}
	for _, u := range unknown {
		r.say(origin.At(u.Path), verdict.NotActedOn, "%s", u.Msg)
	}
	r.onMachine = true
	r.cfg.Settings = r.settings(m, origin)
}

func (r *reader) settings(m *meshconfig.MeshConfig, at verdict.Origin) mesh.Settings {
	r.walkMessage(at, m.ProtoReflect())
	return mesh.Settings{
		Origin:             at,
		TrustDomain:        m.GetTrustDomain(),
		TrustDomainAliases: slices.Clone(m.GetTrustDomainAliases()),
		RootNamespace:      m.GetRootNamespace(),
		Outbound:           r.outboundPolicy(m.GetOutboundTrafficPolicy(), at.At("outboundTrafficPolicy")),
		ServiceExportTo:    r.exportTo(at.At("defaultServiceExportTo"), m.GetDefaultServiceExportTo()),
		RouteExportTo:      r.exportTo(at.At("defaultVirtualServiceExportTo"), m.GetDefaultVirtualServiceExportTo()),
		PolicyExportTo:     r.exportTo(at.At("defaultDestinationRuleExportTo"), m.GetDefaultDestinationRuleExportTo()),
		ConnectTimeout:     r.positive(at.At("connectTimeout"), m.GetConnectTimeout()),
		KeepAlive:          keepAlive(m.GetTcpKeepalive()),
		ManualMTLS:         m.GetEnableAutoMtls() != nil && !m.GetEnableAutoMtls().GetValue(),
		DNSRefresh:         r.positive(at.At("dnsRefreshRate"), m.GetDnsRefreshRate()),
		UpgradeHTTP:        m.GetH2UpgradePolicy() == meshconfig.MeshConfig_UPGRADE,
		DetectionTimeout:   r.positive(at.At("protocolDetectionTimeout"), m.GetProtocolDetectionTimeout()),
		Retries:            r.defaultRetries(at.At("defaultHttpRetryPolicy"), m.GetDefaultHttpRetryPolicy()),
		Pool:               r.pool(at.At("defaultTrafficPolicy.connectionPool"), m.GetDefaultTrafficPolicy().GetConnectionPool()),
		Outlier:            r.outlier(at.At("defaultTrafficPolicy.outlierDetection"), m.GetDefaultTrafficPolicy().GetOutlierDetection()),
		Locality:           locality(at.At("localityLbSetting"), m.GetLocalityLbSetting()),
		HTTP10:             m.GetDefaultConfig().GetProxyMetadata()[http10] == "1",
		Topology:           Topology(m.GetDefaultConfig().GetGatewayTopology()),
		Headers:            ProxyHeaders(m.GetDefaultConfig().GetProxyHeaders()),
		Paths:              r.paths(at.At("pathNormalization.normalization"), m.GetPathNormalization().GetNormalization()),
	}
}

// outboundPolicy reads the mode. Without the message it is ALLOW_ANY, although the
// message's own default is REGISTRY_ONLY (Istio).
func (r *reader) outboundPolicy(in *meshconfig.MeshConfig_OutboundTrafficPolicy, at verdict.Origin) mesh.OutboundPolicy {
	if in == nil {
		return mesh.AllowAny
	}
	switch in.Mode {
	case meshconfig.MeshConfig_OutboundTrafficPolicy_REGISTRY_ONLY:
		return mesh.RegistryOnly
	case meshconfig.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY_DYNAMIC_DNS:
		r.say(at.At("mode"), verdict.Unsupported, "names that the mesh does not know are not resolved by proxies: ALLOW_ANY is in force")
	}
	return mesh.AllowAny
}

// exportTo reads a list of namespaces; what is none is left out, so that it widens
// nothing.
func (r *reader) exportTo(at verdict.Origin, in []string) []string {
	var out []string
	for i, ns := range in {
		if ns = strings.TrimSpace(ns); ns == "" {
			r.say(at.At("["+strconv.Itoa(i)+"]"), verdict.Invalid, "not the name of a namespace")
			ns = "~"
		}
		out = append(out, ns)
	}
	return out
}

// positive reads a duration that is not negative; nil is 0.
func (r *reader) positive(at verdict.Origin, d *durationpb.Duration) time.Duration {
	return r.duration(at, d.AsDuration())
}

func keepAlive(k *networking.ConnectionPoolSettings_TCPSettings_TcpKeepalive) *mesh.KeepAlive {
	if k == nil {
		return nil
	}
	return &mesh.KeepAlive{Probes: k.Probes, Time: k.Time.AsDuration(), Interval: k.Interval.AsDuration()}
}

// defaultRetries reads the policy of rules without one. One that is invalid is said
// to be so and does not act.
func (r *reader) defaultRetries(at verdict.Origin, in *networking.HTTPRetry) *mesh.Retries {
	if in == nil {
		return nil
	}
	var invalid string
	c := &ruleReader{reader: &reader{}}
	out := c.retries(&invalid, at, in)
	if invalid != "" {
		r.say(at, verdict.Invalid, "%s; Istio's default is in force", strings.TrimPrefix(invalid, at.Path+": "))
		return nil
	}
	return out
}

func locality(at verdict.Origin, in *networking.LocalityLoadBalancerSetting) *mesh.LocalitySetting {
	if in == nil {
		return nil
	}
	out := &mesh.LocalitySetting{
		Origin: at, Disabled: in.Enabled != nil && !in.Enabled.Value, Priority: slices.Clone(in.FailoverPriority),
	}
	for _, d := range in.Distribute {
		out.Distribute = append(out.Distribute, mesh.Distribution{From: d.From, To: d.To})
	}
	for _, f := range in.Failover {
		out.Failover = append(out.Failover, mesh.Failover{From: f.From, To: f.To})
	}
	return out
}

func (r *reader) paths(at verdict.Origin, in meshconfig.MeshConfig_ProxyPathNormalization_NormalizationType) mesh.PathNormalization {
	switch in {
	case meshconfig.MeshConfig_ProxyPathNormalization_NONE:
		return mesh.PathNone
	case meshconfig.MeshConfig_ProxyPathNormalization_MERGE_SLASHES:
		return mesh.PathMergeSlashes
	case meshconfig.MeshConfig_ProxyPathNormalization_DECODE_AND_MERGE_SLASHES:
		return mesh.PathDecodeAndMergeSlash
	}
	return mesh.PathBase
}
