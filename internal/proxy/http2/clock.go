package http2

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// clock holds the connection's deadlines. One timer serves them and those of all
// streams: it is moved earlier when one comes near, and otherwise looks when it
// fires which deadlines were moved meanwhile. All of it is guarded by conn.mu.
type clock struct {
	timer *time.Timer
	at    time.Time // when the timer fires; zero: it does not

	settings time.Time // the peer's preface and acknowledgement
	heard    time.Time // when the peer last sent anything
	pinged   bool      // a keep-alive PING is out
	ping     time.Time // when its answer is overdue
	idle     time.Time // a connection without streams ends
	drain    time.Time // the second step of a drain
	spare    time.Time // the next look for what is not needed any more
}

// arm makes the timer fire at a time, or before. mu is held.
func (c *conn) arm(at time.Time) {
	k := &c.clock
	if c.stopped || !k.at.IsZero() && !at.Before(k.at) {
		return
	}
	k.at = at
	d := at.Sub(c.l.Now())
	if k.timer == nil {
		k.timer = time.AfterFunc(d, c.tick)
		return
	}
	k.timer.Reset(d)
}

func (c *conn) disarm() {
	if c.clock.timer != nil {
		c.clock.timer.Stop()
	}
}

// ticker is a side with deadlines of its own. Its methods are called under mu.
type ticker interface {
	// deadline returns a stream's next deadline, or why it ends now.
	deadline(st *strm, now time.Time) (next time.Time, expired stream.Reason)
	// idle is told that the time of a connection without streams passed.
	idle()
	// drained is told that the time for the second step of a drain has come.
	drained()
}

// tick handles what is due and arms the timer for the rest.
func (c *conn) tick() {
	c.mu.Lock()
	c.clock.at = time.Time{}
	if c.stopped {
		c.mu.Unlock()
		return
	}
	now := c.l.Now()
	next, code, fail := c.tickConn(now)
	var lost []loss
	var r stream.Reason
	if fail != "" {
		r = c.side.reason(code != codeNo, fail)
		lost = c.stopLocked(code, r, fail)
		c.mu.Unlock()
		c.tell(lost, r)
		return
	}
	late, reasons, next := c.tickStreams(now, next)
	next = earlier(next, c.spare(now))
	if !next.IsZero() {
		c.arm(next)
	}
	c.wakeIfQueued()
	c.mu.Unlock()
	for i := range late {
		c.side.lost(late[i].st, late[i].gen, reasons[i])
	}
}

// earlier is the earlier of two times of which the zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// tickConn handles the connection's own deadlines. mu is held.
func (c *conn) tickConn(now time.Time) (next time.Time, code errCode, fail string) {
	k := &c.clock
	if !k.settings.IsZero() && (!c.peerKnown || !c.settingsAcked) {
		if !now.Before(k.settings) {
			return next, codeSettingsTimeout, "settings were not acknowledged in time"
		}
		next = k.settings
	}
	if c.l.KeepAlive > 0 {
		ask := k.heard.Add(c.l.KeepAlive)
		switch {
		case k.pinged && !now.Before(k.ping):
			return next, codeNo, "no answer to a keep-alive PING"
		case k.pinged:
			ask = k.ping
		case !now.Before(ask):
			k.pinged, k.ping = true, now.Add(c.l.KeepAliveTimeout)
			c.set(appendPing(c.reserve(frameHeaderLen+8), 0, []byte(keepAlivePing)))
			ask = k.ping
		}
		next = earlier(next, ask)
	}
	return next, codeNo, ""
}

// The contents of our PINGs, eight bytes each.
const (
	keepAlivePing = "lateenKA"
	drainPing     = "lateenDR"
)

// tickStreams handles the deadlines that a side has. mu is held.
func (c *conn) tickStreams(now, next time.Time) (late []loss, reasons []stream.Reason, _ time.Time) {
	t, ok := c.side.(ticker)
	if !ok {
		return nil, nil, next
	}
	for _, st := range c.streams {
		at, r := t.deadline(st, now)
		if r.Code != stream.None {
			late = append(late, loss{st, st.gen})
			reasons = append(reasons, r)
			continue
		}
		next = earlier(next, at)
	}
	if at := &c.clock.idle; !at.IsZero() && !now.Before(*at) {
		*at = time.Time{}
		t.idle()
	}
	if at := &c.clock.drain; !at.IsZero() && !now.Before(*at) {
		*at = time.Time{}
		t.drained()
	}
	next = earlier(earlier(next, c.clock.idle), c.clock.drain)
	return late, reasons, next
}
