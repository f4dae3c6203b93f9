package push

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the control plane's, under the names that Istio's dashboards read.
// A nil *Metrics counts nothing.
type Metrics struct {
	clients  prometheus.Gauge
	pushes   prometheus.Counter
	duration prometheus.Histogram
}

// NewMetrics registers the metrics.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		clients: prometheus.NewGauge(prometheus.GaugeOpts{Name: "pilot_xds", Help: "Number of proxies connected by xDS."}),
		pushes:  prometheus.NewCounter(prometheus.CounterOpts{Name: "pilot_xds_pushes", Help: "Configurations offered to proxies."}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pilot_proxy_convergence_time",
			Help: "Seconds from the start of a build until it was offered to all proxies.", Buckets: []float64{.01, .1, .5, 1, 3, 5, 10, 20, 30}}),
	}
	for _, c := range []prometheus.Collector{m.clients, m.pushes, m.duration} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) connected(n int) {
	if m != nil {
		m.clients.Set(float64(n))
	}
}

func (m *Metrics) pushed() {
	if m != nil {
		m.pushes.Inc()
	}
}

func (m *Metrics) built(took time.Duration) {
	if m != nil {
		m.duration.Observe(took.Seconds())
	}
}
