package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// File names in the directories.
const (
	fileName    = "config.cache"
	privateName = "secrets.cache"
)

// Options configure a Store. Dir and Node are required.
type Options struct {
	// Dir holds the file; it is made if it is not there.
	Dir string
	// Private are the types of resources that hold keys. They are kept in PrivateDir,
	// a directory in memory, or not at all where that is "".
	Private    []string
	PrivateDir string
	// Node is the id of the proxy: another one's configuration is not used.
	Node string
	// Good reports whether what was recorded is in force as a whole; before, nothing
	// is written over what an earlier run left. nil: always.
	Good func() bool
	Log  *slog.Logger
}

const (
	// settle is how long more changes are waited for before the file is written.
	settle = time.Second
	// between is the least time between two writings: endpoints may change all the
	// time, on many proxies of one machine.
	between = 30 * time.Second
)

// Store is the kept configuration of one proxy. Safe for concurrent use.
type Store struct {
	o    Options
	wake chan struct{} // one slot

	mu      sync.Mutex
	set     Set  // guarded by mu: what this run has recorded
	changed bool // guarded by mu: since it was written
}

// New makes a store; nothing is read or written yet.
func New(o Options) *Store {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Good == nil {
		o.Good = func() bool { return true }
	}
	return &Store{o: o, wake: make(chan struct{}, 1), set: Set{}}
}

// Load reads what an earlier run left. There may be nothing: then the set is empty.
// A file that cannot be used is an error that says why; what is good of the other file
// is returned all the same.
func (s *Store) Load() (Set, error) {
	all, err := s.load(s.o.Dir, fileName)
	if all == nil {
		all = Set{}
	}
	if s.o.PrivateDir == "" {
		return all, err
	}
	private, perr := s.load(s.o.PrivateDir, privateName)
	for typeURL, m := range private {
		all[typeURL] = m
	}
	return all, errors.Join(err, perr)
}

func (s *Store) load(dir, name string) (Set, error) {
	path := filepath.Join(dir, name)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	node, set, err := Unmarshal(text)
	if err == nil && node != s.o.Node {
		err = fmt.Errorf("it is of the proxy %q", node)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return set, nil
}

// Record notes resources that the proxy has accepted, and those that are gone.
func (s *Store) Record(typeURL string, added []client.Resource, removed []string) {
	if s.o.PrivateDir == "" && slices.Contains(s.o.Private, typeURL) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.set[typeURL]
	if m == nil {
		m = map[string]client.Resource{}
		s.set[typeURL] = m
	}
	for _, r := range added {
		if old, ok := m[r.Name]; ok && bytes.Equal(old.Body, r.Body) {
			r.Body = old.Body // what the proxy holds too
		}
		m[r.Name] = r
	}
	for _, n := range removed {
		delete(m, n)
	}
	s.changed = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run writes the file when it has changed, until ctx ends, and then once more.
func (s *Store) Run(ctx context.Context) {
	defer s.write()
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		wait := settle
		for {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
			if s.o.Good() {
				break
			}
		}
		s.write()
		select {
		case <-time.After(between):
		case <-ctx.Done():
			return
		}
	}
}

// write writes what was recorded, if it changed. A failure leaves the old file: the
// proxy goes on without.
func (s *Store) write() {
	if !s.o.Good() {
		return
	}
	s.mu.Lock()
	if !s.changed {
		s.mu.Unlock()
		return
	}
	s.changed = false
	public, private := Set{}, Set{}
	for typeURL, m := range s.set {
		if slices.Contains(s.o.Private, typeURL) {
			private[typeURL] = m
		} else {
			public[typeURL] = m
		}
	}
	text := Marshal(s.o.Node, public)
	var secrets []byte
	if len(private) > 0 {
		secrets = Marshal(s.o.Node, private)
	}
	s.mu.Unlock()
	err := replace(s.o.Dir, fileName, text)
	if secrets != nil {
		err = errors.Join(err, replace(s.o.PrivateDir, privateName, secrets))
	}
	if err != nil {
		s.o.Log.Warn("the configuration is not kept for a later start", "err", err)
	}
}

// replace exchanges a file as a whole. It is not synced: after a crash of the machine
// the pod is another one.
func replace(dir, name string, text []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
