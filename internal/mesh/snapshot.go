package mesh

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/sum"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Inputs is what Build reads besides configuration.
type Inputs struct {
	Workloads []registry.Workload
	// VIPs are the services' addresses by key, from registry.Allocate.
	VIPs map[string]netip.Addr
	// TrustDomain is the mesh's trust domain, "cluster.local" where empty.
	TrustDomain string
	// RootNamespace holds mesh-wide policies where the settings name none;
	// "istio-system" where empty.
	RootNamespace string
	// ScopeGateways keeps the selectors of Istio's gateways within their own
	// namespaces (Istio's PILOT_SCOPE_GATEWAY_TO_NAMESPACE).
	ScopeGateways bool
}

// Snapshot is the mesh at one moment. It is immutable: callers must not change
// what its methods return.
type Snapshot struct {
	settings      Settings
	settingsRev   uint64
	trustDomain   string
	rootNamespace string
	workloads     *registry.Index
	hosts         []*Host // by name
	byName        map[string]*Host
	rivals        map[string][]*Host // all hosts of a name that several services have
	aliases       map[string][]*Host // by the host that they are other names of
	byNamespace   map[string][]*Host
	routes        *routeIndex
	policies      *policyIndex
	gateways      []*Gateway // oldest first
	scopeGateways bool
	mtls          *mtlsIndex
	scopes        []*SidecarScope // oldest first
	secrets       map[[2]string]*Secret
}

// Build makes a snapshot of the mesh. The order of the inputs does not matter. The
// verdicts say of every object whether it is effective, and of every reference
// whether what it names exists.
func Build(cfg Config, in Inputs) (*Snapshot, []verdict.Status) {
	s := &Snapshot{
		trustDomain:   cmp.Or(in.TrustDomain, Domain),
		rootNamespace: cmp.Or(cfg.Settings.RootNamespace, in.RootNamespace, DefaultRootNamespace),
		settings:      cfg.Settings,
		scopeGateways: in.ScopeGateways,
		workloads:     registry.NewIndex(withEntries(in.Workloads, cfg.Entries)),
		secrets:       make(map[[2]string]*Secret, len(cfg.Secrets)),
	}
	s.settingsRev = sum.Of([]any{s.settings, s.trustDomain, s.rootNamespace, len(cfg.Scopes) > 0})
	var v verdicts
	if asked := cfg.Settings.TrustDomain; asked != "" && asked != s.trustDomain {
		v.say(cfg.Settings.Origin.At("trustDomain"), verdict.Waiting, "the trust domain is %s until the control plane starts again", s.trustDomain)
	}
	s.buildHosts(&v, cfg.Services, in.VIPs)
	s.routes = newRouteIndex(delegated(&v, cfg.Routes, cfg.Settings.RouteExportTo))
	s.policies = newPolicyIndex(&v, cfg.Policies, cfg.Settings.PolicyExportTo)
	s.mtls = newMTLSIndex(&v, cfg.MTLS, s.rootNamespace)
	s.gateways = pointers(cfg.Gateways)
	slices.SortFunc(s.gateways, func(a, b *Gateway) int { return older(&a.Meta, &b.Meta) })
	for i := range cfg.Secrets {
		sec := &cfg.Secrets[i]
		s.secrets[[2]string{sec.Namespace, sec.Name}] = sec
	}
	s.scopes = pointers(cfg.Scopes)
	slices.SortFunc(s.scopes, func(a, b *SidecarScope) int { return older(&a.Meta, &b.Meta) })
	s.checkScopes(&v)
	s.check(&v, &cfg)
	v.effective(&cfg)
	return s, verdict.Sort(v.list)
}

// TrustDomain is the mesh's trust domain.
func (s *Snapshot) TrustDomain() string { return s.trustDomain }

// RootNamespace holds mesh-wide policies.
func (s *Snapshot) RootNamespace() string { return s.rootNamespace }

// Workloads finds workloads.
func (s *Snapshot) Workloads() *registry.Index { return s.workloads }

// Secret finds a gateway's credential.
func (s *Snapshot) Secret(namespace, name string) (*Secret, bool) {
	sec, ok := s.secrets[[2]string{namespace, name}]
	return sec, ok
}

// Gateways lists the gateways whose selector takes a workload of the namespace with
// the labels, the oldest first. As in Istio, a selector reaches over namespaces,
// unless the gateway is local or all of them are kept within their own.
func (s *Snapshot) Gateways(namespace string, labels map[string]string) []*Gateway {
	var out []*Gateway
	for _, g := range s.gateways {
		if s.selects(g, namespace, labels) {
			out = append(out, g)
		}
	}
	return out
}

func (s *Snapshot) selects(g *Gateway, namespace string, labels map[string]string) bool {
	if g.WorkloadNamespace != "" && g.WorkloadNamespace != namespace {
		return false
	}
	if s.scopeGateways && !g.Listener && g.Namespace != namespace {
		return false
	}
	return registry.Matches(g.Selector, labels)
}

// older orders by age, and by namespace and name where two are equally old.
func older(a, b *Meta) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), a.Origin.Ref.Compare(b.Origin.Ref))
}

func pointers[T any](list []T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// SPIFFE is the identity of a service account in the mesh.
func (s *Snapshot) SPIFFE(namespace, account string) string {
	return strings.Join([]string{"spiffe:/", s.trustDomain, "ns", namespace, "sa", account}, "/")
}
