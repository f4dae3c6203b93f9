package telemetry

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/config/format"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

var silent = slog.New(slog.DiscardHandler)

func newMetrics(t testing.TB) (*Metrics, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	m, err := NewMetrics(reg, &peermeta.Peer{Workload: "w", Namespace: "ns", Cluster: "c"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return m, reg
}

func done(dir stream.Direction) *stream.Stream {
	s := &stream.Stream{Conn: &stream.Conn{Dir: dir}}
	s.Request.Authority = []byte("host.example")
	s.Upstream.Cluster = "outbound|80|v1|reviews.default.svc.cluster.local"
	s.Upstream.ClusterNode = &config.Cluster{Name: s.Upstream.Cluster}
	return s
}

// labelsOf gives the labels of the only series of istio_requests_total.
func labelsOf(t *testing.T, reg *prometheus.Registry) map[string]string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range families {
		if f.GetName() != "istio_requests_total" {
			continue
		}
		if n := len(f.Metric); n != 1 {
			t.Fatalf("%d series", n)
		}
		for _, l := range f.Metric[0].Label {
			out[l.GetName()] = l.GetValue()
		}
	}
	return out
}

func TestLabels(t *testing.T) {
	mutual := &stream.TLS{Mutual: true, PeerURI: "spiffe://p", LocalURI: "spiffe://l"}
	for name, c := range map[string]struct {
		prepare func(*stream.Stream, *stream.Outcome)
		want    map[string]string
	}{
		"source": {func(s *stream.Stream, o *stream.Outcome) { s.Upstream.TLS = mutual }, map[string]string{
			"reporter": "source", "source_workload": "w", "destination_workload": "unknown", "source_principal": "spiffe://l", "destination_principal": "spiffe://p",
			"connection_security_policy": "unknown", "destination_service": "reviews.default.svc.cluster.local", "destination_service_name": "reviews", "destination_service_namespace": "default",
			"response_code": "200", "response_flags": "-", "request_protocol": "http", "grpc_response_status": "",
		}},
		"destination": {func(s *stream.Stream, o *stream.Outcome) {
			s.Conn.Dir, s.Conn.TLS = stream.Inbound, mutual
			*s.Slot(0) = &peermeta.Peer{Workload: "caller", App: "app"}
		}, map[string]string{
			"reporter": "destination", "destination_workload": "w", "source_workload": "caller", "source_app": "app", "source_version": "unknown",
			"source_principal": "spiffe://p", "destination_principal": "spiffe://l", "connection_security_policy": "mutual_tls",
		}},
		"plain text": {func(s *stream.Stream, o *stream.Outcome) { s.Conn.Dir = stream.Inbound }, map[string]string{"connection_security_policy": "none", "source_principal": "unknown"}},
		"failure": {func(s *stream.Stream, o *stream.Outcome) {
			o.Status, o.Reason = 503, stream.Reason{Code: stream.NoHealthyUpstream}
		}, map[string]string{"response_code": "503", "response_flags": "UH"}},
		"no route": {func(s *stream.Stream, o *stream.Outcome) {
			s.Upstream = stream.Upstream{}
			o.Status, o.Reason = 404, stream.Reason{Code: stream.NoRoute}
		}, map[string]string{"response_code": "404", "response_flags": "NR", "destination_service": "host.example"}},
		"passthrough": {func(s *stream.Stream, o *stream.Outcome) {
			s.Upstream.Cluster, s.Upstream.ClusterNode = "PassthroughCluster", &config.Cluster{Name: "PassthroughCluster"}
		}, map[string]string{"destination_service": "host.example", "destination_service_name": "PassthroughCluster"}},
		"by endpoint": {func(s *stream.Stream, o *stream.Outcome) {
			s.Upstream.Endpoint = &config.Endpoint{Workload: "reviews-v1;default;reviews;v1;k"}
		}, map[string]string{"destination_workload": "reviews-v1", "destination_canonical_service": "reviews", "destination_cluster": "k"}},
		"services": {func(s *stream.Stream, o *stream.Outcome) {
			s.Upstream.ClusterNode = &config.Cluster{Metadata: config.Metadata{Services: []config.Service{{Host: "h", Name: "n", Namespace: "s"}}}}
		}, map[string]string{"destination_service": "h", "destination_service_name": "n", "destination_service_namespace": "s"}},
		"grpc": {func(s *stream.Stream, o *stream.Outcome) {
			s.Request.AddString(stream.ContentType, "application/grpc+proto")
			o.Response.AddString(stream.GRPCStatus, "14")
		}, map[string]string{"request_protocol": "grpc", "grpc_response_status": "14"}},
	} {
		t.Run(name, func(t *testing.T) {
			m, reg := newMetrics(t)
			s, o := done(stream.Outbound), &stream.Outcome{Status: 200, Response: &stream.Response{}}
			c.prepare(s, o)
			m.Done(s, o)
			got := labelsOf(t, reg)
			if len(got) != 25 {
				t.Errorf("%d labels", len(got))
			}
			for k, want := range c.want {
				if got[k] != want {
					t.Errorf("%s = %q, want %q", k, got[k], want)
				}
			}
		})
	}
}

func TestCountsAndBounds(t *testing.T) {
	m, reg := newMetrics(t)
	o := &stream.Outcome{Status: 200, Duration: int64(3 * time.Millisecond), BytesReceived: 10, BytesSent: 20, Response: &stream.Response{}}
	for i := range maxHosts + 100 {
		s := done(stream.Outbound)
		s.Upstream = stream.Upstream{Cluster: "PassthroughCluster"}
		s.Request.Authority = fmt.Append(nil, "host", i)
		m.Done(s, o)
		m.Done(s, o)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "lateen_metrics_overflow_total" {
			continue
		}
		if n := len(f.Metric); n != maxHosts+1 {
			t.Errorf("%s: %d series, want %d: hosts are bounded", f.GetName(), n, maxHosts+1)
		}
	}
	for i := range maxChildren + 10 {
		s := done(stream.Outbound)
		s.Upstream.ClusterNode = &config.Cluster{Name: fmt.Sprint(i)}
		m.Done(s, o)
	}
	if n := m.cache.size(); n > maxChildren {
		t.Errorf("%d cached series", n)
	}
	m.Forget()
	m.Done(done(stream.Outbound), o)
}

func TestNewMetricsTwice(t *testing.T) {
	m, reg := newMetrics(t)
	if _, err := NewMetrics(reg, m.self, 0); err == nil {
		t.Error("registered twice")
	}
}

// slow is a writer that waits for permission.
type slow struct {
	mu   sync.Mutex
	open chan struct{}
	got  strings.Builder
}

func (w *slow) Write(p []byte) (int, error) {
	<-w.open
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.got.Write(p)
}

func TestSinkNeverBlocks(t *testing.T) {
	w := &slow{open: make(chan struct{})}
	sinks := NewSinks(w, nil, silent)
	k, err := sinks.Open("/dev/stdout")
	if err != nil {
		t.Fatal(err)
	}
	line := []byte(strings.Repeat("x", 1023) + "\n")
	const lines = 5000 // more than fits
	start := time.Now()
	for range lines {
		k.Append(1, line)
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("appending took %v", d)
	}
	if k.Dropped() == 0 || sinks.Dropped() != k.Dropped() {
		t.Errorf("%d dropped", k.Dropped())
	}
	close(w.open)
	sinks.Close()
	if got := uint64(strings.Count(w.got.String(), "\n")); got+k.Dropped() != lines {
		t.Errorf("%d written and %d dropped of %d", got, k.Dropped(), lines)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestSinks(t *testing.T) {
	sinks := NewSinks(broken{}, nil, silent)
	path := filepath.Join(t.TempDir(), "log")
	for _, p := range []string{path, "/dev/stdout", "/dev/stderr"} {
		a, err := sinks.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := sinks.Open(p); err != nil || a != b {
			t.Errorf("%s: two sinks", p)
		}
		a.Append(1, []byte("line\n"))
	}
	if _, err := sinks.Open(filepath.Join(path, "x")); err == nil {
		t.Error("a path below a file accepted")
	}
	sinks.Close()
	if b, err := os.ReadFile(path); err != nil || string(b) != "line\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestAccessLogForms(t *testing.T) {
	text, err := format.Parse("%REQ(:METHOD)% %RESPONSE_CODE% %REQ(NOPE)%\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  config.AccessLog
		want string
	}{
		"text": {config.AccessLog{Text: text}, "GET 503 -\n"},
		"json": {config.AccessLog{JSON: map[string]any{
			"z": "%REQ(:METHOD)%", "code": "%RESPONSE_CODE%", "none": "%REQ(NOPE)%", "mixed": `"%RESPONSE_CODE%"`, "n": 1.5,
			"in": map[string]any{"l": []any{true, nil, "x"}},
		}}, `{"code":503,"in":{"l":[true,null,"x"]},"mixed":"\"503\"","n":1.5,"none":null,"z":"GET"}` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			c.cfg.Path = path
			sinks := NewSinks(nil, nil, silent)
			l, err := NewAccessLog(&c.cfg, sinks)
			if err != nil {
				t.Fatal(err)
			}
			s := &stream.Stream{Conn: &stream.Conn{Remote: netip.MustParseAddrPort("1.2.3.4:5")}}
			s.Request.Method = []byte("GET")
			l.Done(s, &stream.Outcome{Status: 503, Response: &stream.Response{Status: 503}})
			sinks.Close()
			if b, err := os.ReadFile(path); err != nil || string(b) != c.want {
				t.Errorf("%q, %v; want %q", b, err, c.want)
			}
		})
	}
	if _, err := NewAccessLog(&config.AccessLog{Path: "/dev/stdout"}, NewSinks(nil, nil, silent)); err == nil {
		t.Error("a log without a format accepted")
	}
}
