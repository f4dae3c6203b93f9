package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Proxy compiles what the proxy node must do. The order of everything in the
// result is fixed: equal inputs give equal values.
//
// The verdicts are those that depend on who calls; mesh.Build gives the others.
// verdict.Sort drops what both, or the compilations for several proxies, say alike.
func Proxy(snap *mesh.Snapshot, node Node, prior Prior) (*ir.Proxy, []verdict.Status) {
	v := NewView(snap, node, prior)
	c := newAssembler(v, v.part)
	c.join()
	c.own()
	for _, x := range c.shared.Clusters {
		c.out.Clusters = append(c.out.Clusters, *x)
	}
	for _, x := range c.shared.Assignments {
		c.out.Assignments = append(c.out.Assignments, *x)
	}
	for _, x := range c.shared.Listeners {
		c.out.Outbound = append(c.out.Outbound, *x)
	}
	for _, x := range c.shared.Tables {
		c.out.Tables = append(c.out.Tables, *x)
	}
	for _, x := range c.shared.Ports {
		c.out.Tables = append(c.out.Tables, x.Table())
	}
	sortProxy(c.out)
	return c.out, verdict.Sort(c.statuses)
}

func sortProxy(p *ir.Proxy) {
	slices.SortFunc(p.Outbound, compareListeners)
	slices.SortFunc(p.Tables, func(a, b ir.Table) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(p.Clusters, func(a, b ir.Cluster) int { return a.Key.Compare(b.Key) })
	slices.SortFunc(p.Assignments, func(a, b ir.Assignment) int { return a.Cluster.Compare(b.Cluster) })
}

// assembler makes a proxy's configuration of what the hosts contribute and of what
// is the proxy's own: its inbound side, a gateway's servers.
type assembler struct {
	*compiler // for rules at gateways
	snap      *mesh.Snapshot
	node      Node
	parts     Parts
	hosts     []*mesh.Host // visible to the proxy, by name
	opened    map[netip.AddrPort]*ir.Listener
	shared    Shared
	out       *ir.Proxy // its own
}

func newAssembler(v *View, parts Parts) *assembler {
	c := &assembler{
		compiler: newCompiler(v),
		snap:     v.snap,
		node:     v.node,
		parts:    parts,
		opened:   map[netip.AddrPort]*ir.Listener{},
		out: &ir.Proxy{
			Gateway:      v.node.Kind == Router,
			DataPlane:    dataPlane(&v.node),
			Redirected:   v.node.redirected(),
			RegistryOnly: v.node.Kind != Router && v.snap.Outbound(v.scope()) == mesh.RegistryOnly,
			Namespace:    v.node.Namespace,
			TrustDomain:  v.snap.TrustDomain(),
			SocketMark:   v.node.SocketMark,
			Requests:     requests(v.snap.Settings(), &v.node),
		},
	}
	if parts != nil {
		c.hosts = v.Hosts()
	}
	return c
}

func dataPlane(n *Node) ir.DataPlane { return cmp.Or(n.DataPlane, ir.Native) }

// redirected reports whether connections reach the proxy by redirection.
func (n *Node) redirected() bool { return n.Kind != Router && n.Interception != None }

// addr is the proxy's own address; invalid where it has told none.
func (n *Node) addr() netip.Addr {
	if len(n.IPs) == 0 {
		return netip.Addr{}
	}
	return n.IPs[0]
}

func compareListeners(a, b ir.Listener) int {
	return cmp.Or(cmp.Compare(a.Port, b.Port), a.Addr.Compare(b.Addr))
}
