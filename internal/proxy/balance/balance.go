// Package balance chooses endpoints, purely: a Picker is built over an immutable
// set of hosts and holds no lock. Health is part of the set: whoever ejects a host
// or learns of its recovery builds a new picker; the load of a host is read while
// picking.
//
// The behaviour is Envoy's, as its pages on supported load balancers, priority
// levels, panic threshold, degraded endpoints and slow start describe it.
package balance

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// Load is the run-time state of one endpoint. It is called while picking, from
// many goroutines.
type Load interface {
	// Active is the number of requests under way.
	Active() uint32
}

// Host is one endpoint of a set.
type Host struct {
	*config.Endpoint
	Priority uint32
	Load     Load // nil counts as idle
	// Ejected is set while outlier detection or a health check has it out.
	Ejected bool
	// Warmth is the share of its weight that the host gets while it starts slowly
	// (see Warmth), in (0, 1]; 0 counts as 1.
	Warmth float64
	// Place numbers the host's locality, and PlaceWeight is that one's weight; they
	// count in clusters with locality weights.
	Place       int
	PlaceWeight uint32

	scale float64 // of the weight, by the locality's; 0 counts as 1
}

// Request is what one pick needs.
type Request struct {
	Random uint64 // fresh random bits
	// Hash is the consistent-hash key; without one (HasHash false) a ring or table
	// is entered at random.
	Hash    uint64
	HasHash bool
	// Tried are hosts of earlier attempts, avoided within Attempts further picks
	// (host_selection_retry_max_attempts); then a tried host is taken.
	Tried    []*config.Endpoint
	Attempts int
	// Skip leaves priorities out, as bits, if others can take the request.
	Skip uint64
}

// Picker chooses hosts of one cluster. Safe for concurrent use.
type Picker struct {
	levels []level
	spare  []spare
	hosts  []Host
}

// New builds the picker for a cluster over its hosts, which it keeps.
// overprovisioning is config.Endpoints.Overprovisioning (per cent; 0 takes 140).
// An error names a policy that cannot be built.
func New(c *config.Cluster, hosts []Host, overprovisioning uint32) (*Picker, error) {
	build, err := algorithm(c)
	if err != nil {
		return nil, err
	}
	if overprovisioning == 0 {
		overprovisioning = 140
	}
	p := &Picker{hosts: hosts}
	p.levels, p.spare = buildLevels(hosts, c.PanicThreshold, overprovisioning, weighted(c, build, overprovisioning))
	return p, nil
}

// Hosts returns the set that the picker was built over. It must not be changed.
func (p *Picker) Hosts() []Host { return p.hosts }

// chooser is a policy over the hosts of one group. attempt counts the picks of one
// request, from 0.
type chooser interface {
	choose(r *Request, random uint64, attempt int) *Host
}

// algorithm returns the constructor of a cluster's policy.
func algorithm(c *config.Cluster) (func([]*Host) chooser, error) {
	switch c.Policy {
	case config.RoundRobin:
		return func(h []*Host) chooser { return newRoundRobin(h) }, nil
	case config.LeastRequest:
		return func(h []*Host) chooser { return newLeastRequest(h, c.ChoiceCount, c.ActiveBias) }, nil
	case config.Random:
		return func(h []*Host) chooser { return random(h) }, nil
	case config.RingHash:
		return func(h []*Host) chooser { return newRing(h, c.RingMin, c.RingMax) }, nil
	case config.Maglev:
		return func(h []*Host) chooser { return newMaglev(h, c.TableSize) }, nil
	case config.OriginalDst:
		return nil, fmt.Errorf("cluster %q sends to original destinations: there is nothing to choose", c.Name)
	}
	return nil, fmt.Errorf("cluster %q: balancing policy %d is not known", c.Name, c.Policy)
}

// Pick returns a host, nil if there is none to choose (no_healthy_upstream).
func (p *Picker) Pick(r *Request) *Host {
	bits := r.Random
	var h *Host
	for attempt := 0; attempt <= max(r.Attempts, 0); attempt++ {
		g := p.beyond(r.Skip, next(&bits))
		if g == nil {
			g = p.group(next(&bits))
		}
		if g == nil {
			return nil
		}
		if h = g.choose(r, next(&bits), attempt); h == nil || !tried(r.Tried, h) {
			return h
		}
	}
	return h
}

func tried(list []*config.Endpoint, h *Host) bool {
	for _, e := range list {
		if e.Addr == h.Addr && e.Hostname == h.Hostname {
			return true
		}
	}
	return false
}

// next draws further random bits from the request's (SplitMix64).
func next(state *uint64) uint64 {
	*state += 0x9e3779b97f4a7c15
	z := *state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
