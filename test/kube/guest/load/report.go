package main

import (
	"slices"
	"sync"
	"time"
)

// report is what is printed. Its reader is package bed.
type report struct {
	Sent    int            `json:"sent"`
	Failed  int            `json:"failed"`
	Missed  int            `json:"missed"`            // no worker was free: not sent
	Matches map[string]int `json:"matches,omitempty"` // what -match found, in the successful ones
	Reasons map[string]int `json:"reasons,omitempty"` // of the failed ones
	First   []failure      `json:"first,omitempty"`   // the first failures
	// Milliseconds of the successful ones.
	Median  float64 `json:"medianMs"`
	P99     float64 `json:"p99Ms"`
	Max     float64 `json:"maxMs"`
	Seconds float64 `json:"seconds"`
}

type failure struct {
	At     time.Time `json:"at"`
	TookMs float64   `json:"tookMs"`
	Reason string    `json:"reason"`
}

const (
	maxFirst   = 20
	maxReasons = 50 // a reason may hold a body: no more kinds than these
	maxTimes   = 1 << 20
)

// counter counts outcomes. It is for concurrent use.
type counter struct {
	began time.Time

	mu    sync.Mutex
	r     report
	times []float32 // milliseconds; at most maxTimes
}

func newCounter() *counter {
	return &counter{began: time.Now(), r: report{Matches: map[string]int{}, Reasons: map[string]int{}}}
}

func (c *counter) missed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.r.Missed++
}

func (c *counter) succeeded(took time.Duration, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.r.Sent++
	if key != "" {
		c.r.Matches[key]++
	}
	if len(c.times) < maxTimes {
		c.times = append(c.times, float32(took.Seconds()*1000))
	}
}

func (c *counter) failed(at time.Time, took time.Duration, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.r.Sent++
	c.r.Failed++
	if _, known := c.r.Reasons[reason]; !known && len(c.r.Reasons) >= maxReasons {
		reason = "others"
	}
	c.r.Reasons[reason]++
	if len(c.r.First) < maxFirst {
		c.r.First = append(c.r.First, failure{At: at, TookMs: took.Seconds() * 1000, Reason: reason})
	}
}

// report gives the counts so far.
func (c *counter) report() report {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.r
	r.Seconds = time.Since(c.began).Seconds()
	if len(c.times) > 0 {
		sorted := slices.Sorted(slices.Values(c.times))
		at := func(q float64) float64 { return float64(sorted[int(q*float64(len(sorted)-1))]) }
		r.Median, r.P99, r.Max = at(0.5), at(0.99), at(1)
	}
	return r
}
