// Command load sends HTTP requests at a fixed rate and counts what comes back. It
// is the client of the tests that demand "no failed request": a request that is
// answered with anything but the wanted status, or not at all, is kept with its
// time and reason.
//
// It runs in the network of a test cluster or as a container of a pod, until
// -duration is over or it is told to end, and prints its report as JSON. While it
// runs, GET /report on -listen gives the report so far.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	url      string
	host     string
	rate     float64
	workers  int
	timeout  time.Duration
	duration time.Duration
	status   int
	fresh    bool
	match    string
	listen   string
	headers  headers
}

type headers []string

func (h *headers) String() string     { return strings.Join(*h, ", ") }
func (h *headers) Set(s string) error { *h = append(*h, s); return nil }

func main() {
	var o options
	flag.StringVar(&o.url, "url", "", "URL to ask for")
	flag.StringVar(&o.host, "host", "", "Host header; the URL's own if empty")
	flag.Var(&o.headers, "header", "NAME: VALUE of a request header (repeatable)")
	flag.Float64Var(&o.rate, "rate", 50, "requests per second")
	flag.IntVar(&o.workers, "workers", 16, "requests under way at most; what finds no worker free is counted as missed")
	flag.DurationVar(&o.timeout, "timeout", 15*time.Second, "time that a request may take")
	flag.DurationVar(&o.duration, "duration", 0, "end after this time; 0 for when told so")
	flag.IntVar(&o.status, "status", http.StatusOK, "status that counts as success")
	flag.BoolVar(&o.fresh, "fresh", false, "a new connection for each request")
	flag.StringVar(&o.match, "match", "", "regular expression: count what its first group matches in the bodies")
	flag.StringVar(&o.listen, "listen", "", "address for GET /report")
	flag.Parse()
	if err := run(&o); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(o *options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	c := newCounter()
	s := &sender{o: o, count: c}
	if o.match != "" {
		var err error
		if s.match, err = regexp.Compile(o.match); err != nil {
			return err
		}
		if s.match.NumSubexp() < 1 {
			return fmt.Errorf("-match %s has no group", o.match)
		}
	}
	s.client = &http.Client{
		Transport: &http.Transport{
			MaxIdleConnsPerHost: o.workers, DisableKeepAlives: o.fresh, DisableCompression: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // who serves is not what is counted here
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if o.listen != "" {
		l, err := net.Listen("tcp", o.listen)
		if err != nil {
			return err
		}
		go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(c.report()) }))
	}
	s.run(ctx)
	report := c.report()
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		return err
	}
	if report.Failed > 0 {
		return fmt.Errorf("%d of %d requests failed", report.Failed, report.Sent)
	}
	return nil
}

// sender sends the requests.
type sender struct {
	o      *options
	client *http.Client
	match  *regexp.Regexp
	count  *counter
}

// run sends until ctx ends, and lets requests under way finish.
func (s *sender) run(ctx context.Context) {
	free := make(chan struct{}, s.o.workers)
	tick := time.NewTicker(time.Duration(float64(time.Second) / s.o.rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			for range s.o.workers {
				free <- struct{}{}
			}
			return
		case <-tick.C:
		}
		select {
		case free <- struct{}{}:
			go func() {
				defer func() { <-free }()
				s.send()
			}()
		default:
			s.count.missed()
		}
	}
}

// send sends one request and notes its outcome. The end of the run does not
// interrupt it.
func (s *sender) send() {
	began := time.Now()
	status, key, err := s.exchange()
	took := time.Since(began)
	switch {
	case err != nil:
		s.count.failed(began, took, reason(err))
	case status != s.o.status:
		s.count.failed(began, took, fmt.Sprintf("status %d: %s", status, key))
	default:
		s.count.succeeded(took, key)
	}
}

// exchange gives the status and what -match found, or the body's beginning where
// the status is not the wanted one.
func (s *sender) exchange() (status int, key string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.o.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.o.url, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = s.o.host
	for _, h := range s.o.headers {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return resp.StatusCode, "", fmt.Errorf("reading the body: %w", err)
	}
	if resp.StatusCode != s.o.status {
		return resp.StatusCode, string(body[:min(len(body), 200)]), nil
	}
	if s.match == nil {
		return resp.StatusCode, "", nil
	}
	found := s.match.FindSubmatch(body)
	if found == nil {
		return resp.StatusCode, "no match", nil
	}
	return resp.StatusCode, string(found[1]), nil
}

// reason is an error's text without the addresses that differ from one to the next.
func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return fmt.Sprintf("%s: %v", op.Op, op.Err)
	}
	return err.Error()
}
