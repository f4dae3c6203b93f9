package tool

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/bench/stats"
)

// H2Load describes a load of HTTP/2 with prior knowledge.
type H2Load struct {
	URL                  string
	Connections, Streams int
	Length               time.Duration
	Headers              []string
	Data                 string // file with the body of POSTs; "" sends GETs
	Log                  string // scratch file for the time of every request; its report has no quantiles
}

// Run runs h2load with one thread.
func (h H2Load) Run(ctx context.Context) (Result, error) {
	args := []string{"h2load", "-t", "1", "-c", strconv.Itoa(h.Connections), "-m", strconv.Itoa(h.Streams), "-D", strconv.Itoa(int(h.Length.Seconds())), "--log-file=" + h.Log}
	for _, header := range h.Headers {
		args = append(args, "-H", header)
	}
	if h.Data != "" {
		args = append(args, "-d", h.Data)
	}
	text, err := run(ctx, append(args, h.URL)...)
	if err != nil {
		return Result{}, err
	}
	r, err := ParseH2Load(text)
	if err != nil {
		return r, err
	}
	log, err := os.Open(h.Log)
	if err != nil {
		return r, err
	}
	r.P50, r.P90, r.P99, err = ParseH2Log(log)
	return r, errors.Join(err, log.Close(), os.Remove(h.Log))
}

// ParseH2Log reads h2load's log: start, status and time in µs of each request.
func ParseH2Log(log io.Reader) (p50, p90, p99 time.Duration, err error) {
	var h stats.Histogram
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		last := bytes.LastIndexByte(lines.Bytes(), '\t')
		us, err := strconv.Atoi(string(lines.Bytes()[last+1:]))
		if last < 0 || err != nil {
			return 0, 0, 0, fmt.Errorf("h2load's log: %q is not understood", lines.Bytes())
		}
		h.Add(time.Duration(us) * time.Microsecond)
	}
	return h.Quantile(0.5), h.Quantile(0.9), h.Quantile(0.99), lines.Err()
}

var (
	h2Finished = regexp.MustCompile(`(?m)^finished in ([0-9.]+\w+), ([0-9.]+) req/s`)
	h2Requests = regexp.MustCompile(`(?m)^requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2Codes    = regexp.MustCompile(`(?m)^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx`)
	h2Time     = regexp.MustCompile(`(?m)^time for request:\s+\S+\s+(\S+)\s`)
)

// ParseH2Load reads h2load's report. Failed requests are an error.
func ParseH2Load(text string) (Result, error) {
	var r Result
	finished, requests, codes := h2Finished.FindStringSubmatch(text), h2Requests.FindStringSubmatch(text), h2Codes.FindStringSubmatch(text)
	if finished == nil || requests == nil || codes == nil {
		return r, fmt.Errorf("h2load: its report is not understood: %s", text)
	}
	if requests[5] != "0" || requests[6] != "0" || requests[7] != "0" || codes[2] != "0" || codes[3] != "0" || codes[4] != "0" {
		return r, fmt.Errorf("h2load: %s; %s", requests[0], codes[0])
	}
	var err error
	if r.Requests, err = strconv.ParseFloat(codes[1], 64); err != nil {
		return r, err
	}
	if r.Requests == 0 {
		return r, errors.New("h2load: no request was answered")
	}
	if r.RPS, err = strconv.ParseFloat(finished[2], 64); err != nil {
		return r, err
	}
	if m := h2Time.FindStringSubmatch(text); m != nil {
		r.Max, err = duration(m[1])
	}
	return r, err
}
