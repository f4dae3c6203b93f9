package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/lateen-mesh/lateen/bench/peer"
)

// routeBenchmark is the benchmark of internal/proxy/match that has the table.
const routeBenchmark = "BenchmarkFind"

// measureRoutes runs the Go benchmark of route matching, as often as there are
// rounds.
func measureRoutes(ctx context.Context, l *lab, c *benchCase) ([]row, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^"+routeBenchmark+"$", "-benchmem", "-benchtime", "0.5s", "-count", strconv.Itoa(l.rounds),
		"github.com/lateen-mesh/lateen/internal/proxy/match")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", c.name, err, out)
	}
	r := row{Case: c.name, Proxy: peer.Lateen}
	found, err := parseBenchmark(string(out))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	for _, f := range found {
		r.add(f)
	}
	r.settle()
	return []row{r}, nil
}

var benchmarkLine = regexp.MustCompile(`(?m)^Benchmark\S+\s+\d+\s+([0-9.]+) ns/op\s+(\d+) B/op\s+(\d+) allocs/op`)

// parseBenchmark reads the lines of a Go benchmark.
func parseBenchmark(text string) ([]figures, error) {
	var out []figures
	for _, m := range benchmarkLine.FindAllStringSubmatch(text, -1) {
		ns, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return nil, err
		}
		allocs, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, err
		}
		out = append(out, figures{nsPerOp: ns, allocsPerOp: allocs})
	}
	if len(out) == 0 {
		return nil, errors.New("no benchmark ran")
	}
	return out, nil
}
