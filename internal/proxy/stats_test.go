package proxy

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricNames(t *testing.T) {
	for stat, want := range map[string]string{
		"http.rbac.allowed": "envoy_http_rbac_allowed", "server.live": "envoy_server_live", "tcp.rbac.istio_dry_run_allow_shadow_denied": "envoy_tcp_rbac_istio_dry_run_allow_shadow_denied",
		"a-b c.d": "envoy_a_b_c_d",
	} {
		if got := metricName(stat); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for stat, want := range map[string]prometheus.ValueType{
		"http.rbac.allowed": prometheus.CounterValue, "upstream_rq_total": prometheus.CounterValue, "upstream_cx_active": prometheus.GaugeValue, "overload.changes": prometheus.CounterValue,
		"overload.memory.used": prometheus.GaugeValue, "overload.envoy.overload_actions.disable_http_keepalive.active": prometheus.GaugeValue, "listener.downstream_cx_total": prometheus.CounterValue,
	} {
		if got := kind(stat); got != want {
			t.Errorf("%s is %v, want %v", stat, got, want)
		}
	}
}
