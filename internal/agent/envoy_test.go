package agent_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/controlplane"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/store"
)

// envoyPath finds the Envoy that tests run: LATEEN_TEST_ENVOY, one in PATH, or
// the one that `make test` keeps in the repository's cache.
func envoyPath(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("LATEEN_TEST_ENVOY"); path != "" {
		return path
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path
	}
	if path, err := filepath.Abs("../../.cache/tools/envoy"); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skip("no Envoy: set LATEEN_TEST_ENVOY to one, put it in PATH, or let `make test` install it; tests of the agent with a real Envoy are left out")
	return ""
}

// freePort finds a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ag") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// plane is a control plane with the two sides of one call: caller in namespace a,
// echo in namespace b.
type plane struct {
	*controlplane.ControlPlane
	t              *testing.T
	dir, run       string
	store          *store.Store
	service, local int // the service's port, and the workload's
	stop           func()
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{t: t, dir: t.TempDir(), run: shortDir(t), service: freePort(t), local: freePort(t)}
	p.start()
	t.Cleanup(func() { p.stop() })
	p.apply(fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: b, annotations: {networking.istio.io/exportTo: a}}
spec: {selector: {app: echo}, ports: [{name: http, port: %d, targetPort: %d}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: b}
spec: {mtls: {mode: STRICT}}
`, p.service, p.local))
	return p
}

func (p *plane) start() {
	p.t.Helper()
	var err error
	if p.store, err = store.Open(filepath.Join(p.dir, "config"), store.Options{Validate: validate.Error}); err != nil {
		p.t.Fatal(err)
	}
	p.ControlPlane, err = controlplane.New(controlplane.Config{
		Store: p.store, StateDir: p.dir, RuntimeDir: p.run, Log: slog.New(slog.NewTextHandler(p.t.Output(), nil)).With("part", "control plane"),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, p.store.Close()); err != nil {
			p.t.Error(err)
		}
	})
	p.SetWorkloads([]registry.Workload{
		{Name: "caller-0", Namespace: "a", Owner: "caller", ServiceAccount: "caller", Labels: map[string]string{"app": "caller"}, Addr: netip.MustParseAddr("127.0.0.2"), Ready: true, Proxied: true},
		{Name: "echo-0", Namespace: "b", Owner: "echo", ServiceAccount: "echo", Labels: map[string]string{"app": "echo"}, Addr: netip.MustParseAddr("127.0.0.3"), Ready: true, Proxied: true},
	})
}

func (p *plane) apply(text string) {
	p.t.Helper()
	list, err := api.Decode(strings.NewReader(text), "test.yaml")
	if err != nil {
		p.t.Fatal(err)
	}
	r, err := p.store.Apply(list)
	if err != nil {
		p.t.Fatal(err)
	}
	if len(p.Proxies()) == 0 {
		return
	}
	report, err := configapi.NewClient(filepath.Join(p.run, controlplane.ConfigSocket)).Wait(p.t.Context(), r.Revision, 10*time.Second)
	if err != nil || !report.Done() {
		p.t.Fatalf("the change is not in force: %+v, %v", report, err)
	}
}

// sidecar is an agent with its Envoy.
type sidecar struct {
	status, metrics, admin string
	dir                    string
	log                    *lines
	stop                   func() error
}

// lines keeps what an Envoy writes.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (p *plane) sidecar(app, ns, ip string) *sidecar {
	p.t.Helper()
	md, err := structpb.NewStruct(map[string]any{
		"NAME": app + "-0", "NAMESPACE": ns, "SERVICE_ACCOUNT": app, "INSTANCE_IPS": ip, "LABELS": map[string]any{"app": app},
		"WORKLOAD_NAME": app, "INTERCEPTION_MODE": "NONE",
	})
	if err != nil {
		p.t.Fatal(err)
	}
	tokens := p.Tokens() // its key outlives a restart
	s := &sidecar{dir: shortDir(p.t), log: &lines{}, status: fmt.Sprint("127.0.0.1:", freePort(p.t)), metrics: fmt.Sprint("127.0.0.1:", freePort(p.t))}
	s.admin = "unix://" + filepath.Join(s.dir, "admin.sock")
	o := agent.Options{
		EnvoyPath: envoyPath(p.t), XDS: "unix://" + filepath.Join(p.run, controlplane.XDSSocket), RuntimeDir: s.dir, TrustDomain: "cluster.local",
		Node: &corev3.Node{Id: "sidecar~" + ip + "~" + app + "-0." + ns + "~" + ns + ".svc.cluster.local", Metadata: md},
		Token: func() (string, error) {
			return tokens.Issue(ca.Workload{Namespace: ns, ServiceAccount: app, Instance: app + "-0"}, time.Hour)
		},
		Admin: s.admin, Status: s.status, Metrics: s.metrics, Concurrency: 1, Drain: 3 * time.Second, Stdout: s.log, Stderr: s.log,
		Log: slog.New(slog.NewTextHandler(p.t.Output(), nil)).With("part", app),
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx, o) }()
	s.stop = sync.OnceValue(func() error { cancel(); return <-done })
	p.t.Cleanup(func() {
		if err := s.stop(); err != nil {
			p.t.Error(err)
		}
		if p.t.Failed() {
			p.t.Logf("Envoy of %s:\n%s", app, s.log)
		}
	})
	return s
}

func (s *sidecar) ready() bool {
	code, _, err := get("http://"+s.status+"/healthz/ready", "")
	return err == nil && code == 200
}

func get(url, host string) (code int, body string, err error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = host
	resp, err := (&http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestEnvoyMesh runs one call between two real Envoys: mTLS with the identities of
// the agents, changes that act when they are in force, an Envoy that dies, and a
// control plane that is away.
func TestEnvoyMesh(t *testing.T) {
	envoyPath(t)
	p := newPlane(t)
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Forwarded-Client-Cert"))
	}))
	var err error
	if app.Listener, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", p.local)); err != nil {
		t.Fatal(err)
	}
	app.Start()
	defer app.Close()
	echo, caller := p.sidecar("echo", "b", "127.0.0.3"), p.sidecar("caller", "a", "127.0.0.2")
	eventually(t, "both are ready", func() bool { return echo.ready() && caller.ready() })
	call := func() (int, string, error) { return get(fmt.Sprint("http://127.0.0.1:", p.service, "/"), "echo.b") }

	t.Run("mTLS", func(t *testing.T) {
		var code int
		var body string
		eventually(t, "the call succeeds", func() bool { code, body, err = call(); return err == nil && code == 200 })
		for _, want := range []string{"URI=spiffe://cluster.local/ns/a/sa/caller", "By=spiffe://cluster.local/ns/b/sa/echo"} {
			if !strings.Contains(body, want) {
				t.Errorf("%q is missing in %q", want, body)
			}
		}
		if code, _, err := get(fmt.Sprint("http://127.0.0.3:", p.local, "/"), "echo.b"); err == nil {
			t.Errorf("plain text is served under STRICT: %d", code)
		}
	})
	t.Run("changes", func(t *testing.T) {
		for i, status := range []int{418, 503, 418} {
			p.apply(fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: a}
spec:
  hosts: [echo.b.svc.cluster.local]
  http: [{fault: {abort: {httpStatus: %d, percentage: {value: 100}}}, route: [{destination: {host: echo.b.svc.cluster.local}}]}]
`, status))
			if code, _, err := call(); err != nil || code != status {
				t.Errorf("change %d: %d, %v; want %d", i, code, err, status)
			}
		}
	})
	t.Run("no refusal", func(t *testing.T) {
		for _, st := range p.Proxies() {
			if len(st.Refusals) > 0 || st.DataPlane != "envoy" {
				t.Errorf("%+v", st)
			}
			for typ, s := range st.Types {
				if always := typ == "cds" || typ == "lds"; always && s.State != "SYNCED" || s.State == "STALE" || s.State == "NACK" {
					t.Errorf("%s: %s is %s", st.Name, typ, s.State)
				}
			}
		}
	})
	t.Run("metrics", func(t *testing.T) {
		code, text, err := get("http://"+caller.metrics+"/stats/prometheus", "")
		if err != nil || code != 200 || !strings.Contains(text, "envoy_cluster_upstream_rq") {
			t.Errorf("%d, %v, %.200s", code, err, text)
		}
	})
	t.Run("control plane away", func(t *testing.T) {
		p.stop()
		if code, _, err := call(); err != nil || code != 418 {
			t.Errorf("while it is away: %d, %v", code, err)
		}
		p.start()
		eventually(t, "both Envoys are back", func() bool { return len(p.Proxies()) == 2 })
		p.apply("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: echo, namespace: a}\nspec:\n  hosts: [echo.b.svc.cluster.local]\n" +
			"  http: [{route: [{destination: {host: echo.b.svc.cluster.local}}]}]\n")
		if code, _, err := call(); err != nil || code != 200 {
			t.Errorf("after it came back: %d, %v", code, err)
		}
	})
	t.Run("an Envoy dies", func(t *testing.T) {
		pid := envoyPID(t, caller.dir)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another one serves", func() bool { code, _, err := call(); return err == nil && code == 200 })
		if now := envoyPID(t, caller.dir); now == pid {
			t.Error("it is the same process")
		}
	})
	t.Run("end", func(t *testing.T) {
		pid := envoyPID(t, caller.dir)
		started := time.Now()
		if err := caller.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(started); took > 8*time.Second {
			t.Errorf("it took %s", took)
		}
		if err := syscall.Kill(pid, 0); err == nil {
			t.Error("the Envoy outlives its agent")
		}
	})
}

// envoyPID finds the Envoy that runs with the bootstrap in dir.
func envoyPID(t *testing.T, dir string) int {
	t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range procs {
		text, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(text), filepath.Join(dir, "envoy.json")) {
			continue
		}
		pid, err := strconv.Atoi(regexp.MustCompile(`\d+`).FindString(f))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	t.Fatal("no Envoy runs")
	return 0
}
