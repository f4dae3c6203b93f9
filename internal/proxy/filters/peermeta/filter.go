package peermeta

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Names of the filter and its type.
const (
	FilterName = "istio.metadata_exchange"
	typeURL    = "type.googleapis.com/io.istio.http.peer_metadata.Config"
)

// settings are io.istio.http.peer_metadata.Config as far as it acts: which peers
// are read, and to whom we tell of ourselves.
type settings struct {
	readDownstream, readUpstream bool
	tellDownstream, tellUpstream bool
}

// Exchange is the metadata exchange of one proxy, over HTTP (as a filter builder)
// and over TCP. Safe for concurrent use.
type Exchange struct {
	id, value []byte // what we tell over HTTP
	frame     []byte // what we tell over TCP
	peers     cache
}

// New makes the exchange of the proxy that the node describes.
func New(node *corev3.Node) (*Exchange, error) {
	value, err := headerValue(node)
	if err != nil {
		return nil, err
	}
	frame, err := newFrame(node)
	if err != nil {
		return nil, err
	}
	return &Exchange{id: []byte(node.GetId()), value: value, frame: frame}, nil
}

var _ config.FilterBuilder = (*Exchange)(nil)

// Name implements config.FilterBuilder.
func (x *Exchange) Name() string { return FilterName }

// TypeURLs implements config.FilterBuilder.
func (x *Exchange) TypeURLs() []string { return []string{typeURL} }

// Parse implements config.FilterBuilder.
func (x *Exchange) Parse(_ string, value []byte) (any, error) {
	s := &structpb.Struct{}
	if err := proto.Unmarshal(value, s); err != nil {
		return nil, err
	}
	var set settings
	for _, key := range []struct {
		name string
		on   *bool
	}{
		{"downstream_discovery", &set.readDownstream}, {"upstream_discovery", &set.readUpstream},
		{"downstream_propagation", &set.tellDownstream}, {"upstream_propagation", &set.tellUpstream},
	} {
		on, err := usesHeaders(s.GetFields()[key.name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key.name, err)
		}
		*key.on = on
	}
	for k := range s.GetFields() {
		switch k {
		case "downstream_discovery", "upstream_discovery", "downstream_propagation", "upstream_propagation", "shared_with_upstream", "additional_labels":
		default:
			return nil, fmt.Errorf("%s is not supported by this proxy", k)
		}
	}
	return set, nil
}

// usesHeaders reads one list of methods. workload_discovery needs a discovery
// service of ambient meshes; without one Istio's proxies skip it, too.
func usesHeaders(v *structpb.Value) (bool, error) {
	on := false
	for _, m := range v.GetListValue().GetValues() {
		for name := range m.GetStructValue().GetFields() {
			switch name {
			case "istio_headers":
				on = true
			case "workload_discovery":
			default:
				return false, fmt.Errorf("%s is not supported by this proxy", name)
			}
		}
	}
	return on, nil
}

// ParseOverride implements config.FilterBuilder: the filter has none.
func (x *Exchange) ParseOverride(string, []byte) (any, error) {
	return nil, fmt.Errorf("%s has no per-route configuration", FilterName)
}

// New implements config.FilterBuilder.
func (x *Exchange) New(cfg any, slot int) (stream.Filter, error) {
	set, ok := cfg.(settings)
	if !ok {
		return nil, fmt.Errorf("%s: configuration of type %T", FilterName, cfg)
	}
	return &filter{x: x, set: set, slot: slot}, nil
}

// Peers are what the filter found out about the two ends of an exchange.
type Peers struct {
	Downstream, Upstream *Peer // nil: not known
}

// filter keeps its Peers in two words of the stream's slot: a *Peer for the one
// side that it reads, so that nothing is allocated.
type filter struct {
	x    *Exchange
	set  settings
	slot int
}

// Found gives what the filter in the given slot found.
func Found(s *stream.Stream, slot int, dir stream.Direction) Peers {
	p, _ := (*s.Slot(slot)).(*Peer)
	if dir == stream.Inbound {
		return Peers{Downstream: p}
	}
	return Peers{Upstream: p}
}

// Handle implements stream.Filter.
func (f *filter) Handle(s *stream.Stream, next stream.Next) (*stream.Response, error) {
	h := &s.Request.Head
	var down *Peer
	heard := h.Has(stream.EnvoyPeerMetadataID)
	if f.set.readDownstream {
		if v := h.Get(stream.EnvoyPeerMetadata); len(v) > 0 {
			down = f.x.peers.get(h.Get(stream.EnvoyPeerMetadataID), v)
			*s.Slot(f.slot) = down
		}
	}
	// What a client says of itself is for us alone: an application or a third
	// party must not see it, nor be able to speak for us.
	h.Del(stream.EnvoyPeerMetadata)
	h.Del(stream.EnvoyPeerMetadataID)
	if f.set.tellUpstream && inMesh(s.Route) {
		h.Add(stream.EnvoyPeerMetadata, f.x.value)
		h.Add(stream.EnvoyPeerMetadataID, f.x.id)
	}
	resp, err := next.Handle(s)
	if resp == nil {
		return nil, err
	}
	if f.set.readUpstream {
		if v := resp.Get(stream.EnvoyPeerMetadata); len(v) > 0 {
			*s.Slot(f.slot) = f.x.peers.get(resp.Get(stream.EnvoyPeerMetadataID), v)
		}
	}
	resp.Del(stream.EnvoyPeerMetadata)
	resp.Del(stream.EnvoyPeerMetadataID)
	// Only who told us is told: another client would take the fields for the
	// application's.
	if f.set.tellDownstream && (down != nil || heard) {
		resp.Add(stream.EnvoyPeerMetadata, f.x.value)
		resp.Add(stream.EnvoyPeerMetadataID, f.x.id)
	}
	return resp, err
}

// inMesh reports whether the route leads to a service of the mesh: strangers
// behind PassthroughCluster are told nothing.
func inMesh(r stream.RouteEntry) bool {
	route, ok := r.(*config.Route)
	if !ok || route == nil || route.Forward == nil {
		return false
	}
	for i := range route.Forward.Clusters {
		if strings.HasPrefix(route.Forward.Clusters[i].Cluster.Name, "outbound") {
			return true
		}
	}
	return false
}
