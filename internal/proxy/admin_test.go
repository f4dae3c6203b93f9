package proxy_test

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// TestAdminRuntime: what the admin pages tell of the process.
func TestAdminRuntime(t *testing.T) {
	app := application(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	s := newSidecar(t, "reviews", newAuthority(t).identity(t, "reviews"), func(s *sidecar) {
		s.set("inbound|9080||", static("inbound|9080||", app))
		s.set("virtualInbound", inbound(false, ""))
	})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + s.addr("virtualInbound").String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()

	for path, want := range map[string]string{
		"/memory":                       `"allocated":\s*"\d+"[\s\S]*"total_physical_bytes":\s*"\d+"`,
		"/overload":                     `"step": "normal"[\s\S]*"concurrency": \d+`,
		"/server_info":                  `"command_line_options":\s*\{[\s\S]*"concurrency":\s*\d+[\s\S]*"drain_time":\s*"2s"`,
		"/help":                         `/debug/pprof/[\s\S]*/memory[\s\S]*/overload`,
		"/debug/pprof/":                 `goroutine`,
		"/debug/pprof/heap?debug=1":     `heap profile`,
		"/debug/pprof/symbol?0x1":       `num_symbols`,
		"/stats?filter=downstream_cx_a": `(?m)\Alistener.downstream_cx_active: 1\n\z`,
		"/stats/prometheus":             `(?m)^envoy_cluster_manager_active_clusters 1$[\s\S]*^envoy_server_live 1$[\s\S]*^lateen_overload_step 0$`,
		"/stats/prometheus?filter=upstream_(cx_active|rq_2xx)": `(?m)^envoy_cluster_upstream_cx_active\{cluster_name="inbound\|9080\|\|"\} 1$[\s\S]*^envoy_cluster_upstream_rq\{cluster_name="inbound\|9080\|\|",response_code_class="2xx"\} 1$`,
	} {
		if got := get(t, s.admin+path); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s: no match of %s in\n%s", path, want, got)
		}
	}
	metrics := get(t, s.admin+"/stats/prometheus")
	for name, is := range map[string]string{"envoy_server_uptime": "gauge", "envoy_server_total_connections": "gauge", "envoy_listener_downstream_cx_total": "counter",
		"envoy_listener_downstream_cx_active": "gauge", "envoy_overload_requests_shed": "counter", "envoy_overload_memory_pressure": "gauge", "lateen_access_log_dropped_total": "counter"} {
		if !strings.Contains(metrics, "# TYPE "+name+" "+is+"\n") {
			t.Errorf("no %s %s", is, name)
		}
	}
	if strings.Contains(metrics, "envoy_cluster_upstream") {
		t.Error("metrics of clusters though nobody asked")
	}
	stats := get(t, s.admin+"/stats")
	if n := strings.Count(stats, "access_log.dropped"); n != 1 {
		t.Errorf("access_log.dropped comes %d times", n)
	}
	for _, name := range []string{
		"access_log.dropped", "listener.downstream_cx_overload_reject", "listener.defects", "overload.connections_refused", "overload.requests_shed",
		"overload.envoy.overload_actions.disable_http_keepalive.active", "overload.envoy.overload_actions.stop_accepting_connections.active",
		"overload.envoy.overload_actions.stop_accepting_requests.scale_percent", "overload.memory.pressure", "overload.descriptors.used",
		"server.concurrency", "server.goroutines", "server.memory_allocated", "server.memory_heap_size", "server.memory_physical_size", "server.total_connections",
	} {
		if !strings.Contains(stats, "\n"+name+": ") && !strings.HasPrefix(stats, name+": ") {
			t.Errorf("no counter %s", name)
		}
	}
	if !json.Valid([]byte(get(t, s.admin+"/overload"))) {
		t.Error("/overload is no JSON")
	}
}
