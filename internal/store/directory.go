package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// FileStatus is the state of one file of a watched directory.
type FileStatus struct {
	File    string    `json:"file"`              // as the directory was named, plus the path below it
	Objects int       `json:"objects"`           // in force from this file; of a broken one the last good ones
	Errors  []string  `json:"errors,omitempty"`  // why the newest content is not in force
	Since   time.Time `json:"since,omitzero"`    // when the file was last read with this content
	Ignored bool      `json:"ignored,omitempty"` // a broken file of which no good content is known
}

// Quiet is how long a directory must be quiet before it is read again: editors
// and git make several events of one save. A directory that is never quiet is
// read every quietLimit.
const (
	quiet      = 50 * time.Millisecond
	quietLimit = time.Second
)

// Directory is a watched directory tree (or single file).
type Directory struct {
	// immutable
	store *Store
	path  string // as given
	root  string // absolute
	log   *slog.Logger
	done  chan struct{}

	// used by the first scan, then by the watching goroutine only
	known map[string]*knownFile // by path

	// mu guards status.
	mu     sync.Mutex
	status []FileStatus
}

// WatchDirectory brings the objects of all YAML and JSON files below path into
// the table and keeps following them until ctx ends; path may also be one file. It
// returns after the first reading. Hidden files and directories are left out.
//
// A file with a mistake in it, however small, changes nothing: the objects of its
// last good content stay in force, also over a restart, and Files says what is wrong. A removed
// file removes its objects. Objects that were applied, or that another file has,
// are not taken over: that is a mistake of the file, too.
func (s *Store) WatchDirectory(ctx context.Context, path string) (*Directory, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", path, err)
	}
	if _, err := os.Stat(root); err != nil {
		return nil, fmt.Errorf("watching %s: %w", path, err)
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching %s: %w", path, err)
	}
	d := &Directory{store: s, path: path, root: root, log: s.log.With("directory", path), done: make(chan struct{}), known: map[string]*knownFile{}}
	if err := errors.Join(d.follow(watcher), d.sync()); err != nil {
		return nil, errors.Join(fmt.Errorf("watching %s: %w", path, err), watcher.Close())
	}
	s.mu.Lock()
	s.directories = append(s.directories, d)
	s.mu.Unlock()
	go d.run(ctx, watcher)
	return d, nil
}

// Files lists the files of all watched directories in the order of their names.
func (s *Store) Files() []FileStatus {
	s.mu.Lock()
	directories := slices.Clone(s.directories)
	s.mu.Unlock()
	var all []FileStatus
	for _, d := range directories {
		all = append(all, d.Files()...)
	}
	slices.SortStableFunc(all, func(a, b FileStatus) int { return cmp.Compare(a.File, b.File) })
	return all
}

// Files lists the directory's files in the order of their names.
func (d *Directory) Files() []FileStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.status)
}

// Done is closed when the watching has ended.
func (d *Directory) Done() <-chan struct{} { return d.done }

// setStatus publishes the state of all files and logs what became of them.
func (d *Directory) setStatus(status []FileStatus) {
	d.mu.Lock()
	before := map[string]FileStatus{}
	for _, f := range d.status {
		before[f.File] = f
	}
	changed := len(before) != len(status)
	d.status = status
	d.mu.Unlock()
	for _, f := range status {
		old, known := before[f.File]
		if known && slices.Equal(old.Errors, f.Errors) && old.Objects == f.Objects {
			continue
		}
		changed = true
		if len(f.Errors) > 0 && !slices.Equal(old.Errors, f.Errors) {
			d.log.Error("configuration file is broken, its last good content stays in force", "file", f.File, "objects", f.Objects, "errors", f.Errors)
		} else if len(old.Errors) > 0 {
			d.log.Info("configuration file is good again", "file", f.File, "objects", f.Objects)
		}
	}
	if changed {
		d.store.wake()
	}
}

// run follows the directory until ctx ends. Events only say that something
// happened; each reading looks at everything, so that a lost event costs delay
// and not truth.
func (d *Directory) run(ctx context.Context, watcher *fsnotify.Watcher) {
	defer close(d.done)
	defer func() {
		if err := watcher.Close(); err != nil {
			d.log.Warn("closing the file watcher failed", "err", err)
		}
	}()
	timer := time.NewTimer(quietLimit)
	timer.Stop()
	var first time.Time // of the events that were not yet acted on
	soon := func() {
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		timer.Reset(max(0, min(quiet, quietLimit-now.Sub(first))))
	}
	for {
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case event, ok := <-watcher.Events:
			if !ok {
				return
			}
			if event.Op != fsnotify.Chmod {
				soon()
			}
		case err, ok := <-watcher.Errors:
			if !ok {
				return
			}
			d.log.Warn("the file watcher reported an error; reading the directory again", "err", err)
			soon()
		case <-timer.C:
			first = time.Time{}
			if err := errors.Join(d.follow(watcher), d.sync()); err != nil {
				d.log.Error("reading watched configuration failed", "err", err)
			}
		}
	}
}

// follow watches all directories of the tree; adding one again does nothing.
func (d *Directory) follow(watcher *fsnotify.Watcher) error {
	info, err := os.Stat(d.root)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return watcher.Add(filepath.Dir(d.root))
	}
	return d.walk(func(path string, dir bool) error {
		if !dir {
			return nil
		}
		return watcher.Add(path)
	})
}
