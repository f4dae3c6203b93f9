package tool

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Fortio makes a spot check at a fixed rate.
func Fortio(ctx context.Context, program, url string, connections, rate int, length time.Duration, headers []string) (Result, error) {
	args := []string{program, "load", "-quiet", "-c", strconv.Itoa(connections), "-qps", strconv.Itoa(rate), "-t", length.String(), "-p", "50,90,99", "-nocatchup", "-uniform"}
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	text, err := run(ctx, append(args, url)...)
	if err != nil {
		return Result{}, err
	}
	return ParseFortio(text)
}

var (
	fortioQuantile = regexp.MustCompile(`(?m)^# target (50|90|99)% ([0-9.e+-]+)`)
	fortioCode     = regexp.MustCompile(`(?m)^Code\s+(-?\d+) : (\d+)`)
	fortioRate     = regexp.MustCompile(`(?m)([0-9.]+) qps\s*$`)
)

// ParseFortio reads fortio's report.
func ParseFortio(text string) (Result, error) {
	var r Result
	for _, m := range fortioCode.FindAllStringSubmatch(text, -1) {
		if m[1] != "200" {
			return r, fmt.Errorf("fortio: %s", m[0])
		}
		n, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return r, err
		}
		r.Requests += n
	}
	rate := fortioRate.FindStringSubmatch(text)
	if r.Requests == 0 || rate == nil {
		return r, fmt.Errorf("fortio: its report is not understood: %s", text)
	}
	var err error
	if r.RPS, err = strconv.ParseFloat(rate[1], 64); err != nil {
		return r, err
	}
	for _, m := range fortioQuantile.FindAllStringSubmatch(text, -1) {
		s, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return r, err
		}
		d := time.Duration(s * float64(time.Second))
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
