package push

import "time"

// debounce decides when a change is built: at once when it comes after a pause,
// else when changes have paused for quiet, but not later than longest after the
// first that waits.
type debounce struct {
	quiet, longest time.Duration

	last    time.Time // of the last change
	first   time.Time // of the first change that waits
	waiting bool
}

// changed books a change and returns how long to wait until the build.
func (d *debounce) changed(now time.Time) time.Duration {
	calm := d.last.IsZero() || now.Sub(d.last) >= d.quiet
	d.last = now
	if !d.waiting {
		d.waiting, d.first = true, now
		if calm {
			return 0
		}
	}
	return max(0, min(d.quiet, d.first.Add(d.longest).Sub(now)))
}

// fired books that the build happens.
func (d *debounce) fired() { d.waiting = false }
