package command

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/xds/client/clienttest"
)

// binary builds lateen-proxy as it is shipped, once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lateen-proxy-test")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "lateen-proxy")
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", path, "github.com/lateen-mesh/lateen/cmd/lateen-proxy")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binaryIfBuilt(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

var built bool // a test asked for the binary

func binaryIfBuilt() (string, error) {
	if !built {
		return "", os.ErrNotExist
	}
	return binary()
}

// child is a lateen-proxy that runs as a process.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *output
	http   *http.Client   // of the admin pages
	addr   netip.AddrPort // of the listener
	done   chan error
	reaped chan struct{}
}

const (
	typeHCM      = `type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`
	testListener = `{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"l","traffic_direction":"INBOUND","address":{"socket_address":{"address":"127.0.0.1","port_value":0}},
 "filter_chains":[{"filters":[{"name":"envoy.filters.network.http_connection_manager","typed_config":{"@type":"` + typeHCM + `","stat_prefix":"x","stream_idle_timeout":"0s",
 "route_config":{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"name":"important","match":{"prefix":"/high"},"route":{"cluster":"c","timeout":"0s","priority":"HIGH"}},
  {"name":"default","match":{"prefix":"/"},"route":{"cluster":"c","timeout":"0s"}}]}],"validate_clusters":false},
 "http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}`
	testCluster = `{"@type":"type.googleapis.com/envoy.config.cluster.v3.Cluster","name":"c","type":"STATIC","connect_timeout":"1s",
 "circuit_breakers":{"thresholds":[{"max_connections":100000,"max_pending_requests":100000,"max_requests":100000},{"priority":"HIGH","max_connections":100000,"max_pending_requests":100000,"max_requests":100000}]},
 "load_assignment":{"cluster_name":"c","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"127.0.0.1","port_value":%d}}}}]}]}}`
)

// startChild starts the binary with a listener in front of app, and waits until it
// is ready. env is added to a small environment.
func startChild(t *testing.T, app netip.AddrPort, env, args []string) *child {
	t.Helper()
	return startChildIn(t, "", app, env, args)
}

// startChildIn starts it in a control group.
func startChildIn(t *testing.T, group string, app netip.AddrPort, env, args []string) *child {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the binary")
	}
	built = true
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	xds := clienttest.New(t)
	for name, text := range map[string]string{"l": testListener, "c": fmt.Sprintf(testCluster, app.Port())} {
		a := &anypb.Any{}
		if err := protojson.Unmarshal([]byte(text), a); err != nil {
			t.Fatal(err)
		}
		xds.Raw(name, a)
	}
	dir := t.TempDir()
	token, admin := filepath.Join(dir, "token"), filepath.Join(dir, "admin.sock")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, out: &output{}, done: make(chan error, 1), reaped: make(chan struct{})}
	args = append([]string{"run", "--xds", xds.Target(), "--token-file", token, "--admin", "unix://" + admin}, args...)
	c.cmd = exec.Command(path, args...)
	if group != "" {
		c.cmd = exec.Command("sh", append([]string{"-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, group, path}, args...)...)
	}
	c.cmd.Env = append([]string{"POD_NAME=a", "POD_NAMESPACE=b", "INSTANCE_IP=10.0.0.1"}, env...)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.done <- c.cmd.Wait(); close(c.reaped) }()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // ended already, mostly
		<-c.reaped
		if t.Failed() {
			t.Logf("the proxy said:\n%s", c.out.String())
		}
	})
	c.http = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", admin)
	}}}
	c.eventually("ready", func() bool { code, _, err := c.page("/ready"); return err == nil && code == 200 })
	_, text, err := c.page("/listeners")
	if err != nil {
		t.Fatal(err)
	}
	_, at, _ := strings.Cut(strings.TrimSpace(text), "::")
	if c.addr, err = netip.ParseAddrPort(at); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return c
}

