package ca

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the authority's, under the names of Istio's.
type Metrics struct {
	requests  prometheus.Counter
	issued    prometheus.Counter
	refused   prometheus.Counter
	strangers prometheus.Counter

	rootExpiry  prometheus.Gauge
	chainExpiry prometheus.Gauge
	loads       *prometheus.CounterVec
}

// NewMetrics makes the metrics and registers them; a nil registerer takes none.
func NewMetrics(to prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "citadel_server_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "citadel_server_" + name, Help: help})
	}
	m := &Metrics{
		requests:    counter("csr_count", "Certificate requests that arrived."),
		issued:      counter("success_cert_issuance_count", "Certificates that were issued."),
		refused:     counter("csr_sign_err_count", "Certificate requests that were refused or failed."),
		strangers:   counter("authentication_failure_count", "Certificate requests of callers that did not prove who they are."),
		rootExpiry:  gauge("root_cert_expiry_timestamp", "When the root expires, in Unix seconds."),
		chainExpiry: gauge("cert_chain_expiry_timestamp", "When the first certificate between leaves and root expires, in Unix seconds."),
		loads:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lateen_ca_loads", Help: "Readings of the authority's key material: ok or error."}, []string{"result"}),
	}
	if to != nil {
		to.MustRegister(m.requests, m.issued, m.refused, m.strangers, m.rootExpiry, m.chainExpiry, m.loads)
	}
	return m
}

// Loaded notes an issuer as the one in use.
func (m *Metrics) loaded(i *Issuer) {
	m.loads.WithLabelValues("ok").Inc()
	m.chainExpiry.Set(float64(i.notAfter.Unix()))
	if roots, err := parseCerts(i.roots); err == nil {
		m.rootExpiry.Set(float64(roots[0].NotAfter.Unix()))
	}
}
