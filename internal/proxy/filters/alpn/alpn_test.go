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
	type lists struct{ one, two []string }
	for name, c := range map[string]struct {
		in   []byte
		want lists
	}{
		"empty": {nil, lists{http11, http2}},
		"message": {append(append(message(0, "istio-http/1.0"), message(1, "istio-http/1.1", "istio")...), message(2, "istio-h2")...),
			lists{[]string{"istio-http/1.1", "istio"}, []string{"istio-h2"}}},
		"struct": {asStruct(t, `{"alpn_override":[{"upstream_protocol":"HTTP11","alpn_override":["a","istio"]},{"upstream_protocol":"HTTP2","alpn_override":["h2"]}]}`),
			lists{[]string{"a", "istio"}, []string{"h2"}}},
		"one of them": {asStruct(t, `{"alpn_override":[{"alpn_override":["x"]},{"upstream_protocol":2,"alpn_override":["h2"]}]}`), lists{http11, []string{"h2"}}},
	} {
		got, err := NewBuilder().Parse("", c.in)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if a := got.(*stream.ALPN); !slices.Equal(a.HTTP1, c.want.one) || !slices.Equal(a.HTTP2, c.want.two) {
			t.Errorf("%s: %+v", name, a)
		}
	}
	for name, in := range map[string][]byte{
		"garbage": {0xff, 0xff}, "an unknown number": message(7, "x"),
		"an unknown name": asStruct(t, `{"alpn_override":[{"upstream_protocol":"HTTP3","alpn_override":["h3"]}]}`),
	} {
		if _, err := NewBuilder().Parse("", in); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

type handle struct{ c *config.Cluster }

func (h handle) Config() *config.Cluster { return h.c }

func tls(alpn ...string) *config.UpstreamTLS {
	return &config.UpstreamTLS{Common: config.CommonTLS{ALPN: alpn}}
}

func TestActsTowardsTheMeshOnly(t *testing.T) {
	f, err := NewBuilder().New(stream.NewALPN(http11, http2), 0)
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

func FuzzParse(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(append(message(1, "istio-http/1.1", "istio"), message(2, "istio-h2")...))
	f.Add(message(9, "x"))
	s := &structpb.Struct{Fields: map[string]*structpb.Value{"alpn_override": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{
		structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"upstream_protocol": structpb.NewStringValue("HTTP2")}})}})}}
	b, err := proto.Marshal(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := NewBuilder().Parse("", b)
		if err != nil {
			return
		}
		if a := got.(*stream.ALPN); a.HTTP1 == nil || a.HTTP2 == nil {
			t.Errorf("offers nothing: %+v", a)
		}
	})
}
