package cluster

import (
	"context"
	"log/slog"
	"time"

	"github.com/lateen-mesh/lateen/internal/controlplane"
)

// together runs parts that end with ctx, and is one of these itself.
func together(ctx context.Context, parts ...func(context.Context) error) error {
	return controlplane.RunParts(ctx, parts...)
}

// The pauses between tries of what fails.
const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
	longestStart = 3 * time.Second // of a replica that starts: somebody waits for it
)

// keep runs a part again and again until ctx ends: what fails because the API
// server is away works again when that is back.
func keep(name string, log *slog.Logger, part func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		pause := firstPause
		for {
			begin := time.Now()
			err := part(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if time.Since(begin) > longestPause {
				pause = firstPause
			}
			log.Warn("a part of the control plane ended; it starts again", "part", name, "err", err, "pause", pause)
			if !rest(ctx, pause) {
				return nil
			}
			pause = min(2*pause, longestPause)
		}
	}
}

// every calls f now, whenever changed holds a token, and at every period, until
// ctx ends. Errors are logged; f is called again.
func every(name string, period time.Duration, changed <-chan struct{}, log *slog.Logger, f func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		t := time.NewTicker(period)
		defer t.Stop()
		for {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				log.Warn("a duty of the control plane failed; it is tried again", "duty", name, "err", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			case <-t.C:
			}
		}
	}
}

// until tries f until it works, with growing pauses; it returns ctx's error when
// that ends first.
func until(ctx context.Context, f func(context.Context) error, failed func(error)) error {
	pause := firstPause
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		failed(err)
		if !rest(ctx, pause) {
			return context.Cause(ctx)
		}
		pause = min(2*pause, longestStart)
	}
}

// rest pauses; false when ctx ended.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
