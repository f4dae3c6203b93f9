package kube

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// kind says how the objects of one resource are watched and what is held of them.
type kind[T any] struct {
	name   string // for logs and Synced: "pods"
	expect any    // the Go type on the wire: &corev1.Pod{}
	list   func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch  func(context.Context, metav1.ListOptions) (watch.Interface, error)
	// strip makes an object small in place while a list streams in; nil keeps it.
	strip func(any)
	// keep reduces an object to what is held; old is what was held before, and the
	// zero value of T for a new one. Returning false drops the object.
	keep func(old T, object any) (T, bool)
	// same reports whether nobody needs to hear of the difference.
	same func(a, b T) bool
}

// table holds the objects of one resource by "namespace/name" (or "name"). It is
// what a client-go Reflector fills: there is no queue between them, and a relist
// tells only of what differs.
type table[T any] struct {
	// immutable
	kind   kind[T]
	notify func(namespace string) // called without mu held; must not block

	mu     sync.RWMutex
	items  map[string]T // guarded by mu
	listed bool         // guarded by mu: the first list is in
	failed error        // guarded by mu: of the last list or watch; nil after a success
}

func newTable[T any](k kind[T], notify func(namespace string)) *table[T] {
	return &table[T]{kind: k, notify: notify, items: map[string]T{}}
}

// backoff is how watches come back after an error: at most three seconds apart,
// since a mesh is out of date for that long after an outage of the API server.
var backoff = wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 2 * time.Second}

// forbiddenPause is how long a resource that may not be read is left alone.
const forbiddenPause = 30 * time.Second

// run watches until ctx ends.
func (t *table[T]) run(ctx context.Context, c *Client) {
	b := backoff
	r := cache.NewReflectorWithOptions(listWatch[T]{t, c.log}, t.kind.expect, t, cache.ReflectorOptions{Name: t.kind.name, Logger: &c.quiet, Backoff: &b})
	r.RunWithContext(klog.NewContext(ctx, c.quiet))
}

// settled tells why the table cannot be used yet: nil once the first list is in.
// Where optional, a kind that may not be read, or is gone, does not hold up the
// others.
func (t *table[T]) settled(optional bool) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	switch {
	case t.listed:
		return nil
	case optional && (apierrors.IsForbidden(t.failed) || apierrors.IsNotFound(t.failed)):
		return nil
	case t.failed != nil:
		return fmt.Errorf("%s: %w", t.kind.name, t.failed)
	}
	return fmt.Errorf("%s: the first list is not in yet", t.kind.name)
}

// problem is the error of the last list or watch; nil where all is well.
func (t *table[T]) problem() error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.failed
}

func (t *table[T]) get(key string) (T, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	v, ok := t.items[key]
	return v, ok
}

// each calls f with every item, in no order; f must not call the table.
func (t *table[T]) each(f func(key string, v T)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for k, v := range t.items {
		f(k, v)
	}
}

func (t *table[T]) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.items)
}

// Add implements cache.ReflectorStore.
func (t *table[T]) Add(object any) error { return t.Update(object) }

// Update implements cache.ReflectorStore.
func (t *table[T]) Update(object any) error {
	key, namespace, err := keyOf(object)
	if err != nil {
		return err
	}
	t.mu.Lock()
	old, had := t.items[key]
	now, held := t.kind.keep(old, object)
	if held {
		t.items[key] = now
	} else {
		delete(t.items, key)
	}
	t.mu.Unlock()
	if had != held || held && !t.kind.same(old, now) {
		t.notify(namespace)
	}
	return nil
}

// Delete implements cache.ReflectorStore.
func (t *table[T]) Delete(object any) error {
	key, namespace, err := keyOf(object)
	if err != nil {
		return err
	}
	t.mu.Lock()
	_, had := t.items[key]
	delete(t.items, key)
	t.mu.Unlock()
	if had {
		t.notify(namespace)
	}
	return nil
}

// Replace implements cache.ReflectorStore: the result of a list.
func (t *table[T]) Replace(list []any, _ string) error {
	changed := map[string]bool{}
	t.mu.Lock()
	items := make(map[string]T, len(list))
	for _, object := range list {
		key, namespace, err := keyOf(object)
		if err != nil {
			t.mu.Unlock()
			return err
		}
		old, had := t.items[key]
		now, held := t.kind.keep(old, object)
		if held {
			items[key] = now
		}
		if had != held || held && !t.kind.same(old, now) {
			changed[namespace] = true
		}
		delete(t.items, key)
	}
	for key := range t.items { // what is left is gone
		changed[namespaceOf(key)] = true
	}
	first := !t.listed
	t.items, t.listed, t.failed = items, true, nil
	t.mu.Unlock()
	if first {
		changed[""] = true // even where nothing is there: somebody waits for the list
	}
	for namespace := range maps.Keys(changed) {
		t.notify(namespace)
	}
	return nil
}

// Resync implements cache.ReflectorStore; nothing is resynchronised by time.
func (t *table[T]) Resync() error { return nil }

// Transformer implements cache.TransformingStore: it keeps the list that streams
// in small.
func (t *table[T]) Transformer() cache.TransformFunc {
	return func(object any) (any, error) {
		if t.kind.strip != nil {
			t.kind.strip(object)
		}
		return object, nil
	}
}

// ended notes the outcome of a request, and says what changed by it.
func (t *table[T]) ended(ctx context.Context, err error, log *slog.Logger) {
	if ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	before := t.failed
	waiting := !t.listed && err != nil
	t.failed = err
	t.mu.Unlock()
	switch {
	case before == nil && err != nil:
		log.Warn("a resource cannot be watched; what was read last stays", "resource", t.kind.name, "err", err)
	case before != nil && err == nil:
		log.Info("a resource is watched again", "resource", t.kind.name)
	}
	if waiting {
		t.notify("") // an optional kind is settled by this
	}
}

// pause waits before a request where the last one was forbidden.
func (t *table[T]) pause(ctx context.Context) error {
	if !apierrors.IsForbidden(t.problem()) {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(forbiddenPause):
		return nil
	}
}

func keyOf(object any) (key, namespace string, err error) {
	key, err = cache.DeletionHandlingMetaNamespaceKeyFunc(object)
	if err != nil {
		return "", "", fmt.Errorf("watched object: %w", err)
	}
	return key, namespaceOf(key), nil
}

// namespaceOf is the namespace of a key; "" for cluster-scoped kinds.
func namespaceOf(key string) string {
	for i := range len(key) {
		if key[i] == '/' {
			return key[:i]
		}
	}
	return ""
}

// listWatch tells the table how requests ended.
type listWatch[T any] struct {
	t   *table[T]
	log *slog.Logger
}

// List implements cache.Lister.
func (l listWatch[T]) List(o metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), o)
}

// ListWithContext implements cache.ListerWithContext.
func (l listWatch[T]) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if err := l.t.pause(ctx); err != nil {
		return nil, err
	}
	list, err := l.t.kind.list(ctx, o)
	l.t.ended(ctx, err, l.log)
	return list, err
}

// Watch implements cache.Watcher.
func (l listWatch[T]) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), o)
}

// WatchWithContext implements cache.WatcherWithContext. A watch that streams the
// list in first is one of the Reflector's tries; it lists where that fails.
func (l listWatch[T]) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if err := l.t.pause(ctx); err != nil {
		return nil, err
	}
	w, err := l.t.kind.watch(ctx, o)
	l.t.ended(ctx, err, l.log)
	return w, err
}
