package kube

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/api"
)

const (
	// definitionLag is how long after a definition's change the API server's
	// discovery knows of it; it is asked again after the longer time, in case.
	definitionLag, definitionLagLong = 300 * time.Millisecond, 3 * time.Second
	// discoveryPeriod is how often discovery is asked without any sign: definitions
	// may be hidden from this account, and kinds may come from aggregated servers.
	discoveryPeriod = time.Minute
	discoveryRetry  = 2 * time.Second // while the API server does not answer
)

// customKinds watches the objects of all kinds of package api that are custom
// resource definitions, as far as the API server serves them: definitions may be
// missing, and come and go.
type customKinds struct {
	// immutable
	c       *Client
	good    *lastGood
	changed func(namespace string) // objects changed
	defined chan struct{}          // one slot: definitions changed

	definitions *table[string] // by name, "virtualservices.networking.istio.io"
	running     sync.WaitGroup // the watches' goroutines

	mu         sync.Mutex
	discovered bool                     // guarded by mu: the first discovery is done
	failed     error                    // guarded by mu: of the last discovery
	watches    map[*api.Kind]*kindWatch // guarded by mu
}

// kindWatch is the watch of one kind.
type kindWatch struct {
	resource schema.GroupVersionResource
	table    *table[*item]
	stop     context.CancelFunc
	missing  time.Time // since when discovery does not name it; zero where it does
}

func newCustomKinds(c *Client, good *lastGood, changed func(string)) *customKinds {
	k := &customKinds{c: c, good: good, changed: changed, defined: make(chan struct{}, 1), watches: map[*api.Kind]*kindWatch{}}
	k.definitions = newTable(k.definitionKind(), func(string) { poke(k.defined) })
	return k
}

// definitionKind watches custom resource definitions by their metadata alone: any
// change of them asks discovery again.
func (k *customKinds) definitionKind() kind[string] {
	return metadataKind(k.c, kind[string]{
		name: "customresourcedefinitions",
		keep: func(_ string, object any) (string, bool) {
			in, ok := object.(*metav1.PartialObjectMetadata)
			if !ok {
				return "", false
			}
			return in.ResourceVersion, true
		},
		same: func(a, b string) bool { return a == b },
	}, schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}, "")
}

// run follows discovery until ctx ends; all watches have ended when it returns.
func (k *customKinds) run(ctx context.Context) {
	defer k.running.Wait()
	k.running.Go(func() { k.definitions.run(ctx, k.c) })
	next, again := time.NewTimer(0), time.NewTimer(time.Hour)
	defer next.Stop()
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.defined:
			next.Reset(definitionLag)
			again.Reset(definitionLagLong)
			continue
		case <-next.C:
		case <-again.C:
		}
		wait := discoveryPeriod
		if err := k.discover(ctx); err != nil {
			k.c.log.Warn("the API server's kinds are not known; the last ones stay", "err", err)
			wait = discoveryRetry
		}
		next.Reset(wait)
	}
}

