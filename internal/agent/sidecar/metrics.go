package sidecar

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/internal/agent/scrape"
)

// The agent's own metrics, under the names of Istio's agent where it has them.
var (
	expiryDesc   = prometheus.NewDesc("istio_agent_cert_expiry_seconds", "Seconds until the workload's certificate expires.", []string{"resource_name"}, nil)
	requestsDesc = prometheus.NewDesc("istio_agent_num_outgoing_requests", "Requests of the agent, by kind.", []string{"request_type"}, nil)
	failedDesc   = prometheus.NewDesc("istio_agent_num_failed_outgoing_requests", "Requests of the agent that failed, by kind.", []string{"request_type"}, nil)
	startupDesc  = prometheus.NewDesc("istio_agent_startup_duration_seconds", "From the start of the process to its first readiness.", nil, nil)
	scrapesDesc  = prometheus.NewDesc("istio_agent_scrapes_total", "Scrapes of the merged metrics.", nil, nil)
	scrapeFailed = prometheus.NewDesc("istio_agent_scrape_failures_total", "Scrapes in which a part was missing.", []string{"type"}, nil)
	dnsDesc      = prometheus.NewDesc("istio_agent_dns_requests_total", "Questions for names.", nil, nil)
	dnsUpDesc    = prometheus.NewDesc("istio_agent_dns_upstream_requests_total", "Questions for names that were passed on.", nil, nil)
	dnsFailDesc  = prometheus.NewDesc("istio_agent_dns_upstream_failures_total", "Questions for names that were passed on and not answered.", nil, nil)
	dnsFullDesc  = prometheus.NewDesc("lateen_agent_dns_overflow_total", "Questions for names that failed since too many waited.", nil, nil)
)

// agentMetrics gathers them when they are asked for.
type agentMetrics struct {
	s    *Sidecar
	page *scrape.Page
}

// Describe implements prometheus.Collector.
func (agentMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{expiryDesc, requestsDesc, failedDesc, startupDesc, scrapesDesc, scrapeFailed, dnsDesc, dnsUpDesc, dnsFailDesc, dnsFullDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (m agentMetrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	if t := m.s.Identity.Expires(); !t.IsZero() {
		gauge(expiryDesc, time.Until(t).Seconds(), "default")
	}
	all, failed := m.s.Identity.Requests()
	count(requestsDesc, all, "csr")
	count(failedDesc, failed, "csr")
	m.s.mu.Lock()
	readyAt := m.s.readyAt
	m.s.mu.Unlock()
	if !readyAt.IsZero() {
		gauge(startupDesc, readyAt.Sub(m.s.started).Seconds())
	}
	if m.page != nil {
		scrapes, failures := m.page.Counts()
		count(scrapesDesc, scrapes)
		count(scrapeFailed, failures, "application")
	}
	if n := m.s.names; n != nil {
		st := n.server.Stats()
		count(dnsDesc, st.Requests.Load())
		count(dnsUpDesc, st.Upstream.Load())
		count(dnsFailDesc, st.UpstreamFailures.Load())
		count(dnsFullDesc, st.Overflow.Load())
	}
}

// withAgent writes the proxy's metrics and the agent's.
func (s *Sidecar) withAgent(proxy scrape.Own, page func() *scrape.Page) scrape.Own {
	return func(ctx context.Context, w io.Writer, open bool) error {
		r := prometheus.NewRegistry()
		if err := r.Register(agentMetrics{s, page()}); err != nil {
			return err
		}
		return errors.Join(proxy(ctx, w, open), scrape.Gatherer(r)(ctx, w, open))
	}
}