// page gets an admin page.
func (c *child) page(path string) (int, string, error) {
	resp, err := c.http.Get("http://admin" + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// stat reads one counter of /stats.
func (c *child) stat(name string) uint64 {
	c.t.Helper()
	_, text, err := c.page("/stats")
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
			if err != nil {
				c.t.Fatal(err)
			}
			return n
		}
	}
	c.t.Fatalf("no counter %s in\n%s", name, text)
	return 0
}

func (c *child) eventually(what string, ok func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("not in time: %s\n%s", what, c.out.String())
		}
	}
}

// ended waits for the process's end.
func (c *child) ended(within time.Duration) *os.ProcessState {
	c.t.Helper()
	select {
	case <-c.done:
		return c.cmd.ProcessState
	case <-time.After(within):
		c.t.Fatalf("the proxy runs on after %v", within)
		return nil
	}
}

// memory gives a figure of /proc/pid/status in KiB.
func (c *child) memory(field string) int {
	c.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == field+":" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				c.t.Fatal(err)
			}
			return n
		}
	}
	c.t.Fatalf("no %s: the proxy has ended", field)
	return 0
}

// cpu gives user and system time of the process.
func (c *child) cpu() time.Duration {
	c.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, err1 := strconv.Atoi(f[11])
	sys, err2 := strconv.Atoi(f[12])
	if err1 != nil || err2 != nil {
		c.t.Fatal(err1, err2)
	}
	return time.Duration(user+sys) * 10 * time.Millisecond
}

// slowApp answers every request when release is closed, at once if it is nil. It
// is written without net/http: the test shares the proxy's cores.
func slowApp(t *testing.T, release chan struct{}) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReaderSize(c, 512)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, req.Body); err != nil {
						return
					}
					if release != nil {
						<-release
					}
					if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
						return
					}
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// TestDrainOnSignal: the first SIGTERM takes readiness away and lets what is under
// way finish; the process ends as soon as nothing is.
func TestDrainOnSignal(t *testing.T) {
	release := make(chan struct{})
	c := startChild(t, slowApp(t, release), nil, []string{"--drain-seconds=30"})
	conn, err := net.Dial("tcp", c.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c.eventually("the request is under way", func() bool { return c.stat("cluster.c.upstream_rq_active") == 1 })
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	c.eventually("not ready", func() bool {
		code, text, err := c.page("/ready")
		return err == nil && code == 503 && strings.HasPrefix(text, "DRAINING")
	})
	if _, err := net.DialTimeout("tcp", c.addr.String(), time.Second); err == nil {
		t.Error("a draining listener accepts")
	}
	close(release)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || !resp.Close {
		t.Errorf("status %d, Connection: close %t", resp.StatusCode, resp.Close)
	}
	start := time.Now()
	if s := c.ended(5 * time.Second); s.ExitCode() != 0 {
		t.Errorf("exit %v", s)
	}
	t.Logf("ended %v after the last answer", time.Since(start))
}

// TestDrainEnds: what does not finish within the drain time is cut off; a second
// signal does not wait for that.
func TestDrainEnds(t *testing.T) {
	for _, x := range []struct {
		name    string
		seconds string
		again   bool
		within  time.Duration
	}{{"time", "1", false, 5 * time.Second}, {"second signal", "60", true, 2 * time.Second}} {
		t.Run(x.name, func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			c := startChild(t, slowApp(t, release), nil, []string{"--drain-seconds", x.seconds})
			conn, err := net.Dial("tcp", c.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			c.eventually("the request is under way", func() bool { return c.stat("cluster.c.upstream_rq_active") == 1 })
			if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			c.eventually("draining", func() bool { return strings.Contains(c.out.String(), "draining") })
			if x.again {
				time.Sleep(200 * time.Millisecond) // the first signal's handler goes beside the log line
				if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			s := c.ended(x.within)
			if killed := s.Sys().(syscall.WaitStatus).Signaled(); killed != x.again {
				t.Errorf("ended with %v", s)
			}
		})
	}
}

// json reads an admin page.
func (c *child) json(path string, into any) {
	c.t.Helper()
	_, text, err := c.page(path)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		c.t.Fatalf("%s: %v\n%s", path, err, text)
	}
}
