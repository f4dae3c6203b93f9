package cli

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
)

// metricsFlags are the flags of x metrics.
type metricsFlags struct {
	proxyTarget
	duration time.Duration
}

func newMetricsCommand(env *Env) *cobra.Command {
	var f metricsFlags
	cmd := &cobra.Command{
		Use:     "metrics WORKLOAD...",
		Aliases: []string{"m"},
		Short:   "Show the rates and latencies of the requests that workloads take",
		Long: `Show the requests that workloads take, over a short while from now: all of a second,
those that fail (status 5xx), and the latencies that 50, 90 and 99 of a hundred stay
below. The numbers come from the workloads' own proxies: no Prometheus is needed.`,
		Example: "  lateen x metrics productpage-v1 reviews-v1 -n default",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), env, args) },
	}
	f.register(env, cmd)
	cmd.Flags().DurationVarP(&f.duration, "duration", "d", 10*time.Second, "how long to watch")
	return cmd
}

func (f *metricsFlags) run(ctx context.Context, env *Env, workloads []string) error {
	if f.duration < time.Second {
		return usage("--duration must be at least 1s")
	}
	h, err := f.home.open(ctx, env)
	if err != nil {
		return err
	}
	list, err := connectedProxies(ctx, h)
	if err != nil {
		return h.Explain(env, err)
	}
	proxies := map[string][]string{}
	for _, w := range workloads {
		name, namespace := w, f.namespace
		if n, ns := splitInstance(w); ns != "" {
			name, namespace = n, ns
		}
		for _, p := range list {
			pod, ns := splitInstance(p.Name)
			if (pod == name || strings.HasPrefix(pod, name+"-")) && (namespace == "" || ns == namespace) {
				proxies[w] = append(proxies[w], p.Name)
			}
		}
		if len(proxies[w]) == 0 {
			return fmt.Errorf("no connected proxy is of a workload %q; `lateen proxy-status` lists them", w)
		}
	}
	before, err := sample(ctx, h, proxies)
	if err != nil {
		return h.Explain(env, err)
	}
	select {
	case <-time.After(f.duration):
	case <-ctx.Done():
		return h.Explain(env, ctx.Err())
	}
	after, err := sample(ctx, h, proxies)
	if err != nil {
		return h.Explain(env, err)
	}
	w := newTable(env.Out)
	w.row("WORKLOAD", "TOTAL RPS", "ERROR RPS", "P50 LATENCY", "P90 LATENCY", "P99 LATENCY")
	for _, name := range workloads {
		d := after[name].since(before[name])
		w.row(name, rate(d.total, d.seconds), rate(d.errors, d.seconds), d.latency(0.5), d.latency(0.9), d.latency(0.99))
	}
	return w.flush()
}

func rate(n, seconds float64) string { return fmt.Sprintf("%.2f", n/seconds) }

// requests are what the proxies of a workload have counted.
type requests struct {
	at            time.Time
	total, errors float64
	seconds       float64             // of a difference
	buckets       map[float64]float64 // requests of at most so many milliseconds
}

// sample reads the counters of the workloads' proxies.
func sample(ctx context.Context, h home, proxies map[string][]string) (map[string]requests, error) {
	out := map[string]requests{}
	for w, names := range proxies {
		r := requests{at: time.Now(), buckets: map[float64]float64{}}
		for _, name := range names {
			text, err := h.Admin(ctx, name, "GET", "stats/prometheus")
			if err != nil {
				return nil, err
			}
			if err := r.read(text); err != nil {
				return nil, fmt.Errorf("the metrics of %s: %w", name, err)
			}
		}
		out[w] = r
	}
	return out, nil
}

// read adds what a page of metrics says of requests that came in: the metrics of
// Istio's standard names whose reporter is the destination.
func (r *requests) read(text []byte) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return err
	}
	for _, m := range families["istio_requests_total"].GetMetric() {
		if label(m, "reporter") != "destination" {
			continue
		}
		n := m.GetCounter().GetValue() + m.GetUntyped().GetValue()
		r.total += n
		if strings.HasPrefix(label(m, "response_code"), "5") {
			r.errors += n
		}
	}
	for _, m := range families["istio_request_duration_milliseconds"].GetMetric() {
		if label(m, "reporter") != "destination" {
			continue
		}
		for _, b := range m.GetHistogram().GetBucket() {
			r.buckets[b.GetUpperBound()] += float64(b.GetCumulativeCount())
		}
	}
	return nil
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// since is what was counted after before. Counters of a proxy that was restarted
// between fall back: nothing is told of them rather than less than nothing.
func (r requests) since(before requests) requests {
	d := requests{total: max(r.total-before.total, 0), errors: max(r.errors-before.errors, 0), seconds: r.at.Sub(before.at).Seconds(), buckets: map[float64]float64{}}
	for bound, n := range r.buckets {
		d.buckets[bound] = max(n-before.buckets[bound], 0)
	}
	return d
}

// latency gives the quantile of the latencies, linear within a bucket as
// Prometheus' histogram_quantile does it.
func (r requests) latency(quantile float64) string {
	var bounds []float64
	total := 0.0
	for b, n := range r.buckets {
		total = max(total, n)
		if !math.IsInf(b, 1) {
			bounds = append(bounds, b)
		}
	}
	if total == 0 {
		return "-"
	}
	slices.Sort(bounds)
	rank, low, below := quantile*total, 0.0, 0.0
	for _, b := range bounds {
		if n := r.buckets[b]; n >= rank {
			ms := b
			if n > below {
				ms = low + (b-low)*(rank-below)/(n-below)
			}
			return time.Duration(ms * float64(time.Millisecond)).Round(10 * time.Microsecond).String()
		}
		low, below = b, r.buckets[b]
	}
	return ">" + time.Duration(low*float64(time.Millisecond)).String()
}
