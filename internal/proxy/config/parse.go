package config

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
)

// Type URLs of the resources that Parse reads.
const (
	ListenerURL  = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteURL     = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ClusterURL   = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointsURL = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// Parse reads the bytes of one resource: a *Listener, *RouteTable, *Cluster or
// *Endpoints. An error is the text of a NACK.
func Parse(typeURL string, value []byte, d Deps) (any, error) {
	switch typeURL {
	case ListenerURL:
		return parseAs(value, &listenerv3.Listener{}, d, ParseListener)
	case RouteURL:
		return parseAs(value, &routev3.RouteConfiguration{}, d, ParseRouteTable)
	case ClusterURL:
		return parseAs(value, &clusterv3.Cluster{}, d, ParseCluster)
	case EndpointsURL:
		return parseAs(value, &endpointv3.ClusterLoadAssignment{}, d, ParseEndpoints)
	}
	return nil, fmt.Errorf("resource type %q is not known", typeURL)
}

func parseAs[M proto.Message, N any](value []byte, m M, d Deps, parse func(M, Deps) (*N, error)) (any, error) {
	if err := proto.Unmarshal(value, m); err != nil {
		return nil, fmt.Errorf("%s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	n, err := parse(m, d)
	if err != nil {
		return nil, err // not a typed nil
	}
	return n, nil
}

// parser carries what the parts of a resource's parser need.
type parser struct {
	Deps
}

// cluster makes a reference to a cluster.
func (p *parser) cluster(name string) ClusterRef {
	ref := ClusterRef{Name: name}
	if p.Cluster != nil {
		ref.Handle = p.Cluster(name)
	}
	return ref
}

// filter finds a builder by the name under which overrides address it.
func (p *parser) filter(name string) (slot int, b FilterBuilder) {
	for i, b := range p.Filters {
		if b.Name() == name {
			return i, b
		}
	}
	return -1, nil
}
