// Package build turns ir into Envoy's xDS messages. Names and shapes are Istio's:
// dashboards, scripts and EnvoyFilters know them. Functions are pure, and their
// output is byte for byte the same for equal input.
//
// One file holds one subject or filter. For the native data plane the filters
// that only Istio's Envoy has (istio.metadata_exchange, istio.alpn, istio.stats)
// are there; for a stock Envoy they are left out, and nothing else differs but
// what their absence asks for.
package build

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// The type URLs of the resources in a Set.
const (
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	SecretType   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// Resource is one xDS resource, marshalled.
type Resource struct {
	TypeURL string
	Name    string
	Body    []byte // the message (Any.value), marshalled deterministically
	Hash    uint64 // xxhash of Body
	// Origins are the objects that shaped the resource, without duplicates. They
	// travel apart from it: a change of an origin alone does not change a resource.
	Origins []verdict.Origin
}

// Set is all resources of one proxy, each list sorted by name.
type Set struct {
	Listeners []Resource
	Routes    []Resource
	Clusters  []Resource
	Endpoints []Resource
	Secrets   []Resource
}

// Resources turns what a proxy must do into its resources. An error means that a
// message could not be marshalled; it names the resource.
func Resources(p *ir.Proxy) (*Set, error) {
	b := &builder{p: p}
	b.listeners()
	for i := range p.Tables {
		b.add(&b.set.Routes, RouteType, p.Tables[i].Name, routeTable(&p.Tables[i]), tableOrigins(&p.Tables[i]))
	}
	for i := range p.Clusters {
		c := &p.Clusters[i]
		b.add(&b.set.Clusters, ClusterType, c.Key.String(), b.cluster(c), c.Origins)
	}
	for i := range p.Assignments {
		r, err := Endpoints(p.Assignments[i])
		b.set.Endpoints = append(b.set.Endpoints, r)
		b.fail(err)
	}
	for i := range p.Secrets {
		s := &p.Secrets[i]
		b.add(&b.set.Secrets, SecretType, s.Name, secret(s), s.Origins)
	}
	for _, list := range [][]Resource{b.set.Listeners, b.set.Routes, b.set.Clusters, b.set.Endpoints, b.set.Secrets} {
		slices.SortFunc(list, func(x, y Resource) int { return cmp.Compare(x.Name, y.Name) })
	}
	return &b.set, b.err
}

// builder builds the resources of one proxy. The first error stays.
type builder struct {
	p   *ir.Proxy
	set Set
	err error
}

func (b *builder) native() bool { return b.p.DataPlane != ir.Envoy }

func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *builder) add(list *[]Resource, typeURL, name string, m proto.Message, origins []verdict.Origin) {
	r, err := resource(typeURL, name, m, origins)
	b.fail(err)
	*list = append(*list, r)
}

func resource(typeURL, name string, m proto.Message, origins []verdict.Origin) (Resource, error) {
	body, err := marshal(m)
	if err != nil {
		return Resource{}, fmt.Errorf("marshal resource %s: %w", name, err)
	}
	return sealed(typeURL, name, body, origins), nil
}

func sealed(typeURL, name string, body []byte, origins []verdict.Origin) Resource {
	return Resource{TypeURL: typeURL, Name: name, Body: body, Hash: xxhash.Sum64(body), Origins: uniqueOrigins(origins)}
}

func marshal(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// typed packs a message of this package's own making. Marshalling fails only for
// strings that are not UTF-8, which decoding of objects has refused; the empty
// value that is left then is refused by every data plane, and not half a filter.
func typed(m proto.Message) *anypb.Any {
	a := &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName())}
	body, err := marshal(m)
	if err != nil {
		return &anypb.Any{}
	}
	a.Value = body
	return a
}

func uniqueOrigins(list []verdict.Origin) []verdict.Origin {
	var out []verdict.Origin
	seen := make(map[verdict.Origin]bool, len(list))
	for _, o := range list {
		if !o.IsZero() && !seen[o] {
			seen[o] = true
			out = append(out, o)
		}
	}
	return out
}

func tableOrigins(t *ir.Table) []verdict.Origin {
	var out []verdict.Origin
	for i := range t.Hosts {
		out = append(out, t.Hosts[i].Origins...)
	}
	return out
}
