package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/bench/peer"
	"github.com/lateen-mesh/lateen/bench/stats"
)

// outcome is a case with its rows, or the error that ended it.
type outcome struct {
	c    *benchCase
	rows []row
	err  error
}

// measure runs the chosen cases and prints what they found.
func measure(ctx context.Context, s *settings, out, errs io.Writer) error {
	progress := func(format string, args ...any) { fmt.Fprintf(errs, format+"\n", args...) }
	l, err := newLab(ctx, s, progress)
	if err != nil {
		return err
	}
	defer l.close()
	l.readVersions(ctx)
	for _, kind := range l.kinds {
		if why := l.missing[kind]; why != "" {
			l.note("%s is missing, its rows are left out: %s", kind, why)
		}
	}
	var all []outcome
	failed := 0
	for _, name := range s.cases {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c := find(name)
		rows, err := l.runCase(ctx, c)
		if err != nil {
			failed++
			l.progress("FAILED %v", err)
		}
		all = append(all, outcome{c, rows, err})
		if s.output == "json" {
			if err := writeJSON(out, c, rows); err != nil {
				return err
			}
		}
	}
	text := l.table(all, time.Now())
	if s.output == "table" {
		fmt.Fprint(out, text)
	}
	if s.results != "" {
		if err := os.WriteFile(s.results, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d cases failed", failed, len(all))
	}
	return nil
}

// ratio divides a row's figure by another proxy's; false where one has none.
func ratio(rows []row, r row, of, figure string) (float64, bool) {
	for _, o := range rows {
		if o.Proxy == of && o.Median[figure] > 0 && r.Median[figure] > 0 {
			return r.Median[figure] / o.Median[figure], true
		}
	}
	return 0, false
}

// writeJSON writes one line for each proxy.
func writeJSON(out io.Writer, c *benchCase, rows []row) error {
	for _, r := range rows {
		line := map[string]any{"case": r.Case, "proxy": r.Proxy, "rounds": r.Rounds}
		for k, v := range r.Median {
			line[k] = v
		}
		line["spread"] = stats.Spread(r.Rounds[c.main])
		for name, of := range map[string]string{"ratio_to_envoy": peer.Envoy, "ratio_to_haproxy": peer.HAProxy} {
			if v, ok := ratio(rows, r, of, c.main); ok {
				line[name] = v
			}
		}
		ratios := map[string]float64{}
		for _, t := range c.targets {
			if v, ok := ratio(rows, r, peer.Envoy, t.figure); ok {
				ratios[t.figure] = v
			}
		}
		line["ratios_to_envoy"] = ratios
		text, err := json.Marshal(line)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", text)
	}
	return nil
}

// columns are the figures of the table, in order; a case shows those that it has.
var columns = []struct{ figure, title, format string }{
	{cpuPerRequest, "CPU µs/request", "%.1f"}, {cpuPerGiB, "CPU s/GiB", "%.2f"},
	{cpuFull, "CPU µs full", "%.0f"}, {cpuResumed, "CPU µs resumed", "%.0f"},
	{rps, "requests/s", "%.0f"}, {gibPerSecond, "GiB/s", "%.2f"}, {p50, "p50 µs", "%.0f"}, {addedP50, "added p50 µs", "%.0f"}, {p99, "p99 µs", "%.0f"}, {p999, "p99.9 µs", "%.0f"},
	{"idle_mb", "idle MB", "%.1f"}, {"idle_anon_mb", "(anon)", "%.1f"}, {"plain_1000_mb", "1,000 plain MB", "%.1f"}, {"plain_1000_anon_mb", "(anon)", "%.1f"},
	{"mtls_1000_mb", "1,000 mTLS MB", "%.1f"}, {"mtls_1000_anon_mb", "(anon)", "%.1f"}, {"loaded_mb", "loaded MB", "%.1f"}, {"loaded_anon_mb", "(anon)", "%.1f"},
	{logCost, "log's cost", "%+.1f %%"},
	{rss, "RSS MB", "%.1f"}, {nsPerOp, "ns", "%.0f"}, {allocsPerOp, "allocations", "%.0f"},
}

// table writes the whole report in Markdown.
func (l *lab) table(all []outcome, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Side by side\n\nMade by `make bench` on %s: %s. Medians of %d interleaved rounds; ± is the distance from the least to the greatest round.\n", now.Format("2 January 2006"), machine(), l.rounds)
	fmt.Fprintf(&b, "How to read it: README.md.\n\n")
	for _, k := range sortedKeys(l.versions) {
		fmt.Fprintf(&b, "- %s: %s\n", k, l.versions[k])
	}
	if len(l.notes) > 0 {
		b.WriteString("\nNotes:\n\n")
		for _, n := range l.notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	b.WriteString("\n## Targets\n\n" + verdicts(all))
	for _, o := range all {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", o.c.name, upperFirst(o.c.about))
		if o.err != nil {
			fmt.Fprintf(&b, "**Failed:** %v\n", firstPart(o.err))
			continue
		}
		b.WriteString(caseTable(o.c, o.rows))
	}
	return b.String()
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// verdicts is the table of targets: lateen's ratio to Envoy beside the limit.
func verdicts(all []outcome) string {
	var b strings.Builder
	b.WriteString("| case | figure | lateen | Envoy | ratio to Envoy | must be | | ratio to HAProxy |\n|---|---|---|---|---|---|---|---|\n")
	for _, o := range all {
		if o.err != nil {
			fmt.Fprintf(&b, "| %s | | | | | | **failed** | |\n", o.c.name)
			continue
		}
		for _, r := range o.rows {
			if r.Proxy != peer.Lateen {
				continue
			}
			for _, t := range o.c.targets {
				b.WriteString(verdictLine(o, r, t))
			}
		}
	}
	return b.String()
}

func verdictLine(o outcome, r row, t target) string {
	title, format := titleOf(t.figure)
	value := fmt.Sprintf(format, r.Median[t.figure])
	if t.absolute {
		return fmt.Sprintf("| %s | %s | %s | – | – | ≤ %g | %s | – |\n", o.c.name, title, value, t.limit, passed(r.Median[t.figure] <= t.limit))
	}
	envoy, verdict, haproxy, shown := "–", "not measured", "–", "–"
	if v, ok := ratio(o.rows, r, peer.Envoy, t.figure); ok {
		envoy = fmt.Sprintf(format, r.Median[t.figure]/v)
		verdict, shown = passed(v <= t.limit), fmt.Sprintf("%.2f", v)
	}
	if v, ok := ratio(o.rows, r, peer.HAProxy, t.figure); ok {
		haproxy = fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | ≤ %.2f | %s | %s |\n", o.c.name, title, value, envoy, shown, t.limit, verdict, haproxy)
}

func passed(ok bool) string {
	if ok {
		return "pass"
	}
	return "**miss**"
}

func titleOf(figure string) (title, format string) {
	for _, c := range columns {
		if c.figure == figure {
			return c.title, c.format
		}
	}
	return figure, "%.3g"
}

// caseTable is one case's figures for all proxies.
func caseTable(c *benchCase, rows []row) string {
	var b strings.Builder
	head, line := "| proxy |", "|---|"
	for _, col := range columns {
		if has(rows, col.figure) {
			head += " " + col.title + " |"
			line += "---|"
		}
	}
	fmt.Fprintf(&b, "%s ratio to Envoy | to HAProxy | ± |\n%s---|---|---|\n", head, line)
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s |", r.Proxy)
		for _, col := range columns {
			switch v, ok := r.Median[col.figure]; {
			case !has(rows, col.figure):
			case ok && !(r.Proxy == peer.Direct && v == 0):
				fmt.Fprintf(&b, " "+col.format+" |", v)
			default:
				b.WriteString(" – |")
			}
		}
		for _, of := range []string{peer.Envoy, peer.HAProxy} {
			if v, ok := ratio(rows, r, of, c.main); ok {
				fmt.Fprintf(&b, " %.2f |", v)
			} else {
				b.WriteString(" – |")
			}
		}
		fmt.Fprintf(&b, " %.0f %% |\n", 100*stats.Spread(r.Rounds[c.main]))
	}
	return b.String()
}

func has(rows []row, figure string) bool {
	for _, r := range rows {
		if r.Median[figure] != 0 {
			return true
		}
	}
	return false
}

// firstPart shortens an error for the table.
func firstPart(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}
