package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

const reviews = "outbound|9080||reviews.default.svc.cluster.local"

// mesh is a client and a server, each behind a sidecar.
type mesh struct {
	client, server *sidecar
	app            netip.AddrPort
	http           *http.Client
}

func newMesh(t *testing.T, strict bool, app http.HandlerFunc) *mesh {
	t.Helper()
	m := &mesh{app: application(t, app)}
	ca := newAuthority(t)
	m.server = newSidecar(t, "reviews", ca.identity(t, "reviews"), func(s *sidecar) {
		s.set("inbound|9080||", static("inbound|9080||", m.app))
		s.set("virtualInbound", inbound(strict, ""))
	})
	m.client = newSidecar(t, "productpage", ca.identity(t, "productpage"), func(s *sidecar) {
		s.set(reviews, eds(reviews))
		s.set(reviews, assignment(reviews, "istio", m.server.addr("virtualInbound")))
		s.set("0.0.0.0_9080", outbound(""))
		s.set("9080", routeTable("default", reviews))
	})
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	m.http = &http.Client{Transport: tr, Timeout: 5 * time.Second}
	return m
}

// call makes a request to reviews through the client's sidecar.
func (m *mesh) call(method, path, body string, headers ...string) (*http.Response, string, error) {
	req, err := http.NewRequest(method, "http://"+m.client.addr("0.0.0.0_9080").String()+path, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	req.Host = "reviews:9080"
	req.Header.Set("User-Agent", "test")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := m.http.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// echo tells what the application was sent.
func echo(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %s\n", r.Method, r.URL, r.Host)
	_ = r.Header.Write(w)
	fmt.Fprintf(w, "\n%s", b)
}

func TestRequestThroughTheMesh(t *testing.T) {
	m := newMesh(t, true, echo)
	resp, body, err := m.call("POST", "/a/./b//../c?x=1", "hello")
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || !strings.HasPrefix(body, "POST /a/b/c?x=1 reviews:9080\n") || !strings.HasSuffix(body, "hello") {
		t.Errorf("%d\n%s", resp.StatusCode, body)
	}
	for _, want := range []string{
		`X-Forwarded-Client-Cert: By=spiffe://cluster\.local/ns/default/sa/reviews;Hash=[0-9a-f]{64};Subject="";URI=spiffe://cluster\.local/ns/default/sa/productpage\r`,
		`X-Request-Id: [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\r`,
		`X-Forwarded-Proto: http\r`,
	} {
		if !regexp.MustCompile(want).MatchString(body) {
			t.Errorf("the application did not see %s:\n%s", want, body)
		}
	}
	if strings.Contains(body, "Peer-Metadata") || resp.Header.Get("x-envoy-peer-metadata") != "" {
		t.Errorf("peer metadata left the mesh: %v\n%s", resp.Header, body)
	}
	if resp.Header.Get("server") != "envoy" || resp.Header.Get("x-envoy-upstream-service-time") == "" {
		t.Errorf("response fields %v", resp.Header)
	}
	t.Run("metrics", func(t *testing.T) { testMetrics(t, m) })
	t.Run("access log", func(t *testing.T) { testAccessLog(t, m) })
	t.Run("no route", func(t *testing.T) {
		req, _ := http.NewRequest("GET", "http://"+m.client.addr("0.0.0.0_9080").String()+"/", nil)
		req.Host = "nobody"
		resp, err := m.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 404 || !strings.HasPrefix(resp.Header.Get("x-lateen-reason"), "no_route") {
			t.Errorf("%d %v", resp.StatusCode, resp.Header)
		}
		eventually(t, func() string {
			if !strings.Contains(m.client.log.String(), " 404 NR route_not_found ") {
				return m.client.log.String()
			}
			return ""
		})
	})
}

// series finds a metric's line by name and labels, and gives its value.
func series(text, name string, labels map[string]string) string {
lines:
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, name+"{") {
			continue
		}
		for k, v := range labels {
			if !strings.Contains(line, fmt.Sprintf("%s=%q", k, v)) {
				continue lines
			}
		}
		return strings.TrimSpace(line[strings.LastIndexByte(line, ' '):])
	}
	return ""
}

