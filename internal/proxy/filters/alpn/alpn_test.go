package alpn

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// message encodes FilterConfig with one override.
func message(protocol uint64, names ...string) []byte {
	var e []byte
	e = protowire.AppendVarint(protowire.AppendTag(e, 1, protowire.VarintType), protocol)
	for _, n := range names {
		e = protowire.AppendString(protowire.AppendTag(e, 2, protowire.BytesType), n)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), e)
}

func asStruct(t *testing.T, text string) []byte {
	t.Helper()
	s := &structpb.Struct{}
	if err := s.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		want []string
	}{
		"empty":   {nil, http11},
		"message": {append(message(0, "istio-http/1.0"), message(1, "istio-http/1.1", "istio")...), []string{"istio-http/1.1", "istio"}},
		"struct":  {asStruct(t, `{"alpn_override":[{"upstream_protocol":"HTTP11","alpn_override":["a","istio"]},{"upstream_protocol":"HTTP2","alpn_override":["h2"]}]}`), []string{"a", "istio"}},
	} {
		got, err := NewBuilder().Parse("", c.in)
		if err != nil || !slices.Equal(got.([]string), c.want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := NewBuilder().Parse("", []byte{0xff, 0xff}); err == nil {
		t.Error("garbage accepted")
	}
}

type handle struct{ c *config.Cluster }

func (h handle) Config() *config.Cluster { return h.c }

func tls(alpn ...string) *config.UpstreamTLS {
	return &config.UpstreamTLS{Common: config.CommonTLS{ALPN: alpn}}
}

func TestActsTowardsTheMeshOnly(t *testing.T) {
	f, err := NewBuilder().New(http11, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cluster *config.Cluster
		acts    bool
	}{
		"mesh":     {&config.Cluster{TLSMatches: []config.TLSMatch{{TLS: tls("istio-peer-exchange", "istio")}, {}}}, true},
		"stranger": {&config.Cluster{TLS: tls("http/1.1")}, false}, "without protocols": {&config.Cluster{TLS: tls()}, false},
		"not there yet": {nil, true}, "plain": {&config.Cluster{}, true},
	} {
		s := &stream.Stream{Route: &config.Route{Forward: &config.Forward{Clusters: []config.WeightedCluster{{Cluster: config.ClusterRef{Handle: handle{c.cluster}}}}}}}
		_, _ = stream.Chain{f}.Handle(s) // the chain has no end: its answer is of no interest
		if got := s.UpstreamALPN != nil; got != c.acts {
			t.Errorf("%s: acts %v", name, got)
		}
	}
}
