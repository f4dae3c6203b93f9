package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// observedGraph is the part of the console's graph that the test looks at.
type observedGraph struct {
	Edges []struct {
		ID    string
		Rates struct{ Rate, ErrorShare float64 }
		MTLS  *float64
	}
}

// console asks the console of the mesh.
func (m *mesh) console(path string, to any) error {
	resp, err := http.Get(m.Info.Console + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %s", path, resp.Status, text)
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(text, to)
}

// value asks PromQL for one number.
func (m *mesh) value(query string) (string, error) {
	var r struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	if err := m.console("/api/v1/query?query="+url.QueryEscape(query), &r); err != nil {
		return "", err
	}
	if len(r.Data.Result) == 0 {
		return "", fmt.Errorf("%s: no result", query)
	}
	return fmt.Sprint(r.Data.Result[0].Value[1]), nil
}

// observedEdges are the calls behind the product page.
var observedEdges = []string{
	"gateway/istio-system/istio-ingressgateway>app/default/productpage/v1/http",
	"app/default/productpage/v1>app/default/details/v1/http",
	"app/default/productpage/v1>app/default/reviews/v1/http",
	"app/default/productpage/v1>app/default/reviews/v2/http",
	"app/default/productpage/v1>app/default/reviews/v3/http",
	"app/default/reviews/v2>app/default/ratings/v1/http",
	"app/default/reviews/v3>app/default/ratings/v1/http",
}

// TestObserve: a loop of requests shows within 15 s in the graph, with rates and mTLS, and
// on the terminal; queries of Istio's dashboards and of Kiali have results.
func TestObserve(t *testing.T) {
	m := startMesh(t, false)
	stop := m.loop(t, "/productpage")
	defer stop()
	began := time.Now()
	eventually(t, time.Minute, func() error {
		var g observedGraph
		if err := m.console("/api/graph?view=versionedApp&duration=60s", &g); err != nil {
			return err
		}
		got := map[string]bool{}
		for _, e := range g.Edges {
			if e.Rates.Rate <= 0 || e.Rates.ErrorShare > 0 || e.MTLS == nil || *e.MTLS != 1 {
				return fmt.Errorf("%+v", e)
			}
			got[e.ID] = true
		}
		for _, id := range observedEdges {
			if !got[id] {
				return fmt.Errorf("%s is missing in %v", id, got)
			}
			delete(got, id)
		}
		return expect(len(got) == 0, "%v is too much", got)
	})
	took := time.Since(began)
	t.Logf("the graph was complete after %s", took)
	if took > 15*time.Second {
		t.Errorf("the graph took %s", took)
	}
	t.Run("queries", m.dashboardQueries)
	t.Run("terminal", m.terminal)
	t.Run("tap", m.tap)
	t.Run("guard", func(t *testing.T) {
		req, err := http.NewRequest("GET", m.Info.Console+"/api/mesh", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "rebound.example"
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("another host name: %s", resp.Status)
		}
	})
}

// loop asks for a page again and again, until it is stopped.
func (m *mesh) loop(t *testing.T, path string) (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, _, err := m.tryGet(path); err != nil {
				t.Logf("%s: %v", path, err)
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-done }
}

// dashboardQueries asks what Istio's dashboards (mesh, service, workload) and Kiali's
// graph ask.
func (m *mesh) dashboardQueries(t *testing.T) {
	for _, q := range []string{
		// Istio Mesh Dashboard
		`round(sum(irate(istio_requests_total{reporter="source"}[1m])), 0.001)`,
		`sum(rate(istio_requests_total{reporter="source", response_code!~"5.*"}[1m])) / sum(rate(istio_requests_total{reporter="source"}[1m]))`,
		`label_join(sum(rate(istio_requests_total{reporter="source", response_code="200"}[1m])) by (destination_workload, destination_workload_namespace, destination_service), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")`,
		`label_join((histogram_quantile(0.90, sum(rate(istio_request_duration_milliseconds_bucket{reporter="source"}[1m])) by (le, destination_workload, destination_workload_namespace)) / 1000) or histogram_quantile(0.90, sum(rate(istio_request_duration_seconds_bucket{reporter="source"}[1m])) by (le, destination_workload, destination_workload_namespace)), "destination_workload_var", ".", "destination_workload", "destination_workload_namespace")`,
		// Istio Service Dashboard
		`round(sum(irate(istio_requests_total{reporter="destination",destination_service=~"reviews.default.svc.cluster.local"}[5m])), 0.001)`,
		`histogram_quantile(0.99, sum(rate(istio_request_duration_milliseconds_bucket{reporter="destination",destination_service=~"reviews.default.svc.cluster.local"}[1m])) by (le))`,
		`round(sum(irate(istio_requests_total{connection_security_policy="mutual_tls",destination_service=~"reviews.default.svc.cluster.local",reporter=~"destination"}[5m])) by (source_workload, source_workload_namespace, response_code), 0.001)`,
		// Istio Workload Dashboard
		`histogram_quantile(0.50, sum(irate(istio_response_bytes_bucket{reporter="destination", connection_security_policy="mutual_tls", destination_workload=~"reviews-v2", destination_workload_namespace=~"default"}[1m])) by (source_workload, source_workload_namespace, le))`,
		`round(sum(irate(istio_requests_total{connection_security_policy!="mutual_tls", reporter="source", source_workload=~"productpage-v1", source_workload_namespace=~"default"}[5m])) by (destination_service, response_code), 0.001)`,
		// Kiali's graph
		`sum(rate(istio_requests_total{reporter="destination",source_workload_namespace!="default",destination_service_namespace="default"} [60s])) by (source_cluster,source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision,destination_cluster,destination_service_namespace,destination_service,destination_service_name,destination_workload_namespace,destination_workload,destination_canonical_service,destination_canonical_revision,request_protocol,response_code,grpc_response_status,response_flags) > 0`,
		`(sum(rate(istio_requests_total{reporter="source",source_workload_namespace="default"} [60s])) by (source_cluster,source_workload_namespace,source_workload,source_canonical_service,source_canonical_revision,destination_cluster,destination_service_namespace,destination_service,destination_service_name,destination_workload_namespace,destination_workload,destination_canonical_service,destination_canonical_revision,request_protocol,response_code,grpc_response_status,response_flags) > 0)`,
		`histogram_quantile(0.95, sum(rate(istio_request_duration_milliseconds_bucket{reporter=~"destination",destination_service_namespace="default"}[60s])) by (le,source_workload,destination_workload)) > 0`,
		`sum(rate(istio_requests_total{reporter="destination",connection_security_policy="mutual_tls"}[60s])) by (source_workload,destination_workload,connection_security_policy,source_principal,destination_principal)`,
	} {
		v, err := m.value(q)
		if err != nil {
			t.Errorf("%s: %v", q, err)
		} else if v == "NaN" || v == "0" {
			t.Errorf("%s: %s", q, v)
		}
	}
	for path, want := range map[string]string{
		"/api/v1/label/destination_workload/values": "reviews-v3", "/api/v1/labels": "connection_security_policy",
		"/api/v1/series?match[]=istio_requests_total": "istio_requests_total", "/api/v1/status/buildinfo": "version", "/api/v1/metadata": "istio_request_bytes",
	} {
		var raw json.RawMessage
		if err := m.console(path, &raw); err != nil || !strings.Contains(string(raw), want) {
			t.Errorf("%s: %.300s %v", path, raw, err)
		}
	}
	if err := m.console("/-/healthy", nil); err != nil {
		t.Error(err)
	}
}

// terminal looks at stat, edges and top.
func (m *mesh) terminal(t *testing.T) {
	for _, c := range []struct {
		args []string
		want [][]string // parts of one line
	}{
		{[]string{"stat"}, [][]string{{"default", "reviews-v2", "1/1", "100.00%", "rps"}, {"istio-system", "istio-ingressgateway", "100.00%"}}},
		{[]string{"stat", "services", "-n", "default"}, [][]string{{"default", "reviews", "3/3", "100.00%"}}},
		{[]string{"edges", "-o", "wide"}, [][]string{
			{"productpage-v1.default", "reviews-v1.default", "http", "mTLS", "spiffe://cluster.local/ns/default/sa/bookinfo-productpage", "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"},
			{"istio-ingressgateway.istio-system", "productpage-v1.default", "mTLS"},
		}},
		{[]string{"top", "--once"}, [][]string{{"productpage-v1", "100.00%"}}},
	} {
		out := m.run(c.args...)
		for _, want := range c.want {
			found := false
			for line := range strings.Lines(out) {
				found = found || all(line, want...)
			}
			if !found {
				t.Errorf("%v has no line with %v:\n%s", c.args, want, out)
			}
		}
	}
}

// tap looks at live requests in all formats.
func (m *mesh) tap(t *testing.T) {
	out := m.run("tap", "deploy/reviews-v2", "--limit", "3", "--path", "/ratings", "-o", "json")
	if strings.Count(out, "\n") != 3 || !strings.Contains(out, `"direction":"outbound"`) || !strings.Contains(out, `"service":"ratings.default.svc.cluster.local"`) {
		t.Errorf("%s", out)
	}
	out = m.run("tap", "svc/reviews", "--limit", "2", "--path", "/reviews", "-o", "wide")
	if !all(out, "inbound", "productpage-v1.default -> reviews-v", "GET reviews:9080/reviews/0 200", "mTLS", "> ") {
		t.Errorf("%s", out)
	}
	out = m.run("tap", "--limit", "1", "--status", "200", "-o", "har")
	var har struct {
		Log struct {
			Entries []struct{ Request struct{ URL string } }
		}
	}
	if err := json.Unmarshal([]byte(out), &har); err != nil || len(har.Log.Entries) != 1 || har.Log.Entries[0].Request.URL == "" {
		t.Errorf("%s %v", out, err)
	}
	if out = m.run("tap", "deploy/ratings-v1", "--limit", "1", "-o", "curl"); !strings.HasPrefix(out, "curl -X 'GET' -H ") {
		t.Errorf("%s", out)
	}
	if _, errs, err := m.try("tap", "deploy/nobody", "--limit", "1"); err == nil || !strings.Contains(errs, "no workload is named") {
		t.Errorf("%v %s", err, errs)
	}
}
