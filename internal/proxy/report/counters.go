package report

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/lateen-mesh/lateen/internal/wire"
)

// column says how a metric becomes columns of a row.
type column struct {
	value   int // of a counter; a histogram's sum
	buckets int // of a histogram's first bucket; 0: it is a counter
	scale   float64
}

// columns are the standard metrics that are reported. Requests are those of
// istio_requests_total.
var columns = map[string]column{
	"istio_requests_total":                {value: wire.Requests, scale: 1},
	"istio_request_duration_milliseconds": {value: wire.DurationMicros, buckets: wire.DurationBuckets, scale: 1000},
	"istio_request_bytes":                 {value: wire.RequestBytes, buckets: wire.RequestBytesBuckets, scale: 1},
	"istio_response_bytes":                {value: wire.ResponseBytes, buckets: wire.ResponseBytesBuckets, scale: 1},
	"istio_request_messages_total":        {value: wire.RequestMessages, scale: 1},
	"istio_response_messages_total":       {value: wire.ResponseMessages, scale: 1},
	"istio_tcp_sent_bytes_total":          {value: wire.TCPSent, scale: 1},
	"istio_tcp_received_bytes_total":      {value: wire.TCPReceived, scale: 1},
	"istio_tcp_connections_opened_total":  {value: wire.TCPOpened, scale: 1},
	"istio_tcp_connections_closed_total":  {value: wire.TCPClosed, scale: 1},
}

// counters reads metrics, and knows what they said before. It belongs to one
// goroutine.
type counters struct {
	from   prometheus.Gatherer
	bounds []float64
	sets   map[string]*set
	last   uint64 // the last number that was given to a set
	round  int
}

// set is one set of labels.
type set struct {
	number uint64
	labels []wire.Label
	told   bool // the labels, in this stream
	round  int  // when it was last seen
	seen   [wire.MaxColumn + 1]uint64
	now    [wire.MaxColumn + 1]uint64
}

func newCounters(from prometheus.Gatherer) *counters {
	return &counters{from: from, bounds: wire.Bounds(), sets: map[string]*set{}}
}

// begin forgets what the stream was told; what was counted stays.
func (c *counters) begin() {
	for _, s := range c.sets {
		s.told = false
	}
}

// read gives the rows of all that grew since the last read.
func (c *counters) read() ([]wire.Row, error) {
	families, err := c.from.Gather()
	if err != nil && len(families) == 0 {
		return nil, err
	}
	c.round++
	for _, f := range families {
		col, ok := columns[f.GetName()]
		if !ok {
			continue
		}
		for _, m := range f.Metric {
			c.take(c.set(m.Label), col, m)
		}
	}
	var rows []wire.Row
	for key, s := range c.sets {
		if s.round != c.round {
			delete(c.sets, key) // the proxy gave it up; should it come back, it starts at 0
			continue
		}
		if r := s.row(); len(r.Cells) > 0 {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b wire.Row) int { return cmp.Compare(a.Set, b.Set) })
	return rows, nil
}

// set finds the set of labels; a metric has them sorted by name.
func (c *counters) set(labels []*dto.LabelPair) *set {
	var key strings.Builder
	for _, l := range labels {
		key.WriteString(l.GetName())
		key.WriteByte(0xff)
		key.WriteString(l.GetValue())
		key.WriteByte(0xff)
	}
	s := c.sets[key.String()]
	if s == nil {
		c.last++
		s = &set{number: c.last}
		for _, l := range labels {
			s.labels = append(s.labels, wire.Label{Name: l.GetName(), Value: l.GetValue()})
		}
		c.sets[key.String()] = s
	}
	if s.round != c.round {
		s.round = c.round
		clear(s.now[:])
	}
	return s
}

// take reads a metric into its columns.
func (c *counters) take(s *set, col column, m *dto.Metric) {
	if col.buckets == 0 {
		s.now[col.value] = whole(m.GetCounter().GetValue() * col.scale)
		return
	}
	h := m.GetHistogram()
	s.now[col.value] = whole(h.GetSampleSum() * col.scale)
	var below uint64
	for _, b := range h.Bucket {
		n := b.GetCumulativeCount()
		// A bucket whose bound the wire does not have is counted with the next.
		i, ok := slices.BinarySearch(c.bounds, b.GetUpperBound())
		if ok && n >= below {
			s.now[col.buckets+i] = n - below
			below = n
		}
	}
	if n := h.GetSampleCount(); n >= below {
		s.now[col.buckets+len(c.bounds)] = n - below
	}
}

func whole(v float64) uint64 {
	if v <= 0 || math.IsNaN(v) {
		return 0
	}
	return uint64(math.Round(v))
}

// row gives what grew. A counter that fell began anew.
func (s *set) row() wire.Row {
	r := wire.Row{Set: s.number}
	for i, now := range s.now {
		delta := now
		if seen := s.seen[i]; now >= seen {
			delta = now - seen
		}
		if delta > 0 {
			r.Cells = append(r.Cells, wire.Cell{Column: i, Delta: delta})
		}
		s.seen[i] = now
	}
	if len(r.Cells) > 0 && !s.told {
		s.told, r.Labels = true, s.labels
	}
	return r
}
