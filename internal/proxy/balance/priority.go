package balance

import (
	"slices"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// level is one group of hosts that gets share per cent of the requests: the
// healthy or the degraded hosts of a priority, or all of them in panic.
type level struct {
	share uint32
	hosts []*Host
	panic bool
	chooser
}

// Share is a part of a cluster's hosts and the part of the requests that it gets,
// for explanations.
type Share struct {
	Percent uint32
	Hosts   []*Host // none: these requests fail with no_healthy_upstream
	Panic   bool    // so few are up that health is disregarded
}

// Shares returns how requests spread over priorities and health.
func (p *Picker) Shares() []Share {
	out := make([]Share, len(p.levels))
	for i, l := range p.levels {
		out[i] = Share{Percent: l.share, Hosts: l.hosts, Panic: l.panic}
	}
	return out
}

// group chooses the level for a pick.
func (p *Picker) group(random uint64) chooser {
	if len(p.levels) == 1 {
		return p.levels[0].chooser
	}
	at := uint32(random % 100)
	for i := range p.levels {
		if l := &p.levels[i]; at < l.share {
			return l.chooser
		}
		at -= p.levels[i].share
	}
	return nil
}

// tier is one priority while shares are computed.
type tier struct {
	healthy, degraded, all []*Host
	health, degradedHealth uint32 // availability in per cent, overprovisioned, at most 100
	share, degradedShare   uint32
	panicking              bool
}

// buildLevels spreads requests over priorities. Envoy: a priority whose hosts are
// available to 100 / overprovisioning per cent takes everything; what it cannot
// take spills to the next one; shares are normalised if all together cannot take
// everything, and only then a priority may panic.
func buildLevels(hosts []Host, panicBelow float64, overprovisioning uint32, build func(all, chosen []*Host) chooser) ([]level, []spare) {
	tiers := tiersOf(hosts)
	total := uint32(0)
	for i := range tiers {
		t := &tiers[i]
		t.health = available(len(t.healthy), len(t.all), overprovisioning)
		t.degradedHealth = available(len(t.degraded), len(t.all), overprovisioning)
		total += t.health + t.degradedHealth
	}
	total = min(total, 100)
	allPanic := len(tiers) > 0
	for i := range tiers {
		t := &tiers[i]
		up := 0.0
		if len(t.all) > 0 {
			up = 100 * float64(len(t.healthy)+len(t.degraded)) / float64(len(t.all))
		}
		t.panicking = total < 100 && up < panicBelow
		allPanic = allPanic && t.panicking
	}
	if allPanic {
		shareByCount(tiers, len(hosts))
	} else {
		shareByHealth(tiers, total)
	}
	return levelsOf(tiers, build), sparesOf(tiers, build)
}

func available(n, all int, overprovisioning uint32) uint32 {
	if all == 0 {
		return 0
	}
	return uint32(min(uint64(overprovisioning)*uint64(n)/uint64(all), 100))
}

// tiersOf sorts hosts by priority and health.
func tiersOf(hosts []Host) []tier {
	var priorities []uint32
	for i := range hosts {
		priorities = append(priorities, hosts[i].Priority)
	}
	slices.Sort(priorities)
	priorities = slices.Compact(priorities)
	tiers := make([]tier, len(priorities))
	for i := range hosts {
		h := &hosts[i]
		at, _ := slices.BinarySearch(priorities, h.Priority)
		t := &tiers[at]
		t.all = append(t.all, h)
		switch {
		case h.Ejected || h.Health == config.Unhealthy || h.Health == config.Draining:
		case h.Health == config.Degraded:
			t.degraded = append(t.degraded, h)
		default:
			t.healthy = append(t.healthy, h)
		}
	}
	return tiers
}

// shareByHealth gives each priority what it can take: healthy hosts of all
// priorities first, then degraded ones; the rest of rounding goes to the first
// that takes anything.
func shareByHealth(tiers []tier, total uint32) {
	if total == 0 {
		if len(tiers) > 0 {
			tiers[0].share = 100 // nothing is up: the first priority fails, or panics
		}
		return
	}
	left := uint32(100)
	for i := range tiers {
		t := &tiers[i]
		t.share = min(left, t.health*100/total)
		left -= t.share
	}
	for i := range tiers {
		t := &tiers[i]
		t.degradedShare = min(left, t.degradedHealth*100/total)
		left -= t.degradedShare
	}
	for i := range tiers {
		switch t := &tiers[i]; {
		case t.share > 0:
			t.share += left
			return
		case t.degradedShare > 0:
			t.degradedShare += left
			return
		}
	}
}

// shareByCount is for the case that all priorities panic.
func shareByCount(tiers []tier, hosts int) {
	left := uint32(100)
	for i := range tiers {
		t := &tiers[i]
		t.share = uint32(100 * len(t.all) / hosts)
		left -= t.share
	}
	tiers[0].share += left
}

// spare is the healthy hosts of a priority, for requests that leave others out.
type spare struct {
	priority uint32
	health   uint32
	chooser
}

// sparesOf lists what retries at other priorities may choose from; none where there
// is one priority only.
func sparesOf(tiers []tier, build func(all, chosen []*Host) chooser) []spare {
	if len(tiers) < 2 {
		return nil
	}
	var out []spare
	for i := range tiers {
		t := &tiers[i]
		if len(t.healthy) == 0 {
			continue
		}
		if c := build(t.all, t.healthy); c != nil {
			out = append(out, spare{t.all[0].Priority, t.health, c})
		}
	}
	return out
}

// beyond chooses among the priorities that are not in skip, by their health; nil if
// there is none.
func (p *Picker) beyond(skip, random uint64) chooser {
	if skip == 0 {
		return nil
	}
	total := uint32(0)
	for i := range p.spare {
		if !skipped(skip, p.spare[i].priority) {
			total = min(total+p.spare[i].health, 100)
		}
	}
	if total == 0 {
		return nil
	}
	at := uint32(random % uint64(total))
	for i := range p.spare {
		s := &p.spare[i]
		if skipped(skip, s.priority) {
			continue
		}
		if at < s.health {
			return s.chooser
		}
		at -= s.health
	}
	return nil
}

func skipped(skip uint64, priority uint32) bool { return skip>>min(priority, 63)&1 != 0 }

func levelsOf(tiers []tier, build func(all, chosen []*Host) chooser) []level {
	var out []level
	add := func(share uint32, hosts, all []*Host, panic bool) {
		if share == 0 {
			return
		}
		l := level{share: share, hosts: hosts, panic: panic}
		if len(hosts) > 0 {
			l.chooser = build(all, hosts)
		}
		out = append(out, l)
	}
	for i := range tiers {
		t := &tiers[i]
		if t.panicking {
			add(t.share+t.degradedShare, t.all, t.all, true)
			continue
		}
		add(t.share, t.healthy, t.all, false)
		add(t.degradedShare, t.degraded, t.all, false)
	}
	return out
}
