package proxy

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3" // to write it as JSON
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// ConfigDump gives the configuration in force, endpoints included, in the JSON
// form of Envoy's envoy.admin.v3.ConfigDump.
func (p *Proxy) ConfigDump() ([]byte, error) {
	d, err := p.dump(func(string) bool { return true }, true)
	if err != nil {
		return nil, err
	}
	return marshalDump(d)
}

func marshalDump(m proto.Message) ([]byte, error) {
	return protojson.MarshalOptions{UseProtoNames: true, Multiline: true, Indent: " "}.Marshal(m)
}

// dump collects the parts; keep says which resources by name.
func (p *Proxy) dump(keep func(name string) bool, endpoints bool) (*adminv3.ConfigDump, error) {
	p.state.mu.Lock()
	defer p.state.mu.Unlock()
	parts := []proto.Message{
		&adminv3.BootstrapConfigDump{Bootstrap: &bootstrapv3.Bootstrap{Node: p.opts.Node}, LastUpdated: timestamppb.New(p.started)},
		p.dumpClusters(keep),
	}
	if endpoints {
		parts = append(parts, p.dumpEndpoints(keep))
	}
	parts = append(parts, p.dumpListeners(keep), p.dumpRoutes(keep), p.dumpSecrets(keep))
	out := &adminv3.ConfigDump{}
	for _, m := range parts {
		a, err := anypb.New(m)
		if err != nil {
			return nil, fmt.Errorf("config dump: %w", err)
		}
		out.Configs = append(out.Configs, a)
	}
	return out, nil
}

// wrap makes the Any of a resource. One that this program cannot write as JSON
// stands as a Struct that says so, instead of making the whole page fail.
func wrap(typeURL string, body []byte) *anypb.Any {
	a := &anypb.Any{TypeUrl: typeURL, Value: body}
	if _, err := protojson.Marshal(a); err == nil {
		return a
	} else if s, serr := structpb.NewStruct(map[string]any{"type": typeURL, "error": err.Error()}); serr == nil {
		if a, aerr := anypb.New(s); aerr == nil {
			return a
		}
	}
	return nil
}

// sorted gives the resources to show, by name.
func sorted(set map[string]*resource, keep func(string) bool) []*resource {
	var out []*resource
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if keep(name) {
			out = append(out, set[name])
		}
	}
	return out
}

// failure is the state of a resource whose newest version was refused.
func (r *resource) failure(typeURL string) *adminv3.UpdateFailureState {
	err := r.rejected
	if err == nil {
		err = r.unbound
	}
	if err == nil {
		return nil
	}
	f := &adminv3.UpdateFailureState{Details: err.Error(), VersionInfo: r.failed.Version, LastUpdateAttempt: timestamppb.New(r.failedAt)}
	if len(r.failed.Body) > 0 {
		f.FailedConfiguration = wrap(typeURL, r.failed.Body)
	}
	return f
}

func (p *Proxy) dumpClusters(keep func(string) bool) *adminv3.ClustersConfigDump {
	warming := map[string]bool{}
	for _, n := range p.clusters.Warming() {
		warming[n] = true
	}
	out := &adminv3.ClustersConfigDump{}
	for _, r := range sorted(p.state.clusters, keep) {
		c := &adminv3.ClustersConfigDump_DynamicCluster{VersionInfo: r.version, ErrorState: r.failure(config.ClusterURL), ClientStatus: clientStatus(r, !warming[r.name])}
		if r.node != nil {
			c.Cluster, c.LastUpdated = wrap(config.ClusterURL, r.body), timestamppb.New(r.updated)
		}
		if warming[r.name] || r.node == nil {
			out.DynamicWarmingClusters = append(out.DynamicWarmingClusters, c)
		} else {
			out.DynamicActiveClusters = append(out.DynamicActiveClusters, c)
		}
	}
	return out
}

// clientStatus tells how far a resource came.
func clientStatus(r *resource, active bool) adminv3.ClientResourceStatus {
	switch {
	case r.rejected != nil || r.unbound != nil:
		return adminv3.ClientResourceStatus_NACKED
	case active:
		return adminv3.ClientResourceStatus_ACKED
	}
	return adminv3.ClientResourceStatus_REQUESTED
}

func (p *Proxy) dumpEndpoints(keep func(string) bool) *adminv3.EndpointsConfigDump {
	out := &adminv3.EndpointsConfigDump{}
	for _, r := range sorted(p.state.endpoints, keep) {
		e := &adminv3.EndpointsConfigDump_DynamicEndpointConfig{VersionInfo: r.version, ErrorState: r.failure(config.EndpointsURL), ClientStatus: clientStatus(r, true)}
		if r.node != nil {
			e.EndpointConfig, e.LastUpdated = wrap(config.EndpointsURL, r.body), timestamppb.New(r.updated)
		}
		out.DynamicEndpointConfigs = append(out.DynamicEndpointConfigs, e)
	}
	return out
}

