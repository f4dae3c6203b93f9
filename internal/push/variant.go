package push

import (
	"fmt"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// variant is what proxies of equal facts get. Its fields change only in the
// builder's goroutine; state, origins and statuses are replaced, never changed.
type variant struct {
	key      string
	node     compile.Node // without the id: proxies share it
	state    *server.State
	origins  map[resourceKey][]verdict.Origin
	statuses []verdict.Status
	// generation is the build that the state is of.
	generation int64

	// What the path of endpoints needs to know.
	assigned map[string][]ir.Key // clusters with endpoints, by host
	direct   map[string]bool     // hosts of clusters that are called by address
}

// resourceKey names a resource.
type resourceKey struct{ typeURL, name string }

// fragmentKey names the bytes of a resource.
type fragmentKey struct {
	resourceKey
	hash uint64
}

// variantKey holds all facts that the compiler may read: equal keys mean equal
// results.
func variantKey(n compile.Node) string {
	n.ID = ""
	return strconv.FormatUint(ir.Sum(n), 16)
}

// compileVariant compiles a variant from scratch.
func (b *builder) compileVariant(v *variant, snap *mesh.Snapshot) error {
	proxy, statuses := compile.Proxy(snap, v.node, b.memory.routes)
	set, err := build.Resources(proxy)
	if err != nil {
		return err
	}
	types := map[string]map[string]*server.Resource{}
	origins := map[resourceKey][]verdict.Origin{}
	for typeURL, list := range map[string][]build.Resource{
		build.ClusterType: set.Clusters, build.EndpointType: set.Endpoints, build.SecretType: set.Secrets,
		build.ListenerType: set.Listeners, build.RouteType: set.Routes,
	} {
		byName := make(map[string]*server.Resource, len(list))
		for i := range list {
			r := b.fragment(&list[i])
			byName[r.Name] = r
			if len(list[i].Origins) > 0 {
				origins[resourceKey{typeURL, r.Name}] = list[i].Origins
			}
		}
		types[typeURL] = byName
	}
	v.state = &server.State{Revision: b.generation, Types: types}
	v.origins, v.statuses, v.generation = origins, statuses, b.generation
	v.assigned, v.direct = map[string][]ir.Key{}, map[string]bool{}
	for i := range proxy.Assignments {
		k := proxy.Assignments[i].Cluster
		v.assigned[k.Host] = append(v.assigned[k.Host], k)
	}
	for i := range proxy.Clusters {
		if c := &proxy.Clusters[i]; c.Discovery == ir.ByAddress && c.Key.Direction == ir.OutboundTo {
			v.direct[c.Key.Host] = true
		}
	}
	return nil
}

// fragment returns the one resource for these bytes: what did not change stays
// the same pointer.
func (b *builder) fragment(r *build.Resource) *server.Resource {
	key := fragmentKey{resourceKey{r.TypeURL, r.Name}, r.Hash}
	f := b.fragments[key]
	if f == nil {
		f = &server.Resource{Name: r.Name, Version: fmt.Sprintf("%016x", r.Hash), Body: r.Body}
		b.fragments[key] = f
	}
	return f
}

// sweep forgets fragments that no variant has any more.
func (b *builder) sweep() {
	used := make(map[*server.Resource]bool, len(b.fragments))
	for _, v := range b.variants {
		for _, byName := range v.state.Types {
			for _, r := range byName {
				used[r] = true
			}
		}
	}
	for k, r := range b.fragments {
		if !used[r] {
			delete(b.fragments, k)
		}
	}
}