// discover asks which kinds are served, and starts and stops watches accordingly.
func (k *customKinds) discover(ctx context.Context) error {
	served, err := k.served(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed = err; err != nil {
		return err
	}
	for kind, resource := range served {
		w := k.watches[kind]
		if w != nil && w.resource == resource {
			w.missing = time.Time{}
			continue
		}
		if w != nil {
			w.stop()
		}
		k.watches[kind] = k.start(ctx, kind, resource, w)
	}
	for kind, w := range k.watches {
		if _, ok := served[kind]; !ok && k.gone(kind, w) {
			k.c.log.Info("a kind is no longer served", "kind", kind.Name, "group", kind.Group)
			w.stop()
			delete(k.watches, kind)
			k.changed("")
		}
	}
	if !k.discovered {
		k.discovered = true
		k.changed("")
	}
	return nil
}

// gone tells whether a kind that discovery does not name is really gone. An API
// server that has just started names kinds late, and objects must not be forgotten
// for that: the definition must be gone too, or where this account may not see
// definitions, the kind must stay away for a while.
func (k *customKinds) gone(kind *api.Kind, w *kindWatch) bool {
	if k.definitions.settled(false) == nil && k.definitions.problem() == nil {
		_, defined := k.definitions.get(kind.Plural + "." + kind.Group)
		return !defined
	}
	if w.missing.IsZero() {
		w.missing = time.Now()
	}
	return time.Since(w.missing) > discoveryPeriod
}

// start watches a kind; before is the watch of another version of it, whose
// objects stay until the new list is in.
func (k *customKinds) start(ctx context.Context, kind *api.Kind, resource schema.GroupVersionResource, before *kindWatch) *kindWatch {
	k.c.log.Info("watching a kind", "kind", kind.Name, "resource", resource.String())
	ctx, stop := context.WithCancel(ctx)
	t := newTable(k.kind(kind, resource), k.changed)
	if before != nil {
		before.table.each(func(key string, i *item) { t.items[key] = i })
		t.listed = before.table.settled(false) == nil
	}
	k.running.Go(func() { t.run(ctx, k.c) })
	return &kindWatch{resource: resource, table: t, stop: stop}
}

func (k *customKinds) kind(what *api.Kind, resource schema.GroupVersionResource) kind[*item] {
	return of(kind[*item]{
		name: resource.GroupResource().String(), expect: &unstructured.Unstructured{}, strip: stripCustom,
		keep: keepCustom(what, k.good.find), same: sameItem,
	}, k.c.dynamic.Resource(resource), "", "")
}

// each calls f with every watched kind, where it is served, and its table.
func (k *customKinds) each(f func(*api.Kind, schema.GroupVersionResource, *table[*item])) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for kind, w := range k.watches {
		f(kind, w.resource, w.table)
	}
}

// settled tells what is not known yet; see table.settled.
func (k *customKinds) settled() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.discovered {
		if k.failed != nil {
			return k.failed
		}
		return fmt.Errorf("the API server's kinds are not known yet")
	}
	for _, w := range k.watches {
		if err := w.table.settled(true); err != nil {
			return err
		}
	}
	return nil
}

// served asks discovery for our kinds, each in the version that the server prefers
// among those that we know.
func (k *customKinds) served(ctx context.Context) (map[*api.Kind]schema.GroupVersionResource, error) {
	d := k.c.typed.Discovery()
	groups, err := d.ServerGroupsWithContext(k.c.context(ctx))
	if err != nil {
		return nil, fmt.Errorf("asking for API groups: %w", err)
	}
	lists := map[schema.GroupVersion]*metav1.APIResourceList{}
	out := map[*api.Kind]schema.GroupVersionResource{}
	for _, kind := range api.Kinds() {
		if kind.Group == api.GroupCore || kind.Group == api.GroupApps {
			continue
		}
		for _, version := range versions(groups, kind) {
			gv := schema.GroupVersion{Group: kind.Group, Version: version}
			list, asked := lists[gv]
			if !asked {
				list, err = d.ServerResourcesForGroupVersionWithContext(k.c.context(ctx), gv.String())
				if err != nil && !apierrors.IsNotFound(err) {
					return nil, fmt.Errorf("asking for the kinds of %s: %w", gv, err)
				}
				lists[gv] = list
			}
			if serves(list, kind) {
				out[kind] = gv.WithResource(kind.Plural)
				break
			}
		}
	}
	return out, nil
}

// versions lists the versions of a kind's group that the server has and we know,
// the server's preferred one first.
func versions(groups *metav1.APIGroupList, kind *api.Kind) []string {
	var out []string
	for _, g := range groups.Groups {
		if g.Name != kind.Group {
			continue
		}
		for _, v := range append([]metav1.GroupVersionForDiscovery{g.PreferredVersion}, g.Versions...) {
			if slices.Contains(kind.Versions, v.Version) && !slices.Contains(out, v.Version) {
				out = append(out, v.Version)
			}
		}
	}
	return out
}

func serves(list *metav1.APIResourceList, kind *api.Kind) bool {
	return list != nil && slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool {
		return r.Name == kind.Plural && r.Kind == kind.Name && slices.Contains(r.Verbs, "watch")
	})
}
