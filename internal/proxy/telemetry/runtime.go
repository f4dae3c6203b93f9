package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// NewRegistry makes the registry of one proxy, with the Go runtime's metrics and
// the build's: istio_build{component="proxy",tag=version} as dashboards know it.
func NewRegistry(version string, sinks *Sinks) (*prometheus.Registry, error) {
	reg := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "istio_build", Help: "The proxy's build.", ConstLabels: prometheus.Labels{"component": "proxy", "tag": version},
	})
	build.Set(1)
	dropped := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "lateen_access_log_dropped_total", Help: "Access log lines dropped because the writer was too slow.",
	}, func() float64 { return float64(sinks.Dropped()) })
	for _, c := range []prometheus.Collector{collectors.NewGoCollector(), collectors.NewBuildInfoCollector(), build, dropped} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return reg, nil
}
