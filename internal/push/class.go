package push

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/sum"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// parts are the contributions of one host, by compile.Contribution.
type parts [3]*entry

// resources are those of one type, by name. They are replaced, never changed.
type resources = map[string]*server.Resource

// class is what proxies have in common that see the same hosts and give the same
// answers to everything that the hosts' compilations asked of a client.
type class struct {
	key      string
	node     compile.Node // any of them
	frame    ir.Proxy
	frameSum uint64

	hosts   []*mesh.Host // of the newest snapshot, by name
	next    []parts      // of hosts, for the build that runs
	current []parts      // those that the types below were made of
	names   []string     // of current's hosts

	types    map[string]resources // clusters, endpoints, listeners, routes
	origins  map[resourceKey][]verdict.Origin
	statuses []verdict.Status
	err      error // of the newest build: types are of one before
}

// classKey names the class of a variant, as far as is known by now what is asked. It
// stays as long as the configuration, the proxy's workload and what is asked do.
func (b *builder) classKey(snap *mesh.Snapshot, v *variant) string {
	input := sum.Join(uint64(b.configs), b.selfRev(snap, &v.node), uint64(b.factsRev), 1)
	if v.classIn == input {
		return v.classKey
	}
	view := compile.NewView(snap, v.node, b.memory.routes)
	sums := []uint64{view.Standing(view.Hosts())}
	for _, q := range b.asked() {
		sums = append(sums, view.Answer(q))
	}
	v.classIn, v.classKey = input, strconv.FormatUint(sum.Join(sums...), 16)
	return v.classKey
}

// asked lists the facts that compilations ask, in a fixed order.
func (b *builder) asked() []compile.Question {
	if b.askedList == nil {
		b.askedList = slices.SortedFunc(maps.Keys(b.facts), compile.Question.Compare)
	}
	return b.askedList
}

// classify finds the classes of variants and brings them up to the snapshot.
func (b *builder) classify(snap *mesh.Snapshot, list []*variant, before map[string]*class) {
	for {
		var todo []*class
		for _, v := range list {
			key := b.classKey(snap, v)
			c := b.classes[key]
			if c == nil {
				view := compile.NewView(snap, v.node, b.memory.routes)
				if c = before[key]; c == nil {
					c = &class{key: key, frame: view.Frame()}
					c.frameSum = ir.Sum(&c.frame)
				}
				// One that is a member now: what another's answers were may be so no more.
				c.node, c.hosts = v.node, view.Hosts()
				c.next = make([]parts, len(c.hosts))
				b.classes[key] = c
				todo = append(todo, c)
			}
			v.class = c
		}
		known := b.factsRev
		b.gather(snap, todo)
		for _, c := range todo {
			if b.factsRev == known {
				c.err = b.refresh(c, snap)
			}
		}
		if b.factsRev == known {
			b.complain(todo)
			return
		}
		// A class may hold proxies that must not share: again, at most once for each
		// fact that there is.
		for _, c := range todo {
			delete(b.classes, c.key)
		}
	}
}

// complain says which classes could not be built.
func (b *builder) complain(list []*class) {
	for _, c := range list {
		if c.err != nil {
			b.e.log.Error("a configuration could not be built; its proxies keep the last one", "namespace", c.node.Namespace, "workload", c.node.Workload, "err", c.err)
		}
	}
}

// refresh makes the class's resources of its parts, as far as these are others than
// before.
func (b *builder) refresh(c *class, snap *mesh.Snapshot) error {
	names := make([]string, len(c.hosts))
	for i, h := range c.hosts {
		names[i] = h.Name
	}
	var changed [3]bool
	if c.types == nil || !slices.Equal(names, c.names) {
		changed = [3]bool{true, true, true}
	} else {
		for i := range c.next {
			for what := range changed {
				changed[what] = changed[what] || c.next[i][what] != c.current[i][what]
			}
		}
	}
	for i := range c.next {
		for _, e := range c.next[i] {
			if e != nil && e.made[c.frameSum].err != nil {
				return fmt.Errorf("%s: %w", names[i], e.made[c.frameSum].err)
			}
		}
	}
	switch {
	case compile.NewView(snap, c.node, nil).Leads() || changed[compile.OfClusters] || changed[compile.OfCalls]:
		// What rules lead to, in a scope, is none of the class's hosts: it is looked at anew.
		if err := b.assemble(c, snap); err != nil {
			return err
		}
	case changed[compile.OfEndpoints]:
		b.moveEndpoints(c)
	}
	c.current, c.names = c.next, names
	return nil
}

// moveEndpoints replaces the endpoints of the hosts whose parts are others.
func (b *builder) moveEndpoints(c *class) {
	endpoints := maps.Clone(c.types[build.EndpointType])
	for i := range c.next {
		old, now := c.current[i][compile.OfEndpoints], c.next[i][compile.OfEndpoints]
		if old == now {
			continue
		}
		for _, r := range old.made[c.frameSum].fragments {
			delete(endpoints, r.Name)
		}
		for _, r := range now.made[c.frameSum].fragments {
			endpoints[r.Name] = r
		}
	}
	c.types = maps.Clone(c.types)
	c.types[build.EndpointType] = endpoints
}

