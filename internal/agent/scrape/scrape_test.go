package scrape

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func registry(t *testing.T) prometheus.Gatherer {
	t.Helper()
	r := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "istio_requests_total", Help: "Requests."})
	c.Add(3)
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "go_goroutines", Help: "Goroutines."})
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	if err := r.Register(g); err != nil {
		t.Fatal(err)
	}
	return r
}

const (
	openAccept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
	appText    = "# TYPE orders counter\norders 7\n# TYPE go_goroutines gauge\ngo_goroutines 9"
	appOpen    = "# TYPE orders counter\n# UNIT orders orders\norders_total{a=\"x # {y\"} 7 # {trace=\"1\"} 1 2\n# TYPE state stateset\nstate{state=\"on\"} 1\n# EOF\n"
)

func TestPage(t *testing.T) {
	type answer struct{ kind, text string }
	for _, x := range []struct {
		name, accept string
		textOnly     bool
		app          *answer // nil: 500
		open         bool
		has          []string
		not          []string
		failed       uint64
	}{
		{"text", "", false, &answer{"text/plain; version=0.0.4", appText}, false, []string{"istio_requests_total 3\n", "orders 7\n", "\ngo_goroutines 9\n", "istio_agent_go_goroutines 0\n"}, []string{"# EOF"}, 0},
		{"OpenMetrics", openAccept, false, &answer{"application/openmetrics-text; version=1.0.0", appOpen}, true, []string{"istio_requests_total 3", "# TYPE istio_requests counter\n", `orders_total{a="x # {y"} 7 # {trace="1"} 1 2`, "# UNIT"}, nil, 0},
		{"OpenMetrics, the application has text", openAccept, false, &answer{"text/plain", appText}, false, []string{"# TYPE istio_requests_total counter\n", "orders 7\n"}, []string{"# EOF"}, 0},
		{"text, the application has OpenMetrics", "", false, &answer{"application/openmetrics-text", appOpen}, false, []string{`orders_total{a="x # {y"} 7` + "\n", "# TYPE state gauge\n"}, []string{"# EOF", "# UNIT", "trace"}, 0},
		{"the proxy has only text", openAccept, true, &answer{"application/openmetrics-text", appOpen}, false, []string{"orders_total"}, []string{"# EOF"}, 0},
		{"the application fails", openAccept, false, nil, true, []string{"istio_requests_total 3"}, []string{"orders"}, 1},
		{"the application answers in protobuf", "", false, &answer{"application/vnd.google.protobuf; proto=x", "\x01"}, false, []string{"istio_requests_total 3\n"}, []string{"\x01"}, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if x.app == nil {
					http.Error(w, "no", 500)
					return
				}
				if r.URL.Path != "/m" || r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds") != "5" {
					t.Errorf("asked for %s with %v", r.URL, r.Header)
				}
				w.Header().Set("Content-Type", x.app.kind)
				io.WriteString(w, x.app.text)
			}))
			defer app.Close()
			_, p, _ := net.SplitHostPort(strings.TrimPrefix(app.URL, "http://"))
			n, _ := strconv.Atoi(p)
			page := New(Options{Own: Gatherer(registry(t)), OwnTextOnly: x.textOnly, Application: &Application{"127.0.0.1", uint16(n), "/m"}})
			r := httptest.NewRequest("GET", "/stats/prometheus", nil)
			r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "5")
			if x.accept != "" {
				r.Header.Set("Accept", x.accept)
			}
			w := httptest.NewRecorder()
			page.ServeHTTP(w, r)
			text := w.Body.String()
			if open := strings.HasPrefix(w.Header().Get("Content-Type"), "application/openmetrics-text"); open != x.open || open != strings.HasSuffix(text, "# EOF\n") || strings.Count(text, "# EOF") > 1 {
				t.Errorf("%s\n%s", w.Header().Get("Content-Type"), text)
			}
			for _, s := range x.has {
				if !strings.Contains(text, s) {
					t.Errorf("%q is missing in\n%s", s, text)
				}
			}
			for _, s := range x.not {
				if strings.Contains(text, s) {
					t.Errorf("%q is in\n%s", s, text)
				}
			}
			if _, failed := page.Counts(); failed != x.failed {
				t.Errorf("%d failures counted", failed)
			}
			if !x.open {
				p := expfmt.NewTextParser(model.UTF8Validation)
				if _, err := p.TextToMetricFamilies(strings.NewReader(text)); err != nil {
					t.Errorf("Prometheus does not read it: %v\n%s", err, text)
				}
			}
		})
	}
}

// TestSlowApplication: the application has the scraper's time-out at most.
func TestSlowApplication(t *testing.T) {
	release := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer app.Close()
	defer close(release)
	_, p, _ := net.SplitHostPort(strings.TrimPrefix(app.URL, "http://"))
	n, _ := strconv.Atoi(p)
	page := New(Options{Own: Gatherer(registry(t)), Application: &Application{"127.0.0.1", uint16(n), "/m"}})
	r := httptest.NewRequest("GET", "/stats/prometheus", nil)
	r.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "0.2")
	w := httptest.NewRecorder()
	start := time.Now()
	page.ServeHTTP(w, r)
	if took := time.Since(start); took > 2*time.Second || !strings.Contains(w.Body.String(), "istio_requests_total 3") {
		t.Errorf("after %v: %s", took, w.Body)
	}
}

func TestParseApplication(t *testing.T) {
	for _, x := range []struct {
		text string
		want Application
		ok   bool
		err  string
	}{
		{"", Application{}, false, ""},
		{`{"scrape":"false","port":"1"}`, Application{}, false, ""},
		{`{"scrape":"true"}`, Application{"h", 80, "/metrics"}, true, ""},
		{`{"scrape":"true","port":"9090","path":"m"}`, Application{"h", 9090, "m"}, true, ""},
		{`{"scrape":"true","port":"15020"}`, Application{"h", 15020, "/metrics"}, false, ""},
		{`{"scrape":"true","port":"http"}`, Application{}, false, "http"},
		{`{`, Application{}, false, "ISTIO_PROMETHEUS_ANNOTATIONS"},
	} {
		a, ok, err := ParseApplication(x.text, "h", 15020)
		if x.err != "" {
			if err == nil || !strings.Contains(err.Error(), x.err) {
				t.Errorf("%s: error %v", x.text, err)
			}
			continue
		}
		if err != nil || ok != x.ok || a != x.want {
			t.Errorf("%s: %+v %t %v", x.text, a, ok, err)
		}
	}
}

// FuzzToText: whatever an application sends, the conversion ends, and leaves no mark of
// OpenMetrics.
func FuzzToText(f *testing.F) {
	f.Add(appOpen)
	f.Add("a{b=\"\\\"\"} 1 # {x")
	f.Fuzz(func(t *testing.T, text string) {
		r := toText(strings.NewReader(text))
		defer r.Close()
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(got)) {
			if strings.TrimSpace(line) == "# EOF" || strings.HasPrefix(line, "# UNIT ") {
				t.Errorf("%q stays", line)
			}
		}
	})
}

func BenchmarkPage(b *testing.B) {
	r := prometheus.NewRegistry()
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "istio_requests_total"}, []string{"destination"})
	for i := range 500 {
		v.WithLabelValues(strconv.Itoa(i)).Inc()
	}
	if err := r.Register(v); err != nil {
		b.Fatal(err)
	}
	own := Gatherer(r)
	b.ReportAllocs()
	for b.Loop() {
		if err := own(context.Background(), io.Discard, false); err != nil {
			b.Fatal(err)
		}
	}
}
