package cni

import "github.com/prometheus/client_golang/prometheus"

// metrics are the agent's, under Istio's names where it has them.
type metrics struct {
	registry *prometheus.Registry
	ready    prometheus.Gauge
	installs *prometheus.CounterVec // result
	requests *prometheus.CounterVec // result
	repaired *prometheus.CounterVec // type, result
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		ready: prometheus.NewGauge(prometheus.GaugeOpts{Name: "istio_cni_install_ready",
			Help: "Whether the plugin is installed on the node."}),
		installs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "istio_cni_installs_total",
			Help: "Installations of the plugin."}, []string{"result"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lateen_cni_plugin_requests_total",
			Help: "Pods that the plugin asked about: redirected, skipped, failed."}, []string{"result"}),
		repaired: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "istio_cni_repair_pods_repaired_total",
			Help: "Pods that started without redirection and were dealt with."}, []string{"type", "result"}),
	}
	m.registry.MustRegister(m.ready, m.installs, m.requests, m.repaired)
	return m
}
