package dump

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
)

// Difference is what a proxy has that it should not have, or has not, or has
// otherwise.
type Difference struct {
	Name string
	// Lines are those of a unified difference: " ", "-" (should be there) or "+"
	// (is there) before each, in JSON.
	Lines []string
}

// Compare holds what a proxy should have against what it has, by kind of resource:
// "Clusters", "Listeners", "Routes". A kind without differences matches.
func Compare(want, have *Config) map[string][]Difference {
	return map[string][]Difference{
		"Clusters":  compare(want.Clusters, have.Clusters),
		"Listeners": compare(want.Listeners, have.Listeners),
		"Routes":    compare(want.Routes, have.Routes),
	}
}

// compared is the order in which kinds are told.
var compared = [...]string{"Clusters", "Listeners", "Routes"}

// WriteComparison prints what Compare found as `istioctl proxy-status POD` does.
func WriteComparison(w io.Writer, found map[string][]Difference) error {
	var b strings.Builder
	for _, kind := range compared {
		if len(found[kind]) == 0 {
			fmt.Fprintf(&b, "%s Match\n", kind)
			continue
		}
		fmt.Fprintf(&b, "%s Don't Match (--- control plane, +++ proxy)\n", kind)
		for _, d := range found[kind] {
			fmt.Fprintf(&b, "@@ %s @@\n", d.Name)
			for _, line := range d.Lines {
				b.WriteString(line + "\n")
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// nameable is a resource: all of them have names.
type nameable interface {
	proto.Message
	GetName() string
}

func byName[T nameable](list []T) map[string]T {
	m := make(map[string]T, len(list))
	for _, r := range list {
		m[r.GetName()] = r
	}
	return m
}

// compare holds resources of one kind against each other. What only the proxy has
// of static resources, which nobody sends, is no difference.
func compare[T nameable](want, have []T) []Difference {
	w, h := byName(want), byName(have)
	var out []Difference
	for _, name := range slices.Sorted(maps.Keys(w)) {
		x, there := h[name]
		switch {
		case !there:
			out = append(out, Difference{name, marked("-", lines(w[name]))})
		case !proto.Equal(w[name], x):
			if d := changes(lines(w[name]), lines(x)); d != nil {
				out = append(out, Difference{name, d})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if _, wanted := w[name]; !wanted && !static(name) {
			out = append(out, Difference{name, marked("+", lines(h[name]))})
		}
	}
	return out
}

// static tells the resources of a proxy's own bootstrap, and the tables that
// listeners carry themselves.
func static(name string) bool {
	switch name {
	case "", "xds-grpc", "sds-grpc", "prometheus_stats", "agent", "zipkin":
		return true
	}
	return strings.HasPrefix(name, "inbound|") || strings.HasPrefix(name, "lateen-") || strings.HasPrefix(name, "sds")
}

func marked(mark string, list []string) []string {
	for i := range list {
		list[i] = mark + list[i]
	}
	return list
}

// lines gives a message as lines of JSON with sorted keys.
func lines(m proto.Message) []string {
	text, err := marshal(m)
	if err != nil {
		return []string{err.Error()}
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return []string{err.Error()}
	}
	if text, err = json.MarshalIndent(v, "", "  "); err != nil {
		return []string{err.Error()}
	}
	return strings.Split(string(text), "\n")
}

// context is how many equal lines stand around a change.
const context = 3

// changes gives the unified difference of two texts; nil where they are equal.
func changes(a, b []string) []string {
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		start++
	}
	if start == len(a) && start == len(b) {
		return nil
	}
	end := 0
	for end < len(a)-start && end < len(b)-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	var out []string
	for _, l := range a[max(0, start-context):start] {
		out = append(out, " "+l)
	}
	out = append(out, middle(a[start:len(a)-end], b[start:len(b)-end])...)
	for _, l := range a[len(a)-end : min(len(a), len(a)-end+context)] {
		out = append(out, " "+l)
	}
	return out
}

// longestMiddle bounds the table of the comparison; longer middles are told as
// removed and added whole.
const longestMiddle = 2000

// middle finds the longest common subsequence of two texts.
func middle(a, b []string) []string {
	if len(a) > longestMiddle || len(b) > longestMiddle {
		return append(marked("-", slices.Clone(a)), marked("+", slices.Clone(b))...)
	}
	length := make([][]int, len(a)+1) // of the common subsequence of a[i:] and b[j:]
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var out []string
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, " "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && length[i+1][j] >= length[i][j+1]:
			out = append(out, "-"+a[i])
			i++
		default:
			out = append(out, "+"+b[j])
			j++
		}
	}
	return out
}
