package http2

import "time"

// budget limits the frames that cost work and bring nothing: PING, SETTINGS,
// PRIORITY, empty DATA, resets, frames of unknown types or closed streams. It
// refills with time and with useful frames, so that a busy peer has what it needs
// and a flood ends in ENHANCE_YOUR_CALM (CVE-2019-9512 and its kin).
type budget struct {
	spent int
	since time.Time // the last refill by time
}

const (
	budgetSize      = 1000
	budgetPerSecond = 100
)

var errFlood = fatal(codeEnhanceYourCalm, "too many frames without use")

// take spends n.
func (b *budget) take(now func() time.Time, n int) error {
	if b.spent += n; b.spent <= budgetSize {
		return nil
	}
	at := now()
	if b.since.IsZero() {
		b.since = at.Add(-time.Second)
	}
	refill := int(min(at.Sub(b.since), time.Minute).Seconds() * budgetPerSecond)
	if refill > 0 {
		b.spent = max(0, b.spent-refill)
		b.since = at
	}
	if b.spent > budgetSize {
		return errFlood
	}
	return nil
}

// give returns n for a frame of use.
func (b *budget) give(n int) { b.spent = max(0, b.spent-n) }
