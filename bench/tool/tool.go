// Package tool runs the load generators of the field, wrk, h2load and fortio, and
// reads what they print.
package tool

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Result is what a generator measured.
type Result struct {
	Requests      float64 // that were answered 2xx
	RPS           float64
	P50, P90, P99 time.Duration // 0 where the tool does not tell
	Max           time.Duration
}

// run runs a tool and returns what it prints.
func run(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", args[0], err, out)
	}
	return string(out), nil
}

// Wrk saturates with HTTP/1.1 over keep-alive connections from one thread.
func Wrk(ctx context.Context, url string, connections int, length time.Duration, headers []string) (Result, error) {
	args := []string{"wrk", "-t", "1", "-c", strconv.Itoa(connections), "-d", fmt.Sprintf("%ds", int(length.Seconds())), "--timeout", "10s", "--latency"}
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	text, err := run(ctx, append(args, url)...)
	if err != nil {
		return Result{}, err
	}
	return ParseWrk(text)
}

var (
	wrkTotal    = regexp.MustCompile(`(?m)^\s*(\d+) requests in ([0-9.]+\w+),`)
	wrkQuantile = regexp.MustCompile(`(?m)^\s*(50|90|99)%\s+([0-9.]+\w+)\s*$`)
	wrkErrors   = regexp.MustCompile(`(?m)^\s*(Socket errors: .*|Non-2xx or 3xx responses: .*)$`)
)

// ParseWrk reads wrk's report. Errors in it are an error.
func ParseWrk(text string) (Result, error) {
	var r Result
	if m := wrkErrors.FindStringSubmatch(text); m != nil {
		return r, fmt.Errorf("wrk: %s", m[1])
	}
	m := wrkTotal.FindStringSubmatch(text)
	if m == nil {
		return r, fmt.Errorf("wrk: no total in its report: %s", text)
	}
	length, err := duration(m[2])
	if err != nil {
		return r, err
	}
	if r.Requests, err = strconv.ParseFloat(m[1], 64); err != nil {
		return r, err
	}
	if r.Requests == 0 {
		return r, errors.New("wrk: no request was answered")
	}
	r.RPS = r.Requests / length.Seconds()
	for _, m := range wrkQuantile.FindAllStringSubmatch(text, -1) {
		d, err := duration(m[2])
		if err != nil {
			return r, err
		}
		switch m[1] {
		case "50":
			r.P50 = d
		case "90":
			r.P90 = d
		case "99":
			r.P99 = d
		}
	}
	return r, nil
}

// duration reads times as wrk and h2load write them: 1.5ms, 12us, 1.00m.
func duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil {
		return 0, fmt.Errorf("a time %q: %w", s, err)
	}
	return d, nil
}
