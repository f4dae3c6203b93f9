package query

import (
	"strconv"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/lateen-mesh/lateen/internal/history"
	"github.com/lateen-mesh/lateen/internal/wire"
)

// family is a metric and how its series come from a set's columns.
type family struct {
	name, kind, help string
	suffix           string // of a histogram's parts
	value            func(*history.Values) float64
	le               string // of a bucket
	exists           func(*history.Values) bool
}

func hasHTTP(v *history.Values) bool { return v[wire.Requests] > 0 }

func hasGRPC(v *history.Values) bool { return v[wire.RequestMessages]+v[wire.ResponseMessages] > 0 }

func hasTCP(v *history.Values) bool {
	return v[wire.TCPOpened]+v[wire.TCPClosed]+v[wire.TCPSent]+v[wire.TCPReceived] > 0
}

func column(i int) func(*history.Values) float64 {
	return func(v *history.Values) float64 { return float64(v[i]) }
}

// families are Istio's standard metrics. Source: Istio's page "Istio Standard
// Metrics".
func families() []family {
	counter := func(name, help string, col int, exists func(*history.Values) bool) family {
		return family{name: name, kind: "counter", help: help, value: column(col), exists: exists}
	}
	out := []family{
		counter("istio_requests_total", "Requests that proxies handled.", wire.Requests, hasHTTP),
		counter("istio_request_messages_total", "Messages that gRPC clients sent.", wire.RequestMessages, hasGRPC),
		counter("istio_response_messages_total", "Messages that gRPC servers sent.", wire.ResponseMessages, hasGRPC),
		counter("istio_tcp_sent_bytes_total", "Bytes sent to clients over TCP connections.", wire.TCPSent, hasTCP),
		counter("istio_tcp_received_bytes_total", "Bytes received from clients over TCP connections.", wire.TCPReceived, hasTCP),
		counter("istio_tcp_connections_opened_total", "TCP connections opened.", wire.TCPOpened, hasTCP),
		counter("istio_tcp_connections_closed_total", "TCP connections closed.", wire.TCPClosed, hasTCP),
	}
	out = append(out, histogramOf("istio_request_duration_milliseconds", "Time from a request's first byte to its answer's last.", wire.DurationMicros, wire.DurationBuckets, 1000)...)
	out = append(out, histogramOf("istio_request_bytes", "Size of request bodies.", wire.RequestBytes, wire.RequestBytesBuckets, 1)...)
	return append(out, histogramOf("istio_response_bytes", "Size of response bodies.", wire.ResponseBytes, wire.ResponseBytesBuckets, 1)...)
}

func histogramOf(name, help string, sum, buckets int, scale float64) []family {
	bounds := wire.Bounds()
	upTo := func(n int) func(*history.Values) float64 {
		return func(v *history.Values) float64 {
			var total uint64
			for i := range n + 1 {
				total += v[buckets+i]
			}
			return float64(total)
		}
	}
	out := []family{
		{name: name, kind: "histogram", help: help, suffix: "_sum", value: func(v *history.Values) float64 { return float64(v[sum]) / scale }, exists: hasHTTP},
		{name: name, kind: "histogram", help: help, suffix: "_count", value: upTo(len(bounds)), exists: hasHTTP},
	}
	for i := range len(bounds) + 1 {
		le := "+Inf"
		if i < len(bounds) {
			le = strconv.FormatFloat(bounds[i], 'f', -1, 64)
		}
		out = append(out, family{name: name, kind: "histogram", help: help, suffix: "_bucket", value: upTo(i), le: le, exists: hasHTTP})
	}
	return out
}

// labelsOf gives a series' labels: those of its set, its name, and its bucket.
func (f *family) labelsOf(set []wire.Label) labels.Labels {
	b := labels.NewScratchBuilder(len(set) + 2)
	for _, l := range set {
		if l.Value != "" { // as in Prometheus, where an empty label is none
			b.Add(l.Name, l.Value)
		}
	}
	b.Add(model.MetricNameLabel, f.name+f.suffix)
	if f.le != "" {
		b.Add(model.BucketLabel, f.le)
	}
	b.Sort()
	return b.Labels()
}

// selection are matchers, sorted by what they look at.
type selection struct {
	families []*family
	set      []*labels.Matcher
	none     bool
}

// choose finds the families that matchers can mean. Those with matchers on a set's
// labels are left to matches.
func choose(all []family, matchers []*labels.Matcher) selection {
	var s selection
	for i := range all {
		f := &all[i]
		ok := true
		for _, m := range matchers {
			switch m.Name {
			case model.MetricNameLabel:
				ok = ok && m.Matches(f.name+f.suffix)
			case model.BucketLabel:
				ok = ok && m.Matches(f.le)
			}
		}
		if ok {
			s.families = append(s.families, f)
		}
	}
	for _, m := range matchers {
		if m.Name != model.MetricNameLabel && m.Name != model.BucketLabel {
			s.set = append(s.set, m)
		}
	}
	s.none = len(s.families) == 0
	return s
}

// matches reports whether a set's labels are wanted.
func (s *selection) matches(set []wire.Label) bool {
	for _, m := range s.set {
		value := ""
		for _, l := range set {
			if l.Name == m.Name {
				value = l.Value
				break
			}
		}
		if !m.Matches(value) {
			return false
		}
	}
	return !s.none
}
