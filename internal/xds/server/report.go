package server

import (
	"cmp"
	"maps"
	"slices"
	"time"

	statuspb "google.golang.org/genproto/googleapis/rpc/status"
)

type statusProto = statuspb.Status

// TypeReport is how far a client is with one type.
type TypeReport struct {
	TypeURL   string
	Version   string // of the last response
	Resources int    // that the client was sent
	Synced    bool   // nothing is due and nothing is unanswered
	LastSent  time.Time
	LastAck   time.Time
	Refusals  []Refusal
}

// Report is how far a client is.
type Report struct {
	Offered int64 // revision of the newest offer; -1 before the first
	Settled int64 // newest revision that was answered completely; -1 before the first
	Types   []TypeReport
}

// Refusals lists what the client rejects, of all types.
func (r Report) Refusals() []Refusal {
	var all []Refusal
	for _, t := range r.Types {
		all = append(all, t.Refusals...)
	}
	return all
}

// Report tells how far the client is. Any goroutine.
func (c *Conn) Report() Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := Report{Offered: -1, Settled: c.settled}
	if c.want != nil {
		r.Offered = c.want.Revision
	}
	for _, t := range c.server.o.PushTypes {
		w := c.watches[t]
		if w == nil {
			continue
		}
		tr := TypeReport{TypeURL: t, Version: w.lastVersion, Resources: len(w.have), LastSent: w.lastSent, LastAck: w.lastAck}
		tr.Synced = c.want != nil && len(w.outstanding) == 0 && !w.due(c.want, c.protocol.incremental())
		tr.Refusals = slices.SortedFunc(maps.Values(w.refusals), func(a, b Refusal) int { return cmp.Compare(a.Name, b.Name) })
		r.Types = append(r.Types, tr)
	}
	return r
}

// State gives the newest offer, for dumps; nil before the first.
func (c *Conn) State() *State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.want
}
