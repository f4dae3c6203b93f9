package query

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/history"
	"github.com/lateen-mesh/lateen/internal/wire"
)

// traffic is a minute and a half of requests, ten a second, one in ten fails.
func traffic(t *testing.T) (*API, time.Time) {
	t.Helper()
	now := time.Unix(1_800_000_000, 0)
	s := history.New(history.Options{Now: func() time.Time { return now }})
	row := func(code string) []wire.Label {
		return []wire.Label{
			{Name: "destination_service", Value: "reviews.default.svc.cluster.local"}, {Name: "destination_workload", Value: "reviews-v1"},
			{Name: "destination_workload_namespace", Value: "default"}, {Name: "grpc_response_status", Value: ""}, {Name: "reporter", Value: "destination"},
			{Name: "request_protocol", Value: "http"}, {Name: "response_code", Value: code},
		}
	}
	for range 18 {
		for code, n := range map[string]uint64{"200": 45, "500": 5} {
			l := row(code)
			s.Add(history.Key(l), l, []wire.Cell{
				{Column: wire.Requests, Delta: n}, {Column: wire.DurationMicros, Delta: n * 20_000}, {Column: wire.ResponseBytes, Delta: n * 100},
				{Column: wire.DurationBuckets + 4, Delta: n}, {Column: wire.RequestBytesBuckets, Delta: n}, {Column: wire.ResponseBytesBuckets + 6, Delta: n},
			})
		}
		now = now.Add(history.Step)
		s.Close()
	}
	tcp := []wire.Label{{Name: "destination_workload", Value: "mongodb"}, {Name: "reporter", Value: "source"}, {Name: "request_protocol", Value: "tcp"}}
	s.Add(history.Key(tcp), tcp, []wire.Cell{{Column: wire.TCPSent, Delta: 1000}, {Column: wire.TCPOpened, Delta: 2}})
	now = now.Add(history.Step)
	s.Close()
	return New(s, nil, func() time.Time { return now }), now
}

func ask(t *testing.T, a *API, path string, q url.Values) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, httptest.NewRequest("GET", path+"?"+q.Encode(), nil))
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(text)
}

// value asks for one number.
func value(t *testing.T, a *API, query string) string {
	t.Helper()
	status, text := ask(t, a, "/api/v1/query", url.Values{"query": {query}})
	var r struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil || status != 200 {
		t.Fatalf("%s: %d %s %v", query, status, text, err)
	}
	if len(r.Data.Result) != 1 {
		return fmt.Sprintf("%d results", len(r.Data.Result))
	}
	return r.Data.Result[0].Value[1].(string)
}

func TestQueries(t *testing.T) {
	a, _ := traffic(t)
	for query, want := range map[string]string{
		`sum(istio_requests_total)`:                                                                              "900",
		`sum(increase(istio_requests_total{response_code="500"}[2m]))`:                                           "",  // below
		`round(sum(rate(istio_requests_total[1m])))`:                                                             "9", // the last step was silent
		`sum(istio_requests_total{response_code=~"5.."})/sum(istio_requests_total)`:                              "0.1",
		`round(histogram_quantile(0.5, sum(rate(istio_request_duration_milliseconds_bucket[1m])) by (le)) * 10)`: "175",
		`sum(istio_request_duration_milliseconds_sum) / sum(istio_request_duration_milliseconds_count)`:          "20",
		`sum(istio_tcp_sent_bytes_total)`:                                                                        "1000",
		`count(istio_requests_total{destination_workload="mongodb"})`:                                            "0 results",
		`count({__name__=~"istio_tcp_.*", destination_workload="mongodb"})`:                                      "4",
		`count(istio_response_bytes_bucket{response_code="200"})`:                                                "20",
		`count(istio_request_messages_total)`:                                                                    "0 results",
		`count(istio_requests_total{grpc_response_status=""})`:                                                   "2",
	} {
		if got := value(t, a, query); want != "" && got != want {
			t.Errorf("%s = %s, want %s", query, got, want)
		}
	}
	// What is counted for the first time counts: there is a sample at 0 before it.
	if got := value(t, a, `round(sum(increase(istio_requests_total{response_code="500"}[100s])))`); got != "90" {
		t.Errorf("increase %s", got)
	}
}

func TestRange(t *testing.T) {
	a, now := traffic(t)
	status, text := ask(t, a, "/api/v1/query_range", url.Values{
		"query": {`sum(rate(istio_requests_total[30s])) by (response_code)`}, "step": {"15"},
		"start": {fmt.Sprint(now.Add(-time.Minute).Unix())}, "end": {now.UTC().Format(time.RFC3339)},
	})
	if status != 200 || !strings.Contains(text, `"resultType":"matrix"`) || strings.Count(text, `"metric"`) != 2 || !strings.Contains(text, `"9"`) {
		t.Errorf("%d %s", status, text)
	}
}

func TestLabels(t *testing.T) {
	a, _ := traffic(t)
	for path, want := range map[string]string{
		"/api/v1/label/destination_workload/values":                       `["mongodb","reviews-v1"]`,
		"/api/v1/label/response_code/values?match[]=istio_requests_total": `["200","500"]`,
		"/api/v1/label/le/values?match[]=istio_tcp_sent_bytes_total":      `[]`,
		"/api/v1/labels?match[]=istio_tcp_sent_bytes_total":               `["__name__","destination_workload","reporter","request_protocol"]`,
		"/api/v1/series?match[]=istio_tcp_connections_opened_total":       `[{"__name__":"istio_tcp_connections_opened_total","destination_workload":"mongodb","reporter":"source","request_protocol":"tcp"}]`,
	} {
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		if status, text := ask(t, a, u.Path, u.Query()); status != 200 || text != `{"data":`+want+`,"status":"success"}` {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, text := ask(t, a, "/api/v1/metadata", nil); status != 200 || !strings.Contains(text, `"istio_requests_total":[{`) {
		t.Errorf("%d %s", status, text)
	}
}

func TestMistakes(t *testing.T) {
	a, _ := traffic(t)
	for path, want := range map[string]int{
		"/api/v1/query?query=sum(":                                   400,
		"/api/v1/query?query=up&time=tomorrow":                       400,
		"/api/v1/query_range?query=up&start=1&end=2&step=0":          400,
		"/api/v1/query_range?query=up&start=2&end=1&step=1":          400,
		"/api/v1/query_range?query=up&start=0&end=1000000000&step=1": 400,
		"/api/v1/series":                   400,
		"/api/v1/admin/tsdb/delete_series": 404,
	} {
		u, err := url.Parse(path)
		if err != nil {
			t.Fatal(err)
		}
		if status, text := ask(t, a, u.Path, u.Query()); status != want || !strings.Contains(text, `"status":"error"`) {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}
