// Package alpn is Istio's filter istio.alpn: towards mesh peers it replaces the
// TLS application protocols that a cluster names by those that say which HTTP
// version is spoken inside, "istio-http/1.1" before "istio". The peer's listener
// chooses the filter chain by them.
package alpn

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// FilterName is the filter's name.
const FilterName = "istio.alpn"

const typeURL = "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"

// meshProtocol marks a TLS context as one of the mesh: only there the override
// acts, so that TLS to strangers offers what its configuration says.
const meshProtocol = "istio"

// http11 is what is offered where the configuration says nothing.
var http11 = []string{"istio-http/1.1", meshProtocol, "http/1.1"}

// NewBuilder makes the filter's builder.
func NewBuilder() config.FilterBuilder { return builder{} }

type builder struct{}

func (builder) Name() string       { return FilterName }
func (builder) TypeURLs() []string { return []string{typeURL} }

// Parse reads FilterConfig, as its own bytes or as a Struct. Only the override for
// HTTP/1.1 has an effect in this build.
func (builder) Parse(_ string, value []byte) (any, error) {
	list, err := parseMessage(value)
	if err != nil {
		list, err = parseStruct(value)
	}
	if err != nil {
		return nil, err
	}
	if list == nil {
		list = http11
	}
	return list, nil
}

func (builder) ParseOverride(string, []byte) (any, error) {
	return nil, fmt.Errorf("%s has no per-route configuration", FilterName)
}

func (builder) New(cfg any, _ int) (stream.Filter, error) {
	list, ok := cfg.([]string)
	if !ok {
		return nil, fmt.Errorf("%s: configuration of type %T", FilterName, cfg)
	}
	return &filter{offer: list}, nil
}

var errNotFilterConfig = errors.New("istio.alpn: not a FilterConfig")

// upstreamHTTP11 is AlpnOverride.upstream_protocol HTTP11.
const upstreamHTTP11 = 1

// parseMessage reads FilterConfig{1: alpn_override[]{1: upstream_protocol, 2:
// alpn_override[]}}: the type is not public in Go.
func parseMessage(b []byte) (list []string, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num != 1 || typ != protowire.BytesType {
			return nil, errNotFilterConfig
		}
		entry, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			return nil, errNotFilterConfig
		}
		b = b[n+m:]
		protocol, names, err := parseEntry(entry)
		if err != nil {
			return nil, err
		}
		if protocol == upstreamHTTP11 {
			list = names
		}
	}
	return list, nil
}

func parseEntry(b []byte) (protocol uint64, names []string, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, nil, errNotFilterConfig
		}
		b = b[n:]
		switch {
		case num == 1 && typ == protowire.VarintType:
			if protocol, n = protowire.ConsumeVarint(b); n < 0 {
				return 0, nil, errNotFilterConfig
			}
		case num == 2 && typ == protowire.BytesType:
			var s string
			if s, n = protowire.ConsumeString(b); n < 0 {
				return 0, nil, errNotFilterConfig
			}
			names = append(names, s)
		default:
			return 0, nil, errNotFilterConfig
		}
		b = b[n:]
	}
	return protocol, names, nil
}

func parseStruct(b []byte) ([]string, error) {
	s := &structpb.Struct{}
	if err := proto.Unmarshal(b, s); err != nil {
		return nil, errNotFilterConfig
	}
	var list []string
	for _, e := range s.GetFields()["alpn_override"].GetListValue().GetValues() {
		f := e.GetStructValue().GetFields()
		p := f["upstream_protocol"]
		if p.GetStringValue() != "HTTP11" && p.GetNumberValue() != upstreamHTTP11 {
			continue
		}
		for _, name := range f["alpn_override"].GetListValue().GetValues() {
			list = append(list, name.GetStringValue())
		}
	}
	return list, nil
}

type filter struct{ offer []string }

// cluster is what the filter asks of a cluster's run-time handle.
type cluster interface{ Config() *config.Cluster }

// Handle implements stream.Filter.
func (f *filter) Handle(s *stream.Stream, next stream.Next) (*stream.Response, error) {
	if route, ok := s.Route.(*config.Route); ok && route != nil && leadsToMesh(route.Forward) {
		s.UpstreamALPN = f.offer
	}
	return next.Handle(s)
}

// leadsToMesh reports whether every cluster that the route may take speaks mesh
// TLS, where it speaks TLS at all.
func leadsToMesh(fwd *config.Forward) bool {
	if fwd == nil {
		return false
	}
	for i := range fwd.Clusters {
		h, ok := fwd.Clusters[i].Cluster.Handle.(cluster)
		if !ok {
			continue
		}
		if c := h.Config(); c != nil && !meshTLS(c) {
			return false
		}
	}
	return true
}

func meshTLS(c *config.Cluster) bool {
	if c.TLS != nil && !slices.Contains(c.TLS.Common.ALPN, meshProtocol) {
		return false
	}
	for i := range c.TLSMatches {
		if t := c.TLSMatches[i].TLS; t != nil && !slices.Contains(t.Common.ALPN, meshProtocol) {
			return false
		}
	}
	return true
}
