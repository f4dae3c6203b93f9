package push

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// partKey names a tree of kept.
type partKey struct {
	host string
	what compile.Contribution
}

// entry is a part of a host, and the messages that were made of it.
type entry struct {
	part *compile.Part
	used int64            // the last build that had it
	made map[uint64]*made // by the frame of those who get them
}

// made is the messages of a part.
type made struct {
	err       error
	resources []build.Resource   // of the part's clusters, assignments, listeners and tables, in this order
	hosts     [][]byte           // of its virtual hosts
	fragments []*server.Resource // as resources, once they are shared
}

// branch is a question of a compilation and what follows from the answers; at the end
// stands what was compiled.
type branch struct {
	asks  compile.Question
	next  map[uint64]*branch
	entry *entry
}

func (b *branch) find(answer func(compile.Question) uint64) *entry {
	for b != nil && b.entry == nil {
		b = b.next[answer(b.asks)]
	}
	if b == nil {
		return nil
	}
	return b.entry
}

// plant adds an entry under the answers that led to it.
func plant(at *branch, steps []compile.Step, e *entry) *branch {
	if len(steps) == 0 {
		return &branch{entry: e}
	}
	i := 0
	if at != nil && at.entry == nil {
		i = slices.IndexFunc(steps, func(s compile.Step) bool { return s.Question == at.asks })
	}
	if at == nil || at.entry != nil || i < 0 {
		i, at = 0, &branch{asks: steps[0].Question, next: map[uint64]*branch{}}
	}
	rest := slices.Delete(slices.Clone(steps), i, i+1)
	answer := steps[i].Answer
	at.next[answer] = plant(at.next[answer], rest, e)
	return at
}

// prune drops the entries that no build since has had; nil if nothing is left.
func (b *branch) prune(since int64) *branch {
	if b.entry != nil {
		if b.entry.used < since {
			return nil
		}
		return b
	}
	for answer, n := range b.next {
		if n = n.prune(since); n == nil {
			delete(b.next, answer)
		} else {
			b.next[answer] = n
		}
	}
	if len(b.next) == 0 {
		return nil
	}
	return b
}

// each calls f for all entries of the tree.
func (b *branch) each(f func(*entry)) {
	if b.entry != nil {
		f(b.entry)
	}
	for _, n := range b.next {
		n.each(f)
	}
}

// facts collects what the compilations of a tree asked of their clients.
func (b *branch) facts(into map[compile.Question]bool) {
	if b.entry != nil {
		return
	}
	if b.asks.OfClient() {
		into[b.asks] = true
	}
	for _, n := range b.next {
		n.facts(into)
	}
}

// seat is where a class has a host.
type seat struct {
	class *class
	index int // of the class's hosts
}

// gather finds or compiles the parts of all hosts for some classes, on as many cores
// as there are.
func (b *builder) gather(snap *mesh.Snapshot, classes []*class) {
	seats := map[string][]seat{}
	var names []string
	for _, c := range classes {
		for i, h := range c.hosts {
			if seats[h.Name] == nil {
				names = append(names, h.Name)
			}
			seats[h.Name] = append(seats[h.Name], seat{c, i})
		}
	}
	workers := make([]*worker, min(runtime.GOMAXPROCS(0), max(1, len(names)/16)))
	trees := make([][3]*branch, len(names))
	for i, n := range names {
		for what := range trees[i] {
			trees[i][what] = b.trees[partKey{n, compile.Contribution(what)}]
		}
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for i := range workers {
		w := newWorker(b, snap)
		workers[i] = w
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(names) {
					return
				}
				w.host(seats[names[i]], &trees[i])
			}
		})
	}
	all.Wait()
	for i, n := range names {
		for what, t := range trees[i] {
			if t == nil {
				continue // gateways have no calls of hosts
			}
			b.trees[partKey{n, compile.Contribution(what)}] = t
		}
	}
	for _, w := range workers {
		b.collect(w)
	}
}

