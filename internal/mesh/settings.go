package mesh

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Settings are what holds for the whole mesh (Istio's MeshConfig). The zero value
// is Istio's defaults.
type Settings struct {
	Origin verdict.Origin
	// TrustDomain is the one that is asked for; "": whatever the authority has.
	TrustDomain        string
	TrustDomainAliases []string
	// RootNamespace holds mesh-wide policies; "": Inputs.RootNamespace.
	RootNamespace string

	// Outbound says what becomes of calls to hosts that the mesh does not know.
	Outbound OutboundPolicy
	// The namespaces that see what does not say so itself; empty: all.
	ServiceExportTo, RouteExportTo, PolicyExportTo []string

	// ConnectTimeout bounds how long a connection takes to be made; 0: 10 s.
	ConnectTimeout time.Duration
	// KeepAlive is what connections have where no policy says else; nil: none.
	KeepAlive *KeepAlive
	// ManualMTLS turns automatic mTLS off: hosts are called in the clear unless a
	// policy asks for TLS (enableAutoMtls: false).
	ManualMTLS bool
	// DNSRefresh is how often names without a time to live are asked for again; 0:
	// 60 s (dnsRefreshRate).
	DNSRefresh time.Duration
	// UpgradeHTTP calls ports of HTTP/1.1 over HTTP/2 where no policy says else
	// (h2UpgradePolicy).
	UpgradeHTTP bool
	// DetectionTimeout is how long the first bytes of a client are waited for before
	// the connection counts as opaque; 0: for ever.
	DetectionTimeout time.Duration
	// Retries is the policy of rules that have none; nil: Istio's default.
	Retries *Retries
	// Pool and Outlier are what hosts have where no policy says else, and inbound and
	// passthrough clusters always (defaultTrafficPolicy).
	Pool    *Pool
	Outlier *Outlier
	// Locality is how localities are preferred where no policy says else; nil: by
	// failover.
	Locality *LocalitySetting
	// Paths is how paths are normalised before they are matched.
	Paths PathNormalization
	// HTTP10 has all proxies take HTTP/1.0; Headers says which headers they add. A proxy
	// may tell otherwise of itself (defaultConfig).
	HTTP10   bool
	Headers  ProxyHeaders
	Topology Topology
}

// OutboundPolicy says what becomes of calls to hosts that the mesh does not know.
type OutboundPolicy string

// The policies (outboundTrafficPolicy.mode).
const (
	AllowAny     OutboundPolicy = ""
	RegistryOnly OutboundPolicy = "registry_only"
)

// LocalitySetting says how endpoints are preferred by where they are
// (localityLbSetting).
type LocalitySetting struct {
	Origin verdict.Origin
	// Disabled is an explicit "enabled: false".
	Disabled bool
	// Distribute shares the calls of a locality out; Failover names the region that
	// comes after the own one. At most one of the two is set.
	Distribute []Distribution
	Failover   []Failover
	// Priority lists labels, "key" or "key=value", in the order in which endpoints
	// must have them in common with the caller.
	Priority []string
}

// Distribution shares the calls from one locality out, in per cent by locality.
// Localities are "region/zone/subzone", of which the last part that is written may
// be "*".
type Distribution struct {
	From string
	To   map[string]uint32
}

// Failover names the region that takes over from another.
type Failover struct{ From, To string }

// PathNormalization is how paths of requests are rewritten before they are matched
// and sent on.
type PathNormalization string

// The ways of pathNormalization, each doing what those before it do. BASE is that of
// RFC 3986: dots are resolved, backslashes become slashes.
const (
	PathBase                PathNormalization = ""
	PathNone                PathNormalization = "none"
	PathMergeSlashes        PathNormalization = "merge_slashes"
	PathDecodeAndMergeSlash PathNormalization = "decode_and_merge_slashes"
)

// Settings are what holds for the whole mesh. The caller must not change them.
func (s *Snapshot) Settings() *Settings { return &s.settings }
