package config

import (
	"testing"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

const typePrefix = "type.googleapis.com/"

// testFilter accepts everything and keeps its bytes.
type testFilter struct {
	name string
	urls []string
}

func (f testFilter) Name() string                                  { return f.name }
func (f testFilter) TypeURLs() []string                            { return f.urls }
func (testFilter) Parse(_ string, value []byte) (any, error)       { return string(value), nil }
func (testFilter) ParseOverride(url string, _ []byte) (any, error) { return "override " + url, nil }
func (testFilter) New(any, int) (stream.Filter, error)             { return nil, nil }

// testDeps holds the filters that Istio sends.
func testDeps() Deps {
	var d Deps
	for _, f := range [][2]string{
		{"istio.metadata_exchange", "io.istio.http.peer_metadata.Config"},
		{"envoy.filters.http.grpc_stats", "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"},
		{"istio.alpn", "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"},
		{"envoy.filters.http.fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"},
		{"envoy.filters.http.cors", "envoy.extensions.filters.http.cors.v3.Cors"},
		{"envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"},
	} {
		d.Filters = append(d.Filters, testFilter{f[0], []string{typePrefix + f[1]}})
	}
	d.Cluster = func(name string) any { return "handle of " + name }
	return d
}

// lenient resolves types that are not linked in to the empty message, as Istio's
// own types are written in the cases.
type lenient struct{ *protoregistry.Types }

func (l lenient) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	mt, err := l.Types.FindMessageByURL(url)
	if err != nil {
		return (&emptypb.Empty{}).ProtoReflect().Type(), nil
	}
	return mt, nil
}

func fromJSON[M proto.Message](t testing.TB, text string, m M) M {
	t.Helper()
	if err := (protojson.UnmarshalOptions{Resolver: lenient{protoregistry.GlobalTypes}}).Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("case: %v", err)
	}
	return m
}
