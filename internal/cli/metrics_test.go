package cli

import (
	"testing"
	"time"
)

func TestRequests(t *testing.T) {
	page := func(ok, bad, fast, all string) []byte {
		return []byte(`# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",response_code="200"} ` + ok + `
istio_requests_total{reporter="destination",response_code="503"} ` + bad + `
istio_requests_total{reporter="source",response_code="503"} 1000
# TYPE istio_request_duration_milliseconds histogram
istio_request_duration_milliseconds_bucket{reporter="destination",le="10"} ` + fast + `
istio_request_duration_milliseconds_bucket{reporter="destination",le="100"} ` + all + `
istio_request_duration_milliseconds_bucket{reporter="destination",le="+Inf"} ` + all + `
istio_request_duration_milliseconds_sum{reporter="destination"} 1
istio_request_duration_milliseconds_count{reporter="destination"} ` + all + `
`)
	}
	start := time.Now()
	before, after := requests{at: start, buckets: map[float64]float64{}}, requests{at: start.Add(10 * time.Second), buckets: map[float64]float64{}}
	if err := before.read(page("100", "1", "50", "101")); err != nil {
		t.Fatal(err)
	}
	if err := after.read(page("180", "21", "100", "201")); err != nil {
		t.Fatal(err)
	}
	d := after.since(before)
	if got := rate(d.total, d.seconds) + " " + rate(d.errors, d.seconds) + " " + d.latency(0.5) + " " + d.latency(0.9) + " " + d.latency(0.99); got != "10.00 2.00 10ms 82ms 98.2ms" {
		t.Error(got)
	}
	if got := (requests{}).latency(0.5); got != "-" {
		t.Errorf("without requests: %s", got)
	}
	if err := after.read([]byte("{{")); err == nil {
		t.Error("nonsense is read")
	}
}
