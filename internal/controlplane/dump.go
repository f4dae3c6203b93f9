package controlplane

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// configDump answers what a proxy should have, in the form of Envoy's own
// /config_dump. Private keys are left out.
func (c *Core) configDump(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("proxyID")
	if name == "" {
		http.Error(w, "proxyID is required: the name of a proxy, as NAME.NAMESPACE", http.StatusBadRequest)
		return
	}
	d, ok := c.engine.Dump(name)
	if !ok || d.State == nil {
		http.Error(w, fmt.Sprintf("no connected proxy is named %q", name), http.StatusNotFound)
		return
	}
	dump, err := configDump(d.State)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	text, err := protojson.MarshalOptions{Multiline: true, Indent: "  "}.Marshal(dump)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // the client's departure is its own affair
}

// configDump packs a state as Envoy's admin interface does.
func configDump(s *server.State) (*adminv3.ConfigDump, error) {
	clusters := &adminv3.ClustersConfigDump{}
	endpoints := &adminv3.EndpointsConfigDump{}
	listeners := &adminv3.ListenersConfigDump{}
	routes := &adminv3.RoutesConfigDump{}
	secrets := &adminv3.SecretsConfigDump{}
	for typeURL, list := range s.Types {
		for _, name := range sortedKeys(list) {
			res := list[name]
			body := &anypb.Any{TypeUrl: typeURL, Value: res.Body}
			switch typeURL {
			case build.ClusterType:
				clusters.DynamicActiveClusters = append(clusters.DynamicActiveClusters, &adminv3.ClustersConfigDump_DynamicCluster{VersionInfo: res.Version, Cluster: body})
			case build.EndpointType:
				endpoints.DynamicEndpointConfigs = append(endpoints.DynamicEndpointConfigs, &adminv3.EndpointsConfigDump_DynamicEndpointConfig{VersionInfo: res.Version, EndpointConfig: body})
			case build.ListenerType:
				listeners.DynamicListeners = append(listeners.DynamicListeners, &adminv3.ListenersConfigDump_DynamicListener{
					Name: name, ActiveState: &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: res.Version, Listener: body},
				})
			case build.RouteType:
				routes.DynamicRouteConfigs = append(routes.DynamicRouteConfigs, &adminv3.RoutesConfigDump_DynamicRouteConfig{VersionInfo: res.Version, RouteConfig: body})
			case build.SecretType:
				// Keys are private: only name and version are shown.
				hidden, err := anypb.New(&tlsv3.Secret{Name: name})
				if err != nil {
					return nil, err
				}
				secrets.DynamicActiveSecrets = append(secrets.DynamicActiveSecrets, &adminv3.SecretsConfigDump_DynamicSecret{Name: name, VersionInfo: res.Version, Secret: hidden})
			}
		}
	}
	out := &adminv3.ConfigDump{}
	for _, m := range []proto.Message{clusters, endpoints, listeners, routes, secrets} {
		a, err := anypb.New(m)
		if err != nil {
			return nil, err
		}
		out.Configs = append(out.Configs, a)
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// endpointView is one port of a service in /debug/endpointz.
type endpointView struct {
	Service    string         `json:"service"`
	Address    string         `json:"address,omitempty"`
	Port       uint16         `json:"port"`
	Endpoints  []instanceView `json:"endpoints"`
	Identities []string       `json:"identities,omitempty"`
}

type instanceView struct {
	Addr     netip.AddrPort    `json:"address"`
	Workload string            `json:"workload"`
	Labels   map[string]string `json:"labels,omitempty"`
	Proxied  bool              `json:"proxied"`
}

func (c *Core) endpointz(w http.ResponseWriter, _ *http.Request) {
	snap := c.Snapshot()
	if snap == nil {
		http.Error(w, "nothing is compiled yet", http.StatusServiceUnavailable)
		return
	}
	out := []endpointView{}
	for _, h := range snap.AllHosts() {
		for _, p := range h.Ports {
			v := endpointView{Service: h.Name, Port: p.Number, Endpoints: []instanceView{}, Identities: p.Identities}
			if h.Addr.IsValid() {
				v.Address = h.Addr.String()
			}
			for _, e := range p.Endpoints {
				v.Endpoints = append(v.Endpoints, instanceView{
					Addr: e.Addr, Workload: e.Workload.Namespace + "/" + e.Workload.Name, Labels: e.Workload.Labels, Proxied: e.Workload.Proxied,
				})
			}
			out = append(out, v)
		}
	}
	writeJSON(w, http.StatusOK, out)
}
