// Package compile says what each proxy must do: it reads the model of the mesh
// and the facts of one proxy, and gives the proxy's ir. Functions are pure.
package compile

import (
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Kind is the role of a proxy.
type Kind string

// The roles: a workload's sidecar, and a gateway.
const (
	Sidecar Kind = "sidecar"
	Router  Kind = "router"
)

// Interception is how connections reach a sidecar.
type Interception string

// The modes: by redirection, or by binding what clients dial.
const (
	Redirect Interception = "REDIRECT"
	None     Interception = "NONE"
)

// Node is the facts of one proxy that its configuration depends on.
type Node struct {
	ID             string // node id; not read by the compiler, for messages
	Kind           Kind
	Namespace      string
	Labels         map[string]string
	ServiceAccount string
	IPs            []netip.Addr
	Workload       string // name of the owner: "reviews-v1"
	DataPlane      ir.DataPlane
	Interception   Interception // empty: REDIRECT
	// SocketMark is the mark that a stock Envoy must set on connections of its own,
	// so that they are not redirected back to it; 0 sets none. Our proxy marks its
	// sockets by itself.
	SocketMark uint32
	// Names says that the workload asks the mesh for names, so that it dials the
	// addresses that the mesh gives to entries.
	Names bool
	// OnDemand says that a sidecar gets only what Scope names, the full names of the
	// hosts that its workload calls, sorted; and what their rules lead to.
	OnDemand bool
	Scope    []string
	// HTTP10, Headers and Topology are what the proxy tells of its own configuration, nil
	// where it tells nothing: then the mesh's holds.
	HTTP10   bool
	Headers  *mesh.ProxyHeaders
	Topology *mesh.Topology
}
