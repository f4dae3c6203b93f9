package console

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Graph is who calls whom in a time.
type Graph struct {
	View  string  `json:"view"`
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Nodes []Node  `json:"nodes"`
	Edges []Edge  `json:"edges"`
}

// Node is one end of edges.
type Node struct {
	ID        string   `json:"id"`
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name"`
	App       string   `json:"app,omitempty"`
	Version   string   `json:"version,omitempty"`
	Parent    string   `json:"parent,omitempty"`
	Services  []string `json:"services,omitempty"`
	Workloads []string `json:"workloads,omitempty"`
	Health    Health   `json:"health"`
	Inbound   *Rates   `json:"inbound,omitempty"`
	Outbound  *Rates   `json:"outbound,omitempty"`
	Root      bool     `json:"root,omitempty"`
	OutOfMesh bool     `json:"outOfMesh,omitempty"`
}

// Edge is traffic of one protocol from one node to another.
type Edge struct {
	ID              string   `json:"id"`
	Source          string   `json:"source"`
	Target          string   `json:"target"`
	Protocol        string   `json:"protocol"`
	Rates           Rates    `json:"rates"`
	MTLS            *float64 `json:"mtls,omitempty"`
	SourcePrincipal string   `json:"sourcePrincipal,omitempty"`
	TargetPrincipal string   `json:"targetPrincipal,omitempty"`
	Services        []string `json:"services,omitempty"`
	Reporter        string   `json:"reporter,omitempty"`
}

// The views of the graph.
const (
	viewService      = "service"
	viewWorkload     = "workload"
	viewApp          = "app"
	viewVersionedApp = "versionedApp"
)

// view makes nodes of ends.
type view struct {
	kind     string
	gateways map[string]bool // workloads "NS/NAME" that are gateways
}

// source gives the node that traffic of a flow comes from.
func (v view) source(f *flow) Node {
	e := f.source
	switch {
	case !e.known():
		return Node{ID: "unknown", Kind: "unknown", Name: "unknown", OutOfMesh: true}
	case v.gateways[e.namespace+"/"+e.workload]:
		return workloadNode(e, true)
	}
	switch v.kind {
	case viewService:
		return Node{ID: "service/" + e.namespace + "/" + cmp.Or(e.app, e.workload), Kind: "service", Namespace: e.namespace, Name: cmp.Or(e.app, e.workload), App: e.app}
	case viewApp, viewVersionedApp:
		return v.app(e)
	}
	return workloadNode(e, false)
}

// target gives the node that traffic of a flow goes to.
func (v view) target(f *flow) Node {
	e := f.target
	namespace, name, ofMesh := f.ofMesh()
	switch {
	case e.known() && v.gateways[e.namespace+"/"+e.workload]:
		return workloadNode(e, true)
	case ofMesh && (v.kind == viewService || !e.known()): // nobody answered, or without a proxy
		return Node{ID: "service/" + namespace + "/" + name, Kind: "service", Namespace: namespace, Name: name, App: e.app}
	case !e.known():
		host := cmp.Or(f.host, f.service, "unknown")
		return Node{ID: "external/" + host, Kind: "external", Name: host, OutOfMesh: true}
	case v.kind == viewService:
		return Node{ID: "service/" + e.namespace + "/" + cmp.Or(e.app, e.workload), Kind: "service", Namespace: e.namespace, Name: cmp.Or(e.app, e.workload), App: e.app}
	case v.kind == viewApp, v.kind == viewVersionedApp:
		return v.app(e)
	}
	return workloadNode(e, false)
}

func (v view) app(e end) Node {
	app := cmp.Or(e.app, e.workload)
	n := Node{ID: "app/" + e.namespace + "/" + app, Kind: "app", Namespace: e.namespace, Name: app, App: app}
	if v.kind == viewVersionedApp {
		n.Version = cmp.Or(e.version, "latest")
		n.ID += "/" + n.Version
		n.Parent = "box/" + e.namespace + "/" + app
	}
	return n
}

func workloadNode(e end, gateway bool) Node {
	kind := "workload"
	if gateway {
		kind = "gateway"
	}
	return Node{ID: kind + "/" + e.namespace + "/" + e.workload, Kind: kind, Namespace: e.namespace, Name: e.workload, App: e.app, Version: e.version}
}

// edgeKey tells edges apart.
type edgeKey struct{ source, target, protocol string }

// pair is the traffic of one edge as each end counted it.
type pair struct{ source, target tally }

// chosen gives the end's count that is shown: the client's, who saw what was lost on
// the way, unless only the server reports.
func (p *pair) chosen() (t *tally, reporter string) {
	if p.source.anything {
		return &p.source, "source"
	}
	return &p.target, "destination"
}

// drawing is a graph under work.
type drawing struct {
	view    view
	nodes   map[string]*drawn
	pairs   map[edgeKey]*pair
	filter  func(f *flow) bool
	covered time.Duration
}

// drawn is a node with its traffic.
type drawn struct {
	node                Node
	services, workloads map[string]bool
	in, out             tally
	called              bool
}

func (d *drawing) node(n Node) *drawn {
	x := d.nodes[n.ID]
	if x == nil {
		x = &drawn{node: n, services: map[string]bool{}, workloads: map[string]bool{}}
		d.nodes[n.ID] = x
	}
	return x
}

