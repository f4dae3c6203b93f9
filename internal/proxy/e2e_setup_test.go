package proxy_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/proxy"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
	"github.com/lateen-mesh/lateen/internal/xds/client"
	"github.com/lateen-mesh/lateen/internal/xds/client/clienttest"
)

// authority issues the test's certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// identity gives the secrets of a service account.
func (a *authority) identity(t testing.TB, account string) secrets {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse("spiffe://cluster.local/ns/default/sa/" + account)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{uri},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return secrets{
		"default": {Certificate: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}},
		"ROOTCA":  {Roots: []*x509.Certificate{a.cert}},
	}
}

type secrets map[string]*tlsctx.Secret

func (s secrets) Secret(name string) (*tlsctx.Secret, bool) { v, ok := s[name]; return v, ok }

// buffer is a writer that several goroutines may use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// sidecar is one proxy under test with its own control plane.
type sidecar struct {
	*proxy.Proxy
	t     testing.TB
	xds   *clienttest.Server
	log   *buffer
	admin string // http://…
	stop  func() error
}

func node(workload, version string) *corev3.Node {
	meta, err := structpb.NewStruct(map[string]any{
		"NAME": workload + "-0", "NAMESPACE": "default", "WORKLOAD_NAME": workload, "SERVICE_ACCOUNT": workload, "CLUSTER_ID": "Kubernetes",
		"ISTIO_VERSION": "1.31.0-lateen",
		"LABELS":        map[string]any{"app": workload, "version": version, "service.istio.io/canonical-name": workload, "service.istio.io/canonical-revision": version},
	})
	if err != nil {
		panic(err)
	}
	return &corev3.Node{Id: "sidecar~10.0.0.1~" + workload + "-0.default~default.svc.cluster.local", Metadata: meta}
}

func loopback(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newSidecar starts a proxy; configure sets its first resources.
func newSidecar(t testing.TB, workload string, sec tlsctx.Secrets, configure func(*sidecar)) *sidecar {
	t.Helper()
	s := &sidecar{t: t, xds: clienttest.New(t), log: &buffer{}}
	n := node(workload, "v1")
	source, err := client.New(client.Options{Target: s.xds.Target(), Node: n, MinBackoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	configure(s)
	levels := ops.NewLevels(-8)
	admin := loopback(t)
	s.admin = "http://" + admin.Addr().String()
	s.Proxy, err = proxy.New(proxy.Options{
		Node: n, Sockets: rawio.HostSockets{}, Source: source, Secrets: sec, AdminListener: admin,
		AccessLog: s.log, Log: ops.NewLogger(testLog{t}, ops.Text, levels), Levels: levels, DrainTime: 2 * time.Second, Profiles: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("%s: Run returned %v", workload, err)
		}
	})
	eventually(t, func() string {
		if !s.Ready() {
			return workload + " is not ready: " + get(t, s.admin+"/ready")
		}
		return ""
	})
	return s
}

// testLog writes to the test's log.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	defer func() { _ = recover() }() // a line after the test's end
	l.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// set gives the sidecar a resource, written as JSON with its @type.
func (s *sidecar) set(name, text string) {
	s.t.Helper()
	a := &anypb.Any{}
	if err := protojson.Unmarshal([]byte(text), a); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, text)
	}
	s.xds.Raw(name, a)
}

// addr gives the address that a listener is bound to.
func (s *sidecar) addr(name string) netip.AddrPort {
	s.t.Helper()
	for _, l := range s.Listeners() {
		if l.Config.Name == name && len(l.Bound) > 0 {
			return l.Bound[0]
		}
	}
	s.t.Fatalf("no listener %s is bound", name)
	return netip.AddrPort{}
}

func eventually(t testing.TB, f func() string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		why := f()
		if why == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(why)
		}
		time.Sleep(3 * time.Millisecond)
	}
}

