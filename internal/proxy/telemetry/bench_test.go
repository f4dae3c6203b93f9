package telemetry

import (
	"encoding/json"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/config/format"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// istioFormat is Istio's default text format.
const istioFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n"

// busy is an exchange as a sidecar sees most.
func busy() (*stream.Stream, *stream.Outcome) {
	s := &stream.Stream{Start: time.Now(), Conn: &stream.Conn{
		Dir: stream.Inbound, Remote: netip.MustParseAddrPort("10.244.0.7:45678"), Local: netip.MustParseAddrPort("10.244.0.9:9080"),
		TLS: &stream.TLS{Mutual: true, PeerURI: "spiffe://cluster.local/ns/default/sa/productpage", LocalURI: "spiffe://cluster.local/ns/default/sa/reviews", ServerName: "outbound_.9080_._.reviews.default.svc.cluster.local"},
	}}
	r := &s.Request
	r.Method, r.Path, r.Authority = []byte("GET"), []byte("/reviews/0"), []byte("reviews:9080")
	r.AddString(stream.ForwardedFor, "10.244.0.7")
	r.AddString(stream.N("user-agent"), "Go-http-client/1.1")
	r.AddString(stream.N("x-request-id"), "0b2f64a6-38a1-4b7e-9d57-5f4f5f0fb35c")
	s.Upstream = stream.Upstream{
		Cluster: "inbound|9080||", Host: netip.MustParseAddrPort("10.244.0.9:9080"), Local: netip.MustParseAddrPort("127.0.0.6:51234"),
		ClusterNode: &config.Cluster{Metadata: config.Metadata{Services: []config.Service{{Host: "reviews.default.svc.cluster.local", Name: "reviews", Namespace: "default"}}}},
	}
	*s.Slot(0) = &peermeta.Peer{Workload: "productpage-v1"}
	resp := &stream.Response{Status: 200}
	resp.AddString(stream.N("x-envoy-upstream-service-time"), "3")
	return s, &stream.Outcome{Status: 200, BytesSent: 295, Duration: 3_400_000, Response: resp}
}

// logs makes access logs to /dev/null: formatting, batching, and the system calls.
func logs(tb testing.TB) map[string]*AccessLog {
	tb.Helper()
	text, err := format.Parse(istioFormat)
	if err != nil {
		tb.Fatal(err)
	}
	file, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	sinks := NewSinks(file, nil, silent)
	tb.Cleanup(func() {
		sinks.Close()
		if err := file.Close(); err != nil {
			tb.Error(err)
		}
	})
	out := map[string]*AccessLog{}
	for name, cfg := range map[string]*config.AccessLog{
		"text": {Path: "/dev/stdout", Text: text},
		"json": {Path: "/dev/stdout", JSON: map[string]any{
			"start_time": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "protocol": "%PROTOCOL%", "response_code": "%RESPONSE_CODE%",
			"response_flags": "%RESPONSE_FLAGS%", "bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%", "duration": "%DURATION%", "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
			"user_agent": "%REQ(USER-AGENT)%", "request_id": "%REQ(X-REQUEST-ID)%", "authority": "%REQ(:AUTHORITY)%", "upstream_host": "%UPSTREAM_HOST%", "upstream_cluster": "%UPSTREAM_CLUSTER%",
		}},
	} {
		if out[name], err = NewAccessLog(cfg, sinks); err != nil {
			tb.Fatal(err)
		}
	}
	return out
}

// cpu reports the processor time of an operation, with that of the log's writer
// and the system calls: on a machine that others use, time itself says little.
func cpu(b *testing.B, run func()) {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	run()
	b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op")
}

// A parallel benchmark shows with -cpu 1,2,8 whether exchanges wait for each other.
func BenchmarkMetrics(b *testing.B) {
	m, _ := newMetrics(b)
	b.ReportAllocs()
	cpu(b, func() {
		b.RunParallel(func(p *testing.PB) {
			s, o := busy()
			for p.Next() {
				m.Done(s, o)
			}
		})
	})
}

func BenchmarkMetricsByHost(b *testing.B) { // of clusters without metadata
	m, _ := newMetrics(b)
	b.ReportAllocs()
	cpu(b, func() {
		b.RunParallel(func(p *testing.PB) {
			s, o := busy()
			s.Upstream.ClusterNode = nil
			for p.Next() {
				m.Done(s, o)
			}
		})
	})
}

func BenchmarkAccessLog(b *testing.B) {
	for name, l := range logs(b) {
		b.Run(name, func(b *testing.B) {
			before := l.sink.Dropped()
			var ids atomic.Uint64
			b.ReportAllocs()
			cpu(b, func() {
				b.RunParallel(func(p *testing.PB) {
					s, o := busy()
					s.Conn.ID = ids.Add(1)
					for n := 1; p.Next(); n++ {
						l.Done(s, o)
						for n%100 == 0 && l.sink.pending.Load() > maxPending/2 { // nothing is dropped: all lines are paid for
							time.Sleep(time.Millisecond)
						}
					}
				})
			})
			b.ReportMetric(float64(l.sink.Dropped()-before)/float64(b.N), "dropped/op")
		})
	}
}

func FuzzQuoted(f *testing.F) {
	for _, s := range []string{"", "a", "\"\\", "\x00\x1f\x7f\n", "\xc3\xa4\xff", "\u2028"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got string
		quoted := appendQuoted(nil, text)
		if err := json.Unmarshal(quoted, &got); err != nil {
			t.Fatalf("%q: %v", quoted, err)
		}
		var want string
		b, err := json.Marshal(string(text))
		if err == nil {
			err = json.Unmarshal(b, &want)
		}
		if err != nil || got != want {
			t.Errorf("%q, want %q, %v", got, want, err)
		}
	})
}
