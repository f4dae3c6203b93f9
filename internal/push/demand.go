package push

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

const (
	// maxQuestions bounds what is looked up for one proxy: a workload that scans
	// addresses must not make the control plane remember them. Questions beyond it are
	// refused, in the order of their names.
	maxQuestions = 4096
	// forgetAfter is how long a host stays in the scope of workloads none of which
	// asks for it any more.
	forgetAfter = 7 * 24 * time.Hour
)

// workloads is who shares what was learned: the instances of a workload call the same
// hosts, so that a new one starts with all that it will need.
type workloads struct{ namespace, account, workload string }

func workloadsOf(n *compile.Node) workloads {
	return workloads{n.Namespace, n.ServiceAccount, n.Workload}
}

// String is the key in the store.
func (w workloads) String() string { return w.namespace + "/" + w.account + "/" + w.workload }

// demand is what proxies that take configuration on demand have asked for, and what
// their workloads call. The builder's goroutine owns it.
type demand struct {
	// learned holds, by workload, the hosts that it calls and when that was last
	// known, in seconds since 1970.
	learned map[string]map[string]int64
	changed bool // learned is not saved yet

	// Of the connected proxies, found out anew with each look.
	questions map[workloads]map[string]wire.Question

	// Answers do not change within a snapshot, and many proxies ask the same.
	told   map[asked]wire.Answer
	toldOf *mesh.Snapshot
}

// asked is a question as a client of a namespace means it.
type asked struct {
	namespace string
	wire.Question
}

// look reads what all connected proxies ask for. It reports whether there is any
// proxy that asks.
func (d *demand) look(clients []*client) bool {
	d.questions = map[workloads]map[string]wire.Question{}
	for _, c := range clients {
		if !c.node.OnDemand {
			continue
		}
		key := workloadsOf(&c.node)
		all := d.questions[key]
		if all == nil {
			all = map[string]wire.Question{}
			d.questions[key] = all
		}
		names, _ := c.conn.Subscribed(wire.DemandType)
		slices.Sort(names)
		for i, name := range names {
			// What is not a question of this version stays without a host.
			q, err := wire.ParseQuestion(name)
			if err != nil || i >= maxQuestions {
				q = refused
			}
			all[name] = q
		}
	}
	return len(d.questions) > 0
}

// refused stands for a question that is not looked up.
var refused = wire.Question{Host: "\x00"}

// answer finds the hosts that a question means in a mesh.
func (d *demand) answer(snap *mesh.Snapshot, namespace string, q wire.Question) wire.Answer {
	if d.toldOf != snap {
		d.told, d.toldOf = map[asked]wire.Answer{}, snap
	}
	key := asked{namespace, q}
	a, ok := d.told[key]
	if !ok {
		a = find(snap, namespace, q)
		d.told[key] = a
	}
	return a
}

func find(snap *mesh.Snapshot, namespace string, q wire.Question) wire.Answer {
	switch {
	case q == refused:
		return wire.Answer{Refused: "more than " + strconv.Itoa(maxQuestions) + " questions, or not one that is known"}
	case q.Addr.IsValid():
		return wire.Answer{Hosts: compile.HostsAt(snap, namespace, q.Addr, q.Port)}
	case q.Host != "":
		return wire.Answer{Hosts: compile.HostsNamed(snap, namespace, q.Host, q.Port)}
	}
	return wire.Answer{}
}

// learn answers all questions from a mesh, and gives the scope of each workload that
// asks: the hosts that it calls now, and those that it called before.
func (d *demand) learn(snap *mesh.Snapshot, now time.Time) map[workloads]*scope {
	out := make(map[workloads]*scope, len(d.questions))
	for key, questions := range d.questions {
		s := &scope{answers: make(map[string]*server.Resource, len(questions))}
		known := d.learned[key.String()]
		if known == nil {
			known = map[string]int64{}
		}
		before := len(known)
		for name, q := range questions {
			a := d.answer(snap, key.namespace, q)
			s.answers[name] = answerResource(name, a)
			for _, h := range a.Hosts {
				if now.Unix()-known[h] > int64(forgetAfter/time.Second)/4 {
					d.changed = true // written now and then, not with every look
					known[h] = now.Unix()
				}
			}
		}
		if before == 0 && len(known) > 0 {
			if d.learned == nil {
				d.learned = map[string]map[string]int64{}
			}
			d.learned[key.String()] = known
		}
		s.hosts = slices.Sorted(maps.Keys(known))
		out[key] = s
	}
	return out
}

