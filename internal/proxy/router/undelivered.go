package router

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// DefaultPatience is for how long a request that no application has seen is tried
// again beyond the retries of its policy: about as long as the news takes that an
// endpoint has gone.
const DefaultPatience = time.Second

// Pauses between such tries grow from the first to the longest.
const (
	firstPause   = 25 * time.Millisecond
	longestPause = 250 * time.Millisecond
	// patientPicks is how often another endpoint is looked for in place of one that
	// was tried.
	patientPicks = 5
)

// patience is what an exchange knows of its tries that were not delivered.
type patience struct {
	since  time.Time // the first of them
	pauses int
}

// gone reports whether a try found nobody at its endpoint: a connection was refused,
// or ended before anything was sent on it. Slow failures (time-outs) and those that
// another endpoint shares (certificates) are none. An empty cluster is one only after
// another: its endpoints are about to be replaced.
func (c *call) gone(f *failure) bool {
	switch f.code {
	case stream.ConnectFailure:
		return f.delivery == stream.Unsent
	case stream.UpstreamReset, stream.UpstreamRemoteReset:
		return f.delivery == stream.Unsent || f.delivery == stream.Refused
	case stream.NoHealthyUpstream:
		return !c.patience.since.IsZero()
	}
	return false
}

// waits reports whether the exchange is tried again after a try that was not
// delivered, although its policy allows no further retry. The route must want such
// tries repeated at all.
func (c *call) waits() bool {
	const wanted = config.OnConnectFailure | onAnyReset
	if c.r.o.Patience <= 0 || c.policy.retry == nil || c.policy.on&wanted == 0 {
		return false
	}
	p := &c.patience
	return !c.given() && c.upload.replayable() && c.requestsRetriable() && c.r.o.Now().Sub(p.since) < c.r.o.Patience
}

// undelivered notes that a try was not delivered.
func (c *call) undelivered() {
	if c.patience.since.IsZero() {
		c.patience.since = c.r.o.Now()
		c.tried.Avoid = max(c.tried.Avoid, patientPicks)
	}
}

// wait pauses and takes a place in the retry budget for the next try. The place is
// held while trying only: the budget bounds how many try at once, not how many wait.
// An error ends the exchange.
func (c *call) wait() error {
	c.releaseRetry()
	c.nextTry()
	c.s.RetriesExhausted = false // until the waiting is over
	p := &c.patience
	deadline := p.since.Add(c.r.o.Patience)
	for {
		left := deadline.Sub(c.r.o.Now())
		if err := c.sleep(min(p.next(c.r.o.Rand()), max(left, 0))); err != nil {
			return err
		}
		if c.cluster.StartRetry(c.tried.Priority) {
			c.retry = true
			return nil
		}
		if left <= 0 {
			return stream.NewReply(0, stream.Reason{Code: stream.ConnectFailure, Detail: "not delivered, and the retry budget has no place for another try"})
		}
	}
}

// next gives the next pause: at least half of one that doubles.
func (p *patience) next(random uint64) time.Duration {
	span := min(firstPause<<min(p.pauses, 10), longestPause)
	p.pauses++
	return span/2 + time.Duration(random%uint64(span/2+1))
}

// releaseRetry gives back the place in the retry budget, if one is held.
func (c *call) releaseRetry() {
	if c.retry {
		c.cluster.EndRetry(c.tried.Priority)
		c.retry = false
	}
}
