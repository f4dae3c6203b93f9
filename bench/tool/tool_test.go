package tool

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const wrkReport = `Running 1s test @ http://127.0.0.1:18801/
  1 threads and 2 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    35.18us  233.42us   5.72ms   98.45%
    Req/Sec   135.25k    13.51k  149.93k    72.73%
  Latency Distribution
     50%   11.00us
     75%   12.00us
     90%   18.00us
     99%    0.91ms
  147547 requests in 1.10s, 157.03MB read
Requests/sec: 134183.77
Transfer/sec:    142.81MB
`

func TestParseWrk(t *testing.T) {
	got, err := ParseWrk(wrkReport)
	if err != nil {
		t.Fatal(err)
	}
	want := Result{Requests: 147547, RPS: 147547 / 1.1, P50: 11 * time.Microsecond, P90: 18 * time.Microsecond, P99: 910 * time.Microsecond}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for name, text := range map[string]string{
		"socket errors": wrkReport + "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
		"bad answers":   wrkReport + "  Non-2xx or 3xx responses: 7\n",
		"no answers":    strings.Replace(wrkReport, "147547", "0", 1),
		"nothing":       "",
		"a bad time":    strings.Replace(wrkReport, "0.91ms", "0.91mm", 1),
	} {
		if _, err := ParseWrk(text); err == nil {
			t.Errorf("%s: taken for good", name)
		}
	}
}

const h2loadReport = `finished in 1.00s, 154428.00 req/s, 155.52MB/s
requests: 154428 total, 154430 started, 154428 done, 154428 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 154428 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 155.52MB (163076005) total, 2.06MB (2161992) headers (space savings 56.25%), 150.81MB (158134272) data
                     min         max         mean         sd        +/- sd
time for request:        6us      5.69ms        11us        66us    99.22%
time for connect:       67us        67us        67us         0us   100.00%
`

func TestParseH2Load(t *testing.T) {
	got, err := ParseH2Load(h2loadReport)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Result{Requests: 154428, RPS: 154428, Max: 5690 * time.Microsecond}, got); d != "" {
		t.Error(d)
	}
	for _, change := range [][2]string{{"0 failed", "1 failed"}, {"0 errored", "1 errored"}, {"0 5xx", "1 5xx"}, {"0 4xx", "2 4xx"}, {"154428 2xx", "0 2xx"}, {"finished", "ended"}} {
		if _, err := ParseH2Load(strings.Replace(h2loadReport, change[0], change[1], 1)); err == nil {
			t.Errorf("with %q: taken for good", change[1])
		}
	}
}

func TestParseH2Log(t *testing.T) {
	p50, p90, p99, err := ParseH2Log(strings.NewReader("1\t200\t10\n2\t200\t20\n3\t200\t30\n"))
	if err != nil || p50.Truncate(time.Microsecond) != 20*time.Microsecond || p90 != 30*time.Microsecond || p99 != 30*time.Microsecond {
		t.Errorf("%v, %v, %v, %v", p50, p90, p99, err)
	}
	for _, text := range []string{"nothing\n", "1\t200\tlong\n"} {
		if _, _, _, err := ParseH2Log(strings.NewReader(text)); err == nil {
			t.Errorf("%q: taken for good", text)
		}
	}
}

const fortioReport = `Aggregated Function Time : count 94 avg 0.0016 +/- 0.005 min 5.3e-05 max 0.033 sum 0.15
# target 50% 0.000577979
# target 90% 0.0016
# target 99% 0.0302012
Code 200 : 94 (100.0 %)
All done 94 calls (plus 2 warmup) 1.602 ms avg, 93.0 qps
`

func TestParseFortio(t *testing.T) {
	got, err := ParseFortio(fortioReport)
	if err != nil {
		t.Fatal(err)
	}
	want := Result{Requests: 94, RPS: 93, P50: 577979 * time.Nanosecond, P90: 1600 * time.Microsecond, P99: 30201200 * time.Nanosecond}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, text := range []string{"", strings.Replace(fortioReport, "Code 200", "Code 503", 1), strings.Replace(fortioReport, "qps", "", 1), fortioReport + "Code -1 : 3 (3 %)\n"} {
		if _, err := ParseFortio(text); err == nil {
			t.Errorf("taken for good: %s", text)
		}
	}
}
