package query

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/lateen-mesh/lateen/internal/history"
	"github.com/lateen-mesh/lateen/internal/wire"
)

// maxPoints bounds a series' samples: longer times are read with larger steps.
const maxPoints = 1500

// source is a history as Prometheus's engine reads it.
type source struct {
	store    *history.Store
	families []family
}

// Querier implements storage.Queryable.
func (s *source) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{s, time.UnixMilli(mint), time.UnixMilli(maxt)}, nil
}

type querier struct {
	*source
	from, to time.Time
}

// Close implements storage.Querier.
func (*querier) Close() error { return nil }

// Select implements storage.Querier.
func (q *querier) Select(ctx context.Context, sorted bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	sel := choose(q.families, matchers)
	var list []storage.Series
	q.store.Read(q.from, q.to, sel.matches, func(set []wire.Label, final *history.Values, rows history.Rows) {
		if ctx.Err() == nil {
			list = append(list, q.read(&sel, set, final, rows)...)
		}
	})
	if err := ctx.Err(); err != nil {
		return storage.ErrSeriesSet(err)
	}
	if sorted {
		slices.SortFunc(list, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	}
	return &seriesSet{list: list, at: -1}
}

// read makes the series of one set: a sample at every step, as a scraper would have
// taken it. Before its first row a counter was at 0, which is shown once, so that its
// first growth counts.
func (q *querier) read(sel *selection, set []wire.Label, final *history.Values, rows history.Rows) []storage.Series {
	var wanted []*family
	for _, f := range sel.families {
		if f.exists(final) {
			wanted = append(wanted, f)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	first := history.StepAt(q.from.Add(history.Step - 1)) // the first that ends in the time
	last := min(history.StepAt(q.to), history.StepAt(q.store.Newest()))
	stride := max(1, (last-first)/maxPoints)
	samples := make([][]chunks.Sample, len(wanted))
	emit := func(step int64, v *history.Values) {
		t := history.Time(step).UnixMilli()
		for i, f := range wanted {
			samples[i] = append(samples[i], point{t, f.value(v)})
		}
	}
	var was history.Values
	next, begun := first, false
	for step, v := range rows {
		if begun {
			for ; next < step && next <= last; next++ {
				if next%stride == 0 {
					emit(next, &was)
				}
			}
		} else {
			next, begun = max(next, step), true
		}
		was = *v
	}
	for ; begun && next <= last; next++ {
		if next%stride == 0 || next == last {
			emit(next, &was)
		}
	}
	var out []storage.Series
	for i, f := range wanted {
		if len(samples[i]) > 0 {
			out = append(out, storage.NewListSeries(f.labelsOf(set), samples[i]))
		}
	}
	return out
}

// seriesSet implements storage.SeriesSet.
type seriesSet struct {
	list []storage.Series
	at   int
}

func (s *seriesSet) Next() bool                        { s.at++; return s.at < len(s.list) }
func (s *seriesSet) At() storage.Series                { return s.list[s.at] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// point is a sample of a counter.
type point struct {
	t int64
	v float64
}

func (p point) ST() int64                     { return 0 }
func (p point) T() int64                      { return p.t }
func (p point) F() float64                    { return p.v }
func (p point) H() *histogram.Histogram       { return nil }
func (p point) FH() *histogram.FloatHistogram { return nil }
func (p point) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (p point) Copy() chunks.Sample           { return p }

// each calls f with the labels of every series that matchers choose.
func (q *querier) each(ctx context.Context, matchers []*labels.Matcher, f func(labels.Labels)) error {
	sel := choose(q.families, matchers)
	q.store.Read(q.from, q.to, sel.matches, func(set []wire.Label, final *history.Values, _ history.Rows) {
		for _, x := range sel.families {
			if ctx.Err() == nil && x.exists(final) {
				f(x.labelsOf(set))
			}
		}
	})
	return ctx.Err()
}

// LabelValues implements storage.LabelQuerier.
func (q *querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	found := map[string]bool{}
	err := q.each(ctx, matchers, func(l labels.Labels) {
		if v := l.Get(name); v != "" {
			found[v] = true
		}
	})
	return limited(found, hints), nil, err
}

// LabelNames implements storage.LabelQuerier.
func (q *querier) LabelNames(ctx context.Context, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	found := map[string]bool{}
	err := q.each(ctx, matchers, func(l labels.Labels) { l.Range(func(x labels.Label) { found[x.Name] = true }) })
	return limited(found, hints), nil, err
}

func limited(found map[string]bool, hints *storage.LabelHints) []string {
	list := slices.AppendSeq([]string{}, maps.Keys(found)) // never null in JSON
	slices.Sort(list)
	if hints != nil && hints.Limit > 0 && len(list) > hints.Limit {
		list = list[:hints.Limit]
	}
	return list
}

// metadata tells of each metric what it is.
func (s *source) metadata() map[string][]map[string]string {
	out := map[string][]map[string]string{}
	for _, f := range s.families {
		out[f.name] = []map[string]string{{"type": f.kind, "help": f.help, "unit": ""}}
	}
	return out
}

// validName reports whether a label can have a name.
func validName(name string) bool { return model.UTF8Validation.IsValidLabelName(name) }
