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
	c := newAssembler(NewView(snap, node, prior))
	c.clusters()
	if node.Kind == Router {
		c.gateway()
	} else {
		c.inbound()
		c.outbound()
		c.led()
	}
	slices.SortFunc(c.out.Outbound, compareListeners)
	slices.SortFunc(c.out.Tables, func(a, b ir.Table) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(c.out.Clusters, func(a, b ir.Cluster) int { return a.Key.Compare(b.Key) })
	slices.SortFunc(c.out.Assignments, func(a, b ir.Assignment) int { return a.Cluster.Compare(b.Cluster) })
	return c.out, verdict.Sort(c.statuses)
}

// assembler makes a proxy's configuration of what the hosts contribute and of what
// is the proxy's own: its inbound side, a gateway's servers.
type assembler struct {
	*compiler // for rules at gateways
	view      *View
	snap      *mesh.Snapshot
	node      Node
	hosts     []*mesh.Host // visible to the proxy, by name
	opened    map[netip.AddrPort]*ir.Listener
	out       *ir.Proxy
}

func newAssembler(v *View) *assembler {
	return &assembler{
		compiler: newCompiler(v),
		view:     v,
		snap:     v.snap,
		node:     v.node,
		hosts:    hostsOf(v.snap, &v.node),
		opened:   map[netip.AddrPort]*ir.Listener{},
		out: &ir.Proxy{
			Gateway:     v.node.Kind == Router,
			DataPlane:   dataPlane(&v.node),
			Redirected:  v.node.redirected(),
			Namespace:   v.node.Namespace,
			TrustDomain: v.snap.TrustDomain(),
			SocketMark:  v.node.SocketMark,
		},
	}
}

// contribution compiles what a host contributes.
func (c *assembler) contribution(h *mesh.Host, what Contribution) *Part {
	p := c.view.part(h, what)
	c.statuses = append(c.statuses, p.Statuses...)
	return p
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
