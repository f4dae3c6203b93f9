package peermeta

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

func node(t testing.TB, name string) *corev3.Node {
	t.Helper()
	m, err := structpb.NewStruct(map[string]any{
		"NAME": name + "-0", "NAMESPACE": "default", "WORKLOAD_NAME": name, "SERVICE_ACCOUNT": "sa", "CLUSTER_ID": "Kubernetes", "SECRET": "x",
		"LABELS": map[string]any{"app": name, "version": "v1", "other": "y"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &corev3.Node{Id: "sidecar~10.0.0.1~" + name + "-0.default~d", Metadata: m}
}

func exchange(t testing.TB, name string) *Exchange {
	t.Helper()
	x, err := New(node(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

var wantPeer = Peer{
	ID: "sidecar~10.0.0.1~a-0.default~d", Name: "a-0", Namespace: "default", Workload: "a", App: "a", Version: "v1",
	CanonicalName: "a", CanonicalRevision: "v1", ServiceAccount: "sa", Cluster: "Kubernetes",
}

func TestHeaderTellsOnlyWhatPeersNeed(t *testing.T) {
	x := exchange(t, "a")
	p, err := ParseHeader(x.value)
	if err != nil {
		t.Fatal(err)
	}
	p.ID = string(x.id)
	if diff := cmp.Diff(wantPeer, *p); diff != "" {
		t.Error(diff)
	}
	if s := exported(node(t, "a")); s.Fields["SECRET"] != nil || s.Fields["LABELS"].GetStructValue().Fields["other"] != nil {
		t.Errorf("told too much: %v", s)
	}
}

func TestFromEndpoint(t *testing.T) {
	if p := FromEndpoint(""); p != nil {
		t.Errorf("%+v", p)
	}
	for in, want := range map[string]Peer{
		"reviews-v1;default;reviews;v1;Kubernetes": {Workload: "reviews-v1", Namespace: "default", CanonicalName: "reviews", CanonicalRevision: "v1", Cluster: "Kubernetes", App: "reviews", Version: "v1"},
		"x;ns": {Workload: "x", Namespace: "ns"},
	} {
		if diff := cmp.Diff(want, *FromEndpoint(in)); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
}

// chain is a filter with the given lists, in front of an end that answers.
func chain(t testing.TB, x *Exchange, lists string, end func(*stream.Stream) *stream.Response) stream.Chain {
	t.Helper()
	s := &structpb.Struct{}
	if err := s.UnmarshalJSON([]byte(lists)); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := x.Parse("", b)
	if err != nil {
		t.Fatal(err)
	}
	f, err := x.New(cfg, 0)
	if err != nil {
		t.Fatal(err)
	}
	return stream.Chain{f, last(end)}
}

type last func(*stream.Stream) *stream.Response

func (l last) Handle(s *stream.Stream, _ stream.Next) (*stream.Response, error) { return l(s), nil }

const (
	outboundLists = `{"upstream_discovery":[{"istio_headers":{}},{"workload_discovery":{}}],"upstream_propagation":[{"istio_headers":{}}]}`
	inboundLists  = `{"downstream_discovery":[{"istio_headers":{}},{"workload_discovery":{}}],"downstream_propagation":[{"istio_headers":{}}]}`
)

func routeTo(cluster string) *config.Route {
	return &config.Route{Forward: &config.Forward{Clusters: []config.WeightedCluster{{Cluster: config.ClusterRef{Name: cluster}}}}}
}

// TestHTTPExchange joins a client's and a server's filter.
func TestHTTPExchange(t *testing.T) {
	client, server := exchange(t, "a"), exchange(t, "b")
	var inside stream.Stream
	app := func(s *stream.Stream) *stream.Response {
		if s.Request.Has(stream.EnvoyPeerMetadata) || s.Request.Has(stream.EnvoyPeerMetadataID) {
			t.Error("the application sees metadata")
		}
		return &stream.Response{Status: 200}
	}
	serve := chain(t, server, inboundLists, app)
	call := chain(t, client, outboundLists, func(s *stream.Stream) *stream.Response {
		inside.Request.CopyFrom(&s.Request.Head)
		resp, err := serve.Handle(&inside)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	})
	var s stream.Stream
	s.Route = routeTo("outbound|80||b.default.svc.cluster.local")
	s.Request.AddString(stream.EnvoyPeerMetadata, "forged by the application")
	resp, err := call.Handle(&s)
	if err != nil || resp.Has(stream.EnvoyPeerMetadata) || resp.Has(stream.EnvoyPeerMetadataID) {
		t.Errorf("%v, response %v", err, resp)
	}
	if p := Found(&inside, 0, stream.Inbound).Downstream; p == nil || p.Workload != "a" || p.ID != "sidecar~10.0.0.1~a-0.default~d" {
		t.Errorf("the server found %+v", p)
	}
	if p := Found(&s, 0, stream.Outbound).Upstream; p == nil || p.Workload != "b" {
		t.Errorf("the client found %+v", p)
	}
}

func TestStrangersAreToldNothing(t *testing.T) {
	x := exchange(t, "a")
	for _, cluster := range []string{"PassthroughCluster", "inbound|80||"} {
		call := chain(t, x, outboundLists, func(s *stream.Stream) *stream.Response {
			if s.Request.Has(stream.EnvoyPeerMetadata) {
				t.Errorf("%s is told who we are", cluster)
			}
			return &stream.Response{Status: 200}
		})
		s := stream.Stream{Route: routeTo(cluster)}
		if _, err := call.Handle(&s); err != nil {
			t.Fatal(err)
		}
	}
	serve := chain(t, x, inboundLists, func(*stream.Stream) *stream.Response { return &stream.Response{Status: 200} })
	resp, err := serve.Handle(&stream.Stream{})
	if err != nil || resp.Len() != 0 {
		t.Errorf("a client without metadata gets %v, %v", resp, err)
	}
}

func TestParseRefuses(t *testing.T) {
	x := exchange(t, "a")
	for _, text := range []string{`{"upstream_discovery":[{"baggage":{}}]}`, `{"unknown":1}`} {
		s := &structpb.Struct{}
		if err := s.UnmarshalJSON([]byte(text)); err != nil {
			t.Fatal(err)
		}
		b, err := proto.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Parse("", b); err == nil {
			t.Errorf("%s accepted", text)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	var c cache
	for i := range 3 * maxPeers {
		v, err := headerValue(node(t, fmt.Sprint("w", i)))
		if err != nil {
			t.Fatal(err)
		}
		p := c.get([]byte("id"), v)
		if p == nil || c.get([]byte("id"), v) != p {
			t.Fatalf("peer %d is not remembered", i)
		}
	}
	if n := len(*c.view.Load()); n > maxPeers {
		t.Errorf("%d entries", n)
	}
	if c.get(nil, []byte("garbage!")) != nil || len(*c.view.Load()) > maxPeers {
		t.Error("garbage is remembered")
	}
}

func TestTCPExchange(t *testing.T) {
	a, b := pipe.New()
	x, y := exchange(t, "a"), exchange(t, "b")
	ca, err := x.Start(a)
	if err != nil {
		t.Fatal(err)
	}
	cb, err := y.Start(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	b.ShortReads(3) // the frame comes in pieces
	if _, err := io.ReadFull(cb, got); err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	if cb.Peer() == nil || cb.Peer().Workload != "a" || cb.Peer().ID != wantPeer.ID {
		t.Errorf("peer %+v", cb.Peer())
	}
	if ca.Peer() != nil {
		t.Error("the peer is known before it was read")
	}
}

// TestTCPWithoutFrame: a peer that sends data at once loses nothing.
func TestTCPWithoutFrame(t *testing.T) {
	for _, data := range []string{"GET / HTTP/1.1\r\n\r\n", "\x3d", "\x3d\x23\x04\x67\x00", "\x3d\x23\x04\x66 data"} {
		a, b := pipe.New()
		c, err := exchange(t, "a").Start(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
		if err := a.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c); err != nil || string(got) != data || c.Peer() != nil {
			t.Errorf("%q: %q, %v", data, got, err)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(exchange(f, "a").frame)
	f.Add(append(binary.BigEndian.AppendUint32(nil, frameMagic), 0, 0, 0, 1, 0xff))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, n, err := ParseFrame(b)
		if n < 0 || n > len(b) || (p != nil) != (n > 0) {
			t.Fatalf("%v, %d, %v", p, n, err)
		}
		if errors.Is(err, errFrameMore) && len(b) >= frameHeader+maxMetadata {
			t.Fatal("asks for more than the bound")
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	f.Add(exchange(f, "a").value)
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParseHeader(bytes.Clone(b)); (p == nil) == (err == nil) {
			t.Fatalf("%v, %v", p, err)
		}
	})
}

func BenchmarkKnownPeer(b *testing.B) {
	x := exchange(b, "a")
	var c cache
	c.get(x.id, x.value)
	b.ReportAllocs()
	for b.Loop() {
		if c.get(x.id, x.value) == nil {
			b.Fatal("unknown")
		}
	}
}
