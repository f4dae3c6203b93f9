package main

import (
	"context"
	"fmt"
	"time"

	"github.com/lateen-mesh/lateen/bench/peer"
	"github.com/lateen-mesh/lateen/bench/tool"
)

// settle is what a proxy gets to give memory back before it is looked at.
const settle = 300 * time.Millisecond

// state is one in which memory is read; each needs a fresh process, except that
// plain connections come on top of idleness.
type state struct {
	name  string
	reach func(ctx context.Context, l *lab, r *peer.Running) (leave func(), err error)
}

func nothing() {}

var states = [][]state{
	{
		{"idle", func(context.Context, *lab, *peer.Running) (func(), error) { return nothing, nil }},
		{"plain_1000", func(_ context.Context, _ *lab, r *peer.Running) (func(), error) {
			return hold(r.Entry, 1000, nil, requestText("/api/v1/reviews"))
		}},
	},
	{{"mtls_1000", func(_ context.Context, l *lab, r *peer.Running) (func(), error) {
		s, err := l.clientSpec(false)
		if err != nil {
			return nil, err
		}
		return hold(r.Secure, 1000, &s, requestText("/api/v1/reviews"))
	}}},
	{{"loaded", func(ctx context.Context, _ *lab, r *peer.Running) (func(), error) {
		_, err := tool.Wrk(ctx, "http://"+r.Entry.String()+"/api/v1/reviews", 64, time.Second, requestHeaders)
		return nothing, err
	}}},
}

// measureMemory is the case memory.
func measureMemory(ctx context.Context, l *lab, c *benchCase) ([]row, error) {
	var rows []row
	for _, kind := range l.kindsOf(c) {
		rows = append(rows, row{Case: c.name, Proxy: kind})
	}
	for round := range l.rounds {
		for i := range rows {
			f := figures{}
			for _, sequence := range states {
				if err := l.measureStates(ctx, c, rows[i].Proxy, sequence, f); err != nil {
					return nil, fmt.Errorf("%s: %s: %w", c.name, rows[i].Proxy, err)
				}
			}
			f[rss] = f["loaded_mb"]
			l.progress("%s %d/%d %-16s idle=%.1f plain=%.1f mtls=%.1f loaded=%.1f", c.name, round+1, l.rounds, rows[i].Proxy,
				f["idle_mb"], f["plain_1000_mb"], f["mtls_1000_mb"], f["loaded_mb"])
			rows[i].add(f)
		}
	}
	for i := range rows {
		rows[i].settle()
	}
	return rows, nil
}

// measureStates starts a proxy, without the test of equal function, which would
// use memory, and reads its memory in one state after the other.
func (l *lab) measureStates(ctx context.Context, c *benchCase, kind string, sequence []state, f figures) error {
	r, err := l.launch(kind, c.plan)
	if err != nil {
		return err
	}
	defer r.Stop()
	for _, s := range sequence {
		leave, err := s.reach(ctx, l, r)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		time.Sleep(settle)
		m, err := r.Memory()
		leave()
		if err != nil {
			return err
		}
		f[s.name+"_mb"], f[s.name+"_anon_mb"] = megabytes(m.RSS), megabytes(m.Anon)
	}
	return r.Err()
}