// assembly makes the resources of one class.
type assembly struct {
	b       *builder
	c       *class
	types   map[string]resources
	origins map[resourceKey][]verdict.Origin
	made    map[any]*server.Resource   // by what they are made of
	source  map[any]*build.Resource    // as made, for origins
	hosts   map[*ir.VirtualHost][]byte // fields of tables
	err     error
}

// assemble joins the parts of all hosts.
func (b *builder) assemble(c *class, snap *mesh.Snapshot) error {
	a := &assembly{
		b: b, c: c, types: map[string]resources{}, origins: map[resourceKey][]verdict.Origin{},
		made: map[any]*server.Resource{}, source: map[any]*build.Resource{}, hosts: map[*ir.VirtualHost][]byte{},
	}
	at := make(map[*mesh.Host]int, len(c.hosts))
	for i, h := range c.hosts {
		at[h] = i
	}
	led := newWorker(b, snap)
	view := compile.NewView(snap, c.node, b.memory.routes)
	shared := view.Shared(func(h *mesh.Host, what compile.Contribution) *compile.Part {
		var e *entry
		if i, ok := at[h]; ok {
			e = c.next[i][what]
		} else {
			key := partKey{h.Name, what}
			tree := b.trees[key]
			e = led.part(c, h, what, &tree)
			b.trees[key] = tree
			b.collect(led)
			led.fresh, led.compiled = nil, [3]int{}
		}
		a.know(e)
		return e.part
	})
	a.all(shared)
	if a.err != nil {
		return a.err
	}
	if c.types != nil { // what did not change stays the same map: nobody has to look into it
		for typeURL, list := range a.types {
			if old := c.types[typeURL]; maps.Equal(old, list) {
				a.types[typeURL] = old
			}
		}
	}
	c.types, c.origins, c.statuses = a.types, a.origins, shared.Statuses
	return nil
}

// know notes the messages of a part by what they are made of.
func (a *assembly) know(e *entry) {
	m := e.made[a.c.frameSum]
	if a.err == nil {
		a.err = m.err
	}
	i := 0
	note := func(of any) {
		a.made[of], a.source[of] = m.fragments[i], &m.resources[i]
		i++
	}
	for j := range e.part.Clusters {
		note(&e.part.Clusters[j])
	}
	for j := range e.part.Assignments {
		note(&e.part.Assignments[j])
	}
	for j := range e.part.Outbound {
		note(&e.part.Outbound[j])
	}
	for j := range e.part.Tables {
		note(&e.part.Tables[j])
	}
	for j := range e.part.Hosts {
		a.hosts[&e.part.Hosts[j].Host] = m.hosts[j]
	}
}

// put adds a resource: the one that was made with the part, or what make gives.
func (a *assembly) put(typeURL string, of any, make func() (build.Resource, error)) {
	r, from := a.made[of], a.source[of]
	if r == nil {
		fresh, err := make()
		if a.err == nil {
			a.err = err
		}
		r, from = a.b.fragment(&fresh), &fresh
	}
	a.types[typeURL][r.Name] = r
	if len(from.Origins) > 0 {
		a.origins[resourceKey{typeURL, r.Name}] = from.Origins
	}
}

func (a *assembly) all(s *compile.Shared) {
	frame := &a.c.frame
	for t, n := range map[string]int{build.ClusterType: len(s.Clusters), build.EndpointType: len(s.Assignments), build.ListenerType: len(s.Listeners), build.RouteType: len(s.Tables) + len(s.Ports)} {
		a.types[t] = make(resources, n)
	}
	for _, x := range s.Clusters {
		a.put(build.ClusterType, x, func() (build.Resource, error) { return build.Cluster(frame, x) })
	}
	for _, x := range s.Assignments {
		a.put(build.EndpointType, x, func() (build.Resource, error) { return build.Endpoints(*x) })
	}
	for _, x := range s.Listeners {
		a.put(build.ListenerType, x, func() (build.Resource, error) { return build.Listener(frame, x) })
	}
	for _, x := range s.Tables {
		a.put(build.RouteType, x, func() (build.Resource, error) { return build.Table(x) })
	}
	for _, t := range s.Ports {
		a.put(build.RouteType, t, func() (build.Resource, error) { return a.joined(t) })
	}
}

// joined makes a port's table of the bytes of its virtual hosts.
func (a *assembly) joined(t *compile.PortTable) (build.Resource, error) {
	pieces := make([][]byte, len(t.Hosts))
	var origins []verdict.Origin
	for i, h := range t.Hosts {
		pieces[i] = a.hosts[h]
		origins = append(origins, h.Origins...)
		if pieces[i] == nil {
			var err error
			if pieces[i], err = build.VirtualHost(h); err != nil {
				return build.Resource{}, err
			}
		}
	}
	return build.JoinedTable(t.Name, pieces, origins)
}
