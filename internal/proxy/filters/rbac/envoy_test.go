package rbac_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/proxy"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/xds/client"
	"github.com/lateen-mesh/lateen/internal/xds/client/clienttest"
)

// TestAgainstEnvoy runs the same listeners in a real Envoy and in our proxy, and
// the same requests through both: the verdicts, and the details and the
// client's address in the access log, must be equal. Each policy is a route's own configuration, chosen by a
// field that no policy looks at.
func TestAgainstEnvoy(t *testing.T) {
	path := os.Getenv("LATEEN_TEST_ENVOY")
	if path == "" {
		t.Skip("no Envoy: set LATEEN_TEST_ENVOY to one, or let `make test` install it; the comparison with Envoy is left out")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no Envoy: %v; the comparison with Envoy is left out", err)
	}
	echo := echoServer(t)
	listeners := testListeners()
	sides := []*side{startEnvoy(t, path, listeners, echo), startOurs(t, listeners, echo)}
	n := 0
	for _, l := range []string{"direct", "edge", "edge-hop", "inner-hop", "proxied"} {
		prefix := map[bool]string{true: "PROXY TCP4 10.9.9.9 10.8.8.8 5555 9080\r\n"}[l == "proxied"]
		for _, p := range policies {
			if l != "direct" && !strings.Contains(p.rules, "_ip") && !strings.Contains(p.rules, "_port") {
				continue
			}
			for _, r := range requests {
				if l != "direct" && !strings.Contains(strings.ToLower(r), "x-forwarded-for") && r != requests[0] {
					continue
				}
				n++
				id := fmt.Sprint(l, "/", p.name, "/", n)
				raw := strings.Replace(r, "\r\n", fmt.Sprintf("\r\nx-case: %s\r\nx-n: %s\r\n", p.name, id), 1)
				for _, s := range sides {
					s.send(t, l, prefix, id, raw)
				}
			}
		}
	}
	denied := compare(t, sides, n)
	t.Logf("%d requests, %d denied by both", n, denied)
	if denied < n/10 || denied > n*9/10 {
		t.Errorf("%d of %d requests are denied: this test says little", denied, n)
	}
	for _, p := range connPolicies {
		envoy, ours := sides[0].relays(t, "tcp-"+p.name), sides[1].relays(t, "tcp-"+p.name)
		if envoy != ours {
			t.Errorf("connection, %s: Envoy lets it through: %v; we: %v", p.name, envoy, ours)
		}
	}
}

// compare compares what both sides answered and logged; it returns the number of
// requests that both denied.
func compare(t *testing.T, sides []*side, n int) (denied int) {
	t.Helper()
	logs := make([]map[string]string, len(sides))
	for i, s := range sides {
		// Not every request has a line of its own: wait until no more come.
		for last, since := -1, time.Now(); time.Since(since) < 300*time.Millisecond; time.Sleep(30 * time.Millisecond) {
			if logs[i] = s.logged(t); len(logs[i]) > last {
				last, since = len(logs[i]), time.Now()
			}
		}
		if len(logs[i]) < n*9/10 {
			t.Errorf("only %d of %d requests are in the log", len(logs[i]), n)
		}
	}
	failures := 0
	for id, a := range sides[0].status {
		b := sides[1].status[id]
		if a.status == 403 && b.status == 403 {
			denied++
		}
		if a.status == b.status && (a.status >= 400 && a.status != 403 || logs[0][id] == logs[1][id]) {
			continue
		}
		if failures++; failures <= 40 {
			t.Errorf("%s: Envoy %d %s; we %d %s\n%q", id, a.status, logs[0][id], b.status, logs[1][id], a.raw)
		}
	}
	if failures > 0 {
		t.Errorf("%d of %d differ", failures, n)
	}
	return denied
}

type answer struct {
	status int
	raw    string
}

// side is one of the two proxies.
type side struct {
	addr   func(t *testing.T, listener string) string
	lines  func() string // of the access log
	status map[string]answer

	at   string // listener of conn
	conn net.Conn
	r    *bufio.Reader
}

