package mesh

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

func meta(kind, ns, name string, created int64) Meta {
	return Meta{Origin: verdict.Origin{Ref: verdict.Ref{Kind: kind, Namespace: ns, Name: name}}, Created: created}
}

func service(ns, name string, ports ...uint16) registry.Service {
	s := registry.Service{Origin: meta("Service", ns, name, 0).Origin, Namespace: ns, Name: name, Selector: map[string]string{"app": name}}
	for _, p := range ports {
		s.Ports = append(s.Ports, registry.ServicePort{Number: p, TargetNumber: p, Protocol: registry.HTTP})
	}
	return s
}

func build(t *testing.T, cfg Config, workloads ...registry.Workload) (*Snapshot, []verdict.Status) {
	t.Helper()
	vips := registry.Allocate(nil, netip.MustParsePrefix("10.96.0.0/16"), cfg.Services)
	return Build(cfg, Inputs{Workloads: workloads, VIPs: vips})
}

func policy(ns, name, host string, created int64, algorithm Algorithm) HostPolicy {
	return HostPolicy{Meta: meta("DestinationRule", ns, name, created), Namespace: ns, Name: name, Host: host, Policy: TrafficPolicy{Balance: &Balance{Algorithm: algorithm}}}
}

func TestPolicyLookup(t *testing.T) {
	const host = "a.home.svc.cluster.local"
	client := policy("client", "p", host, 1, Random)
	home := policy("home", "p", host, 1, RoundRobin)
	root := policy("istio-system", "p", host, 1, Passthrough)
	wild := policy("home", "w", "*.home.svc.cluster.local", 1, LeastRequest)
	hidden := home
	hidden.ExportTo = []string{"."}
	chosen := policy("client", "chosen", host, 2, LeastRequest)
	chosen.Clients = map[string]string{"app": "x"}
	for _, c := range []struct {
		name     string
		policies []HostPolicy
		labels   map[string]string
		want     Algorithm
	}{
		{"none", nil, nil, ""},
		{"the client's first", []HostPolicy{root, home, client}, nil, Random},
		{"then the host's", []HostPolicy{root, home}, nil, RoundRobin},
		{"then the root's", []HostPolicy{root}, nil, Passthrough},
		{"exact before wildcard", []HostPolicy{wild, home}, nil, RoundRobin},
		{"wildcard", []HostPolicy{wild}, nil, LeastRequest},
		{"not exported", []HostPolicy{hidden, root}, nil, Passthrough},
		{"for other clients", []HostPolicy{chosen, home}, nil, RoundRobin},
		{"for these clients", []HostPolicy{chosen, client, home}, map[string]string{"app": "x"}, LeastRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := build(t, Config{Services: []registry.Service{service("home", "a", 80)}, Policies: c.policies})
			h, _ := s.Host(host)
			var got Algorithm
			if p := s.Policy(Caller{Namespace: "client", Labels: c.labels}, h); p != nil {
				got = p.Traffic.Balance.Algorithm
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestEffectivePolicy(t *testing.T) {
	p := &Policy{
		Traffic: TrafficPolicy{
			Balance: &Balance{Algorithm: Random},
			Pool:    &Pool{ConnectTimeout: time.Second},
			Ports:   []PortPolicy{{Port: 81, Policy: TrafficPolicy{Balance: &Balance{Algorithm: RoundRobin}}}},
		},
		Subsets: []*Subset{{Name: "v1", Policy: TrafficPolicy{Balance: &Balance{Algorithm: LeastRequest}}}},
	}
	if got := p.Effective("", 80); got.Balance.Algorithm != Random || got.Pool == nil {
		t.Errorf("host: %+v", got)
	}
	if got := p.Effective("", 81); got.Balance.Algorithm != RoundRobin || got.Pool != nil {
		t.Errorf("a port's policy replaces the host's as a whole: %+v", got)
	}
	if got := p.Effective("v1", 80); got.Balance.Algorithm != LeastRequest || got.Pool == nil {
		t.Errorf("a subset's fields replace the host's: %+v", got)
	}
	if got := (*Policy)(nil).Effective("v1", 80); !isUnset(&got) {
		t.Errorf("no policy: %+v", got)
	}
}

func TestMTLSScopes(t *testing.T) {
	p := func(ns, name string, created int64, mode MTLSMode, selector map[string]string) MTLSPolicy {
		return MTLSPolicy{Meta: meta("PeerAuthentication", ns, name, created), Namespace: ns, Name: name, Mode: mode, Selector: selector}
	}
	app := map[string]string{"app": "a"}
	ports := p("n", "ports", 3, Unset, app)
	ports.Ports = map[uint16]MTLSMode{80: Disable, 81: Unset}
	for _, c := range []struct {
		name     string
		policies []MTLSPolicy
		at80     MTLSMode
		at81     MTLSMode
	}{
		{"default", nil, Permissive, Permissive},
		{"mesh", []MTLSPolicy{p("istio-system", "m", 1, Strict, nil)}, Strict, Strict},
		{"namespace wins", []MTLSPolicy{p("istio-system", "m", 1, Strict, nil), p("n", "n", 1, Disable, nil)}, Disable, Disable},
		{"unset inherits", []MTLSPolicy{p("istio-system", "m", 1, Strict, nil), p("n", "n", 1, Unset, nil)}, Strict, Strict},
		{"workload wins", []MTLSPolicy{p("n", "n", 1, Strict, nil), p("n", "w", 1, Disable, app)}, Disable, Disable},
		{"port wins", []MTLSPolicy{p("n", "n", 1, Strict, nil), ports}, Disable, Strict},
		{"oldest of a scope", []MTLSPolicy{p("n", "b", 2, Disable, nil), p("n", "a", 1, Strict, nil)}, Strict, Strict},
		{"name breaks a tie", []MTLSPolicy{p("n", "b", 1, Disable, nil), p("n", "a", 1, Strict, nil)}, Strict, Strict},
		{"a selector in the root namespace is not for the mesh", []MTLSPolicy{p("istio-system", "m", 1, Strict, app)}, Permissive, Permissive},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := build(t, Config{MTLS: c.policies})
			m := s.MTLS("n", app)
			if m.At(80) != c.at80 || m.At(81) != c.at81 {
				t.Errorf("got %s and %s, want %s and %s", m.At(80), m.At(81), c.at80, c.at81)
			}
		})
	}
}

func TestRoutesByHost(t *testing.T) {
	set := func(name string, created int64, hosts ...string) RouteSet {
		return RouteSet{Meta: meta("VirtualService", "n", name, created), Namespace: "n", Name: name, Hosts: hosts, Gateways: []string{MeshGateway}}
	}
	private := set("private", 1, "a.n.svc.cluster.local")
	private.ExportTo = []string{"."}
	edge := set("edge", 1, "a.n.svc.cluster.local")
	edge.Gateways = []string{"n/gw"}
	for _, c := range []struct {
		name string
		sets []RouteSet
		want string
	}{
		{"oldest first", []RouteSet{set("b", 2, "a.n.svc.cluster.local"), set("c", 1, "a.n.svc.cluster.local")}, "c b"},
		{"wildcards only without an exact host", []RouteSet{set("w", 1, "*.n.svc.cluster.local"), set("x", 2, "a.n.svc.cluster.local")}, "x"},
		{"the longest wildcard", []RouteSet{set("w", 1, "*"), set("v", 2, "*.svc.cluster.local"), set("u", 3, "*.n.svc.cluster.local"), set("t", 4, "*.n.svc.cluster.local")}, "u t"},
		{"not visible", []RouteSet{private, set("w", 2, "*")}, "w"},
		{"not for sidecars", []RouteSet{edge}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := build(t, Config{Routes: c.sets})
			var got []string
			for _, r := range s.Routes(Caller{Namespace: "elsewhere"}, "a.n.svc.cluster.local") {
				got = append(got, r.Name)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	hidden := service("n", "hidden", 80)
	hidden.ExportTo = []string{"."}
	s, _ := build(t, Config{
		Services: []registry.Service{service("n", "one", 80), service("n", "two", 80, 81), hidden},
		Policies: []HostPolicy{{Meta: meta("DestinationRule", "n", "one", 1), Namespace: "n", Name: "one", Host: Hostname("one", "n"), Subsets: []Subset{{Name: "v1"}}}},
	})
	for _, c := range []struct {
		name   string
		d      Destination
		called uint16
		port   uint16
		want   string
	}{
		{"only port", Destination{Host: Hostname("one", "n")}, 9999, 80, ""},
		{"called port", Destination{Host: Hostname("two", "n")}, 81, 81, ""},
		{"own port", Destination{Host: Hostname("two", "n"), Port: 80}, 81, 80, ""},
		{"ambiguous", Destination{Host: Hostname("two", "n")}, 9999, 0, "names none"},
		{"no such port", Destination{Host: Hostname("one", "n"), Port: 1}, 0, 0, "no port 1"},
		{"no such host", Destination{Host: "x"}, 0, 0, "not known"},
		{"not visible", Destination{Host: Hostname("hidden", "n")}, 0, 0, "not known"},
		{"subset", Destination{Host: Hostname("one", "n"), Subset: "v1"}, 0, 80, ""},
		{"no such subset", Destination{Host: Hostname("one", "n"), Subset: "v2"}, 0, 0, "subset v2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			target, missing := s.Resolve(&c.d, Caller{Namespace: "elsewhere"}, c.called)
			switch {
			case c.want == "" && (missing != nil || target.Port.Number != c.port):
				t.Errorf("got %+v, %+v", target, missing)
			case c.want != "" && (missing == nil || !strings.Contains(missing.Message, c.want)):
				t.Errorf("got %+v, want %q", missing, c.want)
			}
		})
	}
}

func TestHosts(t *testing.T) {
	for _, c := range []struct {
		pattern, host string
		want          bool
	}{
		{"*", "a", true}, {"*", "*.a", true}, {"a", "a", true}, {"a", "b", false},
		{"*.a.com", "x.a.com", true}, {"*.a.com", "a.com", false}, {"*.a.com", "*.x.a.com", true}, {"*.x.a.com", "*.a.com", false}, {"a.com", "*", false},
	} {
		if got := hostMatches(c.pattern, c.host); got != c.want {
			t.Errorf("hostMatches(%s, %s) = %t", c.pattern, c.host, got)
		}
	}
	if h, ok := Intersect("*.a.com", "*"); h != "*.a.com" || !ok {
		t.Errorf("Intersect: %s, %t", h, ok)
	}
	if _, ok := Intersect("a.com", "b.com"); ok {
		t.Error("a.com and b.com intersect")
	}
	s := Server{Hosts: []ServerHost{{Namespace: "n", Host: "*.a.com"}, {Namespace: "*", Host: "b.com"}}}
	if diff := cmp.Diff([]string{"*.a.com", "b.com"}, s.Intersect("*", "n")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"b.com"}, s.Intersect("*", "m")); diff != "" {
		t.Error(diff)
	}
}

// TestEveryObjectIsJudged: each object has a verdict as a whole.
func TestEveryObjectIsJudged(t *testing.T) {
	cfg := Config{
		Namespaces: []Namespace{{Meta: meta("Namespace", "", "n", 1), Name: "n"}},
		Accounts:   []Account{{Meta: meta("ServiceAccount", "n", "a", 1), Namespace: "n", Name: "a"}},
		Services:   []registry.Service{service("n", "a", 80)},
		Routes:     []RouteSet{{Meta: meta("VirtualService", "n", "a", 1), Namespace: "n", Hosts: []string{"nobody"}, Gateways: []string{MeshGateway}}},
		Policies:   []HostPolicy{policy("n", "a", Hostname("a", "n"), 1, Random)},
		Gateways:   []Gateway{{Meta: meta("Gateway", "n", "a", 1), Namespace: "n", Name: "a", Selector: map[string]string{"a": "b"}}},
		MTLS:       []MTLSPolicy{{Meta: meta("PeerAuthentication", "n", "a", 1), Namespace: "n"}},
	}
	_, said := build(t, cfg)
	for _, kind := range []string{"Namespace", "ServiceAccount", "Service", "VirtualService", "DestinationRule", "Gateway", "PeerAuthentication"} {
		n := 0
		for _, s := range said {
			if s.Kind == kind && s.Path == "" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d verdicts on the %s as a whole, want 1: %v", n, kind, said)
		}
	}
	if !slices.ContainsFunc(said, func(s verdict.Status) bool { return s.Kind == "VirtualService" && s.Code == verdict.SelectsNothing }) {
		t.Error("a rule set for a host that is no service is not said to select nothing")
	}
}

// TestPrivateBytes: key material does not show itself.
func TestPrivateBytes(t *testing.T) {
	sec := Secret{Key: PrivateBytes("hunter2")}
	if text := fmt.Sprintf("%v %+v %#v %s", sec, sec, sec.Key, sec.Key); strings.Contains(text, "hunter2") {
		t.Error(text)
	}
	if b, err := sec.Key.MarshalText(); err != nil || strings.Contains(string(b), "hunter2") {
		t.Errorf("%s, %v", b, err)
	}
}

// TestSettingsExportTo: what names no namespaces is seen by those of the settings.
func TestSettingsExportTo(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings Settings
		own      []string // of the objects
		host     bool     // seen from another namespace
		route    bool
		policy   bool
	}{
		{"everywhere", Settings{}, nil, true, true, true},
		{"services", Settings{ServiceExportTo: []string{"."}}, nil, false, true, true},
		{"routes", Settings{RouteExportTo: []string{"~"}}, nil, true, false, true},
		{"policies", Settings{PolicyExportTo: []string{"a"}}, nil, true, true, false},
		{"objects say so", Settings{ServiceExportTo: []string{"."}, RouteExportTo: []string{"."}, PolicyExportTo: []string{"."}}, []string{"*"}, true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			snap, _ := Build(Config{
				Settings: c.settings,
				Services: []registry.Service{{Name: "x", Namespace: "a", ClusterIP: "None", ExportTo: c.own}},
				Routes:   []RouteSet{{Namespace: "a", Name: "x", Hosts: []string{Hostname("x", "a")}, Gateways: []string{MeshGateway}, ExportTo: c.own}},
				Policies: []HostPolicy{{Namespace: "a", Name: "x", Host: Hostname("x", "a"), ExportTo: c.own}},
			}, Inputs{})
			h, ok := snap.Host(Hostname("x", "a"))
			if !ok {
				t.Fatal("no host")
			}
			if got := len(snap.Hosts("b")) == 1; got != c.host {
				t.Errorf("the host is seen: %t", got)
			}
			if got := len(snap.Routes(Caller{Namespace: "b"}, h.Name)) == 1; got != c.route {
				t.Errorf("the route is seen: %t", got)
			}
			if got := snap.Policy(Caller{Namespace: "b"}, h) != nil; got != c.policy {
				t.Errorf("the policy is seen: %t", got)
			}
		})
	}
}