// collect takes over what a worker has made.
func (b *builder) collect(w *worker) {
	for _, m := range w.fresh {
		for i := range m.resources {
			m.fragments = append(m.fragments, b.fragment(&m.resources[i]))
			m.resources[i].Body = nil // the fragment has it
		}
	}
	for q := range w.facts {
		if !b.facts[q] {
			b.facts[q], b.askedList = true, nil
			b.factsRev++
		}
	}
	for what, n := range w.compiled {
		b.e.metrics.compilations.WithLabelValues(contributions[what]).Add(float64(n))
	}
}

// contributions are the names of the kinds in metrics.
var contributions = [3]string{compile.OfClusters: "clusters", compile.OfCalls: "calls", compile.OfEndpoints: "endpoints"}

// worker compiles parts; one goroutine uses it.
type worker struct {
	b        *builder
	snap     *mesh.Snapshot
	views    map[*class]*compile.View
	clients  map[*class]map[compile.Question]uint64
	mesh     map[compile.Question]uint64 // answers about the mesh
	facts    map[compile.Question]bool   // that compilations asked
	fresh    []*made
	compiled [3]int
}

func newWorker(b *builder, snap *mesh.Snapshot) *worker {
	return &worker{
		b: b, snap: snap, views: map[*class]*compile.View{}, clients: map[*class]map[compile.Question]uint64{},
		mesh: map[compile.Question]uint64{}, facts: map[compile.Question]bool{},
	}
}

// host finds or compiles the parts of one host for those who see it.
func (w *worker) host(seats []seat, trees *[3]*branch) {
	clear(w.mesh) // most questions are about the host itself
	for _, s := range seats {
		h := s.class.hosts[s.index]
		for what := range trees {
			if what == int(compile.OfCalls) && s.class.node.Kind == compile.Router {
				continue
			}
			s.class.next[s.index][what] = w.part(s.class, h, compile.Contribution(what), &trees[what])
		}
	}
}

// part finds or compiles one part for a class.
func (w *worker) part(c *class, h *mesh.Host, what compile.Contribution, tree **branch) *entry {
	view := w.views[c]
	if view == nil {
		view = compile.NewView(w.snap, c.node, w.b.memory.routes)
		w.views[c], w.clients[c] = view, map[compile.Question]uint64{}
	}
	client := w.clients[c]
	e := (*tree).find(func(q compile.Question) uint64 {
		known := w.mesh
		if q.OfClient() {
			known = client
		}
		a, ok := known[q]
		if !ok {
			a = view.Answer(q)
			known[q] = a
		}
		return a
	})
	if e == nil {
		part, steps := view.Part(h, what)
		w.compiled[what]++
		for _, s := range steps {
			if s.OfClient() {
				w.facts[s.Question] = true
			}
		}
		e = &entry{part: part, made: map[uint64]*made{}}
		*tree = plant(*tree, steps, e)
	}
	e.used = w.b.generation
	if e.made[c.frameSum] == nil {
		m := makePart(&c.frame, e.part)
		e.made[c.frameSum] = m
		w.fresh = append(w.fresh, m)
	}
	return e
}

// makePart makes the messages of a part.
func makePart(frame *ir.Proxy, p *compile.Part) *made {
	m := &made{}
	add := func(r build.Resource, err error) {
		m.resources = append(m.resources, r)
		if m.err == nil {
			m.err = err
		}
	}
	for i := range p.Clusters {
		add(build.Cluster(frame, &p.Clusters[i]))
	}
	for i := range p.Assignments {
		add(build.Endpoints(p.Assignments[i]))
	}
	for i := range p.Outbound {
		add(build.Listener(frame, &p.Outbound[i]))
	}
	for i := range p.Tables {
		add(build.Table(&p.Tables[i]))
	}
	for i := range p.Hosts {
		h, err := build.VirtualHost(&p.Hosts[i].Host)
		m.hosts = append(m.hosts, h)
		if m.err == nil {
			m.err = err
		}
	}
	return m
}
