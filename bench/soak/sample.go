package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/lateen-mesh/lateen/bench/stats"
)

const sampleEvery = 5 * time.Second

// sample is what a proxy holds at one moment.
type sample struct {
	At          time.Duration `json:"-"`
	Seconds     float64       `json:"seconds"`
	Proxy       string        `json:"proxy"`
	RSS         int64         `json:"rss"`
	Anon        int64         `json:"rss_anon"`
	Descriptors int           `json:"descriptors"`
	Goroutines  int64         `json:"goroutines"`
	Connections int64         `json:"connections"`
	Exchanges   int64         `json:"exchanges"` // of steady traffic until then
	Faults      int64         `json:"faults"`
}

func (s *sidecar) sample() (sample, error) {
	out := sample{Proxy: s.name}
	if err := s.proc.Err(); err != nil {
		return out, err
	}
	mem, err := s.proc.Memory()
	if err != nil {
		return out, err
	}
	out.RSS, out.Anon = mem.RSS, mem.Anon
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.proc.PID))
	if err != nil {
		return out, err
	}
	out.Descriptors = len(fds)
	counters, err := s.stats()
	if err != nil {
		return out, err
	}
	out.Goroutines, out.Connections = counters["server.goroutines"], counters["server.total_connections"]
	if out.Goroutines == 0 {
		return out, fmt.Errorf("%s: /stats tells no server.goroutines", s.name)
	}
	return out, nil
}

// watchSamples samples the proxies until ctx ends, and tells of each.
func watchSamples(ctx context.Context, start time.Time, proxies []*sidecar, l *ledger, each func(sample)) ([]sample, error) {
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	var all []sample
	for {
		for _, p := range proxies {
			s, err := p.sample()
			if err != nil {
				return all, err
			}
			s.At = time.Since(start)
			s.Seconds = s.At.Seconds()
			s.Exchanges, s.Faults = l.total()
			all = append(all, s)
			each(s)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return all, nil
		}
	}
}

// growth is how much the values rise over the time of the samples' second half, by
// the median slope of all pairs (Theil and Sen), and their mean there. Other than a
// least-squares line it does not follow a burst at the end, when the machine was busy
// with something else; a leak raises it all the same.
func growth(all []sample, proxy string, value func(sample) float64) (rise, mean float64) {
	var last time.Duration
	for _, s := range all {
		last = max(last, s.At)
	}
	var xs, ys, slopes []float64
	for _, s := range all {
		if s.Proxy != proxy || s.At < last/2 {
			continue
		}
		x, y := s.At.Seconds(), value(s)
		for i := range xs {
			slopes = append(slopes, (y-ys[i])/(x-xs[i]))
		}
		xs, ys = append(xs, x), append(ys, y)
		mean += y
	}
	if len(slopes) == 0 {
		return 0, mean
	}
	return stats.Median(slopes) * (xs[len(xs)-1] - xs[0]), mean / float64(len(ys))
}

// The bound of growth in the second half: the greater of a part of the mean and
// some bytes, which are the garbage collector's play.
const (
	growthPart  = 0.08
	growthBytes = 4 << 20
)

// flat checks that a proxy's memory does not grow.
func flat(all []sample, proxy string) (verdict string, ok bool) {
	rise, mean := growth(all, proxy, func(s sample) float64 { return float64(s.Anon) })
	bound := max(growthPart*mean, growthBytes)
	return fmt.Sprintf("%s: anonymous memory in the second half: mean %.1f MiB, fitted growth %+.1f MiB, bound %.1f MiB", proxy, mean/(1<<20), rise/(1<<20), bound/(1<<20)), rise <= bound
}

// What may be left after the traffic's end beyond what there was before it: the
// runtime's and the control plane's own.
const (
	spareGoroutines  = 12
	spareDescriptors = 12
)

// settle waits until a proxy is back to what it held before the traffic.
func (s *sidecar) settle(before sample, within time.Duration) (after sample, err error) {
	deadline := time.Now().Add(within)
	for {
		if after, err = s.sample(); err != nil {
			return after, err
		}
		if after.Goroutines <= before.Goroutines+spareGoroutines && after.Descriptors <= before.Descriptors+spareDescriptors && after.Connections == 0 {
			return after, nil
		}
		if time.Now().After(deadline) {
			return after, fmt.Errorf("%s keeps %d goroutines (%d before), %d descriptors (%d before), %d connections %s after the traffic's end",
				s.name, after.Goroutines, before.Goroutines, after.Descriptors, before.Descriptors, after.Connections, within)
		}
		time.Sleep(time.Second)
	}
}
