package dump

import (
	"fmt"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Resource is one resource of a dump as it goes over the wire.
type Resource struct {
	TypeURL string
	Body    []byte
}

// Resources takes a dump apart into the resources that a proxy runs on.
func Resources(text []byte) ([]Resource, error) {
	var d adminv3.ConfigDump
	if err := lenient.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("reading the configuration dump: %w", err)
	}
	var out []Resource
	add := func(a *anypb.Any) {
		if a != nil {
			out = append(out, Resource{a.GetTypeUrl(), a.GetValue()})
		}
	}
	for _, section := range d.GetConfigs() {
		m, err := section.UnmarshalNew()
		if err != nil {
			return nil, fmt.Errorf("reading a section of the dump: %w", err)
		}
		switch s := m.(type) {
		case *adminv3.ListenersConfigDump:
			for _, x := range s.GetDynamicListeners() {
				add(x.GetActiveState().GetListener())
			}
		case *adminv3.ClustersConfigDump:
			for _, x := range s.GetDynamicActiveClusters() {
				add(x.GetCluster())
			}
		case *adminv3.RoutesConfigDump:
			for _, x := range s.GetDynamicRouteConfigs() {
				add(x.GetRouteConfig())
			}
		case *adminv3.EndpointsConfigDump:
			for _, x := range s.GetDynamicEndpointConfigs() {
				add(x.GetEndpointConfig())
			}
		}
	}
	return out, nil
}
