package proxy

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// resource is a resource as it was received, with what was made of it.
type resource struct {
	name     string
	version  string
	body     []byte
	updated  time.Time
	node     any   // the accepted one; nil if there never was one
	rejected error // of the newest version; nil if that was accepted
	unbound  error // of a listener that was accepted and cannot be bound
	failed   client.Resource
	failedAt time.Time
}

// routes is a route table by name: connection managers hold it, updates exchange
// its content. It implements hcm.Routes.
type routes struct {
	table atomic.Pointer[config.RouteTable] // in force

	// guarded by state.mu
	pending  *config.RouteTable // waits for its clusters
	deadline time.Time          // when pending acts anyway
}

// Table implements hcm.Routes.
func (r *routes) Table() *config.RouteTable { return r.table.Load() }

// state is the configuration: what came, and what is in force.
type state struct {
	mu        sync.Mutex
	clusters  map[string]*resource // guarded by mu, as all below
	endpoints map[string]*resource
	routes    map[string]*resource
	listeners map[string]*resource
	secrets   map[string]*resource

	tables   map[string]*routes          // by name
	active   map[string]*config.Listener // in force
	removing map[string]time.Time        // clusters that go when nothing names them, or at that time
	wanted   map[string]map[string]bool  // subscriptions by type
	gotCDS   bool
	gotLDS   bool
	firstCDS time.Time
}

func (s *state) init() {
	for _, m := range []*map[string]*resource{&s.clusters, &s.endpoints, &s.routes, &s.listeners, &s.secrets} {
		*m = map[string]*resource{}
	}
	s.tables = map[string]*routes{}
	s.active = map[string]*config.Listener{}
	s.removing = map[string]time.Time{}
	s.wanted = map[string]map[string]bool{config.EndpointsURL: {}, config.RouteURL: {}, SecretURL: {}}
}

// Update implements client.Handler: it takes what the control plane sends, in the
// order in which it sends it, and tells what it refuses. What is refused leaves
// what was there before.
func (p *Proxy) Update(_ context.Context, typeURL string, added []client.Resource, removed []string) map[string]error {
	p.state.mu.Lock()
	defer p.state.mu.Unlock()
	rejected := map[string]error{}
	switch typeURL {
	case config.ClusterURL:
		p.updateClusters(added, removed, rejected)
	case config.EndpointsURL:
		p.updateEndpoints(added, removed, rejected)
	case config.RouteURL:
		p.updateRoutes(added, removed, rejected)
	case config.ListenerURL:
		p.updateListeners(added, removed, rejected)
		if p.demand != nil {
			p.demand.Configured()
		}
	case SecretURL:
		p.updateSecrets(added, removed, rejected)
	case wire.DemandType:
		if p.demand != nil {
			// What the answers speak of has come before them: it acts when they do.
			defer p.demand.Update(added, rejected)
		}
	default:
		for _, r := range added {
			rejected[r.Name] = fmt.Errorf("resources of type %q are not known", typeURL)
		}
	}
	p.settle(time.Now())
	p.poke() // what waits has a deadline
	return rejected
}

// take keeps a resource if its bytes are new, and parses it. changed is false for
// what is there already.
func take[N any](set map[string]*resource, r client.Resource, parse func(body []byte) (N, error)) (node N, changed bool, err error) {
	old := set[r.Name]
	if old != nil && old.node != nil && bytes.Equal(old.body, r.Body) {
		old.version, old.rejected = r.Version, nil
		return node, false, nil
	}
	node, err = parse(r.Body)
	return node, err == nil, err
}

// accept keeps a resource that is in force from now on.
func accept(set map[string]*resource, r client.Resource, node any) {
	set[r.Name] = &resource{name: r.Name, version: r.Version, body: r.Body, updated: time.Now(), node: node}
}

// reject notes why a resource is not in force.
func reject(set map[string]*resource, r client.Resource, err error, rejected map[string]error) {
	rejected[r.Name] = err
	old := set[r.Name]
	if old == nil {
		old = &resource{name: r.Name}
		set[r.Name] = old
	}
	old.rejected, old.failed, old.failedAt = err, r, time.Now()
}

func (p *Proxy) parse(typeURL string) func([]byte) (any, error) {
	return func(body []byte) (any, error) { return config.Parse(typeURL, body, p.deps) }
}