// add takes a flow in.
func (d *drawing) add(f *flow) {
	if d.filter != nil && !d.filter(f) {
		return
	}
	from, to := d.node(d.view.source(f)), d.node(d.view.target(f))
	if f.source.known() {
		from.workloads[f.source.namespace+"/"+f.source.workload] = true
	}
	if f.target.known() {
		to.workloads[f.target.namespace+"/"+f.target.workload] = true
	}
	if namespace, name, ok := f.ofMesh(); ok {
		to.services[namespace+"/"+name] = true
	}
	key := edgeKey{from.node.ID, to.node.ID, cmp.Or(f.protocol, "tcp")}
	p := d.pairs[key]
	if p == nil {
		p = &pair{}
		d.pairs[key] = p
	}
	t := &p.target
	if f.fromSource {
		t = &p.source
	}
	t.add(f)
	t.secure(f)
}

// finish makes the edges, and sums up the nodes by them.
func (d *drawing) finish(g *Graph) {
	for key, p := range d.pairs {
		t, reporter := p.chosen()
		r := t.rates(d.covered)
		if r == nil {
			continue
		}
		e := Edge{
			ID: key.source + ">" + key.target + "/" + key.protocol, Source: key.source, Target: key.target, Protocol: key.protocol,
			Rates: *r, Services: slices.Sorted(maps.Keys(t.hosts)), Reporter: reporter,
		}
		secured := t
		if p.target.mutual+p.target.plain > 0 { // what arrives is known best where it arrives
			secured = &p.target
		}
		if all := secured.mutual + secured.plain; all > 0 {
			share := float64(secured.mutual) / float64(all)
			e.MTLS, e.SourcePrincipal, e.TargetPrincipal = &share, secured.sourceID, secured.targetID
		}
		g.Edges = append(g.Edges, e)
		d.nodes[key.source].out.merge(t)
		d.nodes[key.target].in.merge(t)
		d.nodes[key.target].called = true
	}
	for _, x := range d.nodes {
		n := x.node
		n.Services, n.Workloads = slices.Sorted(maps.Keys(x.services)), slices.Sorted(maps.Keys(x.workloads))
		n.Inbound, n.Outbound = x.in.rates(d.covered), x.out.rates(d.covered)
		n.Root = !x.called
		if n.Health = healthOf(n.Inbound, 0, -1); n.Inbound == nil && n.Outbound != nil {
			n.Health = Healthy // it calls others, and nobody it
		}
		g.Nodes = append(g.Nodes, n)
	}
	slices.SortFunc(g.Nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(g.Edges, func(a, b Edge) int { return cmp.Compare(a.ID, b.ID) })
}

func (t *tally) merge(o *tally) {
	if t.codes == nil {
		t.codes, t.flags, t.hosts = map[string]uint64{}, map[string]uint64{}, map[string]bool{}
	}
	for i, v := range o.values {
		t.values[i] += v
	}
	t.errors += o.errors
	t.anything = t.anything || o.anything
	for k, n := range o.codes {
		t.codes[k] += n
	}
	for k, n := range o.flags {
		t.flags[k] += n
	}
}

// draw makes a graph of the flows that a filter takes; nil takes all.
func (c *Console) draw(kind string, w window, filter func(*flow) bool) (Graph, error) {
	flows, covered, err := c.flows(w)
	if err != nil {
		return Graph{}, err
	}
	d := &drawing{view: view{kind, c.gatewayWorkloads()}, nodes: map[string]*drawn{}, pairs: map[edgeKey]*pair{}, filter: filter, covered: covered}
	for i := range flows {
		d.add(&flows[i])
	}
	g := Graph{View: kind, From: unix(w.from), To: unix(w.to), Nodes: []Node{}, Edges: []Edge{}}
	d.finish(&g)
	return g, nil
}

func (c *Console) graph(r *http.Request) (any, error) {
	kind := cmp.Or(r.URL.Query().Get("view"), viewVersionedApp)
	switch kind {
	case viewService, viewWorkload, viewApp, viewVersionedApp:
	default:
		return nil, refuse(http.StatusBadRequest, "there is no view %q: service, workload, app or versionedApp", kind)
	}
	w, err := c.window(r)
	if err != nil {
		return nil, err
	}
	in := namespaces(r)
	g, err := c.draw(kind, w, func(f *flow) bool {
		return in == nil || in[f.source.namespace] || in[f.target.namespace] || in[f.serviceNamespace]
	})
	if err == nil && r.URL.Query().Get("idle") == "true" {
		c.addIdle(&g, in)
	}
	return g, err
}

// addIdle adds the workloads that have no traffic.
func (c *Console) addIdle(g *Graph, in map[string]bool) {
	have := map[string]bool{}
	for _, n := range g.Nodes {
		have[n.ID] = true
	}
	v := view{g.View, c.gatewayWorkloads()}
	for _, w := range c.workloadGroups() {
		if in != nil && !in[w.namespace] {
			continue
		}
		e := w.end()
		n := v.source(&flow{source: e})
		if !have[n.ID] {
			have[n.ID] = true
			n.Health, n.Root = Idle, true
			n.Workloads = []string{w.namespace + "/" + w.name}
			g.Nodes = append(g.Nodes, n)
		}
	}
	slices.SortFunc(g.Nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
}

// namespaces reads the parameter; nil means all.
func namespaces(r *http.Request) map[string]bool {
	var in map[string]bool
	for _, ns := range strings.Split(r.URL.Query().Get("namespaces"), ",") {
		if ns = strings.TrimSpace(ns); ns != "" {
			if in == nil {
				in = map[string]bool{}
			}
			in[ns] = true
		}
	}
	return in
}