// send sends a request over the connection of the last one, or a new one.
func (s *side) send(t *testing.T, listener, prefix, id, raw string) {
	t.Helper()
	if s.conn != nil && (s.at != listener || prefix != "") {
		s.conn.Close()
		s.conn = nil
	}
	for range 2 { // a kept connection may have been closed by the other side
		fresh := s.conn == nil
		if fresh {
			var err error
			if s.conn, err = net.Dial("tcp", s.addr(t, listener)); err != nil {
				t.Fatal(err)
			}
			s.at, s.r = listener, bufio.NewReader(s.conn)
			raw = prefix + raw
		}
		_ = s.conn.SetDeadline(time.Now().Add(2 * time.Second)) // a real one has deadlines
		_, err := s.conn.Write([]byte(raw))
		var resp *http.Response
		method, _, _ := strings.Cut(strings.TrimPrefix(raw, prefix), " ")
		if err == nil {
			resp, err = http.ReadResponse(s.r, &http.Request{Method: method})
		}
		if err == nil {
			var body bytes.Buffer
			_, err = body.ReadFrom(resp.Body)
			s.status[id] = answer{resp.StatusCode, raw}
			if resp.StatusCode == 403 && method != http.MethodHead && body.String() != "RBAC: access denied" {
				t.Errorf("%s: body %q", id, body.String())
			}
		}
		if err != nil || resp.Close {
			s.conn.Close()
			s.conn = nil
		}
		if err == nil {
			return
		}
		if fresh {
			break
		}
	}
	s.status[id] = answer{0, raw}
}

// ephemeral are the ports of connections, which differ between the sides; port 0
// says that an address was told by x-forwarded-for.
var ephemeral = regexp.MustCompile(`:[1-9][0-9]{3,}\b`)

// logged reads the access log by request.
func (s *side) logged(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(s.lines()) {
		if id, rest, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " "); ok && id != "-" {
			out[id] = ephemeral.ReplaceAllString(rest, ":PORT")
		}
	}
	return out
}

// relays tells whether bytes come back from the echo server behind a listener.
func (s *side) relays(t *testing.T, listener string) bool {
	t.Helper()
	c, err := net.Dial("tcp", s.addr(t, listener))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second)) // a real one has deadlines
	if _, err := c.Write([]byte("ping")); err != nil {
		return false
	}
	got := make([]byte, 4)
	n, _ := c.Read(got)
	return string(got[:n]) == "ping"
}

func echoServer(t *testing.T) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				buf := make([]byte, 100)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if _, err := c.Write(buf[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().(*net.TCPAddr)
}

func cluster(echo *net.TCPAddr) string {
	return fmt.Sprintf(`{"name":"echo","type":"STATIC","connect_timeout":"2s","load_assignment":{"cluster_name":"echo","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"127.0.0.1","port_value":%d}}}}]}]}}`, echo.Port)
}

// startEnvoy runs Envoy with all listeners in its bootstrap.
func startEnvoy(t *testing.T, path string, listeners map[string]string, echo *net.TCPAddr) *side {
	t.Helper()
	dir := t.TempDir()
	logPath, adminPath := filepath.Join(dir, "access.log"), filepath.Join(dir, "admin")
	var list []string
	for _, l := range listeners {
		list = append(list, strings.ReplaceAll(l, "/dev/stdout", logPath))
	}
	bootstrap := `{"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":0}}},"static_resources":{"clusters":[` + cluster(echo) + `],"listeners":[` + strings.Join(list, ",\n") + `]}}`
	file := filepath.Join(dir, "envoy.json")
	if err := os.WriteFile(file, []byte(bootstrap), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(path, "-c", file, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error", "--file-flush-interval-msec", "20", "--admin-address-path", adminPath)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		if t.Failed() {
			t.Logf("Envoy: %s", &out)
		}
	})
	addrs := map[string]string{}
	for limit := time.Now().Add(30 * time.Second); len(addrs) < len(listeners); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("Envoy ended: %v\n%s", err, &out)
		default:
		}
		if time.Now().After(limit) {
			t.Fatalf("Envoy did not start: %v", addrs)
		}
		admin, err := os.ReadFile(adminPath)
		if err != nil || len(admin) == 0 {
			continue
		}
		addrs = envoyListeners(string(admin))
	}
	return &side{
		addr: func(_ *testing.T, l string) string { return addrs[l] }, status: map[string]answer{},
		lines: func() string { b, _ := os.ReadFile(logPath); return string(b) },
	}
}

