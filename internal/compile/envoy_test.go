package compile_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/xds/build"
)

// TestEnvoyAccepts has a real Envoy (LATEEN_TEST_ENVOY, which make test sets)
// check what each golden case would send it.
func TestEnvoyAccepts(t *testing.T) {
	envoy := os.Getenv("LATEEN_TEST_ENVOY")
	if _, err := os.Stat(envoy); envoy == "" || err != nil {
		t.Skipf("no Envoy at LATEEN_TEST_ENVOY=%q", envoy)
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := withBase(t, sections(ar))
			var cn caseNode
			decodeYAML(t, in["node.yaml"], &cn)
			cn.DataPlane = "envoy"
			config := filepath.Join(t.TempDir(), "bootstrap.json")
			writeFile(t, config, bootstrap(t, run(t, in, cn, nil).set))
			cmd := exec.Command(envoy, "--mode", "validate", "-c", config, "--log-level", "error", "--disable-hot-restart")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// bootstrap puts the resources of a set into a configuration file. Route tables
// are bound to listeners of their own, so that they are checked too.
func bootstrap(t *testing.T, set *build.Set) []byte {
	t.Helper()
	b := &bootstrapv3.Bootstrap{
		Node: &corev3.Node{Id: "test", Cluster: "test"},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{AdsConfig: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "sds-grpc"},
			}}},
		}},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Clusters: []*clusterv3.Cluster{{Name: "sds-grpc"}},
		},
	}
	for _, r := range set.Clusters {
		b.StaticResources.Clusters = append(b.StaticResources.Clusters, decode(t, r, &clusterv3.Cluster{}))
	}
	for _, r := range set.Listeners {
		b.StaticResources.Listeners = append(b.StaticResources.Listeners, decode(t, r, &listenerv3.Listener{}))
	}
	for i, r := range set.Routes {
		b.StaticResources.Listeners = append(b.StaticResources.Listeners, routeListener(t, i, decode(t, r, &routev3.RouteConfiguration{})))
	}
	text, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func routeListener(t *testing.T, i int, table *routev3.RouteConfiguration) *listenerv3.Listener {
	t.Helper()
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix:     fmt.Sprint("check", i),
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: table},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})},
		}},
	}
	return &listenerv3.Listener{
		Name: fmt.Sprint("check", i),
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 0},
		}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "envoy.filters.network.http_connection_manager", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, manager)},
		}}}},
	}
}

func decode[M proto.Message](t *testing.T, r build.Resource, m M) M {
	t.Helper()
	if err := proto.Unmarshal(r.Body, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