func testMetrics(t *testing.T, m *mesh) {
	common := map[string]string{
		"source_workload": "productpage", "source_workload_namespace": "default", "source_app": "productpage", "source_version": "v1", "source_cluster": "Kubernetes",
		"source_canonical_service": "productpage", "source_canonical_revision": "v1", "source_principal": "spiffe://cluster.local/ns/default/sa/productpage",
		"destination_workload": "reviews", "destination_workload_namespace": "default", "destination_app": "reviews", "destination_version": "v1",
		"destination_cluster": "Kubernetes", "destination_canonical_service": "reviews", "destination_canonical_revision": "v1",
		"destination_principal": "spiffe://cluster.local/ns/default/sa/reviews", "destination_service": "reviews.default.svc.cluster.local",
		"destination_service_name": "reviews", "destination_service_namespace": "default", "request_protocol": "http", "response_code": "200",
		"response_flags": "-", "grpc_response_status": "",
	}
	for _, side := range []struct {
		s                *sidecar
		reporter, policy string
	}{{m.client, "source", "unknown"}, {m.server, "destination", "mutual_tls"}} {
		labels := map[string]string{"reporter": side.reporter, "connection_security_policy": side.policy}
		for k, v := range common {
			labels[k] = v
		}
		eventually(t, func() string {
			text := get(t, side.s.admin+"/stats/prometheus")
			if got := series(text, "istio_requests_total", labels); got != "1" {
				return fmt.Sprintf("%s: istio_requests_total = %q in\n%s", side.reporter, got, text[:min(len(text), 6000)])
			}
			if got := series(text, "istio_request_bytes_sum", labels); got != "5" {
				return fmt.Sprintf("%s: istio_request_bytes_sum = %q", side.reporter, got)
			}
			if series(text, "istio_request_duration_milliseconds_count", labels) != "1" || series(text, "istio_response_bytes_count", labels) != "1" {
				return side.reporter + ": no histograms"
			}
			return ""
		})
	}
}

func testAccessLog(t *testing.T, m *mesh) {
	inbound, app := m.server.addr("virtualInbound"), m.app
	uuid, ip := `[0-9a-f-]{36}`, `127\.0\.0\.1:\d+`
	for _, c := range []struct {
		s    *sidecar
		want string
	}{
		{m.client, `"` + inbound.String() + `" outbound\|9080\|\|reviews\.default\.svc\.cluster\.local ` + ip + ` ` + m.client.addr("0.0.0.0_9080").String() + ` ` + ip + ` - default`},
		{m.server, `"` + app.String() + `" inbound\|9080\|\| ` + ip + ` ` + inbound.String() + ` ` + ip + ` outbound_\.9080_\._\.reviews\.default\.svc\.cluster\.local default`},
	} {
		re := regexp.MustCompile(`(?m)^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "POST /a/b/c\?x=1 HTTP/1\.1" 200 - via_upstream - "-" 5 \d+ \d+ \d+ "-" "test" "` + uuid + `" "reviews:9080" ` + c.want + `$`)
		eventually(t, func() string {
			if text := c.s.log.String(); !re.MatchString(text) {
				return fmt.Sprintf("log\n%swants\n%s", text, re)
			}
			return ""
		})
	}
}

