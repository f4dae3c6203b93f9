package push

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"runtime"
	"strconv"
	"sync"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/istioapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// Types is the order in which resources are sent: what is referred to comes
// before what refers to it.
var Types = []string{build.ClusterType, build.EndpointType, build.SecretType, build.ListenerType, build.RouteType}

// FullTypes are those whose state-of-the-world responses hold everything.
var FullTypes = []string{build.ClusterType, build.ListenerType}

// Built is one snapshot of the mesh with what was said of it.
type Built struct {
	Revision int64 // of the store
	Snapshot *mesh.Snapshot
	Statuses []verdict.Status
	prior    compile.Prior
	perProxy map[string]result // guarded by the engine's mutex; by node id
}

// result is what was compiled for one proxy.
type result struct {
	statuses []verdict.Status
	origins  map[string][]verdict.Origin // by "type/name"
}

// compiled is the result for one connection.
type compiled struct {
	conn *server.Conn
	result
	state *server.State
	err   error
}

// Names of the documents in the history.
const (
	routesDocument    = "routes"
	addressesDocument = "addresses"
)

// builder runs the pure stages. It belongs to the engine's goroutine.
type builder struct {
	o     *Options
	prior compile.Prior
	vips  map[string]netip.Addr

	mu     sync.Mutex
	shared map[string]*server.Resource // guarded by mu; by type, name and hash
	fresh  map[string]*server.Resource // guarded by mu; those of the current build
}

func newBuilder(o *Options) (*builder, error) {
	b := &builder{o: o, shared: map[string]*server.Resource{}, fresh: map[string]*server.Resource{}}
	if o.History == nil {
		return b, nil
	}
	if _, err := o.History.LoadPrior(routesDocument, &b.prior); err != nil {
		return nil, fmt.Errorf("the history of routes: %w", err)
	}
	if _, err := o.History.LoadPrior(addressesDocument, &b.vips); err != nil {
		return nil, fmt.Errorf("the services' addresses: %w", err)
	}
	return b, nil
}

// build reads everything into a snapshot. The error is only about keeping the
// history; the snapshot is always there.
func (b *builder) build(objects []*api.Object, revision int64, workloads []registry.Workload) (*Built, error) {
	cfg, said := istioapi.Read(objects)
	vips := registry.Allocate(b.vips, b.o.ServiceCIDR, cfg.Services)
	snap, more := mesh.Build(cfg, mesh.Inputs{Workloads: workloads, VIPs: vips, TrustDomain: b.o.TrustDomain})
	next := compile.Next(snap, b.prior)
	built := &Built{Revision: revision, Snapshot: snap, Statuses: verdict.Sort(append(said, more...)), prior: next, perProxy: map[string]result{}}
	err := b.remember(vips, next)
	b.mu.Lock()
	b.shared, b.fresh = b.fresh, map[string]*server.Resource{}
	b.mu.Unlock()
	return built, err
}

// remember keeps the history for the next build and for a restart.
func (b *builder) remember(vips map[string]netip.Addr, next compile.Prior) error {
	var errs []error
	if b.o.History != nil && !maps.Equal(b.vips, vips) {
		errs = append(errs, b.o.History.SavePrior(addressesDocument, vips))
	}
	if b.o.History != nil && !reflect.DeepEqual(b.prior, next) {
		errs = append(errs, b.o.History.SavePrior(routesDocument, next))
	}
	b.vips, b.prior = vips, next
	return errors.Join(errs...)
}

// compileAll compiles for many connections at once, on all processors.
func (b *builder) compileAll(built *Built, conns []*server.Conn) []compiled {
	out := make([]compiled, len(conns))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i, c := range conns {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			out[i] = b.compile(built, c)
		})
	}
	wg.Wait()
	return out
}

func (b *builder) compile(built *Built, c *server.Conn) compiled {
	out := compiled{conn: c}
	node, err := NodeOf(c.Node)
	if err != nil {
		out.err = err
		return out
	}
	proxy, statuses := compile.Proxy(built.Snapshot, node, built.prior)
	set, err := build.Resources(proxy)
	if err != nil {
		out.err = err
		return out
	}
	out.statuses, out.origins = statuses, map[string][]verdict.Origin{}
	out.state = &server.State{Revision: built.Revision, Types: map[string]map[string]*server.Resource{}}
	for t, list := range map[string][]build.Resource{
		build.ClusterType: set.Clusters, build.EndpointType: set.Endpoints, build.SecretType: set.Secrets,
		build.ListenerType: set.Listeners, build.RouteType: set.Routes,
	} {
		byName := make(map[string]*server.Resource, len(list))
		for i := range list {
			byName[list[i].Name] = b.intern(t, &list[i])
			out.origins[server.ShortType(t)+"/"+list[i].Name] = list[i].Origins
		}
		out.state.Types[t] = byName
	}
	return out
}

// intern gives equal resources of many proxies one copy.
func (b *builder) intern(typeURL string, r *build.Resource) *server.Resource {
	version := strconv.FormatUint(r.Hash, 16)
	key := typeURL + "\x00" + r.Name + "\x00" + version
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.fresh[key]
	if s == nil {
		if s = b.shared[key]; s == nil {
			s = &server.Resource{Name: r.Name, Version: version, Body: r.Body}
		}
		b.fresh[key] = s
	}
	return s
}
