package command

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/ops/process"
	"github.com/lateen-mesh/lateen/internal/xds/client/clienttest"
)

func noEnv(string) string { return "" }

// output is a buffer that several goroutines may write.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func TestParseBootstrap(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "b.json")
	if err := os.WriteFile(file, []byte(`{"xds":"file:1","tokenFile":"/t","logLevel":"debug","drainSeconds":9,"node":{"id":"sidecar~1.2.3.4~a.b~b.svc.cluster.local"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	getenv := func(k string) string {
		return map[string]string{"LATEEN_XDS_ADDRESS": "env:1", "LATEEN_LOG_LEVEL": "error"}[k]
	}
	b, err := parseBootstrap(&Env{Err: io.Discard, Getenv: getenv}, []string{"--config", file, "--log-level=warning"})
	if err != nil {
		t.Fatal(err)
	}
	if b.XDS != "env:1" || b.TokenFile != "/t" || b.LogLevel != "warning" || b.DrainSeconds != 9 || b.TrustDomain != "cluster.local" {
		t.Errorf("%+v", b)
	}
	if n, err := b.node(noEnv); err != nil || n.Id != "sidecar~1.2.3.4~a.b~b.svc.cluster.local" || n.UserAgentName != "lateen-proxy" {
		t.Errorf("%v, %v", n, err)
	}
	if err := os.WriteFile(file, []byte(`{"xsd":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--config", file}, {"--config", file + "x"}, {}, {"--nope"}, {"--xds=a:1"}, {"--xds=a:1", "--token-file=t", "more"}} {
		if _, err := parseBootstrap(&Env{Err: io.Discard, Getenv: noEnv}, args); err == nil {
			t.Errorf("%q accepted", args)
		}
	}
}

func TestNodeFromEnvironment(t *testing.T) {
	env := map[string]string{"POD_NAME": "a", "POD_NAMESPACE": "b", "INSTANCE_IP": "10.0.0.1", "SERVICE_ACCOUNT": "sa", "ISTIO_METAJSON_LABELS": `{"app":"x"}`}
	n, err := new(Bootstrap).node(func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	f := n.Metadata.Fields
	if n.Id != "sidecar~10.0.0.1~a.b~b.svc.cluster.local" || f["LABELS"].GetStructValue().Fields["app"].GetStringValue() != "x" || f["LATEEN_DATA_PLANE"].GetStringValue() != "native" {
		t.Errorf("%v", n)
	}
	if _, err := new(Bootstrap).node(noEnv); err == nil {
		t.Error("a node out of nothing")
	}
}

func TestMainCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 0, "run the proxy"}, {[]string{"help"}, 0, "run the proxy"}, {[]string{"nope"}, 64, `no command "nope"`},
		{[]string{"run"}, 64, "no control plane"}, {[]string{"run", "--help"}, 0, "-namespace-fd"},
		{[]string{"run", "--xds=a:1", "--token-file=/nowhere"}, 1, "no node"},
	} {
		var out output
		if code := Main(context.Background(), &Env{Out: &out, Err: &out, Getenv: noEnv}, c.args, Table()); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: %d\n%s", c.args, code, out.String())
		}
	}
}

// TestRun runs the command against a control plane that signs nothing: the proxy
// gets its configuration all the same, becomes ready, and ends when it is told to.
func TestRun(t *testing.T) {
	xds := clienttest.New(t)
	listener := &anypb.Any{}
	if err := protojson.Unmarshal([]byte(`{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l","address":{"socket_address":{"address":"127.0.0.1","port_value":0}},
 "filter_chains":[{"filters":[{"name":"tcp","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"x","cluster":"c"}}]}]}`), listener); err != nil {
		t.Fatal(err)
	}
	xds.Raw("l", listener)
	xds.Set("c", &clusterv3.Cluster{Name: "c"})
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := filepath.Join(dir, "admin.sock")
	env := map[string]string{"POD_NAME": "a", "POD_NAMESPACE": "b", "INSTANCE_IP": "10.0.0.1"}
	var out output
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() {
		code <- Main(ctx, &Env{Out: &out, Err: &out, Getenv: func(k string) string { return env[k] }},
			[]string{"run", "--xds", xds.Target(), "--token-file", token, "--admin", "unix://" + admin}, Table())
	}()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", admin)
	}}}
	deadline := time.Now().Add(5 * time.Second)
	for {
		resp, err := c.Get("http://admin/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %v\n%s", err, out.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got := xds.Tokens(); len(got) == 0 || got[0] != "Bearer secret" {
		t.Errorf("tokens %q", got)
	}
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("exit code %d\n%s", got, out.String())
	}
}

// TestConcurrency: absent is Istio's default, 0 is all cores, and the flag wins over
// the environment and the file.
func TestConcurrency(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "b.json")
	if err := os.WriteFile(file, []byte(`{"xds":"x:1","tokenFile":"/t","concurrency":5,"maxConnections":7,"waitOutDrain":true,"changeDrainSeconds":3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		env  string
		want int
	}{
		{"absent", []string{"--xds=x:1", "--token-file=/t"}, "", process.Usable()},
		{"all", []string{"--xds=x:1", "--token-file=/t", "--concurrency=0"}, "", 0},
		{"file", []string{"--config", file}, "", 5},
		{"environment", []string{"--config", file}, "4", 4},
		{"flag", []string{"--config", file, "--concurrency=3"}, "4", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			getenv := func(k string) string { return map[string]string{"LATEEN_CONCURRENCY": c.env}[k] }
			b, err := parseBootstrap(&Env{Err: io.Discard, Getenv: getenv}, c.args)
			if err != nil {
				t.Fatal(err)
			}
			if got := b.concurrency(); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
			if b.Concurrency != nil && c.name == "file" && (b.MaxConnections != 7 || !b.WaitOutDrain || b.ChangeDrainSeconds != 3) {
				t.Errorf("%+v", b)
			}
		})
	}
	for _, bad := range []string{"--concurrency=-1", "--concurrency=x", "--max-connections=-1", "--drain-seconds=-1"} {
		if _, err := parseBootstrap(&Env{Err: io.Discard, Getenv: noEnv}, []string{"--xds=x:1", "--token-file=/t", bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
