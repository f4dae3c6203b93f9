package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/lateen-mesh/lateen/internal/history"
)

// Bounds of a query.
const (
	timeout    = 30 * time.Second
	maxSamples = 20_000_000
	maxSteps   = 11_000 // of a range query, Prometheus's own bound
	// lookback is how long a sample counts as the present value. What is silent is
	// shown at every step, so that only what is gone is older.
	lookback = time.Minute
)

// API answers Prometheus's HTTP API over a history. It is safe for concurrent use.
type API struct {
	engine *promql.Engine
	parser parser.Parser
	source *source
	log    *slog.Logger
	now    func() time.Time
}

// New makes the API. log may be nil, and so may now.
func New(store *history.Store, log *slog.Logger, now func() time.Time) *API {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	p := parser.NewParser(parser.Options{})
	return &API{
		engine: promql.NewEngine(promql.EngineOpts{
			Logger: log, MaxSamples: maxSamples, Timeout: timeout, LookbackDelta: lookback, Parser: p,
			EnableAtModifier: true, EnableNegativeOffset: true,
			NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		}),
		parser: p, source: &source{store, families()}, log: log, now: now,
	}
}

// Handler serves, below /api/v1: query, query_range, series, labels, label/NAME/values,
// metadata and status/buildinfo; queries and selections by GET and by a posted form.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, do := range map[string]func(*http.Request) (any, error){
		"query": a.instant, "query_range": a.rangeQuery, "series": a.series, "labels": a.labelNames,
	} {
		mux.Handle("GET /api/v1/"+path, a.answer(do))
		mux.Handle("POST /api/v1/"+path, a.answer(do))
	}
	mux.Handle("GET /api/v1/label/{name}/values", a.answer(a.labelValues))
	mux.Handle("GET /api/v1/metadata", a.answer(func(*http.Request) (any, error) { return a.source.metadata(), nil }))
	mux.Handle("GET /api/v1/status/buildinfo", a.answer(func(*http.Request) (any, error) {
		// Clients read from the version what they may ask for.
		return map[string]string{"version": "3.15.0", "application": "lateen"}, nil
	}))
	mux.Handle("GET /api/v1/rules", a.answer(func(*http.Request) (any, error) { return map[string]any{"groups": []any{}}, nil }))
	mux.Handle("GET /api/v1/alerts", a.answer(func(*http.Request) (any, error) { return map[string]any{"alerts": []any{}}, nil }))
	mux.HandleFunc("/api/v1/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "not_found", fmt.Sprintf("there is no %s %s here", r.Method, r.URL.Path))
	})
	return mux
}

// badData is a mistake of the client.
type badData struct{ error }

func bad(format string, args ...any) error { return badData{fmt.Errorf(format, args...)} }

// answer gives Prometheus's envelope.
func (a *API) answer(do func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			fail(w, http.StatusBadRequest, "bad_data", err.Error())
			return
		}
		data, err := do(r)
		var mistake badData
		var canceled promql.ErrQueryCanceled
		var slow promql.ErrQueryTimeout
		switch {
		case errors.As(err, &mistake):
			fail(w, http.StatusBadRequest, "bad_data", err.Error())
		case errors.As(err, &canceled), errors.Is(err, context.Canceled):
			fail(w, 499, "canceled", err.Error())
		case errors.As(err, &slow), errors.Is(err, context.DeadlineExceeded):
			fail(w, http.StatusServiceUnavailable, "timeout", err.Error())
		case err != nil:
			fail(w, http.StatusUnprocessableEntity, "execution", err.Error())
		default:
			write(w, http.StatusOK, map[string]any{"status": "success", "data": data})
		}
	})
}

func fail(w http.ResponseWriter, status int, kind, why string) {
	write(w, status, map[string]any{"status": "error", "errorType": kind, "error": why})
}

func write(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"status":"error","errorType":"internal","error":"the answer has no JSON form"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client's departure is its own affair
}

// result is the data of a query.
type result struct {
	Type   parser.ValueType `json:"resultType"`
	Result any              `json:"result"`
}

func (a *API) run(ctx context.Context, q promql.Query, err error) (any, error) {
	if err != nil {
		return nil, badData{err}
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return nil, res.Err
	}
	// The value's memory goes back with Close.
	text, err := json.Marshal(result{res.Value.Type(), res.Value})
	return json.RawMessage(text), err
}