// merge adds what another replica has learned.
func (d *demand) merge(other map[string]map[string]int64) {
	for key, hosts := range other {
		if d.learned == nil {
			d.learned = map[string]map[string]int64{}
		}
		if d.learned[key] == nil {
			d.learned[key] = map[string]int64{}
		}
		for h, at := range hosts {
			d.learned[key][h] = max(d.learned[key][h], at)
		}
	}
}

// forget drops what no proxy has asked for in a long time.
func (d *demand) forget(now time.Time) {
	limit := now.Add(-forgetAfter).Unix()
	for key, hosts := range d.learned {
		maps.DeleteFunc(hosts, func(_ string, at int64) bool {
			old := at < limit
			d.changed = d.changed || old
			return old
		})
		if len(hosts) == 0 {
			delete(d.learned, key)
		}
	}
}

// scope is what the proxies of one workload get: hosts, and the answers that say so.
type scope struct {
	hosts   []string // sorted
	answers map[string]*server.Resource
}

func answerResource(name string, a wire.Answer) *server.Resource {
	body := a.Marshal()
	return &server.Resource{Name: name, Version: fmt.Sprintf("%016x", ir.Sum(body)), Body: body}
}

// project gives every proxy on demand the variant of what its workload calls now.
func (b *builder) project(snap *mesh.Snapshot) {
	clients := b.e.clientList()
	if !b.memory.demand.look(clients) {
		b.scopes = nil
		return
	}
	now := b.e.o.Now()
	b.memory.demand.forget(now)
	b.scopes = b.memory.demand.learn(snap, now)
	for _, c := range clients {
		if s := b.scopes[workloadsOf(&c.node)]; s != nil && c.node.OnDemand && !slices.Equal(c.node.Scope, s.hosts) {
			b.e.mu.Lock()
			c.node.Scope = s.hosts
			c.variant = variantKey(c.node)
			b.e.mu.Unlock()
		}
	}
}

// answered adds the answers of a variant's workload to its state.
func (b *builder) answered(v *variant) *server.State {
	s := b.scopes[workloadsOf(&v.node)]
	if s == nil || !v.node.OnDemand {
		return v.state
	}
	types := maps.Clone(v.state.Types)
	types[wire.DemandType] = s.answers
	return &server.State{Revision: v.state.Revision, Types: types}
}

// listen answers what was asked since the last build.
func (b *builder) listen() {
	if b.snapshot == nil {
		return
	}
	b.project(b.snapshot)
	if remembers := b.e.o.Remembers; remembers == nil || remembers() {
		if err := b.memory.save(b.e.o.Memory); err != nil {
			b.e.log.Error("the compiler's memory was not saved", "err", err)
		}
	}
	for _, c := range b.e.clientList() {
		if c.node.OnDemand {
			b.give(c)
		}
	}
	used := b.e.variantsInUse()
	maps.DeleteFunc(b.variants, func(key string, _ *variant) bool { return !used[key] })
	b.e.advance()
}

// asksFirst reports whether a proxy still has to say what it wants: whoever takes
// configuration on demand names all of it, after a reconnection too, before anything
// is offered, or it would lose what it uses.
func (c *client) asksFirst() bool { return c.node.OnDemand && !c.conn.Asked(wire.DemandType) }

// heard notes that a proxy may have asked for more.
func (e *Engine) heard(c *client) {
	if !c.node.OnDemand {
		return
	}
	if _, version := c.conn.Subscribed(wire.DemandType); c.questions.Swap(version) != version {
		poke(e.asked)
	}
}
