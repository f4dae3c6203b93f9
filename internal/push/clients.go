package push

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// client is a connected proxy.
type client struct {
	// immutable, but for the scope of a proxy on demand and the variant that follows
	// from it: the builder's goroutine changes them, holding Engine.mu
	conn    *server.Conn
	node    compile.Node
	proxy   string // "reviews-v1-0.default"
	variant string // key

	questions atomic.Int64 // version of what a proxy on demand asks for

	offered atomic.Pointer[offer] // nil before the first
	settled atomic.Int64          // newest generation whose convergence was measured
}

// reached reports whether the proxy has answered, well or not, for everything up to
// a build. A proxy counts as served only when it has asked for clusters and
// listeners: an Envoy that starts asks for listeners when its clusters are warm.
func (c *client) reached(generation int64) bool {
	return c.conn.Settled() >= generation && c.conn.Asked(build.ClusterType, build.ListenerType)
}

// offer is what was last offered to a client; immutable.
type offer struct {
	generation int64
	origins    [2]map[resourceKey][]verdict.Origin // of what is shared, and the proxy's own
	statuses   []verdict.Status
	at         time.Time
}

// originsOf tells what objects a resource was made from.
func (o *offer) originsOf(typeURL, name string) []verdict.Origin {
	for _, m := range o.origins {
		if list := m[resourceKey{typeURL, name}]; list != nil {
			return list
		}
	}
	return nil
}

// Connected implements server.Owner.
func (e *Engine) Connected(c *server.Conn) error {
	node, proxy, err := facts(c.Node)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.clients[c] = &client{conn: c, node: node, proxy: proxy, variant: variantKey(node)}
	e.metrics.connections.Set(float64(len(e.clients)))
	e.mu.Unlock()
	poke(e.arrived)
	e.log.Info("proxy connected", "proxy", proxy, "node", c.Node.GetId(), "data_plane", node.DataPlane, "connection", c.ID)
	return nil
}

// Progress implements server.Owner.
func (e *Engine) Progress(c *server.Conn) {
	e.mu.Lock()
	cl := e.clients[c]
	e.mu.Unlock()
	if cl != nil {
		e.heard(cl)
		if o := cl.offered.Load(); o != nil {
			if s := c.Settled(); s == o.generation && cl.settled.Swap(s) != s {
				e.metrics.convergence.Observe(e.o.Now().Sub(o.at).Seconds())
			}
		}
	}
	e.advance()
}

// Disconnected implements server.Owner.
func (e *Engine) Disconnected(c *server.Conn) {
	e.mu.Lock()
	cl := e.clients[c]
	delete(e.clients, c)
	e.metrics.connections.Set(float64(len(e.clients)))
	e.mu.Unlock()
	e.advance()
	if cl != nil {
		e.log.Info("proxy disconnected", "proxy", cl.proxy, "connection", c.ID)
	}
}

// clientList lists the clients in the order of their names, then their age.
func (e *Engine) clientList() []*client {
	e.mu.Lock()
	list := make([]*client, 0, len(e.clients))
	for _, c := range e.clients {
		list = append(list, c)
	}
	e.mu.Unlock()
	slices.SortFunc(list, func(a, b *client) int {
		return cmp.Or(cmp.Compare(a.proxy, b.proxy), cmp.Compare(a.conn.ID, b.conn.ID))
	})
	return list
}

// proxies lists the clients that count: of several connections of one proxy the
// newest, since the others are of a stream that broke and was not noticed yet, and
// no client that did not say who it is, since that is a tool.
func (e *Engine) proxies() []*client {
	var list []*client
	for _, c := range e.clientList() {
		switch n := len(list); {
		case c.conn.Identity == nil:
		case n > 0 && list[n-1].proxy == c.proxy:
			list[n-1] = c
		default:
			list = append(list, c)
		}
	}
	return list
}

func (e *Engine) variantOf(c *client) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return c.variant
}

// variantsInUse lists the variants of connected proxies.
func (e *Engine) variantsInUse() map[string]bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	used := make(map[string]bool, len(e.clients))
	for _, c := range e.clients {
		used[c.variant] = true
	}
	return used
}
