package push

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// metrics are the engine's; the names of those that Istio has are Istio's.
type metrics struct {
	connections  prometheus.Gauge
	convergence  prometheus.Histogram
	pushes       *prometheus.CounterVec
	refusals     *prometheus.CounterVec
	builds       *prometheus.CounterVec
	compilations *prometheus.CounterVec
}

func newMetrics(to prometheus.Registerer) *metrics {
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "pilot_xds", Help: "Proxies that are connected."}),
		convergence: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pilot_proxy_convergence_time", Help: "Seconds from the offer of a configuration to its last acknowledgement by a proxy.",
			Buckets: []float64{.01, .05, .1, .5, 1, 3, 5, 10, 20, 30},
		}),
		pushes:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pilot_xds_pushes", Help: "Responses sent to proxies."}, []string{"type"}),
		refusals:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pilot_total_xds_rejects", Help: "Responses that proxies refused."}, []string{"type"}),
		builds:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lateen_builds", Help: "Builds of the mesh: full, or (endpoints) of workloads only."}, []string{"kind"}),
		compilations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lateen_compilations", Help: "Hosts that were compiled, for all proxies that share the result, by what of them: clusters, calls or endpoints."}, []string{"part"}),
	}
	if to != nil {
		to.MustRegister(m.connections, m.convergence, m.pushes, m.refusals, m.builds, m.compilations)
	}
	return m
}

// Counts tells how many responses were sent and refused since the start, by short
// type ("cds").
func (e *Engine) Counts() (pushed, refused map[string]float64) {
	return valuesOf(e.metrics.pushes), valuesOf(e.metrics.refusals)
}

// valuesOf reads a counter with one label.
func valuesOf(v *prometheus.CounterVec) map[string]float64 {
	out := map[string]float64{}
	list := make(chan prometheus.Metric)
	go func() {
		v.Collect(list)
		close(list)
	}()
	for m := range list {
		var d dto.Metric
		if m.Write(&d) == nil && len(d.Label) == 1 { // what a counter writes is never wrong
			out[d.Label[0].GetValue()] = d.GetCounter().GetValue()
		}
	}
	return out
}

// Pushed counts a response that was sent; it is for server.Options.Sent.
func (e *Engine) Pushed(typeURL string) { e.metrics.pushes.WithLabelValues(shortName(typeURL)).Inc() }

// Refused counts a response that a proxy refused; it is for server.Options.Refused.
func (e *Engine) Refused(typeURL string) {
	e.metrics.refusals.WithLabelValues(shortName(typeURL)).Inc()
}
