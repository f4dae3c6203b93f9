package load

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/lateen-mesh/lateen/bench/poll"
	"github.com/lateen-mesh/lateen/bench/stats"
)

// client is one connection of the open-loop generator.
type client struct {
	fd     int
	answer answer
	due    time.Time // of the request under way
	busy   bool
	idle   bool // does nothing after its first request
}

// opener sends requests when they are due, whether answers have come or not: a
// slow answer does not hold back the next request, and a request that finds all
// connections busy waits with its clock running.
type opener struct {
	spec    Spec
	poller  *poll.Poller
	clients map[int]*client
	free    []*client // first in, first out: all connections are used alike
	queue   []time.Time
	buf     []byte
	request []byte

	underWay int // requests without an answer
	hist     stats.Histogram
	counts   Result
	failed   error
}

func open(s Spec, begin func() error) (Result, error) {
	runtime.LockOSThread()
	if err := poll.PreciseTimers(); err != nil {
		return Result{}, err
	}
	p, err := poll.New()
	if err != nil {
		return Result{}, err
	}
	o := &opener{spec: s, poller: p, clients: map[int]*client{}, buf: make([]byte, 64<<10), request: []byte(s.Request)}
	if err := o.connect(); err != nil {
		return Result{}, err
	}
	if err := begin(); err != nil {
		return Result{}, err
	}
	if err := o.run(); err != nil {
		return Result{}, err
	}
	r := o.counts
	r.P50, r.P90, r.P99, r.P999, r.Max = o.hist.Quantile(0.5), o.hist.Quantile(0.9), o.hist.Quantile(0.99), o.hist.Quantile(0.999), o.hist.Max()
	return r, nil
}

// batch is how many connections are opened at a time.
const batch = 100

// connect opens all connections; each makes one request, so that the proxy knows
// it as a connection of keep-alive. Those that stay idle are opened first.
func (o *opener) connect() error {
	for total := o.spec.Idle + o.spec.Connections; len(o.clients) < total; {
		for range min(batch, total-len(o.clients)) {
			fd, err := poll.Dial(o.spec.Addr)
			if err != nil {
				return err
			}
			c := &client{fd: fd, idle: len(o.clients) < o.spec.Idle}
			o.clients[fd] = c
			if err := o.poller.Add(fd, false); err != nil {
				return err
			}
			o.send(c, time.Now())
		}
		for o.underWay > 0 {
			if o.failed != nil {
				return o.failed
			}
			if err := o.wait(time.Second); err != nil {
				return err
			}
		}
	}
	o.hist, o.counts = stats.Histogram{}, Result{}
	return o.failed
}

// patience is what requests get whose answer is missing at the end: on a machine
// with other work a proxy may be behind, and its delay counts.
const patience = 5 * time.Second

// run is the measurement.
func (o *opener) run() error {
	start := time.Now()
	end := start.Add(o.spec.Length)
	step := time.Second / time.Duration(o.spec.Rate)
	next := start
	for {
		now := time.Now()
		for ; !next.After(now) && next.Before(end); next = next.Add(step) {
			o.arrive(next)
		}
		if o.failed != nil {
			return o.failed
		}
		if !next.Before(end) {
			break
		}
		if err := o.wait(time.Until(next)); err != nil {
			return err
		}
	}
	// What is under way gets some time more.
	for last := end.Add(patience); o.underWay > 0 || len(o.queue) > 0; {
		if o.failed != nil {
			return o.failed
		}
		if time.Now().After(last) {
			return fmt.Errorf("%d requests have no answer %s after the end: the rate of %d is too high", o.underWay+len(o.queue), patience, o.spec.Rate)
		}
		if err := o.wait(10 * time.Millisecond); err != nil {
			return err
		}
	}
	o.counts.Elapsed = time.Since(start)
	return nil
}

func (o *opener) wait(timeout time.Duration) error {
	return o.poller.Wait(max(timeout, 0), func(e poll.Event) { o.readable(o.clients[e.FD]) })
}

func (o *opener) arrive(due time.Time) {
	if len(o.free) == 0 {
		o.queue = append(o.queue, due)
		return
	}
	c := o.free[0]
	o.free = o.free[1:]
	o.send(c, due)
}

func (o *opener) send(c *client, due time.Time) {
	c.busy, c.due = true, due
	o.underWay++
	n, again, err := poll.Write(c.fd, o.request)
	if err != nil || again || n < len(o.request) {
		o.fail(fmt.Errorf("sending a request: %d of %d bytes, %w", n, len(o.request), err))
	}
}

func (o *opener) fail(err error) {
	if o.failed == nil {
		o.failed = err
	}
}

func (o *opener) readable(c *client) {
	n, again, err := poll.Read(c.fd, o.buf)
	switch {
	case again:
		return
	case err != nil:
		o.fail(fmt.Errorf("reading an answer: %w", err))
		return
	case n == 0:
		o.fail(errors.New("the proxy closed a connection"))
		return
	case !c.busy:
		o.fail(errors.New("bytes without a request"))
		return
	}
	done, err := c.answer.take(o.buf[:n])
	if err != nil {
		o.fail(err)
	}
	if !done {
		return
	}
	o.hist.Add(time.Since(c.due))
	o.counts.Requests++
	o.counts.Bytes += int64(n)
	c.busy = false
	o.underWay--
	if c.idle {
		return
	}
	if len(o.queue) > 0 {
		due := o.queue[0]
		o.queue = o.queue[1:]
		o.send(c, due)
		return
	}
	o.free = append(o.free, c)
}
