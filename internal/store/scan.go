package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// knownFile is what was last read from a file.
type knownFile struct {
	name    string // for messages
	sum     [sha256.Size]byte
	objects []*api.Object
	err     error // of reading, decoding or validating
	since   time.Time
}

// walk calls visit for the root's directories and configuration files in the
// order of names.
func (d *Directory) walk(visit func(path string, dir bool) error) error {
	return filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if path != d.root && errors.Is(err, fs.ErrNotExist) {
				return nil // removed while we looked
			}
			return err
		}
		hidden := strings.HasPrefix(e.Name(), ".") && path != d.root
		switch {
		case e.IsDir() && hidden:
			return filepath.SkipDir
		case e.IsDir():
			return visit(path, true)
		case path == d.root || !hidden && configFile(e.Name()):
			return visit(path, false)
		}
		return nil
	})
}

func configFile(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// name gives the path as the user would write it.
func (d *Directory) name(path string) string {
	rel, err := filepath.Rel(d.root, path)
	if err != nil || rel == "." {
		return d.path
	}
	return filepath.Join(d.path, rel)
}

// sync reads the tree and brings the table to what it says, as one change.
func (d *Directory) sync() error {
	found := map[string]*knownFile{}
	var paths []string
	err := d.walk(func(path string, dir bool) error {
		if !dir {
			found[path] = d.read(path)
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		// A tree that cannot be listed is not an empty tree: all stays.
		d.setStatus([]FileStatus{{File: d.path, Errors: []string{err.Error()}, Since: time.Now()}})
		return err
	}
	d.known = found
	return d.store.replaceTree(d, paths)
}

// read reads a file, or takes what is known of it if it has not changed.
func (d *Directory) read(path string) *knownFile {
	f := &knownFile{name: d.name(path), since: time.Now()}
	text, err := os.ReadFile(path)
	if err != nil {
		f.err = err
		return f
	}
	f.sum = sha256.Sum256(text)
	if old := d.known[path]; old != nil && old.sum == f.sum {
		return old
	}
	objects, err := api.Decode(bytes.NewReader(text), f.name)
	errs := []error{err}
	seen := map[verdict.Ref]*api.Object{}
	for _, o := range objects {
		if err := d.store.validate(o); err != nil {
			errs = append(errs, err)
		}
		if earlier := seen[o.Ref()]; earlier != nil {
			errs = append(errs, &ConflictError{Ref: o.Ref(), Msg: fmt.Sprintf("given twice, at %s and %s", place(earlier.Source), place(o.Source))})
		}
		seen[o.Ref()] = o
	}
	f.objects, f.err = objects, errors.Join(errs...)
	return f
}

// replaceTree commits what the files of d hold. The objects of a broken file are
// those that the table has from it already.
func (s *Store) replaceTree(d *Directory, paths []string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	before := map[string][]*api.Object{} // by path
	for _, e := range s.entries {
		if e.root == d.root {
			before[e.path] = append(before[e.path], e.object)
		}
	}
	c := s.begin()
	wanted, from := map[verdict.Ref]*api.Object{}, map[verdict.Ref]origin{}
	var status []FileStatus
	for _, path := range paths {
		f := d.known[path]
		objects, err := f.objects, f.err
		if err == nil {
			err = s.conflicts(d, objects, wanted)
		}
		st := FileStatus{File: f.name, Since: f.since, Errors: messages(err)}
		if err != nil {
			objects = before[path]
			slices.SortFunc(objects, func(a, b *api.Object) int { return a.Ref().Compare(b.Ref()) })
			st.Ignored = len(objects) == 0
		}
		for _, o := range objects {
			if wanted[o.Ref()] == nil && s.conflicts(d, []*api.Object{o}, nil) == nil {
				wanted[o.Ref()], from[o.Ref()] = o, origin{root: d.root, path: path}
				st.Objects++
			}
		}
		status = append(status, st)
	}
	for _, ref := range slices.SortedFunc(maps.Keys(wanted), verdict.Ref.Compare) {
		c.apply(wanted[ref], from[ref])
	}
	for ref, e := range s.entries {
		if e.root == d.root && wanted[ref] == nil {
			c.remove(e)
		}
	}
	if err := s.commit(c); err != nil {
		return err
	}
	d.setStatus(status)
	return nil
}

// conflicts checks that objects belong to nobody else: neither to another source
// nor to a file of this directory that was looked at before.
func (s *Store) conflicts(d *Directory, objects []*api.Object, wanted map[verdict.Ref]*api.Object) error {
	var errs []error
	for _, o := range objects {
		ref := o.Ref()
		if other := wanted[ref]; other != nil {
			errs = append(errs, &ConflictError{Ref: ref, Msg: fmt.Sprintf("given twice, at %s and %s", place(other.Source), place(o.Source))})
		}
		e := s.entries[ref]
		if e == nil || !e.active || e.root == d.root {
			continue
		}
		if e.root == "" {
			errs = append(errs, &ConflictError{Ref: ref, Msg: fmt.Sprintf("%s: the object has been applied; delete it first or remove it from the file", place(o.Source))})
		} else {
			errs = append(errs, &ConflictError{Ref: ref, Msg: fmt.Sprintf("%s: the object comes from %s already", place(o.Source), place(e.object.Source))})
		}
	}
	return errors.Join(errs...)
}

// messages gives one text for each error that err joins.
func messages(err error) []string {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, e := range joined.Unwrap() {
			all = append(all, messages(e)...)
		}
		return all
	}
	return []string{err.Error()}
}
