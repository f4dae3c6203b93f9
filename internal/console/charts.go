package console

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/history"
	"github.com/lateen-mesh/lateen/internal/wire"
)

// Chart holds numbers over time, in columns.
type Chart struct {
	ID    string      `json:"id"`
	Unit  string      `json:"unit"`
	Times []float64   `json:"times"`
	Lines []chartLine `json:"lines"`
}

type chartLine struct {
	Name   string     `json:"name"`
	Values []*float64 `json:"values"`
}

const (
	chartPoints  = 120 // at most
	perSecond    = "per second"
	milliseconds = "milliseconds"
	bytesRate    = "bytes per second"
)

// grid are the moments of a chart: each value is of the time from the moment before.
type grid struct {
	first, stride int64 // in steps of the history
	n             int
}

func gridOf(w window) grid {
	first, last := history.StepAt(w.from), history.StepAt(w.to)
	stride := max(1, (last-first+chartPoints-1)/chartPoints)
	return grid{first, stride, int(max(0, (last-first)/stride))}
}

func (g grid) seconds() float64 { return float64(g.stride) * history.Step.Seconds() }

func (g grid) times() []float64 {
	out := make([]float64, g.n)
	for i := range out {
		out[i] = unix(history.Time(g.first + int64(i+1)*g.stride))
	}
	return out
}

// side is one direction of charts.
type side struct {
	classes map[string][]uint64
	peers   map[string][]uint64
	dur     []history.Values // durations' buckets alone
	bytes   [2][]uint64      // from client to server, and back
	any     bool
}

func newSide(n int) *side {
	return &side{classes: map[string][]uint64{}, peers: map[string][]uint64{}, dur: make([]history.Values, n), bytes: [2][]uint64{make([]uint64, n), make([]uint64, n)}}
}

func line(m map[string][]uint64, name string, n int) []uint64 {
	if m[name] == nil {
		m[name] = make([]uint64, n)
	}
	return m[name]
}

// add takes in how a flow grew in the i-th time.
func (s *side) add(f *flow, i, n int, peer string, v *history.Values) {
	s.any = true
	if c := v[wire.Requests]; c > 0 {
		line(s.classes, f.class(), n)[i] += c
		line(s.peers, peer, n)[i] += c
	}
	for b := wire.DurationBuckets; b <= wire.DurationBuckets+len(wire.Bounds()); b++ {
		s.dur[i][b] += v[b]
	}
	s.bytes[0][i] += v[wire.RequestBytes] + v[wire.TCPReceived]
	s.bytes[1][i] += v[wire.ResponseBytes] + v[wire.TCPSent]
}

// charts draws what comes in and what goes out. A side that is nil is left out.
// Inbound traffic is what the servers' proxies count, outbound what the clients' do,
// so that nothing counts twice.
func (c *Console) charts(w window, in, out func(*flow) bool) []Chart {
	g := gridOf(w)
	inbound, outbound := newSide(g.n), newSide(g.n)
	var f flow
	var to *side
	var peer string
	match := func(labels []wire.Label) bool {
		f = readFlow(labels, &history.Values{})
		switch {
		case in != nil && !f.fromSource && in(&f):
			to, peer = inbound, cmp.Or(f.source.workload, "unknown")
		case out != nil && f.fromSource && out(&f):
			to, peer = outbound, cmp.Or(f.service, f.host, "unknown")
		default:
			return false
		}
		return true
	}
	c.History.Read(history.Time(g.first).Add(time.Nanosecond), w.to, match, func(_ []wire.Label, _ *history.Values, rows history.Rows) {
		begun := false
		var was history.Values
		for step, v := range rows {
			if i := (step - g.first - 1) / g.stride; begun && step > g.first && int(i) < g.n {
				grown := v.Sub(&was)
				to.add(&f, int(i), g.n, peer, &grown)
			}
			was, begun = *v, true
		}
	})
	list := []Chart{}
	if in != nil {
		list = append(list, inbound.charts("inbound", "sources", g)...)
	}
	if out != nil {
		list = append(list, outbound.charts("outbound", "targets", g)...)
	}
	return list
}

// charts gives a side's numbers.
func (s *side) charts(prefix, peers string, g grid) []Chart {
	times := g.times()
	rates := func(id, unit string, m map[string][]uint64) Chart {
		c := Chart{ID: prefix + "-" + id, Unit: unit, Times: times, Lines: []chartLine{}}
		for _, name := range slices.Sorted(maps.Keys(m)) {
			l := chartLine{Name: name}
			for _, n := range m[name] {
				v := float64(n) / g.seconds()
				l.Values = append(l.Values, &v)
			}
			c.Lines = append(c.Lines, l)
		}
		return c
	}
	latency := Chart{ID: prefix + "-latency", Unit: milliseconds, Times: times, Lines: []chartLine{}}
	for name, q := range map[string]float64{"p50": 0.5, "p95": 0.95, "p99": 0.99} {
		l := chartLine{Name: name, Values: make([]*float64, g.n)}
		for i := range s.dur {
			if v := quantile(&s.dur[i], q); v > 0 {
				l.Values[i] = &v
			}
		}
		latency.Lines = append(latency.Lines, l)
	}
	slices.SortFunc(latency.Lines, func(a, b chartLine) int { return cmp.Compare(a.Name, b.Name) })
	return []Chart{
		rates("rate", perSecond, s.classes), latency,
		rates("bytes", bytesRate, map[string][]uint64{"sent": s.bytes[0], "received": s.bytes[1]}),
		rates(peers, perSecond, s.peers),
	}
}

func jsonInto(raw json.RawMessage, to any) error { return json.Unmarshal(raw, to) }
