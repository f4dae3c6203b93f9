package console

import (
	"cmp"
	"math"
	"net/http"
	"strconv"
	"time"
)

// window is the time that is looked at.
type window struct{ from, to time.Time }

// Bounds of a window.
const (
	defaultDuration = time.Minute
	longestDuration = 24 * time.Hour
)

// window reads ?duration=60s&at=UNIX.
func (c *Console) window(r *http.Request) (w window, err error) {
	q := r.URL.Query()
	d := defaultDuration
	if text := q.Get("duration"); text != "" {
		if d, err = time.ParseDuration(text); err != nil || d <= 0 || d > longestDuration {
			return w, refuse(http.StatusBadRequest, "the duration %q is not one of at most %s", text, longestDuration)
		}
	}
	w.to = c.Now()
	if text := q.Get("at"); text != "" {
		at, err := strconv.ParseFloat(text, 64)
		if err != nil || math.Abs(at) > 1<<40 {
			return w, refuse(http.StatusBadRequest, "at: %q is no time in seconds", text)
		}
		w.to = time.UnixMilli(int64(at * 1000))
	} else if newest := c.History.Newest(); newest.Before(w.to) {
		w.to = newest // the step that runs is not complete
	}
	w.from = w.to.Add(-d)
	return w, nil
}

// flows gives how all traffic grew in a window, and the time that the numbers cover.
func (c *Console) flows(w window) ([]flow, time.Duration, error) {
	list, covered := c.History.Between(w.from, w.to)
	out := make([]flow, len(list))
	for i := range list {
		out[i] = readFlow(list[i].Labels, &list[i].Values)
	}
	return out, cmp.Or(covered, w.to.Sub(w.from)), nil
}