func get(t testing.TB, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const meshTLSParams = `"tls_certificate_sds_secret_configs":[{"name":"default","sds_config":{"api_config_source":{"api_type":"GRPC","grpc_services":[{"envoy_grpc":{"cluster_name":"sds-grpc"}}]},"resource_api_version":"V3"}}],
 "combined_validation_context":{"default_validation_context":{"match_subject_alt_names":[{"prefix":"spiffe://cluster.local/"}]},"validation_context_sds_secret_config":{"name":"ROOTCA","sds_config":{"api_config_source":{"api_type":"GRPC","grpc_services":[{"envoy_grpc":{"cluster_name":"sds-grpc"}}]},"resource_api_version":"V3"}}}`

const typed = `"@type":"type.googleapis.com/udpa.type.v1.TypedStruct","type_url":"type.googleapis.com/`

// istioFormat is Istio's default text format of access logs.
const istioFormat = `[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n`

const accessLog = `"access_log":[{"name":"envoy.access_loggers.file","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"/dev/stdout","log_format":{"text_format_source":{"inline_string":"` + istioFormat + `"}}}}]`

// hcmFilter is an HTTP connection manager; routing is "rds":… or "route_config":….
func hcmFilter(side, routing, more string) string {
	peers := `"upstream_discovery":[{"istio_headers":{}}],"upstream_propagation":[{"istio_headers":{}}]`
	alpn := `{"name":"istio.alpn","typed_config":{` + typed + `istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig","value":{}}},`
	if side == "inbound" {
		peers = `"downstream_discovery":[{"istio_headers":{}}],"downstream_propagation":[{"istio_headers":{}}]`
		alpn = ""
	}
	return `{"name":"envoy.filters.network.http_connection_manager","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
 "stat_prefix":"x",` + routing + `,` + accessLog + `,"normalize_path":true,"use_remote_address":false,"stream_idle_timeout":"0s","upgrade_configs":[{"upgrade_type":"websocket"}],` + more + `
 "http_filters":[{"name":"istio.metadata_exchange","typed_config":{` + typed + `io.istio.http.peer_metadata.Config","value":{` + peers + `}}},
 {"name":"envoy.filters.http.grpc_stats","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig","emit_filter_state":true,"stats_for_all_methods":false}},` + alpn + `
 {"name":"envoy.filters.http.fault","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"}},
 {"name":"envoy.filters.http.cors","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}},
 {"name":"istio.stats","typed_config":{` + typed + `stats.PluginConfig","value":{}}},
 {"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}`
}

const inboundHCM = `"server_name":"istio-envoy","forward_client_cert_details":"APPEND_FORWARD","set_current_client_cert_details":{"subject":true,"dns":true,"uri":true},`

// inbound is a listener as a sidecar's virtualInbound: mTLS by the mesh's ALPNs,
// and plain text if that is permitted.
func inbound(strict bool, tag string) string {
	routing := `"route_config":{"name":"inbound|9080||","virtual_hosts":[{"name":"inbound|http|9080","domains":["*"],"routes":[{"name":"default","match":{"prefix":"/"},"route":{"cluster":"inbound|9080||","timeout":"0s"},
 "decorator":{"operation":"reviews:9080/*` + tag + `"}}]}],"validate_clusters":false}`
	exchange := `{"name":"istio.metadata_exchange","typed_config":{` + typed + `envoy.tcp.metadataexchange.config.MetadataExchange","value":{"protocol":"istio-peer-exchange"}}}`
	chain := func(match, socket string) string {
		return `{"name":"0.0.0.0_9080","filter_chain_match":` + match + `,"filters":[` + exchange + `,` + hcmFilter("inbound", routing, inboundHCM) + `]` + socket + `}`
	}
	socket := `,"transport_socket":{"name":"envoy.transport_sockets.tls","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext","common_tls_context":{"alpn_protocols":["istio-http/1.1","http/1.1"],` + meshTLSParams + `},"require_client_certificate":true}}`
	chains := chain(`{"transport_protocol":"tls","application_protocols":["istio","istio-http/1.0","istio-http/1.1"]}`, socket)
	if !strict {
		chains += `,` + chain(`{"transport_protocol":"raw_buffer"}`, "")
	}
	return `{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"virtualInbound","traffic_direction":"INBOUND","address":{"socket_address":{"address":"127.0.0.1","port_value":0}},
 "listener_filters":[{"name":"envoy.filters.listener.tls_inspector","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}},
 {"name":"envoy.filters.listener.http_inspector","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"}}],
 "listener_filters_timeout":"0s","continue_on_listener_filters_timeout":true,"filter_chains":[` + chains + `]}`
}

// static is a cluster with one endpoint and no TLS.
func static(name string, addr netip.AddrPort) string {
	return fmt.Sprintf(`{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":%q,"type":"STATIC","connect_timeout":"1s","load_assignment":{"cluster_name":%q,"endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":%q,"port_value":%d}}}}]}]},
 "metadata":{"filter_metadata":{"istio":{"services":[{"host":"reviews.default.svc.cluster.local","name":"reviews","namespace":"default"}]}}}}`, name, name, addr.Addr(), addr.Port())
}

// eds is a cluster of the mesh: endpoints by EDS, mTLS where they can.
func eds(name string) string {
	return fmt.Sprintf(`{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":%q,"type":"EDS","connect_timeout":"1s","lb_policy":"LEAST_REQUEST","eds_cluster_config":{"eds_config":{"ads":{},"resource_api_version":"V3"},"service_name":%q},
 "metadata":{"filter_metadata":{"istio":{"services":[{"host":"reviews.default.svc.cluster.local","name":"reviews","namespace":"default"}]}}},
 "transport_socket_matches":[{"name":"tlsMode-istio","match":{"tlsMode":"istio"},"transport_socket":{"name":"envoy.transport_sockets.tls","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext","sni":"outbound_.9080_._.reviews.default.svc.cluster.local","common_tls_context":{"alpn_protocols":["istio-peer-exchange","istio"],%s}}}},
 {"name":"tlsMode-disabled","match":{},"transport_socket":{"name":"envoy.transport_sockets.raw_buffer","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}]}`, name, name, meshTLSParams)
}

func assignment(name, mode string, addrs ...netip.AddrPort) string {
	var eps []string
	for _, a := range addrs {
		eps = append(eps, fmt.Sprintf(`{"endpoint":{"address":{"socket_address":{"address":%q,"port_value":%d}}},"metadata":{"filter_metadata":{"envoy.transport_socket_match":{"tlsMode":%q},"istio":{"workload":"reviews;default;reviews;v1;Kubernetes"}}},"load_balancing_weight":1}`, a.Addr(), a.Port(), mode))
	}
	return fmt.Sprintf(`{"@type":"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment","cluster_name":%q,"endpoints":[{"locality":{},"lb_endpoints":[%s],"load_balancing_weight":1}]}`, name, strings.Join(eps, ","))
}

// outbound is a listener for an HTTP port, bound so that the test can dial it.
func outbound(more string) string {
	return `{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"0.0.0.0_9080","traffic_direction":"OUTBOUND","address":{"socket_address":{"address":"127.0.0.1","port_value":0}},
 "filter_chains":[{"filters":[` + hcmFilter("outbound", `"rds":{"config_source":{"ads":{},"resource_api_version":"V3"},"route_config_name":"9080"}`, more) + `]}]}`
}

// routeTable sends everything for reviews to a cluster, with a route name.
func routeTable(route, cluster string) string {
	return fmt.Sprintf(`{"@type":"type.googleapis.com/envoy.config.route.v3.RouteConfiguration","name":"9080","virtual_hosts":[{"name":"reviews.default.svc.cluster.local:9080","domains":["reviews","reviews:9080"],
 "routes":[{"name":%q,"match":{"prefix":"/"},"route":{"cluster":%q,"timeout":"0s"},"decorator":{"operation":"x"}}]}]}`, route, cluster)
}

// application is the workload behind the server's sidecar.
func application(t testing.TB, h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}
