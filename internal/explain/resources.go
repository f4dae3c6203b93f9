package explain

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
)

// Resources are what one proxy would get. Make them with NewResources.
type Resources struct {
	deps      config.Deps
	listeners map[string]*config.Listener
	tables    map[string]*config.RouteTable
	clusters  map[string]*config.Cluster
	endpoints map[string]*config.Endpoints
}

// NewResources makes an empty set; gateway says that the proxy is one.
func NewResources(gateway bool) *Resources {
	return &Resources{
		deps:      config.Deps{Filters: filters(), Gateway: gateway},
		listeners: map[string]*config.Listener{},
		tables:    map[string]*config.RouteTable{},
		clusters:  map[string]*config.Cluster{},
		endpoints: map[string]*config.Endpoints{},
	}
}

// Add adds one resource as it goes over the wire. An error is what the proxy would
// answer to the control plane (NACK).
func (r *Resources) Add(typeURL string, value []byte) error {
	node, err := config.Parse(typeURL, value, r.deps)
	if err != nil {
		return err
	}
	match.Prepare(node)
	switch n := node.(type) {
	case *config.Listener:
		r.listeners[n.Name] = n
	case *config.RouteTable:
		r.tables[n.Name] = n
	case *config.Cluster:
		r.clusters[n.Name] = n
	case *config.Endpoints:
		r.endpoints[n.Name] = n
	default:
		return fmt.Errorf("resource type %q takes no part in an explanation", typeURL)
	}
	return nil
}

// sorted returns the listeners by name, so that explanations are stable.
func (r *Resources) sorted() []*config.Listener {
	out := make([]*config.Listener, 0, len(r.listeners))
	for _, l := range r.listeners {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b *config.Listener) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