func (p *Proxy) dumpListeners(keep func(string) bool) *adminv3.ListenersConfigDump {
	out := &adminv3.ListenersConfigDump{}
	for _, r := range sorted(p.state.listeners, keep) {
		l := &adminv3.ListenersConfigDump_DynamicListener{Name: r.name, ErrorState: r.failure(config.ListenerURL)}
		active := r.node != nil && p.state.active[r.name] == r.node
		l.ClientStatus = clientStatus(r, active)
		if r.node != nil {
			s := &adminv3.ListenersConfigDump_DynamicListenerState{
				VersionInfo: r.version, Listener: wrap(config.ListenerURL, r.body), LastUpdated: timestamppb.New(r.updated),
			}
			if active {
				l.ActiveState = s
			} else {
				l.WarmingState = s
			}
		}
		out.DynamicListeners = append(out.DynamicListeners, l)
	}
	return out
}

func (p *Proxy) dumpRoutes(keep func(string) bool) *adminv3.RoutesConfigDump {
	out := &adminv3.RoutesConfigDump{StaticRouteConfigs: p.inlineRoutes(keep)}
	for _, r := range sorted(p.state.routes, keep) {
		t := p.state.tables[r.name]
		c := &adminv3.RoutesConfigDump_DynamicRouteConfig{VersionInfo: r.version, ErrorState: r.failure(config.RouteURL), ClientStatus: clientStatus(r, t != nil && t.pending == nil)}
		if r.node != nil {
			c.RouteConfig, c.LastUpdated = wrap(config.RouteURL, r.body), timestamppb.New(r.updated)
		}
		out.DynamicRouteConfigs = append(out.DynamicRouteConfigs, c)
	}
	return out
}

// inlineRoutes lists the route tables that listeners carry themselves, which
// Envoy calls static: those of inbound ports.
func (p *Proxy) inlineRoutes(keep func(string) bool) (out []*adminv3.RoutesConfigDump_StaticRouteConfig) {
	for _, r := range sorted(p.state.listeners, func(string) bool { return true }) {
		l := &listenerv3.Listener{}
		if r.node == nil || proto.Unmarshal(r.body, l) != nil {
			continue // it was parsed when it was accepted
		}
		seen := map[string]bool{} // a port's chains carry the same table each
		for _, fc := range append(l.GetFilterChains(), l.GetDefaultFilterChain()) {
			for _, f := range fc.GetFilters() {
				m := &hcmv3.HttpConnectionManager{}
				if f.GetTypedConfig().MessageIs(m) && f.GetTypedConfig().UnmarshalTo(m) == nil && m.GetRouteConfig() != nil {
					name := m.GetRouteConfig().GetName()
					a, err := anypb.New(m.GetRouteConfig())
					if err != nil || seen[name] || !keep(name) {
						continue
					}
					seen[name] = true
					out = append(out, &adminv3.RoutesConfigDump_StaticRouteConfig{RouteConfig: wrap(config.RouteURL, a.Value), LastUpdated: timestamppb.New(r.updated)})
				}
			}
		}
	}
	return out
}

// ownSecrets are the names under which a workload's identity is configured.
var ownSecrets = [...]string{"default", "ROOTCA"}

func (p *Proxy) dumpSecrets(keep func(string) bool) *adminv3.SecretsConfigDump {
	out := &adminv3.SecretsConfigDump{}
	names := slices.Sorted(maps.Keys(p.state.secrets))
	names = append(ownSecrets[:len(ownSecrets):len(ownSecrets)], names...)
	for _, name := range names {
		sec, ok := p.secrets.Secret(name)
		if !ok || !keep(name) {
			continue
		}
		a, err := anypb.New(publicSecret(name, sec))
		if err != nil {
			continue // a message of ours always marshals
		}
		d := &adminv3.SecretsConfigDump_DynamicSecret{Name: name, Secret: a}
		if r := p.state.secrets[name]; r != nil {
			d.VersionInfo, d.LastUpdated = r.version, timestamppb.New(r.updated)
		}
		out.DynamicActiveSecrets = append(out.DynamicActiveSecrets, d)
	}
	return out
}

// publicSecret is a secret without its key.
func publicSecret(name string, sec *tlsctx.Secret) *tlsv3.Secret {
	inline := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	out := &tlsv3.Secret{Name: name}
	if c := sec.Certificate; c != nil {
		var chain []byte
		for _, der := range c.Certificate {
			chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
		out.Type = &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(chain), PrivateKey: inline([]byte("[redacted]"))}}
		return out
	}
	var roots []byte
	for _, c := range sec.Roots {
		roots = append(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	out.Type = &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(roots)}}
	return out
}

// pageConfigDump serves the dump: ?resource=dynamic_listeners picks one list, and
// ?name_regex= resources by name.
func (p *Proxy) pageConfigDump(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	re, err := regexp.Compile(q.Get("name_regex"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	resource := q.Get("resource")
	d, err := p.dump(re.MatchString, q.Has("include_eds") || resource == "dynamic_endpoint_configs")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	text, err := marshalDump(d)
	if err == nil && resource != "" {
		text, err = pick(text, resource)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) // the reader went away: nothing to do
}

// pick reduces a dump to one list, whose elements become the configs.
func pick(text []byte, resource string) ([]byte, error) {
	var all struct {
		Configs []map[string]json.RawMessage `json:"configs"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	for _, c := range all.Configs {
		if list, ok := c[resource]; ok {
			return json.MarshalIndent(map[string]json.RawMessage{"configs": list}, "", " ")
		}
	}
	return nil, fmt.Errorf("no resources of the kind %q: dynamic_active_clusters, dynamic_warming_clusters, dynamic_endpoint_configs, dynamic_listeners, dynamic_route_configs, dynamic_active_secrets are known", resource)
}
