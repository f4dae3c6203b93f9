package proxy

import (
	"iter"
	"regexp"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"github.com/prometheus/client_golang/prometheus"
)

// stats yields what /stats shows beside clusters, under Envoy's names where it has
// them.
func (p *Proxy) stats() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		var clusters uint64
		for range p.clusters.Clusters() {
			clusters++
		}
		l := p.listeners.Stats()
		for _, e := range []struct {
			name  string
			value uint64
		}{
			{"cluster_manager.active_clusters", clusters},
			{"cluster_manager.warming_clusters", uint64(len(p.clusters.Warming()))},
			{"listener.downstream_cx_total", l.Total.Load()},
			{"listener.downstream_cx_active", uint64(max(l.Active.Load(), 0))},
			{"listener.downstream_cx_overflow", l.Refused.Load()},
			{"listener.no_filter_chain_match", l.NoChain.Load()},
			{"listener.ssl.connection_error", l.HandshakeFail.Load()},
			{"listener_manager.total_listeners_active", uint64(len(p.listeners.Listeners()))},
			{"server.uptime", uint64(time.Since(p.started) / time.Second)},
			{"server.live", map[bool]uint64{true: 1}[p.Ready()]},
			{"server.state", uint64(adminv3.ServerInfo_State_value[p.stateName()])},
		} {
			if !yield(e.name, e.value) {
				return
			}
		}
		for k, v := range p.access.All() {
			if !yield(k, v) {
				return
			}
		}
		for k, v := range p.processStats() {
			if !yield(k, v) {
				return
			}
		}
	}
}

// gauge tells by their names the stats that move both ways.
var gauge = regexp.MustCompile(`^server\.|^cluster_manager\.|^listener_manager\.|^overload\..*\.|[._]active$`)

// envoyMetrics gives stats in Prometheus' form under Envoy's names there:
// "server.live" is envoy_server_live. They are those that Istio's proxies show unless
// they are told otherwise; clusters are not among them. They are gathered when they
// are asked for.
type envoyMetrics struct{ p *Proxy }

// Describe implements prometheus.Collector: the names depend on the configuration.
func (envoyMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m envoyMetrics) Collect(out chan<- prometheus.Metric) {
	sums := map[string]float64{} // a prefix of the configuration's may become equal to another
	kinds := map[string]prometheus.ValueType{}
	for k, v := range m.p.stats() {
		name := metricName(k)
		sums[name] += float64(v)
		kinds[name] = kind(k)
	}
	for name, v := range sums {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, "", nil, nil), kinds[name], v)
	}
}

// clusterMetrics gives the stats of clusters whose names match, as
// envoy_cluster_upstream_cx_total with the labels that Istio gives them.
type clusterMetrics struct {
	p     *Proxy
	match *regexp.Regexp // of Envoy's name: "cluster.NAME.upstream_cx_total"
}

// Describe implements prometheus.Collector: the names depend on the filter.
func (clusterMetrics) Describe(chan<- *prometheus.Desc) {}

// class finds the status class that Istio makes a label of.
var class = regexp.MustCompile(`^(.*_rq)_(\dxx)$`)

// Collect implements prometheus.Collector.
func (m clusterMetrics) Collect(out chan<- prometheus.Metric) {
	for h := range m.p.clusters.Clusters() {
		for k, v := range h.Stats().All() {
			full := "cluster." + h.Name() + "." + k
			if !m.match.MatchString(full) {
				continue
			}
			labels, values := []string{"cluster_name"}, []string{h.Name()}
			if c := class.FindStringSubmatch(k); c != nil {
				k, labels, values = c[1], append(labels, "response_code_class"), append(values, c[2])
			}
			out <- prometheus.MustNewConstMetric(prometheus.NewDesc(metricName("cluster."+k), "", labels, nil), kind(k), float64(v), values...)
		}
	}
}

func kind(stat string) prometheus.ValueType {
	if gauge.MatchString(stat) {
		return prometheus.GaugeValue
	}
	return prometheus.CounterValue
}

// metricName makes Prometheus' name of a stat's.
func metricName(stat string) string {
	return "envoy_" + strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_':
			return r
		}
		return '_'
	}, stat)
}
