package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/bench/peer"
	"github.com/lateen-mesh/lateen/bench/stats"
)

// row is what a case found for one proxy.
type row struct {
	Case, Proxy string
	Median      figures
	Rounds      map[string][]float64
}

// add puts one round's figures into the row.
func (r *row) add(f figures) {
	if r.Rounds == nil {
		r.Rounds = map[string][]float64{}
	}
	for k, v := range f {
		r.Rounds[k] = append(r.Rounds[k], v)
	}
}

// settle makes the medians.
func (r *row) settle() {
	r.Median = figures{}
	for k, v := range r.Rounds {
		r.Median[k] = stats.Median(v)
	}
}

// kindsOf are the proxies that a case measures here.
func (l *lab) kindsOf(c *benchCase) []string {
	var out []string
	for _, k := range l.kinds {
		if (c.kinds == nil || slices.Contains(c.kinds, k)) && l.missing[k] == "" {
			out = append(out, k)
		}
	}
	return out
}

// runCase measures all proxies in a case, round by round, one after the other in
// each round.
func (l *lab) runCase(ctx context.Context, c *benchCase) ([]row, error) {
	if c.own != nil {
		return c.own(ctx, l, c)
	}
	var fleet []*peer.Running
	defer func() {
		for _, r := range fleet {
			r.Stop()
		}
	}()
	var rows []row
	for _, e := range l.entrants(c) {
		r, err := l.start(ctx, e.kind, e.plan)
		if errors.Is(err, errors.ErrUnsupported) {
			l.note("%s: %s is left out: %v", c.name, e.kind, err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		fleet = append(fleet, r)
		rows = append(rows, row{Case: c.name, Proxy: e.label})
		if _, err := c.load(ctx, l, r, &meter{lab: l, of: r, length: time.Second, warm: true}); err != nil { // warm
			return nil, fmt.Errorf("%s: %s: %w", c.name, e.label, err)
		}
	}
	for round := range l.rounds {
		for i, r := range fleet {
			f, err := l.measure(ctx, c, r, round == l.rounds-1)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", c.name, rows[i].Proxy, err)
			}
			l.progress("%s %d/%d %-16s %s", c.name, round+1, l.rounds, rows[i].Proxy, brief(f))
			rows[i].add(f)
		}
	}
	for i := range rows {
		rows[i].settle()
	}
	addDistance(rows)
	if c.after != nil {
		return rows, c.after(ctx, l, c, fleet, rows)
	}
	return rows, nil
}

// entrant is a proxy in a case.
type entrant struct {
	kind, label string
	plan        peer.Plan
}

func (l *lab) entrants(c *benchCase) []entrant {
	var out []entrant
	for _, k := range l.kindsOf(c) {
		out = append(out, entrant{k, k, c.plan})
		if c.baseline != nil && (k == peer.Lateen || k == peer.Envoy) {
			out = append(out, entrant{k, k + noLog, *c.baseline})
		}
	}
	return out
}

// length is how long one measurement takes.
func (l *lab) length(c *benchCase) time.Duration {
	if l.seconds > 0 {
		return time.Duration(l.seconds) * time.Second
	}
	return time.Duration(c.seconds) * time.Second
}

// measure drives one proxy once.
func (l *lab) measure(ctx context.Context, c *benchCase, r *peer.Running, last bool) (figures, error) {
	for _, path := range r.LogFiles {
		if err := os.Truncate(path, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	length := l.length(c)
	var profiled chan error
	if last && l.profile != "" && r.Kind == peer.Lateen {
		profiled = make(chan error, 1)
		go func() { profiled <- saveProfile(ctx, r.Admin, l.profile, length) }()
	}
	m := &meter{lab: l, of: r, length: length}
	f, err := c.load(ctx, l, r, m)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return nil, err
	}
	m.fill(f)
	if profiled != nil {
		if err := <-profiled; err != nil {
			return nil, fmt.Errorf("profile: %w", err)
		}
		l.progress("profile of lateen-proxy: %s", l.profile)
	}
	return f, nil
}

// addDistance adds what each proxy adds to the median time without one.
func addDistance(rows []row) {
	for _, d := range rows {
		if d.Proxy != peer.Direct || d.Median[p50] == 0 {
			continue
		}
		for i := range rows {
			if rows[i].Proxy != peer.Direct && rows[i].Median[p50] > 0 {
				rows[i].Median[addedP50] = rows[i].Median[p50] - d.Median[p50]
			}
		}
	}
}

func (l *lab) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(l.notes, text) {
		l.notes = append(l.notes, text)
		l.progress("%s", text)
	}
}

// brief is one measurement in a line.
func brief(f figures) string {
	text := ""
	for _, k := range []string{cpuPerRequest, cpuPerGiB, rps, p50, p99, rss, "cores"} {
		if v, ok := f[k]; ok {
			text += fmt.Sprintf(" %s=%.4g", k, v)
		}
	}
	return strings.TrimSpace(text)
}

// saveProfile gets a CPU profile from an admin server.
func saveProfile(ctx context.Context, admin, path string, length time.Duration) error {
	url := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", admin, max(1, int(length.Seconds())))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: this lateen-proxy has no profile page", url, resp.Status)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, resp.Body)
	return errors.Join(err, file.Close())
}

// sortedKeys gives a map's keys in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
