package behave

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/proxy"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/xds/client"
	"github.com/lateen-mesh/lateen/internal/xds/client/clienttest"
)

// m is a JSON object.
type m = map[string]any

const (
	typePrefix = "type.googleapis.com/"
	nodeID     = "sidecar~10.0.0.1~behave-0.default~default.svc.cluster.local"
	logFormat  = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%|%REQ(:PATH)%|%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%\n"
)

// subject is a proxy under test with the servers behind it.
type subject struct {
	name   string
	normal netip.AddrPort // a listener that waits long
	short  netip.AddrPort // one that does not
	log    string         // file
	rows   []*row         // with this proxy's origins
	xds    *clienttest.Server
}

func (s *subject) set(t testing.TB, name string, body m) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	a := &anypb.Any{}
	if err := protojson.Unmarshal(text, a); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, text)
	}
	s.xds.Raw(name, a)
}

func freePort(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// newSubject makes the resources of a proxy, with an origin and a cluster for each
// row.
func newSubject(t testing.TB, name string) *subject {
	t.Helper()
	s := &subject{name: name, log: filepath.Join(t.TempDir(), name+".log"), xds: clienttest.New(t)}
	var routes []m
	for _, sc := range scenarios {
		for _, combo := range sc.combos {
			r := &row{scenario: sc, combo: combo, id: strings.ReplaceAll(sc.name, " ", "-") + "-" + combo}
			s.rows = append(s.rows, r)
			routes = append(routes, m{"match": m{"prefix": "/" + r.id + "/"}, "route": merge(m{"cluster": r.id, "timeout": "0s"}, sc.route)})
			s.set(t, r.id, r.cluster(t))
		}
	}
	s.normal, s.short = freePort(t), freePort(t) // now that the origins have theirs
	for name, l := range map[string]struct {
		at   netip.AddrPort
		more m
	}{
		"normal": {s.normal, m{}},
		"short":  {s.short, m{"request_headers_timeout": "0.200s", "request_timeout": "0.250s", "common_http_protocol_options": m{"idle_timeout": "0.200s"}}},
	} {
		s.set(t, name, m{"@type": typePrefix + "envoy.config.listener.v3.Listener", "name": name, "traffic_direction": "OUTBOUND", "address": address(l.at),
			"filter_chains": []m{{"filters": []m{{"name": "envoy.filters.network.http_connection_manager", "typed_config": merge(m{
				"@type":       typePrefix + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
				"stat_prefix": "x", "use_remote_address": false, "stream_idle_timeout": "0s", "upgrade_configs": []m{{"upgrade_type": "websocket"}},
				"rds":          m{"config_source": m{"ads": m{}, "resource_api_version": "V3"}, "route_config_name": "routes"},
				"access_log":   []m{{"name": "envoy.access_loggers.file", "typed_config": m{"@type": typePrefix + "envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": s.log, "log_format": m{"text_format_source": m{"inline_string": logFormat}}}}},
				"http_filters": []m{{"name": "envoy.filters.http.router", "typed_config": m{"@type": typePrefix + "envoy.extensions.filters.http.router.v3.Router"}}},
			}, l.more)}}}}})
	}
	s.set(t, "routes", m{"@type": typePrefix + "envoy.config.route.v3.RouteConfiguration", "name": "routes", "validate_clusters": false, "virtual_hosts": []m{{"name": "all", "domains": []string{"*"}, "routes": routes}}})
	return s
}

func merge(a, b m) m {
	for k, v := range b {
		a[k] = v
	}
	return a
}

func address(a netip.AddrPort) m {
	return m{"socket_address": m{"address": a.Addr().String(), "port_value": a.Port()}}
}

// startOurs runs our proxy in this process.
func startOurs(t *testing.T, s *subject) {
	t.Helper()
	node := &corev3.Node{Id: nodeID}
	source, err := client.New(client.Options{Target: s.xds.Target(), Node: node})
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.New(proxy.Options{Node: node, Sockets: rawio.HostSockets{}, Source: source, Log: ops.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("our proxy: %v", err)
		}
	})
	s.waitUntil(t, p.Ready)
}

// waitUntil waits for the proxy to serve.
func (s *subject) waitUntil(t testing.TB, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if n := s.xds.Nacks(); len(n) > 0 {
			t.Fatalf("%s refuses its configuration: %v", s.name, n)
		}
		if ready() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready", s.name)
		}
	}
}

// envoy finds Envoy.
func envoy() (string, error) {
	if path := os.Getenv("LATEEN_TEST_ENVOY"); path != "" {
		return path, nil
	}
	path, err := filepath.Abs("../../../.cache/tools/envoy")
	if err != nil {
		return "", err
	}
	_, err = os.Stat(path)
	return path, err
}

// startEnvoy runs Envoy with the same resources.
func startEnvoy(t *testing.T, s *subject, path string) {
	t.Helper()
	admin := freePort(t)
	ads := m{"ads": m{}, "resource_api_version": "V3"}
	socket := strings.TrimPrefix(s.xds.Target(), "unix://")
	text, err := json.Marshal(m{
		"node": m{"id": nodeID, "cluster": "behave"}, "admin": m{"address": address(admin)},
		"dynamic_resources": m{
			"ads_config": m{"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": []m{{"envoy_grpc": m{"cluster_name": "xds"}}}},
			"cds_config": ads, "lds_config": ads,
		},
		"static_resources": m{"clusters": []m{{
			"name": "xds", "type": "STATIC", "connect_timeout": "1s", "typed_extension_protocol_options": protocol("http2_protocol_options"),
			"load_assignment": m{"cluster_name": "xds", "endpoints": []m{{"lb_endpoints": []m{{"endpoint": m{"address": m{"pipe": m{"path": socket}}}}}}}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", file, "--concurrency", "1", "-l", "error", "--use-dynamic-base-id", "--disable-hot-restart", "--file-flush-interval-msec", "20")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		if err := cmd.Wait(); t.Failed() {
			t.Logf("Envoy: %v\n%s", err, out.Bytes())
		}
	})
	s.waitUntil(t, func() bool {
		resp, err := http.Get(fmt.Sprintf("http://%s/ready", admin))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func protocol(name string) m {
	return m{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": m{
		"@type": typePrefix + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": m{name: m{}},
	}}
}
