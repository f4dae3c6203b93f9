package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what a soak has found.
type report struct {
	Start      time.Time          `json:"start"`
	Length     string             `json:"length"`
	Load       float64            `json:"load"`
	Saturation float64            `json:"saturation_per_second"`
	Rate       float64            `json:"rate_per_second"`
	Unsent     int64              `json:"unsent"`
	Steady     map[string]account `json:"steady"`
	Hostile    map[string]account `json:"hostile"`
	Faults     []string           `json:"faults,omitempty"`
	Hangs      []string           `json:"hangs,omitempty"`
	Refusals   []string           `json:"refusals,omitempty"`
	Leaks      []string           `json:"leaks,omitempty"`
	Complaints []string           `json:"complaints,omitempty"` // of the proxies' logs
	Changes    int64              `json:"config_changes"`
	Rotations  int64              `json:"edge_rotations"`
	Issued     int64              `json:"certificates_issued"`
	Absences   int64              `json:"control_plane_absences"`
	Streams    int64              `json:"control_plane_streams"`
	Resumed    int64              `json:"edge_handshakes_resumed"`
	Full       int64              `json:"edge_handshakes_full"`
	Before     []sample           `json:"before"`
	After      []sample           `json:"after"`
	Samples    []sample           `json:"samples"`
}

// collect takes what the scene knows when the traffic is over.
func (r *report) collect(c *scene) {
	r.Steady, r.Faults = c.good.snapshot()
	r.Hostile, r.Hangs = c.foul.snapshot()
	r.Refusals = c.control.refused()
	r.Changes, r.Rotations, r.Absences = c.operator.changes.Load(), c.operator.rotations.Load(), c.operator.absences.Load()
	r.Issued, r.Streams = c.authority.issued.Load(), c.control.streams.Load()
	r.Resumed, r.Full = c.steady.resumed.Load(), c.steady.full.Load()
	for _, p := range c.proxies {
		text, err := os.ReadFile(p.proc.Log)
		if err != nil {
			r.Complaints = append(r.Complaints, err.Error())
			continue
		}
		for line := range strings.Lines(string(text)) {
			// Everything that is worse than a warning, and every panic.
			if l := strings.ToLower(line); strings.Contains(l, "level=error") || strings.Contains(l, "panic") || strings.Contains(l, "data race") || strings.Contains(l, "\terror\t") {
				r.Complaints = append(r.Complaints, p.name+": "+strings.TrimSpace(line))
			}
		}
	}
}

// few shows the first lines of a list.
func few(list []string) string {
	const n = 12
	if len(list) > n {
		return strings.Join(list[:n], "\n  ") + fmt.Sprintf("\n  and %d more", len(list)-n)
	}
	return strings.Join(list, "\n  ")
}

// unsentPart is how much of the traffic may be left out because the machine was
// busy with something else; above it the soak was none.
const unsentPart = 0.25

// verdict tells why the soak failed, nil if it did not.
func (r *report) verdict() error {
	var all []error
	fail := func(what string, list []string) {
		if len(list) > 0 {
			all = append(all, fmt.Errorf("%s:\n  %s", what, few(list)))
		}
	}
	fail("well-behaved traffic saw errors", r.Faults)
	fail("hostile exchanges had no end", r.Hangs)
	fail("resources were refused", r.Refusals)
	fail("the proxies log errors", r.Complaints)
	fail("left after the traffic's end", r.Leaks)
	var done int64
	for _, a := range r.Steady {
		done += a.Done
	}
	for kind, a := range r.Steady {
		if a.Done == 0 {
			fail("steady traffic", []string{kind + " never succeeded"})
		}
	}
	if float64(r.Unsent) > unsentPart*float64(done) {
		all = append(all, fmt.Errorf("%d exchanges were not even tried, %d were: the machine is too busy for a soak at this rate", r.Unsent, done))
	}
	if len(r.Samples) > 0 && r.Resumed == 0 {
		all = append(all, errors.New("no TLS session was resumed"))
	}
	for _, b := range r.Before {
		if text, ok := flat(r.Samples, b.Proxy); !ok {
			all = append(all, errors.New(text))
		}
	}
	return errors.Join(all...)
}

func (r *report) write(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// table prints the report for people.
func (r *report) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(t, "traffic\tdone\tfailed\tslowest\n")
	for _, kind := range slices.Sorted(maps.Keys(r.Steady)) {
		a := r.Steady[kind]
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\n", kind, a.Done, a.Failed, a.Slow.Round(time.Millisecond))
	}
	var hostile account
	for _, a := range r.Hostile {
		hostile.Done, hostile.Failed, hostile.Slow = hostile.Done+a.Done, hostile.Failed+a.Failed, max(hostile.Slow, a.Slow)
	}
	fmt.Fprintf(t, "hostile (%d kinds)\t%d\t%d\t%s\n", len(r.Hostile), hostile.Done, hostile.Failed, hostile.Slow.Round(time.Millisecond))
	fmt.Fprintf(t, "\nproxy\tmoment\tRSS MiB\tanonymous\tdescriptors\tgoroutines\tconnections\n")
	row := func(moment string, s sample) {
		fmt.Fprintf(t, "%s\t%s\t%.1f\t%.1f\t%d\t%d\t%d\n", s.Proxy, moment, float64(s.RSS)/(1<<20), float64(s.Anon)/(1<<20), s.Descriptors, s.Goroutines, s.Connections)
	}
	for _, b := range r.Before {
		row("before", b)
		var half, last *sample
		for i := range r.Samples {
			s := &r.Samples[i]
			if s.Proxy != b.Proxy {
				continue
			}
			if half == nil && s.At >= r.Samples[len(r.Samples)-1].At/2 {
				half = s
			}
			last = s
		}
		if last != nil {
			row("half", *half)
			row("end", *last)
		}
		for _, a := range r.After {
			if a.Proxy == b.Proxy {
				row("after", a)
			}
		}
	}
	_ = t.Flush() // the reader of a table may go away
	for _, b := range r.Before {
		text, _ := flat(r.Samples, b.Proxy)
		fmt.Fprintln(w, text)
	}
	fmt.Fprintf(w, "saturation %.0f exchanges/s, rate %.0f/s for %s, %d not tried; %d changes, %d certificates, control plane away %d times; edge handshakes %d resumed, %d full\n",
		r.Saturation, r.Rate, r.Length, r.Unsent, r.Changes, r.Issued, r.Absences, r.Resumed, r.Full)
}
