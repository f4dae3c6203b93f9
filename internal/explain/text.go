package explain

import (
	"fmt"
	"strings"
)

// maxLost bounds the candidates that the text shows for one step.
const maxLost = 8

// Text writes the explanation for people to read.
func (e *Explanation) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", e.Request)
	for i := range e.Steps {
		e.Steps[i].text(&b)
	}
	for i := range e.Destinations {
		e.Destinations[i].text(&b)
	}
	fmt.Fprintf(&b, "\n%s\n", e.Answer)
	return b.String()
}

func (s *Step) text(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s %s%s\n  because %s\n", s.Kind, s.Name, from(s.Origin), s.Why)
	for _, d := range s.Does {
		fmt.Fprintf(b, "  %s\n", d)
	}
	if len(s.Lost)+s.Other == 0 {
		return
	}
	for i, l := range s.Lost {
		if i == maxLost {
			break
		}
		fmt.Fprintf(b, "  not %s%s: %s\n", l.Name, from(l.Origin), l.Why)
	}
	if more := max(len(s.Lost)-maxLost, 0) + s.Other; more > 0 {
		fmt.Fprintf(b, "  and not %s\n", plural(more, "other"))
	}
}

func (d *Destination) text(b *strings.Builder) {
	fmt.Fprintf(b, "\n%s %% cluster %s%s\n", number(d.Percent), d.Cluster, from(d.Origin))
	if d.Policy != "" {
		fmt.Fprintf(b, "  %s over %s\n", d.Policy, plural(len(d.Endpoints), "endpoint"))
	}
	if d.Problem != "" {
		fmt.Fprintf(b, "  fails: %s\n", d.Problem)
	}
	for _, e := range d.Endpoints {
		name := ""
		if e.Workload != "" {
			name = " " + e.Workload
		}
		fmt.Fprintf(b, "  %s%s, %s, weight %d: %s\n", e.Address, name, e.Transport, e.Weight, e.State)
	}
}

func from(origin string) string {
	if origin == "" {
		return ""
	}
	return " (" + origin + ")"
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
