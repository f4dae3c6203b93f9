package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/bench/mesh"
)

const (
	changeEvery = 3 * time.Second
	awayEvery   = 30 * time.Second
	awayFor     = 5 * time.Second
)

// changer is the operator: it changes the configuration all the time.
type changer struct {
	control   *control
	authority *authority
	ports     ports
	out, in   string // node ids
	setting   setting
	edge      mesh.Resource

	changes, rotations, absences atomic.Int64
}

// apply gives both proxies the resources of the moment.
func (c *changer) apply() error {
	if err := c.control.set(c.out, append(c.ports.outbound(c.setting), c.edge)); err != nil {
		return err
	}
	return c.control.set(c.in, c.ports.inbound(c.setting))
}

// rotate makes a new secret for the edge; the proxies' own certificates are renewed
// by themselves.
func (c *changer) rotate() error {
	var err error
	c.edge, err = c.authority.edgeSecret()
	c.rotations.Add(1)
	return err
}

// change changes one thing; they take turns.
func (c *changer) change() {
	s, n := &c.setting, c.changes.Add(1)
	switch n % 6 {
	case 0:
		s.weight = int(n*37) % 101
	case 1:
		s.timeout = 5 + (s.timeout+1)%5
	case 2, 4:
		s.extra = !s.extra
	case 3:
		s.header++
	case 5:
		s.header++
		if n%12 == 5 {
			s.manager++
		} else {
			s.inbound++
		}
	}
}

// run changes, rotates and cuts until ctx ends.
func (c *changer) run(ctx context.Context) error {
	change, rotate, away := time.NewTicker(changeEvery), time.NewTicker(rotateEvery), time.NewTicker(awayEvery)
	defer change.Stop()
	defer rotate.Stop()
	defer away.Stop()
	back := time.NewTimer(time.Hour)
	defer back.Stop()
	defer c.control.leave(false)
	for {
		var err error
		select {
		case <-change.C:
			c.change()
			err = c.apply()
		case <-rotate.C:
			if err = c.rotate(); err == nil {
				err = c.apply()
			}
		case <-away.C:
			c.control.leave(true)
			c.absences.Add(1)
			back.Reset(awayFor)
		case <-back.C:
			c.control.leave(false)
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return err
		}
	}
}
