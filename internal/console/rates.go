package console

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/history"
	"github.com/lateen-mesh/lateen/internal/wire"
)

// Rates is traffic in a time, per second.
type Rates struct {
	Rate          float64            `json:"rate"`
	ErrorShare    float64            `json:"errorShare"`
	P50           float64            `json:"p50,omitempty"`
	P95           float64            `json:"p95,omitempty"`
	P99           float64            `json:"p99,omitempty"`
	BytesSent     float64            `json:"bytesSent,omitempty"`
	BytesReceived float64            `json:"bytesReceived,omitempty"`
	Connections   float64            `json:"connections,omitempty"`
	Codes         map[string]float64 `json:"codes,omitempty"`
	Flags         map[string]float64 `json:"flags,omitempty"`
}

// tally adds up flows.
type tally struct {
	values             history.Values
	errors             uint64
	codes, flags       map[string]uint64
	mutual, plain      uint64 // requests and connections, where it is known
	sourceID, targetID string
	hosts              map[string]bool
	anything           bool
}

func (t *tally) add(f *flow) {
	if t.codes == nil {
		t.codes, t.flags, t.hosts = map[string]uint64{}, map[string]uint64{}, map[string]bool{}
	}
	for i, v := range f.values {
		t.values[i] += v
	}
	t.anything = true
	n := f.values[wire.Requests]
	if n > 0 {
		t.codes[f.outcome()] += n
		if f.failed() {
			t.errors += n
		}
	}
	if f.flags != "" {
		t.flags[f.flags] += n + f.values[wire.TCPClosed]
	}
	if f.host != "" {
		t.hosts[f.host] = true
	}
}

// secure notes what a flow says of mutual TLS.
func (t *tally) secure(f *flow) {
	n := f.values[wire.Requests] + f.values[wire.TCPOpened]
	if n == 0 {
		n = f.values[wire.TCPSent] + f.values[wire.TCPReceived]
	}
	switch {
	case !f.mutualKnown:
	case f.mutual:
		t.mutual += n
		t.sourceID, t.targetID = f.sourcePrincipal, f.targetPrincipal
	default:
		t.plain += n
	}
}

// rates gives what was added, over a time.
func (t *tally) rates(covered time.Duration) *Rates {
	if !t.anything || covered <= 0 {
		return nil
	}
	per := func(n uint64) float64 { return float64(n) / covered.Seconds() }
	v := &t.values
	r := &Rates{
		Rate: per(v[wire.Requests]), BytesSent: per(v[wire.RequestBytes] + v[wire.TCPReceived]), BytesReceived: per(v[wire.ResponseBytes] + v[wire.TCPSent]),
		Connections: per(v[wire.TCPOpened]), Codes: map[string]float64{}, Flags: map[string]float64{},
	}
	if n := v[wire.Requests]; n > 0 {
		r.ErrorShare = float64(t.errors) / float64(n)
		r.P50, r.P95, r.P99 = quantile(v, 0.5), quantile(v, 0.95), quantile(v, 0.99)
	}
	for code, n := range t.codes {
		r.Codes[code] = per(n)
	}
	for flags, n := range t.flags {
		r.Flags[flags] = per(n)
	}
	return r
}

// quantile estimates a quantile of durations, in milliseconds, as Prometheus's
// histogram_quantile does: evenly spread within a bucket.
func quantile(v *history.Values, q float64) float64 {
	bounds := wire.Bounds()
	var total uint64
	for i := range len(bounds) + 1 {
		total += v[wire.DurationBuckets+i]
	}
	if total == 0 {
		return 0
	}
	rank, below, low := q*float64(total), 0.0, 0.0
	for i, high := range bounds {
		n := float64(v[wire.DurationBuckets+i])
		if n > 0 && below+n >= rank {
			return low + (high-low)*(rank-below)/n
		}
		below, low = below+n, high
	}
	return bounds[len(bounds)-1]
}

// Health sums up how something does; see the API's description.
type Health string

// The states of health.
const (
	Healthy  Health = "healthy"
	Degraded Health = "degraded"
	Failing  Health = "failing"
	Idle     Health = "idle"
	Unknown  Health = "unknown"
)

// Bounds of health.
const (
	failingShare  = 0.10
	degradedShare = 0.001
)

// healthOf judges traffic and endpoints; total below 0 leaves the endpoints out.
func healthOf(r *Rates, ready, total int) Health {
	switch {
	case total > 0 && ready == 0, r != nil && r.ErrorShare >= failingShare:
		return Failing
	case total > 0 && ready < total, r != nil && r.ErrorShare >= degradedShare:
		return Degraded
	case r == nil || r.Rate == 0 && r.BytesSent == 0 && r.BytesReceived == 0 && r.Connections == 0:
		return Idle
	}
	return Healthy
}
