package command

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/intercept"
	"github.com/lateen-mesh/lateen/internal/xds/client/clienttest"
)

// controlName is what the control plane's certificate is for.
const controlName = "istiod.istio-system.svc"

// podPlane is a control plane as a pod sees it: configuration and certificates over
// TLS on 15012, in the network namespace of the test's pod.
type podPlane struct {
	t    *testing.T
	ns   *intercept.Namespace
	xds  *clienttest.Server
	stop func() // nil: not running

	authority *ca.Authority
	mu        sync.Mutex
	tokens    []string // guarded by mu: of certificate requests
}

func newPodPlane(t *testing.T) *podPlane {
	t.Helper()
	ns, err := intercept.NewNamespace()
	if err != nil {
		t.Skipf("tests of pods make network namespaces, which needs root: %v", err)
	}
	t.Cleanup(func() { ns.Close() })
	p := &podPlane{t: t, ns: ns, xds: clienttest.New(t)}
	p.newRoot()
	p.start()
	t.Cleanup(p.end)
	return p
}

// newRoot makes a new authority, with which the next start serves.
func (p *podPlane) newRoot() {
	p.t.Helper()
	var err error
	if p.authority, err = ca.Open(ca.Options{Dir: p.t.TempDir()}); err != nil {
		p.t.Fatal(err)
	}
}

// Authenticate implements ca.Authenticator.
func (p *podPlane) Authenticate(ctx context.Context) (ca.Workload, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if len(md.Get("authorization")) == 0 {
		return ca.Workload{}, errors.New("no token")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens = append(p.tokens, md.Get("authorization")...)
	return ca.Workload{Namespace: "shop", ServiceAccount: "cart", Instance: "cart-0"}, nil
}

func (p *podPlane) start() {
	p.t.Helper()
	serving, err := ca.Serve(p.t.Context(), p.authority, []string{controlName}, slog.New(slog.DiscardHandler))
	if err != nil {
		p.t.Fatal(err)
	}
	l, err := p.ns.Listen(netip.MustParseAddrPort("127.0.0.1:15012"))
	if err != nil {
		p.t.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(serving.Config(&tls.Config{NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}, true))))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, p.xds)
	ca.NewService(p.authority, p, nil, slog.New(slog.DiscardHandler)).Register(g)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(l) // ends with Stop
	}()
	p.stop = func() { g.Stop(); <-done }
}

// end stops the control plane.
func (p *podPlane) end() {
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
}

// set gives the proxy a resource in proto JSON.
func (p *podPlane) set(name, text string) {
	p.t.Helper()
	a := &anypb.Any{}
	if err := protojson.Unmarshal([]byte(text), a); err != nil {
		p.t.Fatal(err)
	}
	p.xds.Raw(name, a)
}

const (
	podListener = `{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l%[1]d","traffic_direction":"INBOUND","address":{"socket_address":{"address":"127.0.0.1","port_value":%[1]d}},
 "filter_chains":[{"filters":[{"name":"envoy.filters.network.http_connection_manager","typed_config":{"@type":"` + typeHCM + `","stat_prefix":"x","stream_idle_timeout":"0s",
 "route_config":{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"name":"default","match":{"prefix":"/"},"route":{"cluster":"c","timeout":"0s"}}]}],"validate_clusters":false},
 "http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}`
	podCluster = `{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"c","type":"STATIC","connect_timeout":"1s",
 "load_assignment":{"cluster_name":"c","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"127.0.0.1","port_value":8080}}}}]}]}}`
)

// podFiles are the volumes of a pod's proxy.
type podFiles struct {
	t    *testing.T
	root string
}

// newPodFiles makes the volumes in memory, as far as the machine has that, readable for
// the proxy's user.
func newPodFiles(t *testing.T, p *podPlane) *podFiles {
	t.Helper()
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	root, err := os.MkdirTemp(parent, "pod")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	f := &podFiles{t, root}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"etc/istio/proxy", "var/lib/istio/data"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(root, dir), 0o755), os.Chown(filepath.Join(root, dir), 1337, 1337)); err != nil {
			t.Fatal(err)
		}
	}
	f.write("var/run/secrets/tokens/istio-token", "token-1\n")
	f.write("etc/istio/pod/labels", "app=\"cart\"\nversion=\"v1\"\n")
	f.write("etc/istio/pod/annotations", "lateen.dev/proxy=\"native\"\nbig=\"x\"\n")
	f.roots(p)
	return f
}

func (f *podFiles) roots(p *podPlane) {
	f.write("var/run/secrets/istio/root-cert.pem", string(p.authority.Roots()))
}

// write replaces a file at once, as kubelet does.
func (f *podFiles) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o644), os.Rename(path+".new", path)); err != nil {
		f.t.Fatal(err)
	}
}

// env is the environment that the injector gives.
func (f *podFiles) env(more ...string) []string {
	return append([]string{
		"LATEEN_POD_ROOT=" + f.root, "POD_NAME=cart-0", "POD_NAMESPACE=shop", "SERVICE_ACCOUNT=cart", "INSTANCE_IP=127.0.0.1", "INSTANCE_IPS=127.0.0.1",
		"ISTIOD_SAN=" + controlName, "ISTIO_META_CLUSTER_ID=Kubernetes", "ISTIO_META_DNS_CAPTURE=true", "LATEEN_LOG_LEVEL=debug",
		`PROXY_CONFIG={"discoveryAddress":"127.0.0.1:15012","terminationDrainDuration":"2s","statNameLength":189,"proxyMetadata":{"ISTIO_META_X":"y"}}`,
		`ISTIO_META_POD_PORTS=[{"name":"http","containerPort":8080,"protocol":"TCP"}]`,
		`ISTIO_KUBE_APP_PROBERS={"/app-health/cart/readyz":{"httpGet":{"path":"/healthy","port":"http","scheme":"HTTP"},"timeoutSeconds":1},"/app-health/cart/livez":{"tcpSocket":{"port":8080}}}`,
		`ISTIO_PROMETHEUS_ANNOTATIONS={"scrape":"true","port":"8080","path":"/metrics"}`,
	}, more...)
}

func eventually(t *testing.T, what string, within time.Duration, ok func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
	}
}

func want(code int, text string) func(int, string, error) error {
	return func(gotCode int, gotText string, err error) error {
		if err != nil {
			return err
		}
		if gotCode != code || text != "" && gotText != text {
			return fmt.Errorf("got %d %q, want %d %q", gotCode, gotText, code, text)
		}
		return nil
	}
}