func (a *API) instant(r *http.Request) (any, error) {
	at, err := a.moment(r, "time", a.now())
	if err != nil {
		return nil, err
	}
	q, err := a.engine.NewInstantQuery(r.Context(), a.source, nil, r.Form.Get("query"), at)
	return a.run(r.Context(), q, err)
}

func (a *API) rangeQuery(r *http.Request) (any, error) {
	start, err := a.moment(r, "start", time.Time{})
	if err != nil {
		return nil, err
	}
	end, err := a.moment(r, "end", time.Time{})
	if err != nil {
		return nil, err
	}
	step, err := duration(r.Form.Get("step"))
	switch {
	case err != nil:
		return nil, err
	case start.IsZero(), end.IsZero(), end.Before(start):
		return nil, bad("start and end must be given, in this order")
	case step <= 0:
		return nil, bad("step must be more than 0")
	case end.Sub(start)/step > maxSteps:
		return nil, bad("exceeded maximum resolution of %d points per timeseries", maxSteps)
	}
	q, err := a.engine.NewRangeQuery(r.Context(), a.source, nil, r.Form.Get("query"), start, end, step)
	return a.run(r.Context(), q, err)
}

// moment reads a time: Unix seconds, or RFC 3339.
func (a *API) moment(r *http.Request, name string, fallback time.Time) (time.Time, error) {
	text := r.Form.Get(name)
	if text == "" {
		return fallback, nil
	}
	if v, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(v) < 1<<40 {
		return time.UnixMilli(int64(math.Round(v * 1000))), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, bad("%s: %q is no time", name, text)
	}
	return t, nil
}

func duration(text string) (time.Duration, error) {
	if v, err := strconv.ParseFloat(text, 64); err == nil && math.Abs(v) < 1<<30 {
		return time.Duration(v * float64(time.Second)), nil
	}
	d, err := model.ParseDuration(text)
	if err != nil {
		return 0, bad("step: %q is no duration", text)
	}
	return time.Duration(d), nil
}

// selected makes a querier for the time of a request, and reads its selectors; without
// one, and if that is allowed, everything is selected.
func (a *API) selected(r *http.Request, need bool) (*querier, [][]*labels.Matcher, error) {
	end, err := a.moment(r, "end", a.now())
	if err != nil {
		return nil, nil, err
	}
	start, err := a.moment(r, "start", end.Add(-a.source.store.Retention()))
	if err != nil {
		return nil, nil, err
	}
	list, err := a.parser.ParseMetricSelectors(r.Form["match[]"])
	if err != nil {
		return nil, nil, badData{err}
	}
	if len(list) == 0 {
		if need {
			return nil, nil, bad("no match[] parameter provided")
		}
		list = [][]*labels.Matcher{nil}
	}
	return &querier{a.source, start, end}, list, nil
}

func (a *API) series(r *http.Request) (any, error) {
	q, list, err := a.selected(r, true)
	if err != nil {
		return nil, err
	}
	out, seen := []labels.Labels{}, map[string]bool{}
	for _, m := range list {
		err := q.each(r.Context(), m, func(l labels.Labels) {
			if key := l.String(); !seen[key] {
				seen[key] = true
				out = append(out, l)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (a *API) labelNames(r *http.Request) (any, error) {
	return a.collect(r, func(q *querier, m []*labels.Matcher) ([]string, error) {
		list, _, err := q.LabelNames(r.Context(), nil, m...)
		return list, err
	})
}

func (a *API) labelValues(r *http.Request) (any, error) {
	name := r.PathValue("name")
	if !validName(name) {
		return nil, bad("invalid label name: %q", name)
	}
	return a.collect(r, func(q *querier, m []*labels.Matcher) ([]string, error) {
		list, _, err := q.LabelValues(r.Context(), name, nil, m...)
		return list, err
	})
}

// collect joins what each selector gives.
func (a *API) collect(r *http.Request, of func(*querier, []*labels.Matcher) ([]string, error)) (any, error) {
	q, list, err := a.selected(r, false)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, m := range list {
		names, err := of(q, m)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			found[n] = true
		}
	}
	return limited(found, nil), nil
}
