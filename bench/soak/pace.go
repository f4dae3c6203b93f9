package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// workers is how many short exchanges may be under way at once; queued, how many
// may wait for one.
const (
	workers = 64
	queued  = 4096
)

// work is one kind of short exchange and its share of all.
type work struct {
	kind  string
	share int
	do    func() error
}

// works is the mix of short exchanges.
func (s *steady) works() []work {
	get := message{method: "GET", host: steadyHost, size: smallBody}
	post := message{method: "POST", host: steadyHost, size: smallBody}
	chunked := message{method: "POST", host: steadyHost, size: 5000, chunked: true}
	large := message{method: "POST", host: steadyHost, size: largeBody}
	at := func(host string, msg message) message { msg.host = host; return msg }
	return []work{
		{"h1 GET", 40, s.http1(get)}, {"h1 POST", 20, s.http1(post)}, {"h1 POST chunked", 10, s.http1(chunked)}, {"h1 POST 1 MiB", 1, s.http1(large)},
		{"h1 POST over h2", 8, s.http1(at(mixedHost, post))}, {"h1 chunked over h2", 4, s.http1(at(mixedHost, chunked))},
		{"h2 GET", 10, s.http2(at(mixedHost, get))}, {"h2 POST chunked", 6, s.http2(at(mixedHost, chunked))}, {"h2 POST 1 MiB", 1, s.http2(at(mixedHost, large))},
		{"h2 POST over h1", 8, s.http2(post)}, {"grpc unary", 20, s.unary}, {"TLS visit", 1, s.visit},
	}
}

// schedule gives kinds of work in their shares, mixed.
func schedule(all []work) []int {
	var out []int
	for i, w := range all {
		for range w.share {
			out = append(out, i)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// pacer runs short exchanges.
type pacer struct {
	all    []work
	order  []int
	ledger *ledger
	// unsent counts arrivals for which there was no room any more: the generator, or
	// the proxy, is slower than the rate.
	unsent atomic.Int64
}

// run runs exchanges at a rate in a second, or with rate 0 one after the other on
// all workers, until ctx ends; it returns how many were completed.
func (p *pacer) run(ctx context.Context, rate float64) int64 {
	var wg sync.WaitGroup
	var done atomic.Int64
	size := queued
	if rate == 0 {
		size = 0
	}
	arrivals := make(chan int, size)
	for range workers {
		wg.Go(func() {
			for i := range arrivals {
				w := p.all[i]
				start := time.Now()
				err := w.do()
				p.ledger.book(w.kind, time.Since(start), err)
				done.Add(1)
			}
		})
	}
	if rate == 0 {
		p.push(ctx, arrivals)
	} else {
		p.tick(ctx, arrivals, rate)
	}
	close(arrivals)
	wg.Wait()
	return done.Load()
}

func (p *pacer) push(ctx context.Context, to chan<- int) {
	for n := 0; ; n++ {
		select {
		case to <- p.order[n%len(p.order)]:
		case <-ctx.Done():
			return
		}
	}
}

func (p *pacer) tick(ctx context.Context, to chan<- int, rate float64) {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	start, sent := time.Now(), 0
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		for due := int(time.Since(start).Seconds() * rate); sent < due; sent++ {
			select {
			case to <- p.order[sent%len(p.order)]:
			default:
				p.unsent.Add(1)
			}
		}
	}
}

// crowds are what runs beside the short exchanges: sessions that last, and hostile
// peers.
type crowds struct {
	steady  *steady
	hostile hostile
	ledger  *ledger // of the sessions
	foul    *ledger // of hostile peers: only hangs count
}

const (
	sessionsEach  = 6
	hostileCrowd  = 12
	hostilePauses = 50 * time.Millisecond
)

// run keeps the crowds at work until ctx ends.
func (c *crowds) run(ctx context.Context) {
	var wg sync.WaitGroup
	for kind, do := range map[string]func(<-chan struct{}) error{
		"grpc talk": c.steady.talk, "h1 tunnel": c.steady.tunnel(steadyHost), "h1 tunnel over h2": c.steady.tunnel(mixedHost), "tcp": c.steady.bytes,
	} {
		for range sessionsEach {
			wg.Go(func() {
				for ctx.Err() == nil {
					start := time.Now()
					err := do(ctx.Done())
					c.ledger.book(kind, time.Since(start), err)
					if err != nil {
						time.Sleep(roundPause)
					}
				}
			})
		}
	}
	for i := range hostileCrowd {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), uint64(time.Now().UnixNano())))
			for ctx.Err() == nil {
				start := time.Now()
				kind, err := c.hostile.act(r)
				c.foul.book(kind, time.Since(start), err)
				if r.IntN(10) == 0 {
					c.hostile.extra(c.hostile.ports.extra)
				}
				time.Sleep(time.Duration(r.Int64N(int64(2 * hostilePauses))))
			}
		})
	}
	wg.Wait()
}