func TestPermissiveAndStrict(t *testing.T) {
	m := newMesh(t, false, echo)
	plain := func() (*http.Response, error) {
		tr := &http.Transport{DisableKeepAlives: true}
		c := &http.Client{Transport: tr, Timeout: 2 * time.Second}
		resp, err := c.Get("http://" + m.server.addr("virtualInbound").String() + "/")
		if err == nil {
			resp.Body.Close()
		}
		return resp, err
	}
	if resp, err := plain(); err != nil || resp.StatusCode != 200 {
		t.Fatalf("permissive: %v, %v", resp, err)
	}
	if resp, _, err := m.call("GET", "/", ""); err != nil || resp.StatusCode != 200 {
		t.Fatalf("mTLS while permissive: %v, %v", resp, err)
	}
	// A connection that was let in as plain text and is kept open.
	kept, err := net.Dial("tcp", m.server.addr("virtualInbound").String())
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	ask := func() error {
		if _, err := fmt.Fprint(kept, "GET / HTTP/1.1\r\nHost: reviews\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(kept), nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	m.server.set("virtualInbound", inbound(true, ""))
	eventually(t, func() string {
		if resp, err := plain(); err == nil {
			return fmt.Sprintf("plain text is still served: %d", resp.StatusCode)
		}
		return ""
	})
	if err := ask(); err == nil {
		t.Error("a kept connection still brings plain text in")
	}
	if resp, _, err := m.call("GET", "/", ""); err != nil || resp.StatusCode != 200 {
		t.Fatalf("mTLS while strict: %v, %v", resp, err)
	}
}

// TestSwapUnderLoad exchanges routes, clusters, endpoints and chains while
// requests run: none may fail.
func TestSwapUnderLoad(t *testing.T) {
	m := newMesh(t, true, echo)
	var calls, failed atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				resp, body, err := m.call("POST", "/", "x")
				calls.Add(1)
				if err != nil || resp.StatusCode != 200 {
					if failed.Add(1) < 5 {
						t.Errorf("%v %v %s", resp, err, body)
					}
				}
			}
		})
	}
	for i := range 10 {
		v := fmt.Sprintf("outbound|9080|v%d|reviews.default.svc.cluster.local", i)
		m.client.set(v, eds(v))
		m.client.set("9080", routeTable(fmt.Sprint("v", i), v))
		time.Sleep(20 * time.Millisecond)
		// The endpoints come late: the routes wait for them.
		m.client.set(v, assignment(v, "istio", m.server.addr("virtualInbound")))
		eventually(t, func() string {
			if !strings.HasSuffix(strings.TrimSpace(m.client.log.String()), fmt.Sprint("v", i)) {
				return "the new route is not in force"
			}
			return ""
		})
		if i > 0 {
			m.client.xds.Delete(config.ClusterURL, fmt.Sprintf("outbound|9080|v%d|reviews.default.svc.cluster.local", i-1))
		}
		m.server.set("virtualInbound", inbound(true, fmt.Sprint(i)))
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	wg.Wait()
	t.Logf("%d requests, %d failed", calls.Load(), failed.Load())
	if calls.Load() < 100 {
		t.Errorf("only %d requests", calls.Load())
	}
	if n := append(m.client.xds.Nacks(), m.server.xds.Nacks()...); len(n) > 0 {
		t.Errorf("NACKs: %q", n)
	}
}

func TestRejectedResourceLeavesTheOld(t *testing.T) {
	m := newMesh(t, true, echo)
	m.client.set("9080", strings.Replace(routeTable("bad", reviews), `"prefix":"/"`, `"safe_regex":{"regex":"("}`, 1))
	eventually(t, func() string {
		if n := m.client.xds.Nacks(); len(n) != 1 || !strings.HasPrefix(n[0], "9080: ") {
			return fmt.Sprintf("NACKs %q", n)
		}
		return ""
	})
	if resp, _, err := m.call("GET", "/", ""); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	if d := get(t, m.client.admin+"/config_dump?resource=dynamic_route_configs"); !strings.Contains(d, "error_state") || !strings.Contains(d, `"default"`) {
		t.Errorf("dump\n%s", d)
	}
}

// TestControlPlaneGoesAway: what is known serves on, and changes act again when
// it is back.
func TestControlPlaneGoesAway(t *testing.T) {
	m := newMesh(t, true, echo)
	m.client.xds.Stop()
	m.server.xds.Stop()
	for range 20 {
		if resp, _, err := m.call("GET", "/", ""); err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	m.client.xds.Start()
	m.client.set("9080", strings.Replace(routeTable("direct", reviews), `"route":{"cluster":"`+reviews+`","timeout":"0s"}`, `"direct_response":{"status":418,"body":{"inline_string":"tea"}}`, 1))
	eventually(t, func() string {
		if resp, body, err := m.call("GET", "/", ""); err != nil || resp.StatusCode != 418 || body != "tea" {
			return fmt.Sprintf("%v %q %v", resp, body, err)
		}
		return ""
	})
}

func TestDrain(t *testing.T) {
	enter, leave := make(chan struct{}), make(chan struct{})
	m := newMesh(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(enter)
			<-leave
		}
		io.WriteString(w, "done")
	})
	answer := make(chan string, 1)
	go func() {
		resp, body, err := m.call("GET", "/slow", "")
		if err != nil || resp.StatusCode != 200 {
			body = fmt.Sprint(resp, err)
		}
		answer <- body
	}()
	<-enter
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	drained := make(chan struct{})
	addr := m.server.addr("virtualInbound").String()
	go func() { m.server.Drain(ctx); close(drained) }()
	eventually(t, func() string {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return "new connections are still accepted"
		}
		return ""
	})
	if m.server.Ready() {
		t.Error("ready while draining")
	}
	select {
	case <-drained:
		t.Error("drained before the request had ended")
	default:
	}
	close(leave)
	if got := <-answer; got != "done" {
		t.Errorf("the request under way: %s", got)
	}
	<-drained
	if ctx.Err() != nil {
		t.Error("draining did not end with the last request")
	}
}

