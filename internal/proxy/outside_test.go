package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Real servers around the proxy under test: behind it, as what a sidecar guards, and
// in front of it, as what stands at a mesh's edge.

// recorder is a server of net/http that notes every request in order: its method,
// target, and the content as far as it was read.
type recorder struct {
	addr netip.AddrPort

	mu   sync.Mutex
	seen []arrival // guarded by mu
}

// arrival is one request as a server saw it.
type arrival struct {
	method, target, content string
	whole                   bool // the content came to its end
}

func newRecorder(t testing.TB) *recorder {
	t.Helper()
	r := &recorder{}
	l := loopback(t)
	r.addr = netip.MustParseAddrPort(l.Addr().String())
	s := &http.Server{Handler: r, ErrorLog: nil}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }() // it ends with the server
	t.Cleanup(func() { s.Close(); <-done })
	return r
}

// ServeHTTP implements http.Handler.
func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	at := len(r.seen)
	r.seen = append(r.seen, arrival{method: req.Method, target: req.RequestURI})
	r.mu.Unlock()
	content, err := io.ReadAll(req.Body)
	r.mu.Lock()
	r.seen[at].content, r.seen[at].whole = string(content), err == nil
	r.mu.Unlock()
	if req.Method == "CONNECT" {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	fmt.Fprint(w, "ok")
}

// with lists the arrivals whose target holds the mark.
func (r *recorder) with(mark string) (list []arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.seen {
		if strings.Contains(a.target, mark) {
			list = append(list, a)
		}
	}
	return list
}

// plainSidecar is a proxy with one listener for everything, which it passes to addr.
// Its log has a line for each request that it saw: method, path, endpoint.
func plainSidecar(t testing.TB, addr netip.AddrPort) *sidecar { return codecSidecar(t, "AUTO", addr) }

// codecSidecar is plainSidecar for clients that speak the codec's protocol.
func codecSidecar(t testing.TB, codec string, addr netip.AddrPort) *sidecar {
	t.Helper()
	return newSidecar(t, "edge", nil, func(s *sidecar) {
		s.set("backend", static("backend", addr))
		s.set("listener", `{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"plain","traffic_direction":"OUTBOUND","address":{"socket_address":{"address":"127.0.0.1","port_value":0}},
 "filter_chains":[{"filters":[{"name":"envoy.filters.network.http_connection_manager","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
 "stat_prefix":"x","codec_type":"`+codec+`","use_remote_address":false,"access_log":[{"name":"envoy.access_loggers.file","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"/dev/stdout","log_format":{"text_format_source":{"inline_string":"SEEN %REQ(:METHOD)% %REQ(:PATH)% %UPSTREAM_HOST%\n"}}}}],
 "route_config":{"name":"r","virtual_hosts":[{"name":"all","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"backend","timeout":"0s"}}]}],"validate_clusters":false},
 "http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}`)
	})
}

// forwarded lists what the proxy's log says that it passed on, with the mark in it.
func (s *sidecar) forwarded(mark string) (list []string) {
	for line := range strings.Lines(s.log.String()) {
		f := strings.Fields(line)
		if len(f) == 4 && f[0] == "SEEN" && f[3] != "-" && strings.Contains(f[2], mark) {
			list = append(list, f[1]+" "+f[2])
		}
	}
	return list
}

// daemon starts a real server with a configuration made of text, in which PORT stands
// for its own port and TO for the address that it passes requests to.
func daemon(t testing.TB, name, text string, to netip.AddrPort, args func(file string) []string) netip.AddrPort {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: nothing is tested with it", filepath.Base(name))
	}
	dir := t.TempDir()
	free := loopback(t)
	addr := netip.MustParseAddrPort(free.Addr().String())
	free.Close()
	text = strings.NewReplacer("PORT", fmt.Sprint(addr.Port()), "TOHOST", to.Addr().String(), "TOPORT", fmt.Sprint(to.Port()), "DIR", dir).Replace(text)
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args(file)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s: %.2000s", name, out.String())
		}
	})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", addr.String())
		if err == nil {
			c.Close()
			return addr
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not listen: %s", name, out.String())
		}
	}
}

// nginxTo starts nginx as a proxy.
func nginxTo(t testing.TB, to netip.AddrPort) netip.AddrPort {
	return daemon(t, "nginx", `daemon off; master_process off; pid DIR/pid; error_log stderr;
events { worker_connections 512; }
http { access_log off; client_body_temp_path DIR/b; proxy_temp_path DIR/p; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s; client_max_body_size 0;
 upstream to { server TOHOST:TOPORT; keepalive 16; }
 server { listen 127.0.0.1:PORT; location / { proxy_pass http://to; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; proxy_request_buffering off; proxy_next_upstream off; } } }
`, to, func(file string) []string { return []string{"-c", file, "-e", "stderr"} })
}

// haproxyTo starts HAProxy as a proxy.
func haproxyTo(t testing.TB, to netip.AddrPort) netip.AddrPort {
	return daemon(t, "haproxy", `global
 maxconn 512
defaults
 mode http
 timeout client 5s
 timeout server 5s
 timeout connect 5s
 retries 0
 http-reuse always
frontend f
 bind 127.0.0.1:PORT
 default_backend b
backend b
 server s TOHOST:TOPORT
`, to, func(file string) []string { return []string{"-db", "-f", file} })
}

// envoyTo starts Envoy as a proxy.
func envoyTo(t testing.TB, to netip.AddrPort) netip.AddrPort {
	tool := os.Getenv("LATEEN_TEST_ENVOY")
	if tool == "" {
		t.Skip("LATEEN_TEST_ENVOY names no Envoy: nothing is tested with it")
	}
	return daemon(t, tool, `{"admin":{"address":{"pipe":{"path":"DIR/admin"}}},"static_resources":{"listeners":[{"name":"l","address":{"socket_address":{"address":"127.0.0.1","port_value":PORT}},
 "filter_chains":[{"filters":[{"name":"envoy.filters.network.http_connection_manager","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
 "stat_prefix":"x","codec_type":"AUTO","route_config":{"virtual_hosts":[{"name":"all","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"b","timeout":"0s"}}]}]},
 "http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}],
 "clusters":[{"name":"b","type":"STATIC","connect_timeout":"1s","load_assignment":{"cluster_name":"b","endpoints":[{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":"TOHOST","port_value":TOPORT}}}}]}]}}]}}
`, to, func(file string) []string {
		return []string{"--config-path", file, "--log-level", "error", "--concurrency", "1", "--disable-hot-restart"}
	})
}

// send writes raw bytes and reads what is answered, until the server closes or says
// nothing for a while.
func send(t testing.TB, to netip.AddrPort, raw []byte, silence time.Duration) string {
	t.Helper()
	c, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close()
	// The server may close before it has read everything.
	go func() { _, _ = c.Write(raw) }()
	var answer bytes.Buffer
	b := make([]byte, 16<<10)
	for {
		if err := c.SetReadDeadline(time.Now().Add(silence)); err != nil {
			t.Error(err)
		}
		n, err := c.Read(b)
		answer.Write(b[:n])
		if err != nil {
			return answer.String()
		}
	}
}
