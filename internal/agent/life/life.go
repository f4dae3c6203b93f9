// Package life decides how a proxy in a pod ends: gently, for long enough that the
// rest of the mesh hears of it, and no longer than it is waited for.
package life

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Proxy is what ends.
type Proxy interface {
	// Ease makes the proxy unready and lets clients go: connections are asked to end,
	// new ones are still served, since their clients may not know better yet. It does
	// not wait.
	Ease()
	// Drain takes no more connections from outside, and returns when those that there
	// are have finished or ctx ends.
	Drain(ctx context.Context)
	// Connections counts what is open.
	Connections() int
}

// Options say how long.
type Options struct {
	// Termination is what there is from the request to end, on the whole: Istio's
	// terminationDrainDuration.
	Termination time.Duration
	// UntilIdle stays until no connection is open, for at least Minimum since it was
	// known that the pod ends: Istio's EXIT_ON_ZERO_ACTIVE_CONNECTIONS. Kubelet's grace
	// period bounds that.
	UntilIdle bool
	Minimum   time.Duration
	// Last says that whoever asks the proxy to end has ended the application before:
	// the proxy goes with its last connection, whether that was announced or not.
	Last bool
	Log  *slog.Logger
}

// Life is the end of one proxy. Safe for concurrent use.
type Life struct {
	o Options

	mu    sync.Mutex
	proxy Proxy     // guarded by mu
	known time.Time // guarded by mu: when it was first known that the pod ends
	early bool      // guarded by mu: it was known before the request to end
}

// New makes a life that has not begun: Announce before Begin is remembered.
func New(o Options) *Life {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Life{o: o}
}

// Begin names the proxy that lives.
func (l *Life) Begin(p Proxy) {
	l.mu.Lock()
	l.proxy = p
	ease := !l.known.IsZero()
	l.mu.Unlock()
	if ease {
		p.Ease()
	}
}

// Announce says that the pod ends while the application still runs: a native
// sidecar hears that from its preStop hook, and is asked to end after the
// application. It does not wait.
func (l *Life) Announce() { l.announce(true) }

func (l *Life) announce(early bool) (since time.Time, p Proxy) {
	l.mu.Lock()
	first := l.known.IsZero()
	if first {
		l.known, l.early = time.Now(), early
	}
	since, p = l.known, l.proxy
	l.mu.Unlock()
	if first {
		l.o.Log.Info("the pod ends: connections are asked to go", "application_still_runs", early)
		if p != nil {
			p.Ease()
		}
	}
	return since, p
}

// Draining reports whether the pod ends.
func (l *Life) Draining() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.known.IsZero()
}

// finishing is the part of the termination time that is left for what is under way
// when no more connections are taken.
func (o *Options) finishing() time.Duration { return min(o.Termination/4, 2*time.Second) }

// End drains the proxy and returns when it may go, or ctx ends. Where the end was
// announced the application is gone already, and the proxy goes with its last
// connection. Where it was not, application and proxy were asked at the same time:
// the proxy stays for all of the termination time, since the application may need it,
// and goes on serving what comes for most of it.
func (l *Life) End(ctx context.Context) {
	start := time.Now()
	since, p := l.announce(false)
	if p == nil {
		return
	}
	l.mu.Lock()
	last := l.early || l.o.Last
	l.mu.Unlock()
	switch {
	case l.o.UntilIdle:
		sleep(ctx, time.Until(since.Add(l.o.Minimum)))
		p.Drain(ctx)
		for p.Connections() > 0 && sleep(ctx, pollIdle) {
		}
	case last:
		within, stop := context.WithTimeout(ctx, l.o.Termination)
		p.Drain(within)
		stop()
	default:
		within, stop := context.WithDeadline(ctx, start.Add(l.o.Termination))
		sleep(within, l.o.Termination-l.o.finishing())
		p.Drain(within)
		<-within.Done()
		stop()
	}
	l.o.Log.Info("drained", "after", time.Since(start).Truncate(time.Millisecond), "connections", p.Connections())
}

const pollIdle = 100 * time.Millisecond

// sleep is false when ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
