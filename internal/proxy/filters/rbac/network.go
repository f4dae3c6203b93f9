package rbac

import (
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Network is a chain's filters envoy.filters.network.rbac, in order.
//
// They are asked once, when the connection (and its TLS handshake) is
// established: before anything is sent upstream, and before a server that speaks
// first could be heard. Envoy asks at the client's first byte. What they look at
// does not change while the connection lives; rules that change do not end
// connections that are open.
type Network []*guard

// NewNetwork makes the filters of a chain; nil without any.
func NewNetwork(list []*config.Access, stats *Stats) Network {
	var n Network
	for _, a := range list {
		n = append(n, newGuard(a, stats, "network"))
	}
	return n
}

// Check decides on a connection: all filters must allow it. If one does not, why
// is the reason of the denial.
func (n Network) Check(c *stream.Conn) (why stream.Reason, ok bool) {
	if len(n) == 0 {
		return stream.Reason{}, true
	}
	s := &stream.Stream{Conn: c}
	for _, g := range n {
		if by, ok := g.check(s); !ok {
			return g.reasons[by], false
		}
	}
	return stream.Reason{}, true
}
