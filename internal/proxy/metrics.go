package proxy

import (
	"github.com/prometheus/client_golang/prometheus"
)

// guardMetrics are the metrics of the process's protection, gathered when they are
// asked for.
type guardMetrics struct{ p *Proxy }

var (
	stepDesc     = prometheus.NewDesc("lateen_overload_step", "How far the proxy protects itself: 0 normal, 1 ease, 2 refuse, 3 shed.", nil, nil)
	pressureDesc = prometheus.NewDesc("lateen_overload_pressure", "Use of a resource as a part of its limit.", []string{"resource"}, nil)
	refusedDesc  = prometheus.NewDesc("lateen_connections_refused_total", "Connections of clients that were reset at once, by reason.", []string{"reason"}, nil)
	shedDesc     = prometheus.NewDesc("lateen_requests_shed_total", "Requests answered 503 to protect the process.", nil, nil)
	defectsDesc  = prometheus.NewDesc("lateen_connection_defects_total", "Connections that ended by a defect of the proxy.", nil, nil)
)

// Describe implements prometheus.Collector.
func (g guardMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{stepDesc, pressureDesc, refusedDesc, shedDesc, defectsDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (g guardMetrics) Collect(out chan<- prometheus.Metric) {
	m, l := g.p.opts.Overload, g.p.listeners.Stats()
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	out <- prometheus.MustNewConstMetric(stepDesc, prometheus.GaugeValue, float64(m.Step()))
	for name, r := range m.Usage().All() {
		if r.Max > 0 {
			out <- prometheus.MustNewConstMetric(pressureDesc, prometheus.GaugeValue, r.Pressure(), name)
		}
	}
	counter(refusedDesc, l.Overloaded.Load(), "overload")
	counter(refusedDesc, l.Refused.Load(), "max_connections")
	counter(shedDesc, m.Stats().Shed.Load())
	counter(defectsDesc, l.Panics.Load())
}
