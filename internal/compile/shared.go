package compile

import (
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/sum"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Parts gives what a host contributes: compiled, or kept from before.
type Parts func(h *mesh.Host, what Contribution) *Part

// Shared is what a proxy gets of the hosts that it sees: all proxies that see the same
// hosts and would be given the same parts share it. Its pointers lead into those
// parts, unless something had to be changed for the others' sake.
type Shared struct {
	Clusters    []*ir.Cluster
	Assignments []*ir.Assignment
	Listeners   []*ir.Listener
	Tables      []*ir.Table // of one host each
	Ports       []*PortTable
	Statuses    []verdict.Status
}

// PortTable is the route table that all hosts with a port share.
type PortTable struct {
	Name    string
	Hosts   []*ir.VirtualHost
	origins []verdict.Origin // of the services
}

// Table gives the table as a value.
func (t *PortTable) Table() ir.Table {
	out := ir.Table{Name: t.Name, Hosts: make([]ir.VirtualHost, len(t.Hosts))}
	for i, h := range t.Hosts {
		out.Hosts[i] = *h
	}
	return out
}

// Hosts lists the hosts that the proxy sees, by name.
func (v *View) Hosts() []*mesh.Host { return hostsOf(v) }

// Shared joins what the hosts contribute to the proxy.
func (v *View) Shared(parts Parts) *Shared {
	c := newAssembler(v, parts)
	c.join()
	c.shared.Statuses = verdict.Sort(c.statuses)
	return &c.shared
}

// Own compiles what is the proxy's own: its inbound side, or a gateway's servers.
func (v *View) Own() (*ir.Proxy, []verdict.Status) {
	c := newAssembler(v, nil)
	c.own()
	sortProxy(c.out)
	return c.out, verdict.Sort(c.statuses)
}

// Frame holds those facts of the proxy that shape the messages of parts; equal
// frames and equal parts give equal messages.
func (v *View) Frame() ir.Proxy {
	f := *newAssembler(v, nil).out
	f.Namespace = "" // shapes nothing that is shared
	return f
}

// Standing hashes what join looks at besides the parts: proxies of one standing that
// are given the same parts share the result. Whoever makes join, or what it calls, look
// at something else of the proxy or the mesh adds it here.
func (v *View) Standing(hosts []*mesh.Host) uint64 {
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = h.Name
	}
	frame := v.Frame()
	return sum.Join(sum.Of(names), sum.Of(frame), sum.Of(v.node.Kind), sum.Of(v.Leads()), sum.Of(v.node.hostHeaders()), v.snap.Rev(mesh.TheSettings, ""))
}

// join joins the parts of all hosts. See Standing for what it may look at.
func (c *assembler) join() {
	c.commonClusters()
	for _, h := range c.hosts {
		c.clustersFor(h)
	}
	if c.node.Kind != Router {
		c.outbound()
		c.led()
	}
}

// own compiles what no host contributes.
func (c *assembler) own() {
	if c.node.Kind == Router {
		c.gateway()
		return
	}
	c.inbound()
}

// part is what a host contributes, with its verdicts.
func (c *assembler) part(h *mesh.Host, what Contribution) *Part {
	p := c.parts(h, what)
	c.statuses = append(c.statuses, p.Statuses...)
	return p
}

func (c *assembler) clustersFor(h *mesh.Host) {
	p := c.part(h, OfClusters)
	for i := range p.Clusters {
		c.shared.Clusters = append(c.shared.Clusters, &p.Clusters[i])
	}
	p = c.part(h, OfEndpoints)
	for i := range p.Assignments {
		c.shared.Assignments = append(c.shared.Assignments, &p.Assignments[i])
	}
}