// envoyListeners asks for the addresses of listeners; none while it is not ready.
func envoyListeners(admin string) map[string]string {
	addrs := map[string]string{}
	for _, page := range []string{"/ready", "/listeners"} {
		resp, err := http.Get("http://" + admin + page)
		if err != nil {
			return nil
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 {
			return nil
		}
		for line := range strings.Lines(body.String()) {
			if name, addr, ok := strings.Cut(strings.TrimSpace(line), "::"); ok {
				addrs[name] = addr
			}
		}
	}
	return addrs
}

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

// startOurs runs our proxy with the same listeners.
func startOurs(t *testing.T, listeners map[string]string, echo *net.TCPAddr) *side {
	t.Helper()
	xds := clienttest.New(t)
	set := func(typ, name, text string) {
		a := &anypb.Any{}
		if err := protojson.Unmarshal([]byte(`{"@type":"type.googleapis.com/`+typ+`",`+text[1:]), a); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		xds.Raw(name, a)
	}
	set("envoy.config.cluster.v3.Cluster", "echo", cluster(echo))
	for name, l := range listeners {
		set("envoy.config.listener.v3.Listener", name, l)
	}
	node := &corev3.Node{Id: "sidecar~10.0.0.1~a-0.default~default.svc.cluster.local"}
	source, err := client.New(client.Options{Target: xds.Target(), Node: node})
	if err != nil {
		t.Fatal(err)
	}
	log := &buffer{}
	p, err := proxy.New(proxy.Options{Node: node, Sockets: rawio.HostSockets{}, Source: source, AccessLog: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for limit := time.Now().Add(10 * time.Second); !p.Ready(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("our proxy is not ready; refused: %v", xds.Nacks())
		}
	}
	addrs := map[string]string{}
	for _, l := range p.Listeners() {
		if len(l.Bound) > 0 {
			addrs[l.Config.Name] = l.Bound[0].String()
		}
	}
	for name := range listeners {
		if addrs[name] == "" {
			t.Fatalf("our proxy does not serve %s; refused: %v", name, xds.Nacks())
		}
	}
	return &side{addr: func(_ *testing.T, l string) string { return addrs[l] }, lines: log.String, status: map[string]answer{}}
}

// TestDeniedConnection: a connection that a policy keeps out is closed, also where
// the server would speak first, and its log line says which policy it was.
func TestDeniedConnection(t *testing.T) {
	l := `{"name":"tcp","address":{"socket_address":{"address":"127.0.0.1","port_value":0}},"filter_chains":[{"filters":[
 {"name":"envoy.filters.network.rbac","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC","stat_prefix":"tcp.","rules":` + deny("no", anyOne, anyOne).rules + `}},
 {"name":"envoy.filters.network.tcp_proxy","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"x","cluster":"echo",
 "access_log":[{"name":"envoy.access_loggers.file","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"/dev/stdout","log_format":{"text_format_source":{"inline_string":"%RESPONSE_CODE% %CONNECTION_TERMINATION_DETAILS%\n"}}}}]}}]}]}`
	s := startOurs(t, map[string]string{"tcp": l}, echoServer(t))
	c, err := net.Dial("tcp", s.addr(t, "tcp"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second)) // a real one has deadlines
	if n, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Fatalf("%d bytes, %v: the connection is open", n, err)
	}
	const want = "0 rbac_access_denied_matched_policy[ns[default]-policy[no]-rule[0]]\n"
	for limit := time.Now().Add(2 * time.Second); s.lines() != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("logged %q, want %q", s.lines(), want)
		}
	}
}
