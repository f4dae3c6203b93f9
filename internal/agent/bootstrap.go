package agent

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Names of files in the runtime directory, and of the clusters in the bootstrap.
// Mesh configuration names the cluster of the secrets.
const (
	agentSocket   = "agent.sock"
	bootstrapFile = "envoy.json"
	xdsCluster    = "xds-grpc"
	sdsCluster    = "sds-grpc"
)

// writeBootstrap writes the Envoy's first configuration.
func (a *agent) writeBootstrap() error {
	b, err := bootstrap(&a.o)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	text, err := protojson.MarshalOptions{Multiline: true, UseProtoNames: true}.Marshal(b)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return os.WriteFile(filepath.Join(a.o.RuntimeDir, bootstrapFile), text, 0o600)
}

// bootstrap makes what Envoy starts with: everything else comes over ADS.
func bootstrap(o *Options) (*bootstrapv3.Bootstrap, error) {
	admin, err := address(o.Admin)
	if err != nil {
		return nil, fmt.Errorf("admin address: %w", err)
	}
	socket := filepath.Join(o.RuntimeDir, agentSocket)
	node := proto.Clone(o.Node).(*corev3.Node)
	if node.Cluster == "" {
		node.Cluster = node.Id // Envoy wants one; nothing reads it
	}
	ads := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}, ResourceApiVersion: corev3.ApiVersion_V3,
		InitialFetchTimeout: durationpb.New(0)} // a proxy without configuration waits for it
	xds, err := pipeCluster(xdsCluster, socket)
	if err != nil {
		return nil, err
	}
	sds, err := pipeCluster(sdsCluster, socket)
	if err != nil {
		return nil, err
	}
	return &bootstrapv3.Bootstrap{
		Node:  node,
		Admin: &bootstrapv3.Admin{Address: admin, IgnoreGlobalConnLimit: true},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			LdsConfig: ads, CdsConfig: ads,
			AdsConfig: &corev3.ApiConfigSource{
				ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3, SetNodeOnFirstMessageOnly: true,
				GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
					ClusterName: xdsCluster,
					// A control plane that comes back is found soon.
					RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
						BaseInterval: durationpb.New(100 * time.Millisecond), MaxInterval: durationpb.New(2 * time.Second),
					}},
				}}}},
			},
		},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{xds, sds}},
	}, nil
}

// pipeCluster leads to the agent's socket.
func pipeCluster(name, socket string) (*clusterv3.Cluster, error) {
	h2, err := anypb.New(&httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
		},
	}})
	if err != nil {
		return nil, err
	}
	return &clusterv3.Cluster{
		Name:                          name,
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:                durationpb.New(time.Second),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": h2},
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: wrapperspb.UInt32(100000), MaxPendingRequests: wrapperspb.UInt32(100000), MaxRequests: wrapperspb.UInt32(100000),
		}}},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: socket}}},
			}}}},
		}}},
	}, nil
}

// address reads "ip:port", which must be a loopback address since Envoy's admin
// interface can stop it, or "unix:///path".
func address(text string) (*corev3.Address, error) {
	if path, ok := strings.CutPrefix(text, "unix://"); ok {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: 0o600}}}, nil
	}
	ap, err := netip.ParseAddrPort(text)
	if err != nil {
		return nil, err
	}
	if !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("%s is not a loopback address", text)
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ap.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(ap.Port())},
	}}}, nil
}
