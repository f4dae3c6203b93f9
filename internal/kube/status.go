package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

const (
	statusPause   = 500 * time.Millisecond // after new verdicts, for more to come
	statusRetry   = 5 * time.Second        // after an error
	statusRate    = 20                     // writes per second
	statusBurst   = 50
	statusPage    = 500
	eventReporter = "lateen"
)

// StatusWriter writes verdicts to the status of Istio's objects, by server-side
// apply, and an event where an object of any kind is not good. It writes what
// differs from what is there, and nothing where the verdicts stay. It is for one
// leader at a time. Statuses of the Gateway API have a form of their own and are
// written elsewhere.
type StatusWriter struct {
	// immutable
	c       *Client
	source  *Source
	log     *slog.Logger
	changed chan struct{} // one slot
	limit   flowcontrol.RateLimiter

	mu       sync.Mutex
	verdicts []verdict.Status // guarded by mu
	known    bool             // guarded by mu: Set was called

	// Only Run's goroutine uses these.
	written map[verdict.Ref]*written
	told    map[verdict.Ref]string // the last event about an object
}

// written is the status that an object has.
type written struct {
	uid    string
	status status
}

// StatusWriter makes a writer for the objects of a source.
func (c *Client) StatusWriter(s *Source) *StatusWriter {
	return &StatusWriter{
		c: c, source: s, log: c.log, changed: make(chan struct{}, 1), limit: flowcontrol.NewTokenBucketRateLimiter(statusRate, statusBurst),
		told: map[verdict.Ref]string{},
	}
}

// Set gives the verdicts on all objects, each time the whole list, sorted (see
// verdict.Sort). It may be called by any goroutine, also while Run does not run.
func (w *StatusWriter) Set(list []verdict.Status) {
	w.mu.Lock()
	same := w.known && slices.Equal(w.verdicts, list)
	w.verdicts, w.known = slices.Clone(list), true
	w.mu.Unlock()
	if !same {
		poke(w.changed)
	}
}

// Run writes what differs until ctx ends; it returns nil then.
func (w *StatusWriter) Run(ctx context.Context) error {
	w.written = nil // another leader may have written
	poke(w.changed)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.changed:
		}
		wait := statusPause
		if err := w.round(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("statuses were not written; they will be", "err", err)
			wait = statusRetry
			poke(w.changed)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// round writes every status that differs.
func (w *StatusWriter) round(ctx context.Context) error {
	w.mu.Lock()
	list, known := w.verdicts, w.known
	w.mu.Unlock()
	if !known {
		return nil // Set wakes the writer
	}
	if err := w.source.Synced(); err != nil {
		return err // which objects there are is not known yet
	}
	if w.written == nil {
		if err := w.readAll(ctx); err != nil {
			return err
		}
	}
	byRef := map[verdict.Ref][]verdict.Status{}
	for _, s := range list {
		byRef[s.Ref] = append(byRef[s.Ref], s)
	}
	var errs []error
	all := w.source.current()
	for ref, c := range all {
		err := w.object(ctx, ref, c, byRef[ref])
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrForbidden) || errors.Is(err, ErrNotFound):
			w.log.Debug("a status cannot be written", "object", ref.String(), "err", err)
		case err != nil:
			errs = append(errs, err)
		}
	}
	for ref := range w.written {
		if _, ok := all[ref]; !ok {
			delete(w.written, ref)
		}
	}
	for ref := range w.told {
		if _, ok := all[ref]; !ok {
			delete(w.told, ref)
		}
	}
	return errors.Join(errs...)
}

// object writes the status of one object, and an event where it is not good.
func (w *StatusWriter) object(ctx context.Context, ref verdict.Ref, c current, list []verdict.Status) error {
	list = slices.DeleteFunc(slices.Clone(list), func(s verdict.Status) bool {
		return s.Generation != 0 && s.Generation < c.generation // of an older version
	})
	if len(list) == 0 {
		return nil // nothing is known of this version yet
	}
	if err := w.event(ctx, ref, c, list); err != nil {
		return err
	}
	if c.resource.Empty() {
		return nil
	}
	var before *status
	if old := w.written[ref]; old != nil && old.uid == c.uid {
		before = &old.status
	}
	now := statusOf(list, c.generation, before, time.Now())
	if now.same(before) {
		return nil
	}
	if err := w.limit.Wait(ctx); err != nil {
		return err
	}
	if err := w.apply(ctx, ref, c, now); err != nil {
		return err
	}
	w.written[ref] = &written{uid: c.uid, status: now}
	return nil
}

// apply writes a status. An object that is gone, or another one of the name, is not
// made or touched: the request names the uid.
func (w *StatusWriter) apply(ctx context.Context, ref verdict.Ref, c current, s status) error {
	ctx, cancel := context.WithTimeout(w.c.context(ctx), requestTimeout)
	defer cancel()
	body, err := json.Marshal(map[string]any{
		"apiVersion": c.resource.GroupVersion().String(), "kind": c.kind.Name,
		"metadata": map[string]any{"name": ref.Name, "namespace": ref.Namespace, "uid": c.uid}, "status": s,
	})
	if err != nil {
		return fmt.Errorf("status of %s: %w", ref, err)
	}
	force := true
	_, err = w.c.dynamic.Resource(c.resource).Namespace(ref.Namespace).Patch(ctx, ref.Name, types.ApplyPatchType, body,
		metav1.PatchOptions{FieldManager: StatusManager, Force: &force}, "status")
	return explain(err, "writing the status of %s", ref)
}

