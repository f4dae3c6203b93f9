package compile

import (
	"cmp"
	"fmt"
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
	c := newCompiler(snap, node, prior)
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

// compiler holds the state of one compilation.
type compiler struct {
	snap     *mesh.Snapshot
	node     Node
	client   mesh.Client
	prior    Prior
	hosts    []*mesh.Host // visible to the proxy, by name
	out      *ir.Proxy
	statuses []verdict.Status
}

func newCompiler(snap *mesh.Snapshot, node Node, prior Prior) *compiler {
	return &compiler{
		snap:   snap,
		node:   node,
		client: mesh.Client{Namespace: node.Namespace, Labels: node.Labels},
		prior:  prior,
		hosts:  hostsOf(snap, &node),
		out: &ir.Proxy{
			Gateway:     node.Kind == Router,
			DataPlane:   cmp.Or(node.DataPlane, ir.Native),
			Redirected:  node.Kind != Router && node.Interception != None,
			Namespace:   node.Namespace,
			TrustDomain: snap.TrustDomain(),
			SocketMark:  node.SocketMark,
		},
	}
}

func (c *compiler) say(at verdict.Origin, code verdict.Code, by verdict.Ref, format string, args ...any) {
	c.statuses = append(c.statuses, verdict.Status{Origin: at, Code: code, By: by, Message: fmt.Sprintf(format, args...)})
}

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
