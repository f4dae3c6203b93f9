// Package dump reads what a proxy's admin interface says of its configuration,
// ours or Envoy's alike, and prints it in istioctl's columns. It knows nothing of
// how the text was fetched.
package dump

import (
	"fmt"
	"slices"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	// The types that a dump's Any values may hold, so that they can be decoded.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

// Config is a proxy's configuration as its admin interface gives it.
type Config struct {
	Listeners []*listenerv3.Listener
	Clusters  []*clusterv3.Cluster
	Routes    []*routev3.RouteConfiguration // those that the control plane sends by themselves
	// Inline are the route tables that listeners carry, which Envoy calls static.
	Inline    []*routev3.RouteConfiguration
	Endpoints []*endpointv3.ClusterLoadAssignment
	Secrets   []Secret
	// Extensions are filters that are discovered by themselves (ECDS).
	Extensions []*corev3.TypedExtensionConfig
	// Bootstrap is what the proxy was started with; nil where the dump has none.
	Bootstrap *bootstrapv3.Bootstrap
	// Rejected names resources whose last update the proxy refused, with the reason.
	Rejected []string
}

// lenient ignores fields and types that this build does not know: a dump is for
// reading.
var lenient = protojson.UnmarshalOptions{DiscardUnknown: true}

// Parse reads the JSON of /config_dump.
func Parse(text []byte) (*Config, error) {
	var d adminv3.ConfigDump
	if err := lenient.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("reading the configuration dump: %w", err)
	}
	c := &Config{}
	for _, section := range d.GetConfigs() {
		m, err := section.UnmarshalNew()
		if err != nil {
			continue // a section of a kind that is not shown here
		}
		if err := c.add(m); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Config) add(section proto.Message) error {
	switch s := section.(type) {
	case *adminv3.ListenersConfigDump:
		return c.addListeners(s)
	case *adminv3.ClustersConfigDump:
		for _, x := range s.GetStaticClusters() {
			if err := keep(&c.Clusters, x.GetCluster()); err != nil {
				return err
			}
		}
		for _, x := range s.GetDynamicActiveClusters() {
			c.reject("cluster", x.GetErrorState())
			if err := keep(&c.Clusters, x.GetCluster()); err != nil {
				return err
			}
		}
	case *adminv3.RoutesConfigDump:
		for _, x := range s.GetStaticRouteConfigs() {
			if err := keep(&c.Inline, x.GetRouteConfig()); err != nil {
				return err
			}
		}
		for _, x := range s.GetDynamicRouteConfigs() {
			c.reject("route", x.GetErrorState())
			if err := keep(&c.Routes, x.GetRouteConfig()); err != nil {
				return err
			}
		}
	case *adminv3.EndpointsConfigDump:
		for _, x := range s.GetStaticEndpointConfigs() {
			if err := keep(&c.Endpoints, x.GetEndpointConfig()); err != nil {
				return err
			}
		}
		for _, x := range s.GetDynamicEndpointConfigs() {
			if err := keep(&c.Endpoints, x.GetEndpointConfig()); err != nil {
				return err
			}
		}
	case *adminv3.EcdsConfigDump:
		for _, x := range s.GetEcdsFilters() {
			if err := keep(&c.Extensions, x.GetEcdsFilter()); err != nil {
				return err
			}
		}
	case *adminv3.BootstrapConfigDump:
		c.Bootstrap = s.GetBootstrap()
	case *adminv3.SecretsConfigDump:
		for _, x := range s.GetDynamicActiveSecrets() {
			c.Secrets = append(c.Secrets, readSecret(x.GetName(), "ACTIVE", x.GetSecret()))
		}
		for _, x := range s.GetDynamicWarmingSecrets() {
			c.Secrets = append(c.Secrets, readSecret(x.GetName(), "WARMING", x.GetSecret()))
		}
	}
	return nil
}

func (c *Config) addListeners(s *adminv3.ListenersConfigDump) error {
	for _, x := range s.GetStaticListeners() {
		if err := keep(&c.Listeners, x.GetListener()); err != nil {
			return err
		}
	}
	for _, x := range s.GetDynamicListeners() {
		c.reject("listener "+x.GetName(), x.GetErrorState())
		if a := x.GetActiveState().GetListener(); a != nil {
			if err := keep(&c.Listeners, a); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Config) reject(what string, state *adminv3.UpdateFailureState) {
	if state != nil {
		c.Rejected = append(c.Rejected, what+": "+state.GetDetails())
	}
}

func keep[T proto.Message](list *[]T, a *anypb.Any) error {
	if a == nil { // a resource that was refused before any version of it was accepted
		return nil
	}
	m, err := a.UnmarshalNew()
	if err != nil {
		return fmt.Errorf("reading a resource of the dump: %w", err)
	}
	t, ok := m.(T)
	if !ok {
		return fmt.Errorf("the dump holds a %T where a %T belongs", m, *new(T))
	}
	*list = append(*list, t)
	return nil
}

// origin gives the object that a resource's metadata names: "reviews.default"
// for "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews".
func origin(m *corev3.Metadata) string {
	path := m.GetFilterMetadata()["istio"].GetFields()["config"].GetStringValue()
	parts := strings.Split(path, "/")
	i := slices.Index(parts, "namespaces")
	if i < 0 || i+3 >= len(parts) {
		return ""
	}
	return parts[i+3] + "." + parts[i+1]
}
