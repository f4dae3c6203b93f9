// Package alpn is Istio's filter istio.alpn: towards mesh peers it replaces the
// TLS application protocols that a cluster names by those that say which HTTP
// version is spoken inside, "istio-h2" or "istio-http/1.1" before "istio". The
// peer's listener chooses the filter chain by them. Which version that is depends on
// the cluster that the route chooses later, so the filter leaves the offers for both.
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

// What is offered where the configuration says nothing, as in Istio.
var (
	http11 = []string{"istio-http/1.1", meshProtocol, "http/1.1"}
	http2  = []string{"istio-h2", meshProtocol, "h2"}
)

// NewBuilder makes the filter's builder.
func NewBuilder() config.FilterBuilder { return builder{} }

type builder struct{}

func (builder) Name() string       { return FilterName }
func (builder) TypeURLs() []string { return []string{typeURL} }

// Parse reads FilterConfig, as its own bytes or as a Struct. The override for
// HTTP/1.0 has no effect: upstream, this proxy speaks 1.1 instead.
func (builder) Parse(_ string, value []byte) (any, error) {
	o, err := parseMessage(value)
	if err != nil {
		o, err = parseStruct(value)
	}
	if err != nil {
		return nil, err
	}
	if o[upstreamHTTP11] == nil {
		o[upstreamHTTP11] = http11
	}
	if o[upstreamHTTP2] == nil {
		o[upstreamHTTP2] = http2
	}
	return stream.NewALPN(o[upstreamHTTP11], o[upstreamHTTP2]), nil
}

func (builder) ParseOverride(string, []byte) (any, error) {
	return nil, fmt.Errorf("%s has no per-route configuration", FilterName)
}

func (builder) New(cfg any, _ int) (stream.Filter, error) {
	offer, ok := cfg.(*stream.ALPN)
	if !ok {
		return nil, fmt.Errorf("%s: configuration of type %T", FilterName, cfg)
	}
	return &filter{offer: offer}, nil
}

var errNotFilterConfig = errors.New("istio.alpn: not a FilterConfig")

// Values of AlpnOverride.upstream_protocol.
const (
	upstreamHTTP11 = 1
	upstreamHTTP2  = 2
	protocols      = 3 // and HTTP10 = 0
)

// offers are the lists by upstream protocol; nil where none is configured.
type offers [protocols][]string

func (o *offers) set(protocol uint64, names []string) error {
	if protocol >= protocols {
		return fmt.Errorf("istio.alpn: upstream_protocol %d is not known", protocol)
	}
	o[protocol] = names
	return nil
}

// parseMessage reads FilterConfig{1: alpn_override[]{1: upstream_protocol, 2:
// alpn_override[]}}: the type is not public in Go.
func parseMessage(b []byte) (o offers, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num != 1 || typ != protowire.BytesType {
			return o, errNotFilterConfig
		}
		entry, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			return o, errNotFilterConfig
		}
		b = b[n+m:]
		protocol, names, err := parseEntry(entry)
		if err != nil {
			return o, err
		}
		if err := o.set(protocol, names); err != nil {
			return o, err
		}
	}
	return o, nil
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

func parseStruct(b []byte) (o offers, err error) {
	s := &structpb.Struct{}
	if err := proto.Unmarshal(b, s); err != nil {
		return o, errNotFilterConfig
	}
	for _, e := range s.GetFields()["alpn_override"].GetListValue().GetValues() {
		f := e.GetStructValue().GetFields()
		p, err := protocolOf(f["upstream_protocol"])
		if err != nil {
			return o, err
		}
		var list []string
		for _, name := range f["alpn_override"].GetListValue().GetValues() {
			list = append(list, name.GetStringValue())
		}
		if err := o.set(p, list); err != nil {
			return o, err
		}
	}
	return o, nil
}

// protocolOf reads an enum's value in JSON: its name or number, or nothing for 0.
func protocolOf(v *structpb.Value) (uint64, error) {
	switch name := v.GetStringValue(); name {
	case "":
		if n := v.GetNumberValue(); n == 0 || n == upstreamHTTP11 || n == upstreamHTTP2 {
			return uint64(n), nil
		}
	case "HTTP10":
		return 0, nil
	case "HTTP11":
		return upstreamHTTP11, nil
	case "HTTP2":
		return upstreamHTTP2, nil
	}
	return 0, fmt.Errorf("istio.alpn: upstream_protocol %v is not known", v)
}

type filter struct{ offer *stream.ALPN }

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
