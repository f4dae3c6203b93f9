// Package store keeps the configuration of a mesh outside Kubernetes: a
// versioned table of objects with the manners of an API server (revisions,
// generations, UIDs, all-or-nothing changes), on disk, with two sources: what was
// applied through the local API and what lies in watched directories.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Options are the parts of a store that tests and callers choose.
type Options struct {
	// Validate checks an object before it enters the table; its error rejects
	// the change. Nil accepts everything that decodes.
	Validate func(*api.Object) error
	// Now is the clock for Meta.Created; nil is time.Now.
	Now func() time.Time
	// Log may be nil.
	Log *slog.Logger
}

// Store is the table. All methods may be called from any goroutine. Readers
// never wait for the disk.
type Store struct {
	// immutable
	dir      string
	validate func(*api.Object) error
	now      func() time.Time
	log      *slog.Logger
	lock     *os.File

	view atomic.Pointer[view]

	// writing serialises changes; it guards what follows.
	writing sync.Mutex
	entries map[verdict.Ref]*entry
	damaged []error
	broken  error // set for good when the disk holds something else than entries

	// mu guards what follows.
	mu          sync.Mutex
	watchers    map[chan struct{}]struct{}
	directories []*Directory
}

// view is what readers see: one revision of the table.
type view struct {
	revision int64
	objects  []*api.Object // sorted by Ref
	byRef    map[verdict.Ref]*api.Object
}

// origin is the watched directory and the file in it that an object comes from,
// both absolute; it is zero for applied objects.
type origin struct{ root, path string }

// entry is an object and who may change it.
type entry struct {
	object *api.Object
	origin
	// active is false for objects of a directory that was watched before the
	// last restart and is not yet again. They are remembered so that they keep
	// their identity, and stay in force if their file is broken by then.
	active bool
}

// Open loads the store that lies in dir, which is made if it does not exist.
// Files that cannot be read do not fail it: the others load, and Damaged tells.
// A second store in the same directory, of any process, is refused.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{
		dir: dir, validate: o.Validate, now: o.Now, log: o.Log,
		entries: map[verdict.Ref]*entry{}, watchers: map[chan struct{}]struct{}{},
	}
	if s.validate == nil {
		s.validate = func(*api.Object) error { return nil }
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, d := range []string{dir, s.objectDir(), s.priorDir()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("opening the configuration store: %w", err)
		}
	}
	if err := s.acquire(); err != nil {
		return nil, err
	}
	revision, err := s.load()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.publish(revision)
	for _, err := range s.damaged {
		s.log.Error("stored configuration could not be read", "err", err)
	}
	return s, nil
}

// Close gives the directory free. Changes after it fail.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.lock == nil {
		return nil
	}
	err := s.lock.Close()
	s.lock = nil
	return err
}

// Damaged lists the files that Open could not read, one error each.
func (s *Store) Damaged() []error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return slices.Clone(s.damaged)
}

// Snapshot returns all objects in the order of their Refs and the revision of
// the table. The slice and the objects are shared and must not be changed.
func (s *Store) Snapshot() ([]*api.Object, int64) {
	v := s.view.Load()
	return slices.Clip(v.objects), v.revision
}

// Revision is the number of the last change.
func (s *Store) Revision() int64 { return s.view.Load().revision }

// Get returns an object, or a *NotFoundError.
func (s *Store) Get(ref verdict.Ref) (*api.Object, error) {
	if o, ok := s.view.Load().byRef[ref]; ok {
		return o, nil
	}
	return nil, &NotFoundError{Ref: ref}
}

// Filter selects objects; empty fields select all.
type Filter struct {
	Kind, Namespace, Name string
}

// List returns the selected objects in the order of their Refs. Objects of
// cluster-scoped kinds belong to no namespace and are never left out for it.
func (s *Store) List(f Filter) []*api.Object {
	var list []*api.Object
	for _, o := range s.view.Load().objects {
		if (f.Kind == "" || f.Kind == o.Kind.ID()) && (f.Name == "" || f.Name == o.Meta.Name) &&
			(f.Namespace == "" || o.Kind.ClusterScoped || f.Namespace == o.Meta.Namespace) {
			list = append(list, o)
		}
	}
	return list
}

// Watch returns a channel that holds a token whenever something changed since the
// last receive, and one at the start: receive, then read a Snapshot. It is
// closed when ctx ends.
func (s *Store) Watch(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	ch <- struct{}{}
	s.mu.Lock()
	s.watchers[ch] = struct{}{}
	s.mu.Unlock()
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, ch)
		close(ch)
	})
	return ch
}

// publish makes the entries visible to readers and wakes watchers; the caller
// holds writing, or is Open.
func (s *Store) publish(revision int64) {
	v := &view{revision: revision, byRef: make(map[verdict.Ref]*api.Object, len(s.entries))}
	for ref, e := range s.entries {
		if e.active {
			v.byRef[ref] = e.object
		}
	}
	v.objects = slices.SortedFunc(maps.Values(v.byRef), func(a, b *api.Object) int {
		return a.Ref().Compare(b.Ref())
	})
	s.view.Store(v)
	s.wake()
}

func (s *Store) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range s.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
