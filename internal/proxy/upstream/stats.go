package upstream

import (
	"iter"
	"sync/atomic"
)

// Counter only grows; Gauge moves both ways. Both are safe for concurrent use.
type (
	Counter = atomic.Uint64
	Gauge   = atomic.Int64
)

// ClusterStats are the counters of one cluster, under Envoy's names. They start
// when the name is first used and survive updates.
type ClusterStats struct {
	CxTotal, CxConnectFail, CxConnectTimeout, CxOverflow                    Counter
	CxDestroy, CxDestroyRemote, CxIdleTimeout, CxMaxRequests, CxMaxDuration Counter
	CxHTTP1, CxHTTP2                                                        Counter
	CxActive                                                                Gauge
	CxRxBytes, CxTxBytes                                                    Counter // of relays; HTTP counts them per request
	RqTotal, RqPendingTotal, RqPendingOverflow, RqPendingFail               Counter
	Rq1xx, Rq2xx, Rq3xx, Rq4xx, Rq5xx                                       Counter
	RqTimeout, RqPerTryTimeout, RqMaxDuration, RqCancelled                  Counter
	RqRxReset, RqTxReset                                                    Counter
	RqRetry, RqRetrySuccess, RqRetryLimit, RqRetryOverflow                  Counter
	RqActive, RqPendingActive                                               Gauge
	NoneHealthy, UpdateSuccess, UpdateFailure                               Counter
	Ejections, EjectionsOverflow                                            Counter
	EjectionsActive                                                         Gauge
	SSLHandshake, SSLFail, SSLResumed                                       Counter
}

// All yields every counter with Envoy's name within the cluster's scope
// ("upstream_cx_total").
func (s *ClusterStats) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for _, e := range s.table() {
			if !yield(e.name, e.load()) {
				return
			}
		}
	}
}

type statEntry struct {
	name    string
	counter *Counter
	gauge   *Gauge
	sum     []*Counter
}

func (e statEntry) load() uint64 {
	if e.counter != nil {
		return e.counter.Load()
	}
	if e.gauge == nil {
		total := uint64(0)
		for _, c := range e.sum {
			total += c.Load()
		}
		return total
	}
	return uint64(max(e.gauge.Load(), 0))
}

func (s *ClusterStats) table() []statEntry {
	c := func(name string, v *Counter) statEntry { return statEntry{name: name, counter: v} }
	g := func(name string, v *Gauge) statEntry { return statEntry{name: name, gauge: v} }
	return []statEntry{
		c("outlier_detection.ejections_enforced_total", &s.Ejections),
		c("outlier_detection.ejections_overflow", &s.EjectionsOverflow),
		g("outlier_detection.ejections_active", &s.EjectionsActive),
		c("ssl.handshake", &s.SSLHandshake),
		c("ssl.connection_error", &s.SSLFail),
		c("ssl.session_reused", &s.SSLResumed),
		c("update_success", &s.UpdateSuccess),
		c("update_failure", &s.UpdateFailure),
		g("upstream_cx_active", &s.CxActive),
		c("upstream_cx_connect_fail", &s.CxConnectFail),
		c("upstream_cx_connect_timeout", &s.CxConnectTimeout),
		c("upstream_cx_destroy", &s.CxDestroy),
		c("upstream_cx_destroy_remote", &s.CxDestroyRemote),
		c("upstream_cx_http1_total", &s.CxHTTP1),
		c("upstream_cx_http2_total", &s.CxHTTP2),
		c("upstream_cx_idle_timeout", &s.CxIdleTimeout),
		c("upstream_cx_max_duration_reached", &s.CxMaxDuration),
		c("upstream_cx_max_requests", &s.CxMaxRequests),
		c("upstream_cx_none_healthy", &s.NoneHealthy),
		c("upstream_cx_overflow", &s.CxOverflow),
		c("upstream_cx_rx_bytes_total", &s.CxRxBytes),
		c("upstream_cx_total", &s.CxTotal),
		c("upstream_cx_tx_bytes_total", &s.CxTxBytes),
		c("upstream_rq_1xx", &s.Rq1xx),
		c("upstream_rq_2xx", &s.Rq2xx),
		c("upstream_rq_3xx", &s.Rq3xx),
		c("upstream_rq_4xx", &s.Rq4xx),
		c("upstream_rq_5xx", &s.Rq5xx),
		g("upstream_rq_active", &s.RqActive),
		c("upstream_rq_cancelled", &s.RqCancelled),
		{name: "upstream_rq_completed", sum: []*Counter{&s.Rq1xx, &s.Rq2xx, &s.Rq3xx, &s.Rq4xx, &s.Rq5xx}},
		c("upstream_rq_max_duration_reached", &s.RqMaxDuration),
		g("upstream_rq_pending_active", &s.RqPendingActive),
		c("upstream_rq_pending_failure_eject", &s.RqPendingFail),
		c("upstream_rq_pending_overflow", &s.RqPendingOverflow),
		c("upstream_rq_pending_total", &s.RqPendingTotal),
		c("upstream_rq_per_try_timeout", &s.RqPerTryTimeout),
		c("upstream_rq_retry", &s.RqRetry),
		c("upstream_rq_retry_limit_exceeded", &s.RqRetryLimit),
		c("upstream_rq_retry_overflow", &s.RqRetryOverflow),
		c("upstream_rq_retry_success", &s.RqRetrySuccess),
		c("upstream_rq_rx_reset", &s.RqRxReset),
		c("upstream_rq_timeout", &s.RqTimeout),
		c("upstream_rq_total", &s.RqTotal),
		c("upstream_rq_tx_reset", &s.RqTxReset),
	}
}

// countStatus counts a final answer.
func (s *ClusterStats) countStatus(status int) {
	switch status / 100 {
	case 1:
		s.Rq1xx.Add(1)
	case 2:
		s.Rq2xx.Add(1)
	case 3:
		s.Rq3xx.Add(1)
	case 4:
		s.Rq4xx.Add(1)
	case 5:
		s.Rq5xx.Add(1)
	}
}

// HostStats are the counters of one endpoint, as Envoy's /clusters shows them.
type HostStats struct {
	CxTotal, CxConnectFail, RqTotal, RqSuccess, RqError, RqTimeout Counter
	CxActive                                                       Gauge
}

// HostInfo is one endpoint with its state, for /clusters.
type HostInfo struct {
	Endpoint EndpointInfo
	Stats    *HostStats
	RqActive uint32
}

// All yields the counters under the names of Envoy's /clusters.
func (h *HostInfo) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		s := h.Stats
		_ = yield("cx_active", uint64(max(s.CxActive.Load(), 0))) &&
			yield("cx_connect_fail", s.CxConnectFail.Load()) &&
			yield("cx_total", s.CxTotal.Load()) &&
			yield("rq_active", uint64(h.RqActive)) &&
			yield("rq_error", s.RqError.Load()) &&
			yield("rq_success", s.RqSuccess.Load()) &&
			yield("rq_timeout", s.RqTimeout.Load()) &&
			yield("rq_total", s.RqTotal.Load())
	}
}