// event tells of an object that is not good, once for each text.
func (w *StatusWriter) event(ctx context.Context, ref verdict.Ref, c current, list []verdict.Status) error {
	bad := slices.DeleteFunc(slices.Clone(list), func(s verdict.Status) bool { return s.Code != verdict.Invalid })
	text := sentences(bad)
	if w.told[ref] == text {
		return nil
	}
	if text == "" {
		delete(w.told, ref)
		return nil
	}
	if err := w.limit.Wait(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(w.c.context(ctx), requestTimeout)
	defer cancel()
	namespace := ref.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault // where events of cluster-scoped objects go
	}
	version := c.kind.APIVersion()
	if !c.resource.Empty() {
		version = c.resource.GroupVersion().String()
	}
	now := metav1.Now()
	_, err := w.c.typed.CoreV1().Events(namespace).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: ref.Name + ".", Namespace: namespace},
		InvolvedObject: corev1.ObjectReference{APIVersion: version, Kind: c.kind.Name, Namespace: ref.Namespace, Name: ref.Name, UID: types.UID(c.uid)},
		Type:           corev1.EventTypeWarning, Reason: string(verdict.Invalid), Message: text,
		Source: corev1.EventSource{Component: eventReporter}, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{FieldManager: FieldManager})
	if err == nil {
		w.told[ref] = text
	}
	return explain(err, "telling of %s", ref)
}

// readAll reads the statuses that are there, kind by kind.
func (w *StatusWriter) readAll(ctx context.Context) error {
	found := map[verdict.Ref]*written{}
	var resources []schema.GroupVersionResource
	var kinds []*api.Kind
	w.source.custom.each(func(k *api.Kind, r schema.GroupVersionResource, _ *table[*item]) {
		if hasIstioStatus(k) {
			resources, kinds = append(resources, r), append(kinds, k)
		}
	})
	for i, r := range resources {
		o := metav1.ListOptions{Limit: statusPage}
		for {
			list, err := w.c.dynamic.Resource(r).List(w.c.context(ctx), o)
			if err != nil {
				return explain(err, "reading the statuses of %s", r.GroupResource())
			}
			for j := range list.Items {
				in := &list.Items[j]
				ref := verdict.Ref{Kind: kinds[i].ID(), Namespace: in.GetNamespace(), Name: in.GetName()}
				found[ref] = &written{uid: string(in.GetUID()), status: statusIn(in)}
			}
			if o.Continue = list.GetContinue(); o.Continue == "" {
				break
			}
		}
	}
	w.written = found
	return nil
}

// statusIn reads an object's status. One of another form is taken for none, and
// replaced.
func statusIn(in *unstructured.Unstructured) status {
	data, err := json.Marshal(in.Object["status"])
	if err != nil {
		return status{}
	}
	var s status
	if err := json.Unmarshal(data, &s); err != nil {
		return status{}
	}
	return s
}

// hasIstioStatus reports whether objects of a kind have Istio's status.
func hasIstioStatus(k *api.Kind) bool {
	switch k.Group {
	case api.GroupNetworking, api.GroupSecurity, api.GroupTelemetry, api.GroupExtensions:
		return true
	}
	return false
}

// current is the newest version of an object, as far as a status needs it.
type current struct {
	kind       *api.Kind
	resource   schema.GroupVersionResource // empty for kinds whose status is not written
	uid        string
	generation int64
}

// current lists the objects whose status is this control plane's to write: an
// object that names no revision belongs to the revision that the tag default names,
// else to the default revision, where there is one.
func (s *Source) current() map[verdict.Ref]current {
	selected, tags := s.view.Load().selected, s.tagsOf()
	_, another := s.services.get(s.c.namespace + "/istiod")
	ours := tags[DefaultRevision] || s.c.revision == DefaultRevision || !another
	out := map[verdict.Ref]current{}
	add := func(k *api.Kind, r schema.GroupVersionResource) func(string, *item) {
		return func(key string, i *item) {
			ns := namespaceOf(key)
			if ns != "" && selected != nil && !selected[ns] {
				return
			}
			rev := i.labels[label.IoIstioRev.Name]
			if rev == "" && !ours || rev != "" && rev != s.c.revision && !tags[rev] {
				return
			}
			ref := verdict.Ref{Kind: k.ID(), Namespace: ns, Name: key}
			if ns != "" {
				ref.Name = key[len(ns)+1:]
			}
			out[ref] = current{kind: k, resource: r, uid: i.uid, generation: i.generation}
		}
	}
	s.custom.each(func(k *api.Kind, r schema.GroupVersionResource, t *table[*item]) {
		if !hasIstioStatus(k) {
			r = schema.GroupVersionResource{}
		}
		t.each(add(k, r))
	})
	s.services.each(add(api.KindNamed(api.KindService), schema.GroupVersionResource{}))
	s.secrets.each(add(api.KindNamed(api.KindSecret), schema.GroupVersionResource{}))
	return out
}