func (p *Proxy) updateClusters(added []client.Resource, removed []string, rejected map[string]error) {
	s := &p.state
	if !s.gotCDS {
		s.gotCDS, s.firstCDS = true, time.Now()
	}
	for _, r := range added {
		delete(s.removing, r.Name)
		node, changed, err := take(s.clusters, r, p.parse(config.ClusterURL))
		if err == nil && changed {
			err = p.clusters.Apply([]*config.Cluster{node.(*config.Cluster)}, nil)
		}
		if err != nil {
			reject(s.clusters, r, err, rejected)
		} else if changed {
			accept(s.clusters, r, node)
		}
	}
	for _, name := range removed {
		if s.clusters[name] != nil {
			s.removing[name] = time.Now().Add(removalGrace)
		}
	}
	p.want(config.EndpointsURL, p.clusters.EDSNames())
	p.metrics.Forget()
}

func (p *Proxy) updateEndpoints(added []client.Resource, removed []string, rejected map[string]error) {
	s := &p.state
	for _, r := range added {
		node, changed, err := take(s.endpoints, r, p.parse(config.EndpointsURL))
		if err == nil && changed {
			err = p.clusters.ApplyEndpoints([]*config.Endpoints{node.(*config.Endpoints)}, nil)
		}
		if err != nil {
			reject(s.endpoints, r, err, rejected)
		} else if changed {
			accept(s.endpoints, r, node)
		}
	}
	for _, name := range removed {
		if s.endpoints[name] == nil && s.wanted[config.EndpointsURL][name] {
			// "There is no such assignment" is an answer: its cluster is empty, and
			// nothing has to wait for it.
			if err := p.clusters.ApplyEndpoints([]*config.Endpoints{{Name: name}}, nil); err != nil {
				p.log.Error("cluster not made empty", "endpoints", name, "err", err)
			}
		}
		delete(s.endpoints, name)
	}
	if err := p.clusters.ApplyEndpoints(nil, removed); err != nil {
		p.log.Error("endpoints not removed", "err", err)
	}
}

func (p *Proxy) updateRoutes(added []client.Resource, removed []string, rejected map[string]error) {
	s := &p.state
	for _, r := range added {
		node, changed, err := take(s.routes, r, p.parse(config.RouteURL))
		if err != nil {
			reject(s.routes, r, err, rejected)
			continue
		}
		if !changed {
			continue
		}
		accept(s.routes, r, node)
		table := node.(*config.RouteTable)
		match.Prepare(table)
		t := p.table(r.Name)
		t.pending, t.deadline = table, time.Now().Add(warmLimit)
	}
	// A table that the control plane withdrew serves on while a listener names it.
	for _, name := range removed {
		if s.routes[name] != nil && !s.wanted[config.RouteURL][name] {
			delete(s.routes, name)
		}
	}
}

// table gives the table of a name, which may be empty yet.
func (p *Proxy) table(name string) *routes {
	t := p.state.tables[name]
	if t == nil {
		t = &routes{}
		p.state.tables[name] = t
	}
	return t
}

func (p *Proxy) updateSecrets(added []client.Resource, removed []string, rejected map[string]error) {
	s := &p.state
	for _, r := range added {
		sec, changed, err := take(s.secrets, r, parseSecret)
		if err != nil {
			reject(s.secrets, r, err, rejected)
		} else if changed {
			accept(s.secrets, r, sec)
			p.secrets.set(r.Name, sec)
		}
	}
	for _, name := range removed {
		delete(s.secrets, name)
		p.secrets.set(name, nil)
	}
}

// want makes the subscriptions of a type exactly these names. What is no longer
// wanted is forgotten.
func (p *Proxy) want(typeURL string, names []string) {
	have := p.state.wanted[typeURL]
	next := make(map[string]bool, len(names))
	var add, drop []string
	for _, n := range names {
		next[n] = true
		if !have[n] {
			add = append(add, n)
		}
	}
	for n := range have {
		if !next[n] {
			drop = append(drop, n)
		}
	}
	p.state.wanted[typeURL] = next
	if len(add) > 0 {
		p.opts.Source.Subscribe(typeURL, add...)
	}
	if len(drop) > 0 {
		p.opts.Source.Unsubscribe(typeURL, drop...)
		p.forget(typeURL, drop)
	}
}

func (p *Proxy) forget(typeURL string, names []string) {
	s := &p.state
	for _, n := range names {
		switch typeURL {
		case config.EndpointsURL:
			delete(s.endpoints, n)
		case config.RouteURL:
			delete(s.routes, n)
			delete(s.tables, n)
		case SecretURL:
			delete(s.secrets, n)
			p.secrets.set(n, nil)
		}
	}
	if typeURL == config.EndpointsURL {
		if err := p.clusters.ApplyEndpoints(nil, names); err != nil {
			p.log.Error("endpoints not removed", "err", err)
		}
	}
}