// TestDrainEndsIdleConnections: the client's sidecar keeps a connection in its
// pool, which holds nothing up.
func TestDrainEndsIdleConnections(t *testing.T) {
	m := newMesh(t, true, echo)
	if resp, _, err := m.call("GET", "/", ""); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	start := time.Now()
	m.server.Drain(ctx)
	if d := time.Since(start); ctx.Err() != nil || d > 2*time.Second {
		t.Errorf("draining took %v", d)
	}
}

func TestAdminPages(t *testing.T) {
	m := newMesh(t, true, echo)
	if resp, _, err := m.call("GET", "/", ""); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	for page, want := range map[string][]string{
		"/help":                       {"/config_dump", "/quitquitquit (POST)"},
		"/ready":                      {"LIVE"},
		"/server_info":                {`"state":`, `"LIVE"`, "productpage-0"},
		"/listeners":                  {"0.0.0.0_9080::127.0.0.1:" + fmt.Sprint(m.client.addr("0.0.0.0_9080").Port())},
		"/listeners?format=json":      {`"listener_statuses"`},
		"/clusters":                   {reviews + "::" + m.server.addr("virtualInbound").String() + "::rq_total::1", "::health_flags::healthy"},
		"/clusters?format=json":       {`"cluster_statuses"`, `"rq_total"`},
		"/stats?filter=upstream_rq":   {"cluster." + reviews + ".upstream_rq_total: 1"},
		"/stats/prometheus":           {"istio_build{", "go_goroutines"},
		"/logging":                    {"active loggers:\n", "  listener: ", "  http: trace"},
		"/certs":                      {"spiffe://cluster.local/ns/default/sa/productpage"},
		"/config_dump":                {"envoy.admin.v3.ListenersConfigDump", `"dynamic_active_clusters"`, `"active_state"`},
		"/config_dump?include_eds":    {`"dynamic_endpoint_configs"`},
		"/config_dump?name_regex=^x$": {"BootstrapConfigDump"},
	} {
		got := get(t, m.client.admin+page)
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s lacks %q:\n%.2000s", page, w, got)
			}
		}
	}
	if got := get(t, m.server.admin+"/config_dump?resource=static_route_configs"); strings.Count(got, "inbound|http|9080") != 1 {
		t.Errorf("static routes:\n%s", got)
	}
	post := func(page string) (int, string) {
		resp, err := http.Post(m.client.admin+page, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if code, body := post("/logging?router=error"); code != 200 || !strings.Contains(body, "  router: error") {
		t.Errorf("/logging: %d %s", code, body)
	}
	if code, _ := post("/logging?level=loud"); code != 400 {
		t.Errorf("/logging?level=loud: %d", code)
	}
	if code, _ := post("/healthcheck/fail"); code != 200 || m.client.Ready() {
		t.Error("/healthcheck/fail has no effect")
	}
	if code, _ := post("/healthcheck/ok"); code != 200 || !m.client.Ready() {
		t.Error("/healthcheck/ok has no effect")
	}
	if code, _ := post("/quitquitquit"); code != 403 {
		t.Errorf("/quitquitquit: %d", code)
	}
	if resp, err := http.Get(m.client.admin + "/quitquitquit"); err != nil || resp.StatusCode != 405 {
		t.Errorf("GET of a page that changes: %v, %v", resp, err)
	}
}
