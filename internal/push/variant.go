package push

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/sum"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// variant is what proxies of equal facts get: what their class shares, and what is
// their own. Its fields change only in the builder's goroutine; state, origins and
// statuses are replaced, never changed.
type variant struct {
	key      string
	node     compile.Node // without the id: proxies share it
	state    *server.State
	statuses []verdict.Status
	// generation is the build that the state is of.
	generation int64

	class    *class
	classIn  uint64 // what the key was found with
	classKey string
	own      own
	joined   map[string]joined // of the types that have resources of both
}

// own is what a proxy has that no host contributes.
type own struct {
	input    uint64 // of what it was compiled
	told     uint64 // of the ir, with its origins
	types    map[string]resources
	origins  map[resourceKey][]verdict.Origin
	statuses []verdict.Status
}

// joined is a type's resources, of the class and the proxy's own.
type joined struct{ shared, own, all resources }

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

// bring brings variants up to the snapshot. before holds the classes of the build
// before, nil within a build.
func (b *builder) bring(snap *mesh.Snapshot, list []*variant, before map[string]*class) {
	b.classify(snap, list, before)
	for _, v := range list {
		if v.class.err != nil {
			continue // said in the log; the state before stays, under its generation
		}
		if err := b.complete(v, snap); err != nil {
			b.e.log.Error("a proxy's configuration could not be built; it keeps the last one", "namespace", v.node.Namespace, "workload", v.node.Workload, "err", err)
		}
	}
}

// complete adds a variant's own resources to those of its class.
func (b *builder) complete(v *variant, snap *mesh.Snapshot) error {
	if err := b.compileOwn(v, snap); err != nil {
		return err
	}
	if v.joined == nil {
		v.joined = map[string]joined{}
	}
	types := make(map[string]resources, len(ownTypes))
	for _, t := range ownTypes {
		shared, mine := v.class.types[t], v.own.types[t]
		j := v.joined[t]
		switch {
		case len(mine) == 0:
			types[t] = shared
			continue
		case j.all == nil || !sameMap(j.shared, shared) || !sameMap(j.own, mine):
			j = joined{shared, mine, make(resources, len(shared)+len(mine))}
			maps.Copy(j.all, shared)
			maps.Copy(j.all, mine)
			v.joined[t] = j
		}
		types[t] = j.all
	}
	v.state = &server.State{Revision: b.generation, Types: types}
	v.generation = b.generation
	v.statuses = v.own.statuses
	if len(v.class.statuses) > 0 {
		v.statuses = verdict.Sort(slices.Concat(v.class.statuses, v.own.statuses))
	}
	return nil
}

// sameMap reports whether two maps are one.
func sameMap(a, b resources) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// ownTypes are the types of resources.
var ownTypes = []string{build.ClusterType, build.EndpointType, build.SecretType, build.ListenerType, build.RouteType}

// compileOwn compiles what no host contributes, unless all it depends on is as it was:
// the configuration, and the proxy's workload.
func (b *builder) compileOwn(v *variant, snap *mesh.Snapshot) error {
	input := sum.Join(uint64(b.configs), b.selfRev(snap, &v.node), 1)
	if v.own.input == input {
		return nil
	}
	proxy, statuses := compile.NewView(snap, v.node, b.memory.routes).Own()
	told := sum.Of(proxy)
	if v.own.types != nil && v.own.told == told {
		v.own.input, v.own.statuses = input, statuses
		return nil
	}
	origins := map[resourceKey][]verdict.Origin{}
	set, err := build.Resources(proxy)
	if err != nil {
		return err
	}
	types := map[string]resources{}
	for typeURL, list := range map[string][]build.Resource{
		build.ClusterType: set.Clusters, build.EndpointType: set.Endpoints, build.SecretType: set.Secrets,
		build.ListenerType: set.Listeners, build.RouteType: set.Routes,
	} {
		byName := make(resources, len(list))
		for i := range list {
			r := b.fragment(&list[i])
			byName[r.Name] = r
			if len(list[i].Origins) > 0 {
				origins[resourceKey{typeURL, r.Name}] = list[i].Origins
			}
		}
		if old := v.own.types[typeURL]; old != nil && maps.Equal(old, byName) {
			byName = old
		}
		types[typeURL] = byName
	}
	v.own = own{input: input, told: told, types: types, origins: origins, statuses: statuses}
	return nil
}

// selfRev hashes the workload of a proxy, 0 where the registry has none.
func (b *builder) selfRev(snap *mesh.Snapshot, n *compile.Node) uint64 {
	for _, ip := range n.IPs {
		if w := snap.Workloads().At(n.Namespace, ip); w != nil {
			return sum.Of(w)
		}
	}
	return 0
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

// sweep forgets what no variant has any more.
func (b *builder) sweep() {
	for key, tree := range b.trees {
		if tree = tree.prune(b.generation); tree == nil {
			delete(b.trees, key)
		} else {
			b.trees[key] = tree
		}
	}
	used := make(map[*server.Resource]bool, len(b.fragments))
	mark := func(types map[string]resources) {
		for _, byName := range types {
			for _, r := range byName {
				used[r] = true
			}
		}
	}
	for _, c := range b.classes {
		mark(c.types)
	}
	for _, v := range b.variants {
		mark(v.own.types)
	}
	for _, t := range b.trees {
		t.each(func(e *entry) {
			for _, m := range e.made {
				for _, r := range m.fragments {
					used[r] = true
				}
			}
		})
	}
	for k, r := range b.fragments {
		if !used[r] {
			delete(b.fragments, k)
		}
	}
	b.narrow()
}

// narrow forgets facts that nothing asks for any more, when they are many: with each,
// the classes' keys change.
func (b *builder) narrow() {
	live := map[compile.Question]bool{}
	for _, t := range b.trees {
		t.facts(live)
	}
	if len(b.facts) > 2*len(live)+8 {
		b.facts, b.askedList = live, nil
		b.factsRev++
	}
}
